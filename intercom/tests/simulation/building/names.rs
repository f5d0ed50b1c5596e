//! The building's DNS.

use std::collections::BTreeMap;
use std::time::Duration;

use sip_proxy::locate::{Answer, Kind, Question, Records};

/// How the DNS is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Dns {
    #[default]
    Fine,
    /// Says at once that nobody answers.
    Dead,
    /// Says nothing.
    Silent,
}

/// What it knows, how it is, and what it was asked.
#[derive(Default)]
pub(crate) struct Names {
    zone: BTreeMap<Question, Answer>,
    pub(crate) dns: Dns,
    pub(crate) asked: Vec<Question>,
}

impl Names {
    pub(crate) fn put(&mut self, name: &str, kind: Kind, records: Records) {
        let question = Question {
            name: name.to_owned(),
            kind,
        };
        let ttl = Duration::from_secs(60);
        self.zone.insert(question, Answer::Found { records, ttl });
    }

    pub(crate) fn addresses(&mut self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        self.put(name, Kind::A, Records::Addresses(addresses));
    }

    pub(crate) fn answer(&mut self, question: &Question) -> Option<Answer> {
        self.asked.push(question.clone());
        let nothing = Answer::Nothing {
            ttl: Duration::from_secs(60),
        };
        match self.dns {
            Dns::Silent => None,
            Dns::Dead => Some(Answer::Failed),
            Dns::Fine => Some(self.zone.get(question).cloned().unwrap_or(nothing)),
        }
    }
}
