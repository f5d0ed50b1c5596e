//! Contact: `*` or a list of addresses with `q` and `expires` (RFC 3261 §20.10).

use crate::message::error::HeaderError;
use crate::message::lex;
use crate::message::name_addr::NameAddr;
use crate::message::params::Params;

/// All Contact values of a message, over all its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contacts<'a> {
    /// `Contact: *`, alone.
    Star,
    /// The addresses in order; empty when the message has no Contact.
    List(Vec<Contact<'a>>),
}

/// One Contact value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact<'a> {
    /// Display name, URI and all parameters.
    pub name_addr: NameAddr<'a>,
    /// The q-value in thousandths; `None` when absent or unreadable (a preference is no reason to refuse a device).
    pub q: Option<u16>,
    /// `expires` in seconds, capped at `u32::MAX` (RFC 3261 §20.19: 2^32-1); `None` when absent or unreadable.
    pub expires: Option<u32>,
}

impl<'a> Contact<'a> {
    /// Reads one Contact value other than `*`.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn parse(value: &'a str) -> Result<Self, &'static str> {
        let name_addr = NameAddr::parse(value)?;
        let q = name_addr.param("q").and_then(q_thousandths);
        let expires = name_addr.param("expires").and_then(delta_seconds);
        Ok(Self {
            name_addr,
            q,
            expires,
        })
    }

    /// The header parameters.
    #[must_use]
    pub fn params(&self) -> Params<'a> {
        self.name_addr.params
    }
}

impl<'a> Contacts<'a> {
    pub(crate) fn collect(values: impl Iterator<Item = &'a str>) -> Result<Self, HeaderError> {
        let error = |reason| HeaderError {
            header: "Contact",
            reason,
        };
        let mut list = Vec::new();
        let mut star = false;
        for value in values {
            if value == "*" {
                star = true;
            } else {
                list.push(Contact::parse(value).map_err(error)?);
            }
        }
        match (star, list.is_empty()) {
            (true, true) => Ok(Self::Star),
            (true, false) => Err(error("`*` beside an address")),
            (false, _) => Ok(Self::List(list)),
        }
    }

    /// The addresses; empty for `*`.
    #[must_use]
    pub fn list(&self) -> &[Contact<'a>] {
        match self {
            Self::Star => &[],
            Self::List(list) => list,
        }
    }
}

/// `delta-seconds` capped at `u32::MAX`; `None` unless all digits.
pub(crate) fn delta_seconds(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(
        lex::number(text)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(u32::MAX),
    )
}

/// `0`, `0.5`, `1.000`: thousandths, 0 to 1,000.
fn q_thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = whole.parse().ok().filter(|whole| *whole <= 1)?;
    let mut thousandths = 0;
    for at in 0..3 {
        let digit = fraction
            .as_bytes()
            .get(at)
            .map_or(0, |byte| u16::from(byte - b'0'));
        thousandths = thousandths * 10 + digit;
    }
    Some(whole * 1_000 + thousandths).filter(|q| *q <= 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_and_expires_are_read() {
        let contact = Contact::parse("<sip:a@b>;q=0.75;expires=60").unwrap();
        assert_eq!((contact.q, contact.expires), (Some(750), Some(60)));
    }

    #[test]
    fn an_overlarge_expires_is_capped_and_an_odd_q_ignored() {
        let contact = Contact::parse("<sip:a@b>;q=1.5;expires=280297596632815").unwrap();
        assert_eq!((contact.q, contact.expires), (None, Some(u32::MAX)));
    }

    #[test]
    fn a_star_stands_alone() {
        assert_eq!(Contacts::collect(["*"].into_iter()), Ok(Contacts::Star));
        assert!(Contacts::collect(["*", "<sip:a@b>"].into_iter()).is_err());
    }
}
