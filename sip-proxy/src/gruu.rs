//! GRUU: URIs that lead to one user agent from anywhere (RFC 5627).
//!
//! ```text
//!   public      sip:desk@example.com;gr=urn:uuid:…      address-of-record and instance, for all to see
//!   temporary   sip:tgruu.<salt><number><mac>@example.com;gr
//! ```
//! A temporary one hides whose it is: the number that the location service knows the registration by is encrypted under
//! a fresh salt, and both are signed. So any number of them costs no memory, and all of one registration end together
//! when its number goes (§3.2: with its Call-ID or its last binding).

use std::fmt;
use std::time::Instant;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::location::{Binding, Location};
use crate::uri::Uri;

/// What the user part of a temporary GRUU begins with.
const PREFIX: &str = "tgruu.";
/// Octets of salt, number, and signature.
const PARTS: [usize; 3] = [8, 8, 12];

/// Makes GRUUs and reads them. The key must be the same after a restart, or temporary GRUUs in use are lost with it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Gruus([u8; 32]);

impl fmt::Debug for Gruus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gruus(***)")
    }
}

/// Whom a GRUU leads to.
#[derive(Debug)]
pub struct Found<'a> {
    /// The address-of-record it belongs to.
    pub aor: String,
    /// The flows of the user agent, the best first; empty when it is not registered (480).
    pub bindings: Vec<&'a Binding>,
}

impl Gruus {
    /// Under this key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The public GRUU of an instance (`<urn:…>`, its angle brackets left out).
    #[must_use]
    pub fn public(aor: &str, instance: &str) -> String {
        use fmt::Write as _;
        let urn = urn(instance);
        let mut text = String::with_capacity(aor.len() + urn.len() + 4);
        text.push_str(aor);
        text.push_str(";gr=");
        for byte in urn.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte) {
                text.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    }

    /// The number of a registration that begins with this REGISTER: its temporary GRUUs are known by it.
    pub(crate) fn number(&self, aor: &str, instance: &str, call_id: &str, cseq: u32) -> u64 {
        let cseq = cseq.to_be_bytes();
        let mac = self.mac(&[
            b"number",
            aor.as_bytes(),
            instance.as_bytes(),
            call_id.as_bytes(),
            &cseq,
        ]);
        u64::from_be_bytes(first(&mac))
    }

    /// A temporary GRUU of a registration. Each REGISTER has a `cseq` of its own and so gets another one.
    pub(crate) fn temporary(&self, aor: &str, number: u64, cseq: u32) -> String {
        use fmt::Write as _;
        let domain = aor.rsplit_once('@').map_or("invalid", |(_, domain)| domain);
        let salt: [u8; 8] =
            first(&self.mac(&[b"salt", &number.to_be_bytes(), &cseq.to_be_bytes()]));
        let hidden = (number ^ self.pad(&salt)).to_be_bytes();
        let signature = self.mac(&[b"signature", &salt, &hidden]);
        let octets = salt.iter().chain(&hidden).chain(&signature);
        let mut text = String::with_capacity(72 + domain.len());
        text.push_str("sip:");
        text.push_str(PREFIX);
        for octet in octets.take(PARTS.iter().sum()) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{octet:02x}");
        }
        text.push('@');
        text.push_str(domain);
        text.push_str(";gr");
        text
    }

    /// The registration number in a temporary GRUU's user part, when it is one of ours.
    fn read(&self, user: &str) -> Option<u64> {
        let hex = user.strip_prefix(PREFIX)?;
        let [salt_end, hidden_end, end] = [8, 16, 28];
        let octets: Vec<u8> = (0..end)
            .map(|at| {
                let digits = hex.get(2 * at..2 * at + 2)?;
                u8::from_str_radix(digits, 16).ok()
            })
            .collect::<Option<_>>()?;
        if hex.len() != 2 * end {
            return None;
        }
        let (salt, hidden) = (octets.get(..salt_end)?, octets.get(salt_end..hidden_end)?);
        let claimed = octets.get(hidden_end..)?;
        let signature = self.mac(&[b"signature", salt, hidden]);
        if !bool::from(signature.get(..claimed.len())?.ct_eq(claimed)) {
            return None;
        }
        Some(u64::from_be_bytes(first(hidden)) ^ self.pad(salt))
    }

    /// Whom a URI leads to when it is a GRUU of an address-of-record here; `None` when it is none. Whether its domain is
    /// ours the caller has seen to; `aor` gives the address-of-record of a user.
    #[must_use]
    pub fn find<'a>(
        &self,
        uri: &Uri,
        location: &'a Location,
        now: Instant,
        aor: impl FnOnce(&str) -> String,
    ) -> Option<Found<'a>> {
        let (_, gr) = uri
            .params()
            .find(|(name, _)| name.eq_ignore_ascii_case("gr"))?;
        let user = uri.user_unescaped()?;
        if gr.is_none_or(str::is_empty) {
            let (aor, bindings) = location.of_gruu(self.read(&user)?, now)?;
            return Some(Found {
                aor: aor.to_owned(),
                bindings,
            });
        }
        let wanted = uri.param_unescaped("gr")?;
        let aor = aor(&user);
        let mut bindings = location.lookup(&aor, now);
        bindings.retain(|binding| {
            binding
                .instance
                .as_deref()
                .is_some_and(|instance| urn(instance).eq_ignore_ascii_case(&wanted))
        });
        Some(Found { aor, bindings })
    }

    fn pad(&self, salt: &[u8]) -> u64 {
        u64::from_be_bytes(first(&self.mac(&[b"pad", salt])))
    }

    fn mac(&self, fields: &[&[u8]]) -> [u8; 32] {
        // HMAC takes keys of any length: this cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return [0; 32];
        };
        for field in fields {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field);
        }
        mac.finalize().into_bytes().into()
    }
}

fn first(octets: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    for (to, from) in out.iter_mut().zip(octets) {
        *to = *from;
    }
    out
}

/// An instance without its angle brackets.
fn urn(instance: &str) -> &str {
    instance.trim_start_matches('<').trim_end_matches('>')
}

#[cfg(test)]
mod tests {
    use super::*;

    const AOR: &str = "sip:desk@example.com";

    fn user(gruu: &str) -> String {
        Uri::parse(gruu).unwrap().user_unescaped().unwrap()
    }

    #[test]
    fn a_public_gruu_is_a_uri_whatever_the_instance_holds() {
        let plain = Gruus::public(AOR, "<urn:uuid:f81d4fae-7dec>");
        assert_eq!(plain, "sip:desk@example.com;gr=urn:uuid:f81d4fae-7dec");
        let odd = Gruus::public(AOR, "<urn:x;y=\"1\">");
        assert_eq!(odd, "sip:desk@example.com;gr=urn:x%3By%3D%221%22");
        let uri = Uri::parse(&odd).unwrap();
        assert_eq!(uri.param_unescaped("gr").as_deref(), Some("urn:x;y=\"1\""));
    }

    #[test]
    fn a_temporary_gruu_is_read_under_its_key_alone_and_not_when_touched() {
        let gruus = Gruus::new([7; 32]);
        let number = gruus.number(AOR, "<urn:uuid:1>", "call", 1);
        let gruu = gruus.temporary(AOR, number, 2);
        assert!(gruu.ends_with("@example.com;gr"), "{gruu}");
        assert_eq!(gruus.read(&user(&gruu)), Some(number));
        assert_eq!(Gruus::new([8; 32]).read(&user(&gruu)), None);
        for at in PREFIX.len()..user(&gruu).len() {
            let mut touched = user(&gruu).into_bytes();
            touched[at] = if touched[at] == b'0' { b'1' } else { b'0' };
            let touched = String::from_utf8(touched).unwrap();
            assert_eq!(gruus.read(&touched), None, "{touched}");
        }
        for odd in ["tgruu.", "tgruu.00", "desk", "tgruu.é"] {
            assert_eq!(gruus.read(odd), None, "{odd}");
        }
    }

    #[test]
    fn two_temporary_gruus_of_one_device_have_nothing_in_common() {
        let gruus = Gruus::new([7; 32]);
        let number = gruus.number(AOR, "<urn:uuid:1>", "call", 1);
        let (one, two) = (
            user(&gruus.temporary(AOR, number, 2)),
            user(&gruus.temporary(AOR, number, 3)),
        );
        let same = one
            .bytes()
            .zip(two.bytes())
            .skip(PREFIX.len())
            .filter(|(a, b)| a == b)
            .count();
        assert!(same < 16, "{one} {two}");
    }
}
