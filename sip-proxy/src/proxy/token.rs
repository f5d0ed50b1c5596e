//! Secrets of the proxy: Record-Route tokens and loop hashes, both HMAC-SHA256 cut short.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::message::{HeaderName, Message};

/// Octets of a token, twice as many hex digits.
const TOKEN: usize = 12;

#[derive(Clone)]
pub(super) struct Tokens([u8; 32]);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(***)")
    }
}

impl Tokens {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    fn mac<'a>(&self, fields: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
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

    /// The token for dialogs with this Call-ID. A stranger who sees one may only speak in that dialog's name.
    pub(super) fn of(&self, call_id: &str) -> String {
        let mac = self.mac([b"route".as_slice(), call_id.as_bytes()].into_iter());
        mac.iter()
            .take(TOKEN)
            .fold(String::with_capacity(2 * TOKEN), |mut text, byte| {
                use std::fmt::Write as _;
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
    }

    pub(super) fn is_ours(&self, token: &str, call_id: &str) -> bool {
        self.of(call_id).as_bytes().ct_eq(token.as_bytes()).into()
    }

    /// What a request looks like to routing (16.6 step 8, RFC 5393 section 4.2.2): a second visit with the same value
    /// is a loop, one with another Request-URI a spiral.
    pub(super) fn loop_hash(&self, message: &Message) -> u64 {
        let cseq = message.cseq().to_be_bytes();
        let fixed = [
            b"loop".as_slice(),
            message.uri().as_bytes(),
            message.from_tag().unwrap_or_default().as_bytes(),
            message.to_tag().unwrap_or_default().as_bytes(),
            message.call_id().as_bytes(),
            &cseq,
        ];
        let routes = message.values(&HeaderName::Route).map(str::as_bytes);
        let mac = self.mac(fixed.into_iter().chain(routes));
        mac.iter()
            .take(8)
            .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Limits;

    fn tokens() -> Tokens {
        Tokens::new([9; 32])
    }

    fn request(uri: &str, tag: &str, cseq: u32, lines: &str) -> Message {
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:c@x>;tag=c\r\nTo: <sip:u@x>{tag}\r\n\
             Call-ID: call\r\nCSeq: {cseq} INVITE\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Limits::default()).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_call_id_alone() {
        let token = tokens().of("call");
        assert_eq!(token.len(), 2 * TOKEN);
        assert!(tokens().is_ours(&token, "call"));
        assert!(!tokens().is_ours(&token, "another"));
        assert!(!tokens().is_ours("", "call"));
        assert!(!tokens().is_ours(&token[..10], "call"));
    }

    #[test]
    fn another_secret_makes_other_tokens() {
        let token = Tokens::new([8; 32]).of("call");
        assert!(!tokens().is_ours(&token, "call"));
    }

    #[test]
    fn the_loop_hash_is_that_of_what_routing_looks_at() {
        let same = tokens().loop_hash(&request("sip:u@x", "", 1, ""));
        let hash = |uri, tag, cseq, lines| tokens().loop_hash(&request(uri, tag, cseq, lines));
        assert_eq!(hash("sip:u@x", "", 1, "Subject: other\r\n"), same);
        for other in [
            hash("sip:v@x", "", 1, ""),
            hash("sip:u@x", ";tag=t", 1, ""),
            hash("sip:u@x", "", 2, ""),
            hash("sip:u@x", "", 1, "Route: <sip:p;lr>\r\n"),
        ] {
            assert_ne!(other, same);
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let one = tokens().mac([b"ab".as_slice(), b"c"].into_iter());
        let two = tokens().mac([b"a".as_slice(), b"bc"].into_iter());
        assert_ne!(one, two);
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert_eq!(format!("{:?}", tokens()), "Tokens(***)");
    }
}
