//! From a destination and the answers known so far to the next questions, or to the candidates in order.
//!
//! ```text
//!   numeric host ─────────────────────────────────────────────────────────▶ address
//!   port ────────────────────────────────────────▶ A/AAAA ───────────────▶ addresses
//!   transport ───────────────▶ SRV _sip._udp.name ─┬▶ A/AAAA of its targets ▶ addresses
//!   neither ──▶ NAPTR ─┬─────▶ SRV it names ───────┤
//!                      └ none ▶ SRV of all we have ┴ none: A/AAAA of the name, default port
//! ```
//!
//! It is run again from the start with each answer: what it has come to is a function of the answers, and needs no
//! state of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use rand::Rng;

use super::LocatorConfig;
use super::destination::{Destination, Place, is_name};
use super::records::{Answer, Kind, Naptr, Question, Srv, in_order};
use crate::transport::Transport;

/// Candidates of one destination; more are left out. Twelve transaction time-outs are longer than anybody waits.
const CANDIDATES: usize = 12;
/// SRV targets whose addresses are asked for.
const TARGETS: usize = 8;

/// What is known by the time.
pub(super) struct Known<'a> {
    pub(super) config: &'a LocatorConfig,
    pub(super) answers: &'a BTreeMap<Question, Answer>,
    /// Time is up: what was not answered is taken for failed.
    pub(super) is_last: bool,
}

/// What follows.
pub(super) enum Walk {
    Needs(Vec<Question>),
    Done(Vec<(Transport, SocketAddr)>),
}

const FAILED: Answer = Answer::Failed;

impl Known<'_> {
    fn ask(&self, name: &str, kind: Kind, needs: &mut Vec<Question>) -> Option<&Answer> {
        let question = Question {
            name: name.to_owned(),
            kind,
        };
        match self.answers.get(&question) {
            Some(answer) => Some(answer),
            None if self.is_last => Some(&FAILED),
            None => {
                if !needs.contains(&question) {
                    needs.push(question);
                }
                None
            }
        }
    }

    fn speaks(&self, transport: Transport, secure: bool) -> bool {
        self.config.transports.contains(&transport) && (!secure || transport.is_secure())
    }

    /// All addresses of a name: IPv4 first, for a broken IPv6 costs a caller seconds.
    fn addresses(&self, name: &str, needs: &mut Vec<Question>) -> Vec<IpAddr> {
        let mut found = Vec::new();
        let families = [(self.config.ipv4, Kind::A), (self.config.ipv6, Kind::Aaaa)];
        for (has, kind) in families {
            if has && let Some(answer) = self.ask(name, kind, needs) {
                found.extend(answer.addresses().iter().copied());
            }
        }
        found
    }
}

/// One turn.
pub(super) fn walk(destination: &Destination, known: &Known<'_>, rng: &mut dyn Rng) -> Walk {
    let secure = destination.secure;
    let usual = default_transport(known, secure);
    let stated = destination.transport;
    if stated.is_some_and(|stated| !known.speaks(stated, secure)) {
        return Walk::Done(Vec::new());
    }
    let name = match &destination.place {
        Place::Address(ip) => {
            let has = if ip.is_ipv4() {
                known.config.ipv4
            } else {
                known.config.ipv6
            };
            let transport = stated.or(usual).filter(|_| has);
            return Walk::Done(
                transport
                    .map(|transport| {
                        let port = destination.port.unwrap_or(transport.default_port());
                        (transport, SocketAddr::new(*ip, port))
                    })
                    .into_iter()
                    .collect(),
            );
        }
        Place::Name(name) => name,
    };
    let mut needs = Vec::new();
    if let Some(port) = destination.port {
        let Some(transport) = stated.or(usual) else {
            return Walk::Done(Vec::new());
        };
        let found = known.addresses(name, &mut needs);
        return finish(needs, || {
            found
                .into_iter()
                .map(|ip| (transport, SocketAddr::new(ip, port)))
                .collect()
        });
    }
    let services = match stated {
        Some(transport) => vec![(transport, service_name(transport, name))],
        None => match known.ask(name, Kind::Naptr, &mut needs) {
            None => return Walk::Needs(needs),
            Some(answer) => services(answer.naptr(), name, known, secure),
        },
    };
    let mut offered: Vec<(Transport, &[Srv])> = Vec::new();
    for (transport, service) in &services {
        if let Some(answer) = known.ask(service, Kind::Srv, &mut needs) {
            offered.push((*transport, answer.srv()));
        }
    }
    if !needs.is_empty() {
        return Walk::Needs(needs);
    }
    if offered.iter().all(|(_, records)| records.is_empty()) {
        let Some(transport) = stated.or(usual) else {
            return Walk::Done(Vec::new());
        };
        let found = known.addresses(name, &mut needs);
        return finish(needs, || {
            found
                .into_iter()
                .map(|ip| (transport, SocketAddr::new(ip, transport.default_port())))
                .collect()
        });
    }
    targets(&offered, known, rng)
}

/// The addresses of SRV targets, service by service.
fn targets(offered: &[(Transport, &[Srv])], known: &Known<'_>, rng: &mut dyn Rng) -> Walk {
    let mut needs = Vec::new();
    // Which targets are asked for must not depend on the draw, which is made anew each turn.
    let mut asked: Vec<&Srv> = offered.iter().flat_map(|(_, records)| *records).collect();
    asked.sort_by_key(|record| record.priority);
    let mut names: Vec<String> = Vec::new();
    for record in asked {
        if let Some(name) = host(&record.target)
            && !names.contains(&name)
            && names.len() < TARGETS
        {
            names.push(name);
        }
    }
    let found: BTreeMap<&str, Vec<IpAddr>> = names
        .iter()
        .filter(|name| name.parse::<IpAddr>().is_err())
        .map(|name| (name.as_str(), known.addresses(name, &mut needs)))
        .collect();
    if !needs.is_empty() {
        return Walk::Needs(needs);
    }
    let mut candidates = Vec::new();
    for (transport, records) in offered {
        for record in in_order(records, rng) {
            let Some(name) = host(&record.target) else {
                continue;
            };
            let addresses = found.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let literal = name.parse::<IpAddr>().ok();
            candidates.extend(
                addresses
                    .iter()
                    .copied()
                    .chain(literal)
                    .map(|ip| (*transport, SocketAddr::new(ip, record.port))),
            );
        }
    }
    Walk::Done(bounded(candidates))
}

fn host(target: &str) -> Option<String> {
    let name = target
        .strip_suffix('.')
        .unwrap_or(target)
        .to_ascii_lowercase();
    is_name(&name).then_some(name)
}

fn finish(needs: Vec<Question>, candidates: impl FnOnce() -> Vec<(Transport, SocketAddr)>) -> Walk {
    if needs.is_empty() {
        Walk::Done(bounded(candidates()))
    } else {
        Walk::Needs(needs)
    }
}

fn bounded(candidates: Vec<(Transport, SocketAddr)>) -> Vec<(Transport, SocketAddr)> {
    let mut kept = Vec::new();
    for candidate in candidates {
        if kept.len() < CANDIDATES && !kept.contains(&candidate) {
            kept.push(candidate);
        }
    }
    kept
}

/// The services to look for: those of the NAPTR records in their order, else one for each transport we speak.
fn services(
    records: &[Naptr],
    name: &str,
    known: &Known<'_>,
    secure: bool,
) -> Vec<(Transport, String)> {
    let mut records: Vec<&Naptr> = records
        .iter()
        .filter(|record| record.flags.eq_ignore_ascii_case("s"))
        .collect();
    records.sort_by_key(|record| (record.order, record.preference));
    let named: Vec<(Transport, String)> = records
        .into_iter()
        .filter_map(|record| Some((transport_of(&record.service)?, host(&record.replacement)?)))
        .filter(|(transport, _)| known.speaks(*transport, secure))
        .collect();
    if !named.is_empty() {
        return named;
    }
    // A zone whose NAPTR records help us nothing is treated as one without: some providers list e-mail and ENUM only.
    [Transport::Udp, Transport::Tcp, Transport::Tls]
        .into_iter()
        .filter(|transport| known.speaks(*transport, secure))
        .map(|transport| (transport, service_name(transport, name)))
        .collect()
}

/// RFC 3263 §4.1; the last two are RFC 7118 §8.
fn transport_of(service: &str) -> Option<Transport> {
    [
        ("SIP+D2U", Transport::Udp),
        ("SIP+D2T", Transport::Tcp),
        ("SIPS+D2T", Transport::Tls),
        ("SIP+D2W", Transport::Ws),
        ("SIPS+D2W", Transport::Wss),
    ]
    .into_iter()
    .find(|(word, _)| word.eq_ignore_ascii_case(service))
    .map(|(_, transport)| transport)
}

fn service_name(transport: Transport, name: &str) -> String {
    let service = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
    };
    format!("{service}.{name}")
}

/// UDP for `sip:`, TLS for `sips:` (§4.1), or what comes next of what we speak.
fn default_transport(known: &Known<'_>, secure: bool) -> Option<Transport> {
    [Transport::Udp, Transport::Tcp, Transport::Tls]
        .into_iter()
        .find(|transport| known.speaks(*transport, secure))
}
