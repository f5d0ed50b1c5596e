//! `application/dialog-info+xml` (RFC 4235): busy lamps, and what a phone needs to take a ringing call over.
//!
//! Always the full state: it is small, it heals itself after a lost NOTIFY, and phones take a partial one in different
//! ways. A dialog that is over stands in the next document once more, as `terminated`.

use super::xml::Xml;

/// The state of a dialog (RFC 4235 §3.7.1); later ones outweigh earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DialogState {
    /// INVITE sent, nothing heard.
    Trying,
    /// It rings.
    Early,
    /// They talk.
    Confirmed,
}

impl DialogState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Early => "early",
            Self::Confirmed => "confirmed",
        }
    }
}

/// Who a dialog is between, for those who may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// What a Replaces header names: Call-ID, tag of the watched side, tag of the other side.
    pub(crate) call_id: String,
    pub(crate) local_tag: String,
    pub(crate) remote_tag: String,
    /// The other side, as it is called here.
    pub(crate) remote_name: String,
    /// Its address-of-record.
    pub(crate) remote: String,
}

/// One dialog of the entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dialog {
    /// The same in each document.
    pub(crate) id: String,
    pub(crate) state: DialogState,
    /// The entity called; else it was called.
    pub(crate) initiator: bool,
    /// `None`: this watcher sees that the line is busy, and no more.
    pub(crate) identity: Option<Identity>,
}

/// The document. `ended` are dialogs that the watcher was told of and that are no more.
pub(crate) fn write(entity: &str, version: u32, dialogs: &[Dialog], ended: &[String]) -> String {
    let mut xml = Xml::new();
    xml.begin(
        "dialog-info",
        &[
            ("xmlns", "urn:ietf:params:xml:ns:dialog-info"),
            ("version", &version.to_string()),
            ("state", "full"),
            ("entity", entity),
        ],
    );
    for dialog in dialogs {
        let direction = if dialog.initiator {
            "initiator"
        } else {
            "recipient"
        };
        let mut attributes = vec![("id", dialog.id.as_str())];
        if let Some(identity) = &dialog.identity {
            attributes.push(("call-id", &identity.call_id));
            attributes.push(("local-tag", &identity.local_tag));
            attributes.push(("remote-tag", &identity.remote_tag));
        }
        attributes.push(("direction", direction));
        xml.begin("dialog", &attributes);
        xml.leaf("state", &[], dialog.state.as_str());
        xml.begin("local", &[]);
        xml.leaf("identity", &[], entity);
        xml.empty("target", &[("uri", entity)]);
        xml.end();
        if let Some(identity) = &dialog.identity {
            xml.begin("remote", &[]);
            let display = [("display", identity.remote_name.as_str())];
            xml.leaf("identity", &display, &identity.remote);
            xml.empty("target", &[("uri", &identity.remote)]);
            xml.end();
        }
        xml.end();
    }
    for id in ended {
        xml.begin("dialog", &[("id", id)]);
        xml.leaf("state", &[], "terminated");
        xml.end();
    }
    xml.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ringing_dialog_says_what_a_pick_up_needs() {
        let dialog = Dialog {
            id: "c1".to_owned(),
            state: DialogState::Early,
            initiator: false,
            identity: Some(Identity {
                call_id: "cid@x".to_owned(),
                local_tag: "l".to_owned(),
                remote_tag: "r".to_owned(),
                remote_name: "lobby <&>".to_owned(),
                remote: "sip:lobby@x".to_owned(),
            }),
        };
        let text = write("sip:desk@x", 3, &[dialog], &["c0".to_owned()]);
        for part in [
            "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"3\" state=\"full\" entity=\"sip:desk@x\">",
            "<dialog id=\"c1\" call-id=\"cid@x\" local-tag=\"l\" remote-tag=\"r\" direction=\"recipient\"><state>early</state>",
            "<remote><identity display=\"lobby &lt;&amp;&gt;\">sip:lobby@x</identity><target uri=\"sip:lobby@x\"/></remote>",
            "<dialog id=\"c0\"><state>terminated</state></dialog></dialog-info>",
        ] {
            assert!(text.contains(part), "{part} not in {text}");
        }
    }

    #[test]
    fn without_the_right_a_dialog_is_only_a_state() {
        let dialog = Dialog {
            id: "c1".to_owned(),
            state: DialogState::Confirmed,
            initiator: true,
            identity: None,
        };
        let text = write("sip:lobby@x", 0, &[dialog], &[]);
        assert!(
            text.contains("<dialog id=\"c1\" direction=\"initiator\"><state>confirmed</state>")
        );
        assert!(!text.contains("remote") && !text.contains("call-id"));
    }
}
