//! Which messages a listener wants.

use std::net::IpAddr;

use intercom::Heard;
use intercom::ladder::find_header;
use serde::Deserialize;

/// All that is named must hold; an empty filter takes every message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// Method of the request, or of the request a response answers.
    pub(crate) method: Option<String>,
    /// The call's id or its beginning, or the SIP Call-ID.
    pub(crate) call: Option<String>,
    /// Part of the From header, or the device's name.
    pub(crate) from: Option<String>,
    /// The peer's address.
    pub(crate) source: Option<IpAddr>,
}

impl Filter {
    pub(crate) fn wants(&self, heard: &Heard) -> bool {
        let message = &heard.message;
        let scanned = message.scan();
        let method = |wanted: &String| scanned.about().eq_ignore_ascii_case(wanted);
        let call = |wanted: &String| {
            heard
                .call
                .as_deref()
                .is_some_and(|id| id.starts_with(wanted.as_str()))
                || scanned.call_id == wanted.as_bytes()
        };
        let from = |wanted: &String| {
            *message.party == **wanted
                || find_header(message.unredacted(), "from", Some(b'f'))
                    .is_some_and(|from| from.contains(wanted.as_str()))
        };
        let source = |wanted: &IpAddr| message.flow.remote.ip().to_canonical() == *wanted;
        self.method.as_ref().is_none_or(method)
            && self.call.as_ref().is_none_or(call)
            && self.from.as_ref().is_none_or(from)
            && self.source.as_ref().is_none_or(source)
    }
}

#[cfg(test)]
mod tests {
    use intercom::ladder::Recorded;
    use jiff::Timestamp;
    use sip_proxy::{Flow, Transport};

    use super::*;

    fn heard() -> Heard {
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.7:5060".parse().unwrap(),
            connection: None,
        };
        let text =
            "SIP/2.0 200 OK\r\nf: <sip:777123456@x>;tag=1\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\r\n";
        Heard {
            message: Recorded::new(
                Timestamp::UNIX_EPOCH,
                true,
                flow,
                "lobby".into(),
                text.into(),
            ),
            call: Some("7f3a0000-12".into()),
        }
    }

    #[test]
    fn every_word_of_the_filter_must_hold() {
        let heard = heard();
        let filter = |text: &str| serde_json::from_str::<Filter>(text).unwrap();
        for wanted in [
            "{}",
            r#"{"method":"invite"}"#,
            r#"{"call":"7f3a"}"#,
            r#"{"call":"c1"}"#,
            r#"{"from":"lobby"}"#,
            r#"{"from":"777123456"}"#,
            r#"{"source":"192.0.2.7","method":"INVITE"}"#,
        ] {
            assert!(filter(wanted).wants(&heard), "{wanted}");
        }
        for unwanted in [
            r#"{"method":"BYE"}"#,
            r#"{"call":"3a"}"#,
            r#"{"from":"desk"}"#,
            r#"{"source":"192.0.2.8"}"#,
            r#"{"source":"192.0.2.7","method":"BYE"}"#,
        ] {
            assert!(!filter(unwanted).wants(&heard), "{unwanted}");
        }
        assert!(serde_json::from_str::<Filter>(r#"{"colour":"red"}"#).is_err());
    }
}
