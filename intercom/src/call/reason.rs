//! The Reason header (RFC 3326): why a side went, told to the other one and to the record in our own words.

use std::fmt;

use sip_proxy::message::Params;
use sip_proxy::{HeaderName, Message};

/// A cause in one of the two vocabularies; text of a peer's is not carried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A SIP status.
    Sip(u16),
    /// An ISDN cause, 1 to 127 (ITU-T Q.850).
    Q850(u8),
}

impl Cause {
    /// The first cause of a message that is understood.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        message.values(&HeaderName::Reason).find_map(Self::parse)
    }

    fn parse(value: &str) -> Option<Self> {
        let (protocol, params) = value.split_at(value.find(';')?);
        let cause = Params::parse(params).ok()?.get("cause")?.to_owned();
        let protocol = protocol.trim();
        if protocol.eq_ignore_ascii_case("SIP") {
            let status: u16 = cause.parse().ok()?;
            return (200..700).contains(&status).then_some(Cause::Sip(status));
        }
        if protocol.eq_ignore_ascii_case("Q.850") {
            let cause: u8 = cause.parse().ok()?;
            return (1..128).contains(&cause).then_some(Cause::Q850(cause));
        }
        None
    }

    /// The cause in a header of ours.
    pub(crate) fn of_header(header: &str) -> Option<Self> {
        Self::parse(header)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Sip(status) => write!(f, "SIP;cause={status}"),
            Cause::Q850(cause) => write!(f, "Q.850;cause={cause}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_read_by_its_number_and_written_without_its_text() {
        let cause = Cause::parse("q.850 ;cause=31;text=\"whatever\r\n\"").unwrap();
        assert_eq!(cause.to_string(), "Q.850;cause=31");
        assert_eq!(Cause::parse("SIP;cause=486"), Some(Cause::Sip(486)));
        for wrong in [
            "SIP",
            "SIP;cause=x",
            "SIP;cause=99",
            "Q.850;cause=0",
            "Q.850;cause=200",
            "X;cause=1",
        ] {
            assert_eq!(Cause::parse(wrong), None, "{wrong}");
        }
    }
}
