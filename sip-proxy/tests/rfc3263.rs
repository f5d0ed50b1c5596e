//! RFC 3263 by section, with RFC 2782's order, against a DNS of a few lines. No clock, no socket.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops where its own words are wrong, and needs one Instant to count from"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use sip_proxy::locate::{
    Answer, Candidate, Destination, Failure, Input, Kind, Locator, LocatorConfig, LookupId, Naptr,
    Output, Question, Records, Srv,
};
use sip_proxy::{Transport, Uri};

const TTL: Duration = Duration::from_secs(300);

/// The whole DNS of a test, and what was asked of it.
#[derive(Default)]
struct Zone {
    records: BTreeMap<Question, Answer>,
    asked: Vec<String>,
    dead: bool,
}

impl Zone {
    fn put(mut self, name: &str, kind: Kind, records: Records) -> Self {
        let question = Question {
            name: name.to_owned(),
            kind,
        };
        self.records
            .insert(question, Answer::Found { records, ttl: TTL });
        self
    }

    fn naptr(self, name: &str, records: &[(u16, u16, &str, &str)]) -> Self {
        let records = records
            .iter()
            .map(|(order, preference, service, replacement)| Naptr {
                order: *order,
                preference: *preference,
                flags: "s".to_owned(),
                service: (*service).to_owned(),
                replacement: (*replacement).to_owned(),
            })
            .collect();
        self.put(name, Kind::Naptr, Records::Naptr(records))
    }

    fn srv(self, name: &str, records: &[(u16, u16, u16, &str)]) -> Self {
        let records = records
            .iter()
            .map(|(priority, weight, port, target)| Srv {
                priority: *priority,
                weight: *weight,
                port: *port,
                target: (*target).to_owned(),
            })
            .collect();
        self.put(name, Kind::Srv, Records::Srv(records))
    }

    fn a(self, name: &str, addresses: &[&str]) -> Self {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let kind = if addresses[0].is_ipv4() {
            Kind::A
        } else {
            Kind::Aaaa
        };
        self.put(name, kind, Records::Addresses(addresses))
    }

    fn answer(&mut self, question: &Question) -> Answer {
        self.asked
            .push(format!("{:?} {}", question.kind, question.name));
        if self.dead {
            return Answer::Failed;
        }
        let found = self.records.get(question).cloned();
        found.unwrap_or(Answer::Nothing {
            ttl: Duration::from_secs(60),
        })
    }
}

struct Bench {
    locator: Locator,
    zone: Zone,
    now: Instant,
    next: u64,
}

impl Bench {
    fn new(zone: Zone) -> Self {
        let transports = vec![Transport::Udp, Transport::Tcp, Transport::Tls];
        Self::with(
            zone,
            LocatorConfig {
                transports,
                ..LocatorConfig::default()
            },
        )
    }

    fn with(zone: Zone, config: LocatorConfig) -> Self {
        Self {
            locator: Locator::new(config, Box::new(StdRng::seed_from_u64(7))),
            zone,
            now: Instant::now(),
            next: 0,
        }
    }

    fn find(&mut self, uri: &str) -> Vec<Candidate> {
        self.zone.asked.clear();
        let destination = Destination::of(&Uri::parse(uri).unwrap()).unwrap();
        self.next += 1;
        let id = LookupId(self.next);
        let mut inputs = vec![Input::Locate { id, destination }];
        while let Some(input) = inputs.pop() {
            let outputs: Vec<Output> = self.locator.handle(self.now, input).collect();
            for output in outputs {
                match output {
                    Output::Resolve(question) => {
                        let answer = self.zone.answer(&question);
                        inputs.push(Input::Resolved { question, answer });
                    }
                    Output::Located { candidates, .. } => return candidates,
                }
            }
        }
        panic!("{uri}: neither question nor result");
    }

    /// `UDP 192.0.2.1:5060` …
    fn servers(&mut self, uri: &str) -> Vec<String> {
        let found = self.find(uri);
        found
            .iter()
            .map(|found| format!("{} {}", found.transport, found.address))
            .collect()
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn section_4_1_a_numeric_host_is_not_looked_up_and_speaks_udp() {
    let mut bench = Bench::new(Zone::default());
    assert_eq!(bench.servers("sip:192.0.2.1"), ["UDP 192.0.2.1:5060"]);
    assert_eq!(bench.servers("sips:192.0.2.1"), ["TLS 192.0.2.1:5061"]);
    assert_eq!(
        bench.servers("sip:u@192.0.2.1:5070;transport=tcp"),
        ["TCP 192.0.2.1:5070"]
    );
    assert_eq!(
        bench.servers("sip:trunk.example;maddr=192.0.2.9"),
        ["UDP 192.0.2.9:5060"]
    );
    assert!(bench.zone.asked.is_empty());
}

#[test]
fn section_4_1_a_port_means_addresses_only() {
    let mut bench = Bench::new(Zone::default().a("trunk.example", &["192.0.2.1"]));
    assert_eq!(
        bench.servers("sip:trunk.example:5080"),
        ["UDP 192.0.2.1:5080"]
    );
    assert_eq!(bench.zone.asked, ["A trunk.example"]);
    assert_eq!(
        bench.servers("sips:trunk.example:5080"),
        ["TLS 192.0.2.1:5080"]
    );
}

#[test]
fn section_4_1_naptr_names_the_transport_in_its_order() {
    let zone = Zone::default()
        .naptr(
            "example.com",
            &[
                (90, 50, "SIP+D2T", "_sip._tcp.example.com"),
                (50, 50, "SIPS+D2T", "_sips._tcp.example.com"),
                (100, 50, "SIP+D2U", "_sip._udp.example.com"),
                (10, 10, "E2U+email", "mail.example.com"),
            ],
        )
        .srv(
            "_sips._tcp.example.com",
            &[(0, 1, 5061, "server1.example.com")],
        )
        .srv(
            "_sip._tcp.example.com",
            &[(0, 1, 5060, "server1.example.com")],
        )
        .srv(
            "_sip._udp.example.com",
            &[(0, 1, 5060, "server2.example.com")],
        )
        .a("server1.example.com", &["192.0.2.1"])
        .a("server2.example.com", &["192.0.2.2"]);
    let mut bench = Bench::new(zone);
    let all = [
        "TLS 192.0.2.1:5061",
        "TCP 192.0.2.1:5060",
        "UDP 192.0.2.2:5060",
    ];
    assert_eq!(bench.servers("sip:user@example.com"), all);
}

#[test]
fn section_4_1_sips_takes_tls_and_nothing_else() {
    let zone = Zone::default()
        .naptr(
            "example.com",
            &[
                (10, 50, "SIP+D2U", "_sip._udp.example.com"),
                (50, 50, "SIPS+D2T", "_sips._tcp.example.com"),
            ],
        )
        .srv("_sips._tcp.example.com", &[(0, 1, 5061, "a.example.com")])
        .srv("_sip._udp.example.com", &[(0, 1, 5060, "a.example.com")])
        .a("a.example.com", &["192.0.2.1"]);
    let mut bench = Bench::new(zone);
    assert_eq!(bench.servers("sips:example.com"), ["TLS 192.0.2.1:5061"]);
    assert!(!bench.zone.asked.iter().any(|asked| asked.contains("_udp")));
    let found = bench.find("sips:example.com");
    assert_eq!(found[0].name, "example.com", "RFC 5922: the URI's name");

    let config = LocatorConfig {
        transports: vec![Transport::Udp, Transport::Tcp],
        ..LocatorConfig::default()
    };
    let mut plain = Bench::with(bench.zone, config);
    assert!(plain.servers("sips:example.com").is_empty());
    let refused = Uri::parse("sips:example.com;transport=udp").unwrap();
    assert!(Destination::of(&refused).is_err());
}

#[test]
fn section_4_1_without_naptr_srv_tells_the_transport() {
    let zone = Zone::default()
        .srv("_sip._tcp.example.com", &[(0, 1, 5068, "a.example.com")])
        .a("a.example.com", &["192.0.2.1"]);
    let mut bench = Bench::new(zone);
    assert_eq!(bench.servers("sip:example.com"), ["TCP 192.0.2.1:5068"]);
}

#[test]
fn section_4_2_a_stated_transport_is_looked_up_by_its_own_srv() {
    let zone = Zone::default()
        .srv("_sip._tcp.example.com", &[(0, 1, 5070, "a.example.com")])
        .srv("_sip._udp.example.com", &[(0, 1, 5080, "a.example.com")])
        .a("a.example.com", &["192.0.2.1"]);
    let mut bench = Bench::new(zone);
    assert_eq!(
        bench.servers("sip:example.com;transport=tcp"),
        ["TCP 192.0.2.1:5070"]
    );
    assert_eq!(
        bench.zone.asked,
        ["SRV _sip._tcp.example.com", "A a.example.com"].map(|asked| asked.replace("SRV", "Srv"))
    );
}

#[test]
fn section_4_2_without_any_srv_the_name_itself_at_the_default_port() {
    let mut bench = Bench::new(Zone::default().a("example.com", &["192.0.2.1", "192.0.2.2"]));
    assert_eq!(
        bench.servers("sip:example.com"),
        ["UDP 192.0.2.1:5060", "UDP 192.0.2.2:5060"]
    );
    assert_eq!(bench.servers("sips:example.com")[0], "TLS 192.0.2.1:5061");
}

#[test]
fn both_families_are_asked_for_where_we_have_both() {
    let zone = Zone::default()
        .a("example.com", &["192.0.2.1"])
        .a("example.com", &["2001:db8::1"]);
    let config = LocatorConfig {
        ipv6: true,
        ..LocatorConfig::default()
    };
    let mut bench = Bench::with(zone, config);
    assert_eq!(
        bench.servers("sip:example.com:5060"),
        ["UDP 192.0.2.1:5060", "UDP [2001:db8::1]:5060"]
    );
    let mut old = Bench::new(bench.zone);
    assert_eq!(old.servers("sip:example.com:5060").len(), 1);
    assert!(old.servers("sip:[2001:db8::1]").is_empty());
}

#[test]
fn rfc_2782_priority_comes_before_weight_and_weight_is_a_share() {
    let zone = Zone::default()
        .srv(
            "_sip._udp.example.com",
            &[
                (20, 100, 5060, "last.example.com"),
                (10, 75, 5060, "big.example.com"),
                (10, 25, 5060, "small.example.com"),
                (10, 0, 5060, "zero.example.com"),
            ],
        )
        .a("big.example.com", &["192.0.2.75"])
        .a("small.example.com", &["192.0.2.25"])
        .a("zero.example.com", &["192.0.2.1"])
        .a("last.example.com", &["192.0.2.20"]);
    let mut bench = Bench::new(zone);
    let mut first: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..2_000 {
        let found = bench.servers("sip:example.com");
        assert_eq!(found.len(), 4);
        assert_eq!(found[3], "UDP 192.0.2.20:5060", "the lower priority last");
        *first.entry(found[0].clone()).or_default() += 1;
    }
    let share = |server: &str| first.get(server).copied().unwrap_or(0);
    assert!(
        (1_350..=1_600).contains(&share("UDP 192.0.2.75:5060")),
        "{first:?}"
    );
    assert!(
        (400..=620).contains(&share("UDP 192.0.2.25:5060")),
        "{first:?}"
    );
    assert!(share("UDP 192.0.2.1:5060") < 80, "{first:?}");
}

#[test]
fn rfc_2782_a_dot_says_that_the_service_is_not_offered() {
    let zone = Zone::default()
        .srv("_sip._udp.example.com", &[(0, 0, 0, ".")])
        .a("example.com", &["192.0.2.1"]);
    let mut bench = Bench::new(zone);
    assert!(bench.servers("sip:example.com;transport=udp").is_empty());
}

#[test]
fn section_4_3_a_failed_server_is_tried_last_for_a_while() {
    let mut bench = Bench::new(Zone::default().a("example.com", &["192.0.2.1", "192.0.2.2"]));
    let gone = address("192.0.2.1:5060");
    let now = bench.now;
    bench
        .locator
        .failed(now, Transport::Udp, gone, Failure::Unreachable);
    let found = bench.find("sip:example.com");
    assert_eq!(found[0].address, address("192.0.2.2:5060"));
    assert_eq!((found[1].address, found[1].dead), (gone, true));
    bench.now += Duration::from_secs(31);
    assert_eq!(bench.find("sip:example.com")[0].address, gone);
    let now = bench.now;
    bench
        .locator
        .failed(now, Transport::Udp, gone, Failure::Unreachable);
    bench.locator.answered(Transport::Udp, gone);
    assert_eq!(bench.find("sip:example.com")[0].address, gone);
}

#[test]
fn rfc_3261_21_5_4_a_server_is_left_alone_while_its_retry_after_lasts() {
    let mut bench = Bench::new(Zone::default());
    let server = address("192.0.2.1:5060");
    let failure = Failure::Unavailable {
        retry_after: Some(Duration::from_secs(20)),
    };
    let now = bench.now;
    bench.locator.failed(now, Transport::Udp, server, failure);
    assert!(bench.find("sip:192.0.2.1").is_empty());
    bench.now += Duration::from_secs(21);
    assert_eq!(bench.find("sip:192.0.2.1").len(), 1);
    let now = bench.now;
    let day = Failure::Unavailable {
        retry_after: Some(Duration::from_secs(86_400)),
    };
    bench.locator.failed(now, Transport::Udp, server, day);
    bench.now += Duration::from_secs(301);
    assert_eq!(bench.find("sip:192.0.2.1").len(), 1, "five minutes at most");
}

#[test]
fn answers_are_kept_for_their_life_and_so_is_their_absence() {
    let mut bench = Bench::new(Zone::default().a("example.com", &["192.0.2.1"]));
    assert_eq!(bench.servers("sip:example.com:5060").len(), 1);
    assert_eq!(bench.servers("sip:example.com:5060").len(), 1);
    assert!(bench.zone.asked.is_empty(), "from the cache");
    assert!(bench.servers("sip:nobody.example:5060").is_empty());
    assert!(bench.servers("sip:nobody.example:5060").is_empty());
    assert!(bench.zone.asked.is_empty(), "nothing is remembered too");
    bench.now += Duration::from_secs(61);
    bench.servers("sip:nobody.example:5060");
    assert_eq!(bench.zone.asked, ["A nobody.example"]);
    bench.now += TTL;
    bench.servers("sip:example.com:5060");
    assert_eq!(bench.zone.asked, ["A example.com"]);
}

#[test]
fn an_old_answer_serves_while_the_dns_is_dead() {
    let mut bench = Bench::new(Zone::default().a("example.com", &["192.0.2.1"]));
    bench.servers("sip:example.com:5060");
    bench.now += TTL + Duration::from_secs(1);
    bench.zone.dead = true;
    assert_eq!(
        bench.servers("sip:example.com:5060"),
        ["UDP 192.0.2.1:5060"]
    );
    assert_eq!(bench.zone.asked.len(), 1);
    bench.servers("sip:example.com:5060");
    assert!(bench.zone.asked.is_empty(), "not asked again at once");
    assert!(bench.servers("sip:other.example").is_empty());
}

#[test]
fn a_dns_that_says_nothing_ends_the_look_up_in_time() {
    let config = LocatorConfig::default();
    let limit = config.limit;
    let mut locator = Locator::new(config, Box::new(StdRng::seed_from_u64(1)));
    let start = Instant::now();
    let destination = Destination::of(&Uri::parse("sip:example.com").unwrap()).unwrap();
    let id = LookupId(1);
    let asked = locator.handle(start, Input::Locate { id, destination });
    assert_eq!(asked.count(), 1);
    assert_eq!(locator.next_timeout(), Some(start + limit));
    let found: Vec<Output> = locator.handle(start + limit, Input::Timeout).collect();
    assert_eq!(
        found,
        [Output::Located {
            id,
            candidates: Vec::new()
        }]
    );
    assert_eq!((locator.lookups(), locator.next_timeout()), (0, None));
}

#[test]
fn two_callers_ask_once() {
    let mut locator = Locator::new(LocatorConfig::default(), Box::new(StdRng::seed_from_u64(1)));
    let now = Instant::now();
    let destination = Destination::of(&Uri::parse("sip:example.com:5060").unwrap()).unwrap();
    let mut questions = 0;
    for id in [1, 2].map(LookupId) {
        let destination = destination.clone();
        questions += locator
            .handle(now, Input::Locate { id, destination })
            .count();
    }
    assert_eq!(questions, 1);
    let question = Question {
        name: "example.com".to_owned(),
        kind: Kind::A,
    };
    let answer = Answer::Found {
        records: Records::Addresses(vec!["192.0.2.1".parse().unwrap()]),
        ttl: Duration::ZERO,
    };
    let found = locator.handle(now, Input::Resolved { question, answer });
    assert_eq!(found.count(), 2, "a life of nothing serves those who wait");
}

#[test]
fn a_zone_that_leads_on_and_on_ends() {
    let mut zone = Zone::default();
    let names: Vec<String> = (0..200).map(|n| format!("s{n}.example.com")).collect();
    let records: Vec<_> = names
        .iter()
        .map(|name| (0, 1, 5060, name.as_str()))
        .collect();
    zone = zone.srv("_sip._udp.example.com", &records);
    for (n, name) in names.iter().enumerate() {
        zone = zone.a(name, &[&format!("192.0.2.{}", n % 250), "192.0.2.251"]);
    }
    let mut bench = Bench::new(zone);
    assert!(bench.find("sip:example.com").len() <= 12);
    assert!(bench.zone.asked.len() <= 32, "{}", bench.zone.asked.len());
    let odd = Zone::default().naptr("loop.example", &[(1, 1, "SIP+D2U", "loop.example")]);
    assert!(Bench::new(odd).servers("sip:loop.example").is_empty());
}

#[test]
fn what_is_kept_is_bounded() {
    let mut bench = Bench::new(Zone::default());
    for n in 0..6_000u32 {
        bench.servers(&format!("sip:host{n}.example:5060"));
        let [_, b, c, d] = n.to_be_bytes();
        let server = SocketAddr::from(([10, b, c, d], 5060));
        let now = bench.now;
        bench
            .locator
            .failed(now, Transport::Udp, server, Failure::Unreachable);
    }
    assert!(bench.locator.cached() <= 4_096);
    assert!(bench.locator.remembered_dead() <= 1_024);
    assert_eq!(bench.locator.lookups(), 0);
}

#[test]
fn what_is_no_name_is_not_asked_for() {
    for uri in [
        "sip:a..b",
        "tel:+420222000111",
        "sip:u@example.com;transport=sctp",
    ] {
        let uri = Uri::parse(uri);
        assert!(uri.is_err() || Destination::of(&uri.unwrap()).is_err());
    }
}
