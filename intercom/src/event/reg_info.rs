//! `application/reginfo+xml` (RFC 3680): where an account is registered.

use sip_proxy::RemovalCause;

use super::xml::Xml;

/// One contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    /// The same in each document.
    pub(crate) id: String,
    pub(crate) uri: String,
    /// Seconds left; `None`: it is gone, for this reason.
    pub(crate) left: Result<u32, RemovalCause>,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    /// Thousandths.
    pub(crate) q: u16,
    pub(crate) agent: Option<String>,
}

/// The document: the full state (RFC 3680 §5).
pub(crate) fn write(aor: &str, id: &str, version: u32, contacts: &[Contact]) -> String {
    let active = contacts.iter().any(|contact| contact.left.is_ok());
    let state = match (active, contacts.is_empty()) {
        (true, _) => "active",
        (false, true) => "init",
        (false, false) => "terminated",
    };
    let mut xml = Xml::new();
    xml.begin(
        "reginfo",
        &[
            ("xmlns", "urn:ietf:params:xml:ns:reginfo"),
            ("version", &version.to_string()),
            ("state", "full"),
        ],
    );
    xml.begin(
        "registration",
        &[("aor", aor), ("id", id), ("state", state)],
    );
    for contact in contacts {
        let (state, event) = match contact.left {
            Ok(_) => ("active", "registered"),
            Err(why) => ("terminated", event(why)),
        };
        let left = contact.left.unwrap_or(0).to_string();
        let q = format!("{}.{:03}", contact.q / 1_000, contact.q % 1_000);
        let cseq = contact.cseq.to_string();
        let mut attributes = vec![
            ("id", contact.id.as_str()),
            ("state", state),
            ("event", event),
        ];
        if contact.left.is_ok() {
            attributes.extend([
                ("expires", left.as_str()),
                ("q", &q),
                ("callid", &contact.call_id),
                ("cseq", &cseq),
            ]);
        }
        xml.begin("contact", &attributes);
        xml.leaf("uri", &[], &contact.uri);
        if let Some(agent) = &contact.agent {
            xml.leaf("unknown-param", &[("name", "user-agent")], agent);
        }
        xml.end();
    }
    xml.finish()
}

fn event(why: RemovalCause) -> &'static str {
    match why {
        RemovalCause::Expired => "expired",
        RemovalCause::Unregistered => "unregistered",
        RemovalCause::Revoked => "rejected",
        _ => "deactivated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_live_and_gone() {
        let contact = |left| Contact {
            id: "1".to_owned(),
            uri: "sip:anna@10.0.0.9".to_owned(),
            left,
            call_id: "c".to_owned(),
            cseq: 4,
            q: 500,
            agent: None,
        };
        let text = write("sip:anna@x", "anna", 0, &[contact(Ok(60))]);
        assert!(text.contains("<registration aor=\"sip:anna@x\" id=\"anna\" state=\"active\">"));
        assert!(text.contains(
            "<contact id=\"1\" state=\"active\" event=\"registered\" expires=\"60\" q=\"0.500\" callid=\"c\" cseq=\"4\">\
             <uri>sip:anna@10.0.0.9</uri></contact>"
        ));
        let gone = write(
            "sip:anna@x",
            "anna",
            1,
            &[contact(Err(RemovalCause::Expired))],
        );
        assert!(gone.contains("state=\"terminated\" event=\"expired\"><uri>"));
        assert!(
            write("sip:anna@x", "anna", 2, &[]).contains("state=\"init\"/>")
                || write("sip:anna@x", "anna", 2, &[]).contains("state=\"init\"></registration>")
        );
    }
}
