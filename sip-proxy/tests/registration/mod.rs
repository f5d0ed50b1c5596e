//! A registrar on a bench: REGISTER by REGISTER, under a virtual clock.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a rig shared by several tests, each of which uses a part; a test stops where its own words are wrong"
)]

use std::time::Instant;

use bytes::Bytes;
use sip_proxy::location::Binding;
use sip_proxy::message::write_response;
use sip_proxy::{
    Flow, Gruus, Location, Message, Registered, Registrar, RegistrarConfig, Transport, Uri,
};

pub(crate) const AOR: &str = "sip:desk@example.com";
pub(crate) const INSTANCE: &str =
    "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";
pub(crate) const OUTBOUND: &str = "Supported: path, outbound, gruu\r\n";

pub(crate) struct Bench {
    pub(crate) registrar: Registrar,
    pub(crate) location: Location,
    pub(crate) now: Instant,
    pub(crate) flow: Flow,
    pub(crate) call_id: &'static str,
    pub(crate) vias: &'static str,
    cseq: u32,
}

impl Bench {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests need one Instant to count from"
    )]
    pub(crate) fn new() -> Self {
        Self {
            registrar: Registrar::new(RegistrarConfig {
                own: ["192.0.2.1:5060".parse().unwrap()].into_iter().collect(),
                gruus: Some(Gruus::new([7; 32])),
                ..Default::default()
            }),
            location: Location::new(50),
            now: Instant::now(),
            flow: flow(5060),
            call_id: "one",
            vias: "Via: SIP/2.0/UDP 192.0.2.50;branch=z9hG4bK1\r\n",
            cseq: 0,
        }
    }

    /// Registers with the next CSeq; `lines` are whole header lines.
    pub(crate) fn register(&mut self, lines: &str) -> Answer {
        self.cseq += 1;
        let request = self.message(lines);
        let done = self
            .registrar
            .register(&mut self.location, self.now, &request, self.flow, AOR);
        let bytes = write_response(&done.response, &request, self.flow.remote, None);
        Answer {
            status: done.response.status,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
            done,
        }
    }

    fn message(&self, lines: &str) -> Message {
        let (vias, call_id, cseq) = (self.vias, self.call_id, self.cseq);
        let text = format!(
            "REGISTER sip:example.com SIP/2.0\r\n{vias}From: <sip:desk@example.com>;tag=1\r\n\
             To: <sip:desk@example.com>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Default::default()).expect("a REGISTER")
    }

    pub(crate) fn bindings(&self) -> Vec<&Binding> {
        self.location.lookup(AOR, self.now)
    }

    /// The contacts a GRUU leads to; `None` when it is none of ours.
    pub(crate) fn reached(&self, gruu: &str) -> Option<Vec<String>> {
        let gruus = self.registrar.config.gruus.as_ref().unwrap();
        let uri = Uri::parse(gruu).unwrap();
        let found = gruus.find(&uri, &self.location, self.now, |user| {
            format!("sip:{user}@example.com")
        })?;
        assert_eq!(found.aor, AOR);
        let contacts = found.bindings.iter();
        Some(
            contacts
                .map(|binding| binding.contact.to_string())
                .collect(),
        )
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) done: Registered,
}

impl Answer {
    pub(crate) fn has(&self, line: &str) -> bool {
        self.text.lines().any(|one| one == line)
    }

    /// The quoted value of a parameter in the answer's Contact.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let (_, rest) = self.text.split_once(&format!(";{name}=\""))?;
        Some(rest.split('"').next()?.to_owned())
    }
}

pub(crate) fn flow(port: u16) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: format!("192.0.2.50:{port}").parse().unwrap(),
        connection: None,
    }
}
