//! The client's side: an Authorization value for a challenge, SIP or HTTP.

use std::fmt;

use zeroize::Zeroizing;

use crate::digest::fields::{Fields, quote, unescape};
use crate::digest::{Algorithm, Ha1, response};

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
    /// The stored hash, which is good for the realm it was made for and no other.
    Ha1(&'a Ha1),
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What the response is computed over.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The Request-URI, or HTTP request target, exactly as it will be sent.
    pub uri: &'a str,
    /// The client nonce: fresh randomness.
    pub cnonce: &'a str,
    /// How often this nonce has been used, from 1.
    pub nc: u32,
}

/// The realm a challenge names, for choosing credentials: they go only to the realm they were configured for.
#[must_use]
pub fn realm_of(challenge: &str) -> Option<String> {
    Fields::one(challenge)?.get("realm").map(unescape)
}

/// True when the challenge says that only the nonce was out of date: then one more try is right.
#[must_use]
pub fn is_stale(challenge: &str) -> bool {
    Fields::one(challenge)
        .and_then(|fields| fields.get("stale"))
        .is_some_and(|stale| stale.eq_ignore_ascii_case("true"))
}

/// Answers one challenge header field value.
///
/// # Errors
/// [`DigestError`].
pub fn answer(
    challenge: &str,
    user: &str,
    secret: Secret<'_>,
    request: &Request<'_>,
) -> Result<String, DigestError> {
    answer_best([challenge], user, secret, request)
}

/// Answers the strongest of several challenges: SHA-256 before MD5 (RFC 8760 §2.3).
///
/// # Errors
/// [`DigestError`] when none can be answered.
pub fn answer_best<'a>(
    challenges: impl IntoIterator<Item = &'a str>,
    user: &str,
    secret: Secret<'_>,
    request: &Request<'_>,
) -> Result<String, DigestError> {
    let mut best: Option<(Algorithm, Fields<'a>, Zeroizing<String>)> = None;
    let mut seen = false;
    for fields in challenges.into_iter().flat_map(Fields::all) {
        let (Some(realm), Some(_)) = (fields.get("realm"), fields.get("nonce")) else {
            continue;
        };
        seen = true;
        let Some(algorithm) = Algorithm::from_token(fields.get("algorithm")) else {
            continue;
        };
        let Some(ha1) = ha1_hex(secret, algorithm, user, &unescape(realm)) else {
            continue;
        };
        if offers_auth(&fields).is_some()
            && best.as_ref().is_none_or(|(known, ..)| algorithm > *known)
        {
            best = Some((algorithm, fields, ha1));
        }
    }
    match best {
        Some((algorithm, fields, ha1)) => Ok(write(algorithm, &fields, &ha1, user, request)),
        None if seen => Err(DigestError::Unsupported),
        None => Err(DigestError::Malformed),
    }
}

/// `Some(true)`: qop `auth` is offered; `Some(false)`: no qop at all (RFC 2069); `None`: only others.
fn offers_auth(fields: &Fields<'_>) -> Option<bool> {
    match fields.get("qop") {
        None => Some(false),
        Some(list) => list
            .split(',')
            .any(|qop| qop.trim().eq_ignore_ascii_case("auth"))
            .then_some(true),
    }
}

fn ha1_hex(
    secret: Secret<'_>,
    algorithm: Algorithm,
    user: &str,
    realm: &str,
) -> Option<Zeroizing<String>> {
    match secret {
        Secret::Ha1(ha1) => ha1.hex(algorithm),
        Secret::Password(password) => Ha1::of(user, realm, password, true).hex(algorithm),
    }
}

fn write(
    algorithm: Algorithm,
    fields: &Fields<'_>,
    ha1: &str,
    user: &str,
    request: &Request<'_>,
) -> String {
    let nonce = fields.get("nonce").unwrap_or("");
    let nc = format!("{:08x}", request.nc);
    let auth = offers_auth(fields) == Some(true);
    let qop = auth.then_some((nc.as_str(), request.cnonce));
    let proof = response(algorithm, ha1, nonce, qop, request.method, request.uri);
    let mut out = String::with_capacity(400);
    out.push_str("Digest username=");
    quote(user, &mut out);
    for (name, value) in [
        ("realm", fields.get("realm")),
        ("nonce", Some(nonce)),
        ("opaque", fields.get("opaque")),
    ] {
        if let Some(value) = value {
            out.extend([", ", name, "="]);
            quote(&unescape(value), &mut out);
        }
    }
    out.push_str(", uri=");
    quote(request.uri, &mut out);
    out.extend([", response=\"", &proof, "\""]);
    // An answer to a challenge without the parameter leaves it out, as RFC 2069 servers expect.
    if fields.get("algorithm").is_some() {
        out.extend([", algorithm=", algorithm.as_str()]);
    }
    if auth {
        out.extend([", qop=auth, nc=", &nc, ", cnonce="]);
        quote(request.cnonce, &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Request<'_> = Request {
        method: "GET",
        uri: "/dir/index.html",
        cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        nc: 1,
    };

    /// RFC 7616 §3.9.1.
    fn challenge(algorithm: &str) -> String {
        format!(
            r#"Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={algorithm}, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#
        )
    }

    fn secret() -> Secret<'static> {
        Secret::Password("Circle of Life")
    }

    #[test]
    fn the_sha_256_vector_of_rfc_7616() {
        let answer = answer(&challenge("SHA-256"), "Mufasa", secret(), &GET).unwrap();
        let fields = Fields::one(&answer).unwrap();
        assert_eq!(
            fields.get("response"),
            Some("753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")
        );
        assert_eq!(fields.get("nc"), Some("00000001"));
        assert_eq!(
            fields.get("opaque"),
            Some("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS")
        );
        assert_eq!(fields.get("algorithm"), Some("SHA-256"));
    }

    #[test]
    fn the_md5_vector_of_rfc_7616() {
        let answer = answer(&challenge("MD5"), "Mufasa", secret(), &GET).unwrap();
        assert_eq!(
            Fields::one(&answer).unwrap().get("response"),
            Some("8ca523f5e9506fed4657c9700eebdbec")
        );
    }

    #[test]
    fn the_vector_of_rfc_2617() {
        let challenge = r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let request = Request {
            cnonce: "0a4f113b",
            ..GET
        };
        let answer = answer(
            challenge,
            "Mufasa",
            Secret::Password("Circle Of Life"),
            &request,
        )
        .unwrap();
        assert_eq!(
            Fields::one(&answer).unwrap().get("response"),
            Some("6629fae49393a05397450978507c4ef1")
        );
    }

    #[test]
    fn sha_256_is_preferred_whatever_the_order() {
        let (md5, sha) = (challenge("MD5"), challenge("SHA-256"));
        let answer = answer_best([md5.as_str(), sha.as_str()], "Mufasa", secret(), &GET).unwrap();
        assert_eq!(
            Fields::one(&answer).unwrap().get("algorithm"),
            Some("SHA-256")
        );
        let joined = format!("{md5}, {sha}");
        let answer = super::answer(&joined, "Mufasa", secret(), &GET).unwrap();
        assert_eq!(
            Fields::one(&answer).unwrap().get("algorithm"),
            Some("SHA-256")
        );
    }

    #[test]
    fn a_stored_hash_serves_as_well_as_the_password() {
        let ha1 = Ha1::of("Mufasa", "http-auth@example.org", "Circle of Life", false);
        let answer = answer(&challenge("SHA-256"), "Mufasa", Secret::Ha1(&ha1), &GET).unwrap();
        assert!(
            answer.contains("753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1")
        );
        assert_eq!(
            super::answer(&challenge("MD5"), "Mufasa", Secret::Ha1(&ha1), &GET),
            Err(DigestError::Unsupported)
        );
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        let unsupported = challenge("SHA-512-256");
        assert_eq!(
            answer(&unsupported, "a", secret(), &GET),
            Err(DigestError::Unsupported)
        );
        assert_eq!(
            answer(r#"Digest realm="a""#, "a", secret(), &GET),
            Err(DigestError::Malformed)
        );
        let integrity = r#"Digest realm="a", nonce="b", qop="auth-int""#;
        assert_eq!(
            answer(integrity, "a", secret(), &GET),
            Err(DigestError::Unsupported)
        );
    }

    #[test]
    fn without_qop_the_answer_is_that_of_rfc_2069() {
        let answer = answer(r#"Digest realm="a", nonce="b""#, "u", secret(), &GET).unwrap();
        assert!(!answer.contains("qop") && !answer.contains("nc="));
    }

    #[test]
    fn a_challenge_injects_nothing() {
        let answer = answer(
            "Digest realm=\"a\r\nX: y\\\"\", nonce=\"b\"",
            "u\"\r\n",
            secret(),
            &GET,
        )
        .unwrap();
        assert!(!answer.contains(['\r', '\n']), "{answer}");
        assert!(answer.contains(r#"username="u\"  ""#), "{answer}");
    }
}
