//! The sixteen keys.

use std::fmt;

/// One of `0`-`9`, `*`, `#`, `A`-`D`. Debug prints `***`: a run of digits may be a code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digit(char);

impl Digit {
    /// Reads a key label; lower-case `a`-`d` count as upper.
    #[must_use]
    pub fn new(label: char) -> Option<Self> {
        let label = label.to_ascii_uppercase();
        matches!(label, '0'..='9' | '*' | '#' | 'A'..='D').then_some(Self(label))
    }

    /// Reads an event code of RFC 4733 §3.2: 0-9 digits, 10 `*`, 11 `#`, 12-15 `A`-`D`.
    #[must_use]
    pub fn from_event(code: u8) -> Option<Self> {
        let label = match code {
            0..=9 => char::from(b'0' + code),
            10 => '*',
            11 => '#',
            12..=15 => char::from(b'A' + (code - 12)),
            _ => return None,
        };
        Some(Self(label))
    }

    /// The event code of RFC 4733 §3.2.
    #[must_use]
    pub fn event(self) -> u8 {
        match self.0 {
            '*' => 10,
            '#' => 11,
            letter @ 'A'..='D' => 12 + (letter as u8 - b'A'),
            number => number as u8 - b'0',
        }
    }

    /// The key label.
    #[must_use]
    pub fn label(self) -> char {
        self.0
    }
}

impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A run of keys to be sent: an unlock code, as often as not. Debug prints `***`; there is no Display.
#[derive(Clone, PartialEq, Eq)]
pub struct Digits(String);

impl Digits {
    /// The keys, for the one place that sends them.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Digits {
    fn from(keys: String) -> Self {
        Self(keys)
    }
}

impl From<&str> for Digits {
    fn from(keys: &str) -> Self {
        Self(keys.to_owned())
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_codes_and_labels_map_one_to_one() {
        let labels: String = (0..=15)
            .filter_map(Digit::from_event)
            .map(Digit::label)
            .collect();
        assert_eq!(labels, "0123456789*#ABCD");
        for code in 0..=15 {
            assert_eq!(Digit::from_event(code).map(Digit::event), Some(code));
        }
        assert_eq!(Digit::from_event(16), None, "16 is hook flash, not a key");
    }

    #[test]
    fn only_key_labels_are_digits() {
        assert_eq!(Digit::new('d').map(Digit::label), Some('D'));
        for other in ['E', ' ', 'é', '٣', '\0'] {
            assert_eq!(Digit::new(other), None);
        }
    }

    #[test]
    fn debug_hides_the_key() {
        assert_eq!(format!("{:?}", Digit::new('7').unwrap()), "***");
        assert_eq!(format!("{:?}", Digits::from("4711")), "***");
    }
}
