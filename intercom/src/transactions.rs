//! Whose a client transaction is: its number says so, without a table.
//!
//! ```text
//!   63      60 59                                        20 19            0
//!   +---------+-------------------------------------------+---------------+
//!   | owner   | call number (owner 0), else serial .......| serial of call|
//!   +---------+-------------------------------------------+---------------+
//! ```

use sip_proxy::ClientTx;

/// Client transactions of one call are numbered within this many bits.
pub(crate) const CALL_SERIAL_BITS: u32 = 20;

const OWNER_SHIFT: u32 = 60;
const SERIAL_MASK: u64 = (1 << OWNER_SHIFT) - 1;

/// Who asked, and so who is told of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The call of this number.
    Call(u64),
    /// A request that drives a station (`b2bua/station.rs`).
    Station,
    /// A request the proxy core passes on.
    Proxy,
    /// A NOTIFY to a subscriber.
    Notify,
    /// An OPTIONS that asks whether a peer is there.
    Qualify,
}

impl Owner {
    fn code(self) -> u64 {
        match self {
            Owner::Call(_) => 0,
            Owner::Station => 1,
            Owner::Proxy => 2,
            Owner::Notify => 3,
            Owner::Qualify => 4,
        }
    }
}

/// A client transaction of a call.
pub(crate) fn of_call(call: u64, serial: u32) -> ClientTx {
    ClientTx(((call << CALL_SERIAL_BITS) | u64::from(serial)) & SERIAL_MASK)
}

/// The first number of an owner who counts by himself.
pub(crate) fn first(owner: Owner) -> ClientTx {
    Serials::new(owner).next()
}

/// The owner of a client transaction; `None` for a number that nobody here gave out.
pub(crate) fn owner(tx: ClientTx) -> Option<Owner> {
    Some(match tx.0 >> OWNER_SHIFT {
        0 => Owner::Call(tx.0 >> CALL_SERIAL_BITS),
        1 => Owner::Station,
        2 => Owner::Proxy,
        3 => Owner::Notify,
        4 => Owner::Qualify,
        _ => return None,
    })
}

/// Numbers for the transactions of one owner outside calls.
#[derive(Debug)]
pub(crate) struct Serials {
    owner: Owner,
    next: u64,
}

impl Serials {
    /// The first number is given out next.
    pub(crate) fn new(owner: Owner) -> Self {
        Serials { owner, next: 1 }
    }

    /// The next number: sixty bits of them do not run out.
    pub(crate) fn next(&mut self) -> ClientTx {
        let serial = self.next & SERIAL_MASK;
        self.next = serial + 1;
        ClientTx((self.owner.code() << OWNER_SHIFT) | serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_its_owner() {
        assert_eq!(owner(of_call(77, (1 << 20) - 1)), Some(Owner::Call(77)));
        for kind in [Owner::Station, Owner::Proxy, Owner::Notify, Owner::Qualify] {
            let mut serials = Serials::new(kind);
            let first = serials.next();
            assert_eq!(owner(first), Some(kind));
            assert_ne!(first, serials.next());
        }
        assert_eq!(owner(ClientTx(u64::MAX)), None);
    }
}
