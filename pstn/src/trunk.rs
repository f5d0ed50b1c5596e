//! A trunk: a SIP peer that carries calls to and from the telephone network.

use std::fmt;
use std::net::IpAddr;

use sip_proxy::Uri;
use sip_proxy::locate::{Destination, Nowhere};
use sip_proxy::uri::Scheme;
use zeroize::Zeroizing;

/// How a trunk wants numbers written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NumberForm {
    /// `+420222000111` (RFC 3966 global form).
    #[default]
    E164,
    /// `420222000111`.
    Digits,
    /// `00420222000111`.
    International,
}

/// A password. Debug prints `***`; overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the one place that hashes it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who we are to a trunk. Told to nobody but this trunk, in this realm, from the address that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Secret,
    /// The realm it is good for.
    pub realm: String,
}

/// A trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Its name in configuration and plan.
    pub name: String,
    /// Where it is: looked up by RFC 3263.
    pub destination: Destination,
    scheme: &'static str,
    /// `host` or `host:port` as configured.
    host: String,
    /// Credentials, where it asks for them.
    pub login: Option<Login>,
    /// Source addresses of its requests to us. Empty: it may not call us.
    pub addresses: Vec<IpAddr>,
    /// The number shown as caller; without it the login's user.
    pub caller_id: Option<String>,
    /// How it wants numbers.
    pub numbers: NumberForm,
}

/// Why a trunk cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrunkError {
    /// Not a URI.
    #[error(
        "not a SIP URI: write \"sip:trunk.example.com\" or \"sip:192.0.2.1:5060;transport=tcp\""
    )]
    Uri,
    /// A user in it: the user is the number.
    #[error("a trunk's URI has no user part: the number dialled takes its place")]
    User,
    /// It leads nowhere.
    #[error(transparent)]
    Nowhere(#[from] Nowhere),
}

impl Trunk {
    /// A trunk at `uri`, without credentials or trusted addresses.
    ///
    /// # Errors
    /// [`TrunkError`] when nothing can be sent to that URI.
    pub fn new(name: &str, uri: &str) -> Result<Self, TrunkError> {
        let parsed = Uri::parse(uri).map_err(|_| TrunkError::Uri)?;
        let destination = Destination::of(&parsed)?;
        if parsed.user().is_some() {
            return Err(TrunkError::User);
        }
        let host = parsed.host_str();
        Ok(Self {
            name: name.to_owned(),
            destination,
            scheme: if parsed.scheme() == Scheme::Sips {
                "sips"
            } else {
                "sip"
            },
            host: match parsed.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            login: None,
            addresses: Vec::new(),
            caller_id: None,
            numbers: NumberForm::E164,
        })
    }

    /// The host without its port: the realm of a trunk that names none, and the domain of our own identity there.
    #[must_use]
    pub fn domain(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.is_empty() => {
                host
            }
            _ => &self.host,
        }
    }

    /// The Request-URI for a number; `None` for what is none: nothing but digits ever becomes part of a URI of ours.
    #[must_use]
    pub fn request_uri(&self, number: &str) -> Option<String> {
        let user = self.user_of(number)?;
        Some(format!("{}:{user}@{};user=phone", self.scheme, self.host))
    }

    /// Our own identity at this trunk, `sip:+420222000111@trunk.example.com`.
    #[must_use]
    pub fn identity(&self) -> String {
        let user = self
            .caller_id
            .as_deref()
            .and_then(|number| self.user_of(number))
            .or_else(|| self.login.as_ref().map(|login| login.user.clone()))
            .unwrap_or_else(|| "anonymous".to_owned());
        format!("{}:{user}@{}", self.scheme, self.domain())
    }

    /// A number as this trunk wants it. Service numbers (`112`) have no country and stay as they are.
    fn user_of(&self, number: &str) -> Option<String> {
        let (global, rest) = match number.trim().strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, number.trim()),
        };
        let digits: String = rest
            .chars()
            .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')'))
            .collect();
        if digits.is_empty() || digits.len() > 32 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(match (global, self.numbers) {
            (true, NumberForm::E164) => format!("+{digits}"),
            (true, NumberForm::International) => format!("00{digits}"),
            (true, NumberForm::Digits) | (false, _) => digits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_becomes_the_user_of_the_trunk_s_uri() {
        let mut trunk = Trunk::new("a", "sip:trunk.example.com:5070;transport=tcp").unwrap();
        let uri = |trunk: &Trunk, number| trunk.request_uri(number).unwrap();
        assert_eq!(
            uri(&trunk, "+420 222 000 111"),
            "sip:+420222000111@trunk.example.com:5070;user=phone"
        );
        assert_eq!(
            uri(&trunk, "112"),
            "sip:112@trunk.example.com:5070;user=phone"
        );
        trunk.numbers = NumberForm::International;
        assert_eq!(
            uri(&trunk, "+420222000111"),
            "sip:00420222000111@trunk.example.com:5070;user=phone"
        );
        assert_eq!(trunk.domain(), "trunk.example.com");
        assert_eq!(
            Trunk::new("b", "sip:[2001:db8::1]").unwrap().domain(),
            "[2001:db8::1]"
        );
    }

    #[test]
    fn what_is_no_number_gets_no_uri() {
        let trunk = Trunk::new("a", "sip:192.0.2.1").unwrap();
        for text in [
            "",
            "+",
            "anna",
            "1@evil.example",
            "1;x=y",
            "1\r\nX: y",
            "*21*1#",
        ] {
            assert_eq!(trunk.request_uri(text), None, "{text}");
        }
    }

    #[test]
    fn a_uri_that_leads_nowhere_is_refused() {
        assert_eq!(Trunk::new("a", "trunk"), Err(TrunkError::Uri));
        assert_eq!(Trunk::new("a", "sip:u@192.0.2.1"), Err(TrunkError::User));
        assert!(matches!(
            Trunk::new("a", "tel:+420222000111"),
            Err(TrunkError::Nowhere(_) | TrunkError::Uri)
        ));
        assert!(Trunk::new("a", "sip:a.example;transport=sctp").is_err());
    }

    #[test]
    fn a_password_is_not_printed() {
        let mut trunk = Trunk::new("a", "sip:192.0.2.1").unwrap();
        trunk.login = Some(Login {
            user: "u".to_owned(),
            password: Secret::new("swordfish"),
            realm: "r".to_owned(),
        });
        assert!(!format!("{trunk:?}").contains("swordfish"));
        assert_eq!(trunk.identity(), "sip:u@192.0.2.1");
    }
}
