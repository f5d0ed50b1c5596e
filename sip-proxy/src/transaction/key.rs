//! Transaction keys: what makes two messages belong together (RFC 3261 sections 17.2.3, 8.2.2.2, 13.3.1.4).
//!
//! Kept as 128-bit fingerprints under a secret drawn at construction, so that a table entry costs 16 octets whatever
//! the peer put into its branch, and nobody outside can make two keys meet.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::message::{HeaderName, Message, Method, RawMessage, Via};

/// The fingerprint of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u128);

impl Hash for Key {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half of a fingerprint is as good as the whole"
    )]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0 as u64);
    }
}

/// A map whose keys are already hashes.
pub type KeyMap<V> = HashMap<Key, V, BuildHasherDefault<PassThrough>>;

/// Hasher that takes a fingerprint as it is.
#[derive(Debug, Default, Clone, Copy)]
pub struct PassThrough(u64);

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Makes keys.
#[derive(Debug, Clone)]
pub struct Keys {
    low: DefaultHasher,
    high: DefaultHasher,
}

/// Keeps the three kinds of key apart.
#[derive(Hash)]
enum Kind {
    Branch,
    Rfc2543,
    Merged,
    Acknowledged,
    Stateless,
}

/// Fields are hashed with their length ahead (`str`'s own hash ends in a mark), so that none can lean on the next.
fn key(keys: &Keys, fields: &impl Hash) -> Key {
    let mut low = keys.low.clone();
    let mut high = keys.high.clone();
    fields.hash(&mut low);
    fields.hash(&mut high);
    Key(u128::from(high.finish()) << 64 | u128::from(low.finish()))
}

impl Keys {
    /// Keys under these secrets.
    #[must_use]
    pub fn new(secrets: [u64; 4]) -> Self {
        let [a, b, c, d] = secrets;
        let seeded = |one: u64, two: u64| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(one);
            hasher.write_u64(two);
            hasher
        };
        Self {
            low: seeded(a, b),
            high: seeded(c, d),
        }
    }

    /// The server transaction a request belongs to (17.2.3). ACK and CANCEL have the key of their INVITE.
    ///
    /// For a branch without the magic cookie the RFC 2543 fields decide; the To tag is left out, since the ACK to a
    /// non-2xx has one where its INVITE had none, and Call-ID, From tag, CSeq and Via already tell transactions apart.
    #[must_use]
    pub fn server(&self, request: &Message, as_invite: bool) -> Key {
        let via = request.top_via();
        let method = if as_invite {
            Method::Invite.as_str()
        } else {
            request.method().as_str()
        };
        let host = LowerCase(via.host);
        match via.rfc3261_branch() {
            Some(branch) => key(self, &(Kind::Branch, branch, host, via.port, method)),
            None => key(
                self,
                &(
                    Kind::Rfc2543,
                    (
                        request.uri(),
                        request.from_tag(),
                        request.call_id(),
                        request.cseq(),
                    ),
                    (via.branch(), host, via.port, method),
                ),
            ),
        }
    }

    /// What merged requests have in common (8.2.2.2): From tag, Call-ID and CSeq.
    #[must_use]
    pub fn merged(&self, request: &Message) -> Key {
        key(
            self,
            &(
                Kind::Merged,
                request.from_tag(),
                request.call_id(),
                request.cseq(),
                request.method().as_str(),
            ),
        )
    }

    /// What the ACK to a 2xx has in common with its INVITE and our answer: the dialog and the CSeq number.
    #[must_use]
    pub fn acknowledged(&self, message: &Message, local_tag: Option<&str>) -> Key {
        key(
            self,
            &(
                Kind::Acknowledged,
                message.call_id(),
                message.from_tag(),
                local_tag,
                message.cseq(),
            ),
        )
    }
}

impl Keys {
    /// The To tag of an answer that leaves no transaction behind (8.2.7): the same for the request again, known again
    /// on its ACK, and nobody else's to guess. The request may be one the parser refused.
    #[must_use]
    pub fn stateless_tag(&self, request: &RawMessage) -> u64 {
        // The ACK has the number of its INVITE, and a method of its own behind it.
        let number = request
            .header(&HeaderName::CSeq)
            .and_then(|value| value.split_ascii_whitespace().next());
        let via = request.values(&HeaderName::Via).next();
        let branch = via
            .and_then(|value| Via::parse(value).ok())
            .and_then(|via| via.branch());
        let mut hasher = self.low.clone();
        let call_id = request.header(&HeaderName::CallId);
        (Kind::Stateless, call_id, number, branch).hash(&mut hasher);
        hasher.finish()
    }
}

/// Hashes host names whatever their case.
struct LowerCase<'a>(&'a str);

impl Hash for LowerCase<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.0.bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
        state.write_u8(0xff);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Limits;

    fn keys() -> Keys {
        Keys::new([1, 2, 3, 4])
    }

    /// A request; `via` follows the transport, `to` the To address.
    fn request(method: &str, via: &str, to: &str) -> Message {
        let text = format!(
            "{method} sip:u@x SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:c@x>;tag=c\r\nTo: <sip:u@x>{to}\r\n\
             Call-ID: call\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    }

    #[test]
    fn branch_sent_by_and_method_tell_transactions_apart() {
        let key = |method, via| keys().server(&request(method, via, ""), false);
        let one = key("INVITE", "a:5060;branch=z9hG4bK1");
        assert_eq!(
            one,
            key("INVITE", "A:5060;branch=z9hG4bK1"),
            "hosts have no case"
        );
        for other in [
            key("OPTIONS", "a:5060;branch=z9hG4bK1"),
            key("INVITE", "b:5060;branch=z9hG4bK1"),
            key("INVITE", "a:5061;branch=z9hG4bK1"),
            key("INVITE", "a;branch=z9hG4bK1"),
            key("INVITE", "a:5060;branch=z9hG4bK2"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn ack_and_cancel_have_the_key_of_their_invite() {
        let invite = keys().server(&request("INVITE", "a;branch=z9hG4bK1", ""), false);
        for method in ["ACK", "CANCEL"] {
            let other = request(method, "a;branch=z9hG4bK1", ";tag=t");
            assert_eq!(keys().server(&other, true), invite);
        }
    }

    #[test]
    fn without_the_magic_cookie_the_fields_decide_and_the_to_tag_does_not() {
        let invite = keys().server(&request("INVITE", "a;branch=1", ""), false);
        let ack = keys().server(&request("ACK", "a;branch=1", ";tag=t"), true);
        assert_eq!(invite, ack);
        let other = keys().server(&request("INVITE", "a;branch=2", ""), false);
        assert_ne!(invite, other);
    }

    #[test]
    fn merged_requests_agree_whatever_their_path() {
        let key = |method, via| keys().merged(&request(method, via, ""));
        let one = key("INVITE", "a;branch=z9hG4bK1");
        assert_eq!(one, key("INVITE", "b;branch=z9hG4bK2"));
        assert_ne!(one, key("OPTIONS", "a;branch=z9hG4bK1"));
    }

    #[test]
    fn the_ack_to_a_2xx_agrees_with_its_invite_by_our_tag() {
        let invite = request("INVITE", "a;branch=z9hG4bK1", "");
        let ack = request("ACK", "a;branch=z9hG4bK2", ";tag=ours");
        let awaited = keys().acknowledged(&invite, Some("ours"));
        assert_eq!(awaited, keys().acknowledged(&ack, ack.to_tag()));
        assert_ne!(awaited, keys().acknowledged(&invite, Some("theirs")));
        assert_ne!(awaited, keys().acknowledged(&invite, None));
    }

    #[test]
    fn the_stateless_tag_is_that_of_the_invite_and_of_its_ack() {
        let tag = |method, via| keys().stateless_tag(&request(method, via, ""));
        let one = tag("INVITE", "a;branch=z9hG4bK1");
        assert_eq!(one, tag("ACK", "a;branch=z9hG4bK1"));
        assert_ne!(one, tag("INVITE", "a;branch=z9hG4bK2"));
        let invite = request("INVITE", "a;branch=z9hG4bK1", "");
        assert_ne!(one, Keys::new([9, 2, 3, 4]).stateless_tag(&invite));
    }

    #[test]
    fn kinds_of_key_never_meet_and_secrets_matter() {
        let invite = request("INVITE", "a;branch=z9hG4bK1", "");
        let one = keys().server(&invite, false);
        assert_ne!(one, keys().merged(&invite));
        assert_ne!(one, Keys::new([1, 2, 3, 5]).server(&invite, false));
    }
}
