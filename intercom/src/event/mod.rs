//! The documents of the event packages: what a NOTIFY's body says. Plain functions of what is to be said; who is told
//! what, and when, is `b2bua/events/`.
//!
//! | package | RFC | file |
//! |---|---|---|
//! | `dialog` | 4235 | `dialog_info` |
//! | `reg` | 3680 | `reg_info` |
//! | `message-summary` | 3842 | `message_summary` |
//! | `presence` | 3856, 3863 | `pidf` |

pub(crate) mod dialog_info;
pub(crate) mod message_summary;
pub(crate) mod pidf;
pub(crate) mod reg_info;
mod xml;

pub use message_summary::Waiting;

/// The packages served, for Allow-Events.
pub(crate) const ALLOW_EVENTS: &str = "dialog, message-summary, presence, reg";

/// A package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Package {
    /// RFC 4235: who talks with whom.
    Dialog,
    /// RFC 3842: messages waiting.
    Messages,
    /// RFC 3856: whether somebody can be reached.
    Presence,
    /// RFC 3680: where somebody is registered.
    Reg,
}

impl Package {
    /// The package of a name; templates (`presence.winfo`) are not served.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "dialog" => Self::Dialog,
            "message-summary" => Self::Messages,
            "presence" => Self::Presence,
            "reg" => Self::Reg,
            _ => return None,
        })
    }

    /// The type of its documents.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Dialog => "application/dialog-info+xml",
            Self::Messages => "application/simple-message-summary",
            Self::Presence => "application/pidf+xml",
            Self::Reg => "application/reginfo+xml",
        }
    }

    /// Seconds when the request names none (RFC 4235 §4.4, 3842 §3.4, 3856 §6.4, 3680 §4.4).
    pub(crate) fn default_expires(self) -> u32 {
        match self {
            Self::Dialog | Self::Messages | Self::Presence => 3_600,
            Self::Reg => 3_761,
        }
    }
}
