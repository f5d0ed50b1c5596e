//! What was dialled: `dial="unit"`, `"unit:101"`, `"*1"`, `"1xx"`, `"9.."`, `"*"`.

/// A class of things with a dialable name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Unit,
    Device,
    Door,
    Person,
}

impl Class {
    pub(crate) const ALL: [Self; 4] = [Self::Unit, Self::Device, Self::Door, Self::Person];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Device => "device",
            Self::Door => "door",
            Self::Person => "person",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == word)
    }
}

/// A dial pattern, most specific kind first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pattern {
    /// Exactly this; with a class, this id and only if it is of that class.
    Literal(String, Option<Class>),
    /// Digits and `x`, which is any digit.
    Range(String),
    /// These characters and at least one more.
    Prefix(String),
    Class(Class),
    Any,
}

impl Pattern {
    pub(crate) fn parse(written: &str) -> Self {
        if written == "*" {
            return Self::Any;
        }
        if let Some(class) = Class::from_word(written) {
            return Self::Class(class);
        }
        if let Some((class, id)) = written
            .split_once(':')
            .and_then(|(word, id)| Some((Class::from_word(word)?, id)))
        {
            return Self::Literal(id.to_owned(), Some(class));
        }
        if let Some(prefix) = written
            .strip_suffix("..")
            .filter(|prefix| !prefix.is_empty())
        {
            return Self::Prefix(prefix.to_owned());
        }
        let ranged =
            written.bytes().all(|b| b.is_ascii_digit() || b == b'x') && written.contains('x');
        if ranged {
            Self::Range(written.to_owned())
        } else {
            Self::Literal(written.to_owned(), None)
        }
    }
}

/// Whether a dialled string lies in a range of digits and `x`.
pub(crate) fn in_range(range: &str, dial: &str) -> bool {
    range.len() == dial.len()
        && range
            .bytes()
            .zip(dial.bytes())
            .all(|(want, is)| is.is_ascii_digit() && (want == b'x' || want == is))
}

#[cfg(test)]
mod tests {
    use super::{Class, Pattern, in_range};

    #[test]
    fn each_form_is_told_apart() {
        assert_eq!(Pattern::parse("unit"), Pattern::Class(Class::Unit));
        assert_eq!(
            Pattern::parse("unit:101"),
            Pattern::Literal("101".into(), Some(Class::Unit))
        );
        assert_eq!(Pattern::parse("*"), Pattern::Any);
        assert_eq!(
            Pattern::parse("*1"),
            Pattern::Literal("*1".into(), None),
            "in a longer string * is the star key"
        );
        assert_eq!(Pattern::parse("9.."), Pattern::Prefix("9".into()));
        assert_eq!(Pattern::parse("1xx"), Pattern::Range("1xx".into()));
        assert_eq!(Pattern::parse("sos"), Pattern::Literal("sos".into(), None));
        assert_eq!(
            Pattern::parse("exit"),
            Pattern::Literal("exit".into(), None)
        );
    }

    #[test]
    fn a_range_matches_digits_of_its_own_length() {
        assert!(
            in_range("1xx", "101")
                && !in_range("1xx", "1010")
                && !in_range("1xx", "1*1")
                && !in_range("1xx", "201")
        );
    }
}
