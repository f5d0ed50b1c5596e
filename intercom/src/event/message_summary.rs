//! `application/simple-message-summary` (RFC 3842): the lamp of waiting messages.

/// Messages in a box, new and old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Not heard yet.
    pub new: u32,
    /// Heard and kept.
    pub old: u32,
    /// Of the new ones, urgent.
    pub urgent_new: u32,
    /// Of the old ones, urgent.
    pub urgent_old: u32,
}

/// The document of one account (RFC 3842 §5.2).
pub(crate) fn write(account: &str, waiting: Waiting) -> String {
    let Waiting {
        new,
        old,
        urgent_new,
        urgent_old,
    } = waiting;
    let lamp = if new > 0 { "yes" } else { "no" };
    format!(
        "Messages-Waiting: {lamp}\r\nMessage-Account: {account}\r\n\
         Voice-Message: {new}/{old} ({urgent_new}/{urgent_old})\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lamp_is_lit_by_new_messages_alone() {
        assert_eq!(
            write("sip:anna@x", Waiting::default()),
            "Messages-Waiting: no\r\nMessage-Account: sip:anna@x\r\nVoice-Message: 0/0 (0/0)\r\n"
        );
        let waiting = Waiting {
            new: 2,
            old: 8,
            urgent_new: 1,
            urgent_old: 0,
        };
        assert!(write("sip:anna@x", waiting).starts_with("Messages-Waiting: yes\r\n"));
        assert!(write("sip:anna@x", waiting).ends_with("Voice-Message: 2/8 (1/0)\r\n"));
    }
}
