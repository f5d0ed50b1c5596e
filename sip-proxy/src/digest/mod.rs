//! Digest authentication (RFC 7616, RFC 8760 for SIP): what both sides share.

pub mod client;
mod fields;
mod server;

use std::fmt;

use md5::Md5;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use client::DigestError;
pub use server::{AuthVerdict, Authenticator, AuthenticatorConfig};

/// A hash algorithm of RFC 7616 that we speak. The `-sess` variants are not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// MD5: only for devices that know nothing better.
    Md5,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// The token in the `algorithm` parameter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Reads the token; a missing one means MD5 (RFC 7616 §3.3).
    #[must_use]
    pub fn from_token(token: Option<&str>) -> Option<Self> {
        match token {
            None => Some(Self::Md5),
            Some(token) if token.eq_ignore_ascii_case("MD5") => Some(Self::Md5),
            Some(token) if token.eq_ignore_ascii_case("SHA-256") => Some(Self::Sha256),
            Some(_) => None,
        }
    }

    /// Lower-case hex of the hash of the pieces joined by `:`.
    fn hash(self, pieces: &[&[u8]]) -> String {
        match self {
            Self::Md5 => to_hex(&joined::<Md5>(pieces)),
            Self::Sha256 => to_hex(&joined::<Sha256>(pieces)),
        }
    }
}

fn joined<D: sha2::Digest>(pieces: &[&[u8]]) -> sha2::digest::Output<D> {
    let mut hash = D::new();
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            hash.update(b":");
        }
        hash.update(piece);
    }
    hash.finalize()
}

fn to_hex(octets: &[u8]) -> String {
    let digit = |nibble: u8| {
        char::from(if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        })
    };
    let mut text = String::with_capacity(2 * octets.len());
    for octet in octets {
        text.push(digit(octet >> 4));
        text.push(digit(octet & 15));
    }
    text
}

/// The stored half of a password: H(user:realm:password), per algorithm. Never printed; wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Ha1 {
    /// For MD5, only where the account's profile needs it.
    pub md5: Option<[u8; 16]>,
    /// For SHA-256.
    pub sha256: Option<[u8; 32]>,
}

impl Ha1 {
    /// Computes both halves, MD5 only when `md5` says so.
    #[must_use]
    pub fn of(user: &str, realm: &str, password: &str, md5: bool) -> Self {
        let pieces = [user.as_bytes(), realm.as_bytes(), password.as_bytes()];
        Self {
            md5: md5.then(|| joined::<Md5>(&pieces).into()),
            sha256: Some(joined::<Sha256>(&pieces).into()),
        }
    }

    /// Whether there is a half for one algorithm.
    fn has(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Md5 => self.md5.is_some(),
            Algorithm::Sha256 => self.sha256.is_some(),
        }
    }

    /// The half for one algorithm as the lower-case hex that goes into the response.
    fn hex(&self, algorithm: Algorithm) -> Option<zeroize::Zeroizing<String>> {
        let hex = match algorithm {
            Algorithm::Md5 => to_hex(self.md5.as_ref()?),
            Algorithm::Sha256 => to_hex(self.sha256.as_ref()?),
        };
        Some(zeroize::Zeroizing::new(hex))
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ha1(***)")
    }
}

/// The `response` of RFC 7616 §3.4.1 for qop `auth`, or without qop (RFC 2069) when `qop` is `None`.
fn response(
    algorithm: Algorithm,
    ha1: &str,
    nonce: &str,
    qop: Option<(&str, &str)>,
    method: &str,
    uri: &str,
) -> String {
    let ha2 = algorithm.hash(&[method.as_bytes(), uri.as_bytes()]);
    let (ha1, nonce, ha2) = (ha1.as_bytes(), nonce.as_bytes(), ha2.as_bytes());
    match qop {
        Some((nc, cnonce)) => {
            algorithm.hash(&[ha1, nonce, nc.as_bytes(), cnonce.as_bytes(), b"auth", ha2])
        }
        None => algorithm.hash(&[ha1, nonce, ha2]),
    }
}
