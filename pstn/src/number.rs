//! Telephone numbers in one canonical form (E.164, RFC 3966 section 5.1.4).

use std::fmt;

/// Longest international number without its `+` (ITU-T E.164 section 6.2.1).
const E164_DIGITS: usize = 15;
/// Shortest national or international number taken for a subscriber; shorter ones are service numbers such as 112.
const SHORTEST: usize = 7;

/// How numbers without a country code are dialled at a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberPlan {
    /// Country code without `+`: `420`.
    pub country: String,
    /// Prefix of international numbers: `00`.
    pub international: String,
    /// Prefix of national numbers, empty where there is none: `0` in Germany, nothing in Czechia.
    pub trunk_prefix: String,
}

/// A subscriber's number as `+` and digits. `Debug` and `Display` show it masked: it is personal data.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(String);

/// Why a text is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Something else than digits and the visual separators of RFC 3966.
    #[error("a telephone number holds digits, spaces, '-', '.', '(' and ')' after an optional '+'")]
    Malformed,
    /// Fewer than seven digits: a service number, which only a plan may name.
    #[error("too short for a subscriber's number")]
    Short,
    /// More than fifteen digits.
    #[error("longer than the 15 digits of E.164")]
    Long,
}

impl Number {
    /// Reads a number as people and SIP headers write it: `+420 222 000 111`, `tel:+420-222-000-111;ext=1`,
    /// `00420222000111`, `222000111`.
    ///
    /// # Errors
    /// [`NumberError`] when it is no subscriber's number.
    pub fn parse(text: &str, plan: &NumberPlan) -> Result<Self, NumberError> {
        let text = text.trim();
        let text = text
            .get(..4)
            .filter(|s| s.eq_ignore_ascii_case("tel:"))
            .map_or(text, |s| text.get(s.len()..).unwrap_or(text));
        let text = text.split(';').next().unwrap_or(text);
        let (global, local) = match text.strip_prefix('+') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut digits = String::new();
        for c in local.chars() {
            match c {
                '0'..='9' => digits.push(c),
                ' ' | '-' | '.' | '(' | ')' => {}
                _ => return Err(NumberError::Malformed),
            }
            if digits.len() > E164_DIGITS + plan.international.len() {
                return Err(NumberError::Long);
            }
        }
        let canonical = if global {
            digits
        } else if let Some(rest) = digits
            .strip_prefix(plan.international.as_str())
            .filter(|_| !plan.international.is_empty())
        {
            rest.to_owned()
        } else {
            let national = digits
                .strip_prefix(plan.trunk_prefix.as_str())
                .unwrap_or(&digits);
            if national.len() < SHORTEST {
                return Err(NumberError::Short);
            }
            format!("{}{national}", plan.country)
        };
        match canonical.len() {
            n if n < SHORTEST => Err(NumberError::Short),
            n if n > E164_DIGITS => Err(NumberError::Long),
            _ => Ok(Self(format!("+{canonical}"))),
        }
    }

    /// The number itself, for dialling. Not for logs.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its first four and last two characters: `+420…11`.
    #[must_use]
    pub fn masked(&self) -> String {
        let head: String = self.0.chars().take(4).collect();
        let tail: String = self
            .0
            .chars()
            .skip(self.0.chars().count().saturating_sub(2))
            .collect();
        format!("{head}…{tail}")
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn czechia() -> NumberPlan {
        NumberPlan {
            country: "420".into(),
            international: "00".into(),
            trunk_prefix: String::new(),
        }
    }

    fn germany() -> NumberPlan {
        NumberPlan {
            country: "49".into(),
            international: "00".into(),
            trunk_prefix: "0".into(),
        }
    }

    #[test]
    fn every_way_to_write_a_number_gives_one() {
        for text in [
            "+420 222 000 111",
            "tel:+420-222-000-111;ext=5",
            "00420222000111",
            "222000111",
            "TEL:+420(222)000.111",
        ] {
            assert_eq!(
                Number::parse(text, &czechia()).unwrap().reveal(),
                "+420222000111",
                "{text}"
            );
        }
        assert_eq!(
            Number::parse("030 1234567", &germany()).unwrap().reveal(),
            "+49301234567"
        );
    }

    #[test]
    fn what_is_no_subscriber_is_refused() {
        assert_eq!(Number::parse("112", &czechia()), Err(NumberError::Short));
        assert_eq!(Number::parse("", &czechia()), Err(NumberError::Short));
        assert_eq!(
            Number::parse("anna", &czechia()),
            Err(NumberError::Malformed)
        );
        assert_eq!(
            Number::parse("+4202220001112223334", &czechia()),
            Err(NumberError::Long)
        );
        assert_eq!(
            Number::parse("+42022200011\r\n1", &czechia()),
            Err(NumberError::Malformed)
        );
    }

    #[test]
    fn a_number_is_masked_wherever_it_is_printed() {
        let number = Number::parse("+420222000111", &czechia()).unwrap();
        assert_eq!(format!("{number} {number:?}"), "+420…11 +420…11");
    }
}
