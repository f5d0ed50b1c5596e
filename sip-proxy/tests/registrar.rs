//! REGISTER by REGISTER: RFC 3261 section 10.3, Path (3327), instances (5626), expiry and moves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where its own words are wrong"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_proxy::message::write_response;
use sip_proxy::{
    BindingChange, ConnectionId, Flow, HeaderName, Location, Message, Registered, Registrar,
    RegistrarConfig, RemovalCause, Transport,
};

const AOR: &str = "sip:desk@example.com";

#[expect(
    clippy::disallowed_methods,
    reason = "tests need one Instant to count from"
)]
fn origin() -> Instant {
    Instant::now()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

struct Site {
    registrar: Registrar,
    location: Location,
    now: Instant,
    flow: Flow,
    cseq: u32,
}

impl Site {
    fn new() -> Self {
        let own = ["192.0.2.1:5060".parse().unwrap()].into_iter().collect();
        Self {
            registrar: Registrar::new(RegistrarConfig {
                max_contacts: 3,
                own,
                ..Default::default()
            }),
            location: Location::new(5),
            now: origin(),
            flow: Flow {
                transport: Transport::Udp,
                local: "192.0.2.1:5060".parse().unwrap(),
                remote: "192.0.2.50:5060".parse().unwrap(),
                connection: None,
            },
            cseq: 0,
        }
    }

    /// Registers with the next CSeq; `lines` are whole header lines.
    fn register(&mut self, lines: &str) -> Registered {
        self.cseq += 1;
        self.register_as("one", self.cseq, lines, AOR)
    }

    fn register_as(&mut self, call_id: &str, cseq: u32, lines: &str, aor: &str) -> Registered {
        let request = message(call_id, cseq, lines);
        self.registrar
            .register(&mut self.location, self.now, &request, self.flow, aor)
    }

    fn contacts(&self) -> Vec<String> {
        self.location
            .lookup(AOR, self.now)
            .into_iter()
            .map(|binding| binding.contact.to_string())
            .collect()
    }
}

fn message(call_id: &str, cseq: u32, lines: &str) -> Message {
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.50;branch=z9hG4bK{cseq}\r\n\
         From: <sip:desk@example.com>;tag=1\r\nTo: <sip:desk@example.com>\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} REGISTER\r\n{lines}Content-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text), &Default::default()).expect("a REGISTER")
}

fn written(registered: &Registered) -> String {
    let request = message("x", 1, "");
    let bytes = write_response(
        &registered.response,
        &request,
        "192.0.2.50:5060".parse().unwrap(),
        None,
    );
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_contact_is_bound_and_returned_with_its_time() {
    let mut site = Site::new();
    let done =
        site.register("Contact: <sip:desk@192.0.2.50>;expires=120\r\nUser-Agent: Phone 1.0\r\n");
    assert!(written(&done).contains("Contact: <sip:desk@192.0.2.50>;expires=120\r\n"));
    let [BindingChange::Added { binding, .. }] = &done.changes[..] else {
        panic!("{:?}", done.changes)
    };
    assert_eq!(
        (binding.flow, binding.remaining(site.now)),
        (site.flow, 120)
    );
    assert_eq!(binding.user_agent.as_deref(), Some("Phone 1.0"));
}

#[test]
fn the_contacts_own_expires_goes_before_the_header_and_the_default_comes_last() {
    let mut site = Site::new();
    site.register(
        "Contact: <sip:a@192.0.2.50>;expires=100, <sip:b@192.0.2.50>\r\nExpires: 200\r\n",
    );
    site.register("Contact: <sip:c@192.0.2.50>\r\n");
    let left: Vec<(String, u32)> = site
        .location
        .lookup(AOR, site.now)
        .into_iter()
        .map(|binding| (binding.contact.to_string(), binding.remaining(site.now)))
        .collect();
    assert_eq!(
        left,
        [
            ("sip:c@192.0.2.50".to_owned(), 3600),
            ("sip:b@192.0.2.50".to_owned(), 200),
            ("sip:a@192.0.2.50".to_owned(), 100)
        ]
    );
}

#[test]
fn too_short_a_time_is_423_and_too_long_a_one_is_cut() {
    let mut site = Site::new();
    let refused = site.register("Contact: <sip:a@192.0.2.50>;expires=10\r\n");
    assert!(written(&refused).contains("Min-Expires: 60\r\n"));
    assert_eq!((refused.response.status, refused.changes.len()), (423, 0));
    let cut = site.register("Contact: <sip:a@192.0.2.50>;expires=4294967295\r\n");
    assert!(written(&cut).contains(";expires=3600\r\n"));
}

#[test]
fn an_update_happens_whole_or_not_at_all() {
    let mut site = Site::new();
    site.register("Contact: <sip:a@192.0.2.50>\r\n");
    let refused =
        site.register("Contact: <sip:a@192.0.2.50>;expires=0, <sip:b@192.0.2.50>;expires=5\r\n");
    assert_eq!(refused.response.status, 423);
    assert_eq!(site.contacts(), ["sip:a@192.0.2.50"]);
}

#[test]
fn a_query_changes_nothing_and_lists_everything() {
    let mut site = Site::new();
    site.register("Contact: <sip:a@192.0.2.50>;q=0.5\r\n");
    let answer = site.register("");
    assert!(written(&answer).contains("Contact: <sip:a@192.0.2.50>;expires=3600;q=0.500\r\n"));
    assert!(answer.changes.is_empty());
}

#[test]
fn expires_zero_removes_one_contact_and_star_all() {
    let mut site = Site::new();
    site.register("Contact: <sip:a@192.0.2.50>, <sip:b@192.0.2.50>\r\n");
    let one = site.register("Contact: <sip:A@192.0.2.50>;expires=0\r\n");
    assert!(one.changes.is_empty(), "the user part is case-sensitive");
    site.register("Contact: <sip:a@192.0.2.50>;expires=0\r\n");
    assert_eq!(site.contacts(), ["sip:b@192.0.2.50"]);
    let all = site.register("Contact: *\r\nExpires: 0\r\n");
    assert!(matches!(
        all.changes[..],
        [BindingChange::Removed {
            why: RemovalCause::Unregistered,
            ..
        }]
    ));
    assert!(site.location.is_empty() && site.location.next_timeout().is_none());
}

#[test]
fn a_star_without_expires_zero_or_beside_a_contact_is_400() {
    let mut site = Site::new();
    for lines in [
        "Contact: *\r\n",
        "Contact: *\r\nExpires: 60\r\n",
        "Contact: *, <sip:a@192.0.2.50>\r\nExpires: 0\r\n",
    ] {
        assert_eq!(site.register(lines).response.status, 400, "{lines}");
    }
}

#[test]
fn contacts_are_compared_as_uris() {
    let mut site = Site::new();
    site.register("Contact: <sip:a@Phone.Example.com;transport=udp>\r\n");
    let again = site.register("Contact: <sip:a@phone.example.com;Transport=UDP>\r\n");
    assert!(
        again
            .changes
            .iter()
            .any(|change| matches!(change, BindingChange::Refreshed { .. }))
    );
    assert_eq!(site.location.len(), 1);
}

#[test]
fn an_older_register_of_the_same_call_is_refused() {
    let mut site = Site::new();
    let contact = "Contact: <sip:a@192.0.2.50>\r\n";
    site.register_as("call", 5, contact, AOR);
    assert_eq!(
        site.register_as("call", 5, contact, AOR).response.status,
        500
    );
    assert_eq!(
        site.register_as("call", 4, "Contact: *\r\nExpires: 0\r\n", AOR)
            .response
            .status,
        500
    );
    assert_eq!(
        site.register_as("call", 6, contact, AOR).response.status,
        200
    );
    assert_eq!(
        site.register_as("rebooted", 1, contact, AOR)
            .response
            .status,
        200
    );
}

#[test]
fn the_same_instance_and_reg_id_replaces_its_contact() {
    let mut site = Site::new();
    let with = |port: u16, reg: u32| {
        format!(
            "Contact: <sip:a@192.0.2.50:{port}>;+sip.instance=\"<urn:uuid:1>\";reg-id={reg}\r\n"
        )
    };
    site.register(&with(1000, 1));
    site.register(&with(2000, 2));
    assert_eq!(site.location.len(), 2, "two flows of one device");
    let moved = site.register(&with(3000, 1));
    assert_eq!(
        site.contacts(),
        ["sip:a@192.0.2.50:3000", "sip:a@192.0.2.50:2000"]
    );
    assert!(matches!(
        &moved.changes[..],
        [
            BindingChange::Removed {
                why: RemovalCause::Replaced,
                ..
            },
            BindingChange::Refreshed { .. }
        ]
    ));
    assert!(written(&moved).contains(";+sip.instance=\"<urn:uuid:1>\";reg-id=1\r\n"));
}

#[test]
fn a_panel_back_on_another_port_replaces_itself_by_instance_alone() {
    let mut site = Site::new();
    site.register("Contact: <sip:a@192.0.2.50:1000>;+sip.instance=\"<urn:uuid:1>\"\r\n");
    site.register("Contact: <sip:a@192.0.2.50:2000>;+sip.instance=\"<urn:uuid:1>\"\r\n");
    assert_eq!(site.contacts(), ["sip:a@192.0.2.50:2000"]);
}

#[test]
fn a_contact_from_another_address_has_moved() {
    let mut site = Site::new();
    site.register("Contact: <sip:a@192.0.2.50>\r\n");
    let before: SocketAddr = site.flow.remote;
    site.flow.remote = "192.0.2.66:5060".parse().unwrap();
    let moved = site.register("Contact: <sip:a@192.0.2.50>\r\n");
    assert!(
        matches!(&moved.changes[..], [BindingChange::Moved { before: old, .. }] if old.flow.remote == before)
    );
}

#[test]
fn path_is_kept_and_returned_where_it_is_supported() {
    let mut site = Site::new();
    let path = "Path: <sip:p1;lr>, <sip:p2;lr>\r\nContact: <sip:a@192.0.2.50>\r\n";
    assert!(!written(&site.register(path)).contains("Path:"));
    let done = site.register(&format!("Supported: path\r\n{path}"));
    assert!(written(&done).contains("Path: <sip:p1;lr>\r\nPath: <sip:p2;lr>\r\n"));
    assert_eq!(
        *site.location.lookup(AOR, site.now)[0].path,
        ["<sip:p1;lr>".into(), "<sip:p2;lr>".into()]
    );
}

#[test]
fn an_extension_we_lack_is_420() {
    let mut site = Site::new();
    let refused =
        site.register("Require: path, sec-agree, outbound\r\nContact: <sip:a@192.0.2.50>\r\n");
    assert_eq!(refused.response.status, 420);
    assert_eq!(
        refused.response.headers,
        [(HeaderName::Unsupported, "sec-agree".to_owned())]
    );
}

#[test]
fn contacts_per_address_of_record_and_in_all_are_bounded() {
    let mut site = Site::new();
    let three = "Contact: <sip:a@192.0.2.50>, <sip:b@192.0.2.50>, <sip:c@192.0.2.50>\r\n";
    site.register(three);
    assert_eq!(
        site.register("Contact: <sip:d@192.0.2.50>\r\n")
            .response
            .status,
        403
    );
    assert_eq!(
        site.register(three).response.status,
        200,
        "a refresh still passes"
    );
    let full = site.register_as("other", 1, three, "sip:other@example.com");
    assert_eq!((full.response.status, site.location.len()), (503, 3));
}

#[test]
fn a_contact_that_points_at_the_server_is_refused() {
    let mut site = Site::new();
    assert_eq!(
        site.register("Contact: <sip:a@192.0.2.1>\r\n")
            .response
            .status,
        403
    );
    assert_eq!(
        site.register("Contact: <sip:a@192.0.2.1:5070>\r\n")
            .response
            .status,
        200
    );
}

#[test]
fn bindings_end_at_their_time_and_not_before() {
    let mut site = Site::new();
    site.register("Contact: <sip:a@192.0.2.50>;expires=60, <sip:b@192.0.2.50>;expires=90\r\n");
    assert_eq!(site.location.next_timeout(), Some(site.now + seconds(60)));
    assert!(site.location.expire(site.now + seconds(59)).is_empty());
    let changes = site.location.expire(site.now + seconds(60));
    assert!(
        matches!(&changes[..], [BindingChange::Removed { binding, why: RemovalCause::Expired, .. }] if &*binding.contact == "sip:a@192.0.2.50")
    );
    assert_eq!(site.location.next_timeout(), Some(site.now + seconds(90)));
    assert_eq!(site.location.expire(site.now + seconds(90)).len(), 1);
    assert!(site.location.is_empty());
}

#[test]
fn an_expired_binding_is_not_found_even_before_it_is_swept() {
    let mut site = Site::new();
    site.register("Contact: <sip:a@192.0.2.50>;expires=60\r\n");
    site.now += seconds(61);
    assert!(site.contacts().is_empty());
    let changes = site.register("Contact: <sip:b@192.0.2.50>\r\n").changes;
    assert!(matches!(
        changes[0],
        BindingChange::Removed {
            why: RemovalCause::Expired,
            ..
        }
    ));
    assert_eq!(site.location.len(), 1);
}

#[test]
fn a_closed_connection_ends_browsers_and_spares_phones() {
    let mut site = Site::new();
    site.flow.connection = Some(ConnectionId(4));
    site.flow.transport = Transport::Wss;
    site.register("Contact: <sip:app@x.invalid;transport=ws>\r\n");
    site.flow.transport = Transport::Tcp;
    site.register("Contact: <sip:phone@192.0.2.50>\r\n");
    let changes = site.location.connection_closed(ConnectionId(4));
    assert!(matches!(
        changes[..],
        [BindingChange::Removed {
            why: RemovalCause::ConnectionLost,
            ..
        }]
    ));
    assert_eq!(site.contacts(), ["sip:phone@192.0.2.50"]);
    let flow = site.location.lookup(AOR, site.now)[0].flow;
    assert_eq!(flow.connection, None);
    let listens: SocketAddr = "192.0.2.50:5060".parse().unwrap();
    assert_eq!(flow.remote, listens, "not the port it connected from");
    assert!(site.location.connection_closed(ConnectionId(4)).is_empty());
}

#[test]
fn revoking_ends_everything_and_restoring_puts_back() {
    let mut site = Site::new();
    site.register("Contact: <sip:a@192.0.2.50>\r\n");
    let kept = site.location.lookup(AOR, site.now)[0].clone();
    assert!(matches!(
        site.location.revoke(AOR)[..],
        [BindingChange::Removed {
            why: RemovalCause::Revoked,
            ..
        }]
    ));
    assert!(site.location.restore(AOR, kept.clone()) && site.location.restore(AOR, kept));
    assert_eq!((site.contacts().len(), site.location.len()), (1, 1));
}

#[test]
fn dates_are_written_as_sip_has_them() {
    use sip_proxy::registrar::sip_date;
    assert_eq!(sip_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(sip_date(951_782_399), "Mon, 28 Feb 2000 23:59:59 GMT");
    assert_eq!(sip_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_eq!(sip_date(1_289_692_020), "Sat, 13 Nov 2010 23:47:00 GMT");
}
