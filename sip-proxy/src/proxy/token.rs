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
