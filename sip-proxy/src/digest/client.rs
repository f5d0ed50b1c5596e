//! The client's side: an Authorization value for a challenge, SIP or HTTP.

use crate::digest::{Algorithm, Ha1};

/// Why a challenge is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not a Digest challenge, or without realm or nonce.
    #[error("malformed challenge")]
    Malformed,
    /// No algorithm or quality of protection that we speak, or no stored hash for it.
    #[error("unsupported challenge")]
    Unsupported,
}

/// What proves who we are.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    /// The password itself.
    Password(&'a str),
    /// The stored hash for the challenge's realm.
    Ha1(&'a Ha1),
}

/// What the response is computed over.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The Request-URI, or HTTP request target, exactly as it will be sent.
    pub uri: &'a str,
    /// The client nonce: fresh randomness, token characters only.
    pub cnonce: &'a str,
    /// How often this nonce has been used, from 1.
    pub nc: u32,
}

/// Answers one challenge.
///
/// # Errors
/// [`DigestError`].
pub fn answer(
    _challenge: &str,
    _user: &str,
    _secret: Secret<'_>,
    _request: &Request<'_>,
) -> Result<String, DigestError> {
    let _ = Algorithm::Md5;
    Err(DigestError::Unsupported)
}
