//! RFC 6665: the notifier from SUBSCRIBE to the last NOTIFY. The arrows of one subscription are tested in
//! `src/event/subscription.rs`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_proxy::event::{
    End, Notification, Notifier, NotifierConfig, Request, State, SubscriptionId,
};
use sip_proxy::{
    ClientTx, ConnectionId, Flow, HeaderName, Limits, Message, OutgoingResponse, Transport,
};

const DIALOG_INFO: &str = "application/dialog-info+xml";
const SECOND: Duration = Duration::from_secs(1);

struct Bench {
    notifier: Notifier<&'static str, u32>,
    now: Instant,
    cseq: u32,
    tx: u64,
}

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: ([192, 0, 2, 1], 5060).into(),
        remote: ([192, 0, 2, 9], 5060).into(),
        connection: None,
    }
}

#[allow(clippy::unwrap_used, reason = "a fixture")]
fn message(text: String) -> Message {
    Message::parse(Bytes::from(text), &Limits::default()).unwrap()
}

impl Bench {
    fn new() -> Self {
        Self::with(NotifierConfig::default())
    }

    fn with(config: NotifierConfig) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "one origin for the virtual clock"
        )]
        let now = Instant::now();
        Bench {
            notifier: Notifier::new(config),
            now,
            cseq: 0,
            tx: 0,
        }
    }

    fn request(&mut self, call: &str, to_tag: &str, lines: &str) -> Message {
        self.cseq += 1;
        message(format!(
            "SUBSCRIBE sip:desk@x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK{0}\r\nFrom: <sip:anna@x>;tag=f\r\n\
             To: <sip:desk@x>{to_tag}\r\nCall-ID: {call}\r\nCSeq: {0} SUBSCRIBE\r\nContact: <sip:anna@192.0.2.9>\r\n{lines}\
             Content-Length: 0\r\n\r\n",
            self.cseq
        ))
    }

    fn subscribe_as(
        &mut self,
        watcher: &str,
        resource: &'static str,
        call: &str,
        lines: &str,
    ) -> OutgoingResponse {
        let message = self.request(call, "", lines);
        let request = Request {
            message: &message,
            flow: flow(),
            watcher,
            resource,
            data: 7,
            content_type: DIALOG_INFO,
            default_expires: 600,
            state: State::Active,
            random: 0x1234,
            contact: "<sip:doorward@192.0.2.1>".to_owned(),
        };
        self.notifier.subscribe(self.now, request)
    }

    fn subscribe(&mut self, lines: &str) -> OutgoingResponse {
        self.subscribe_as("anna", "desk", "c", &format!("Event: dialog\r\n{lines}"))
    }

    fn refresh(&mut self, tag: &str, lines: &str) -> Option<OutgoingResponse> {
        let message = self.request("c", &format!(";tag={tag}"), lines);
        let (id, ..) = self.notifier.dialog_of(&message)?;
        Some(self.notifier.refresh(self.now, id, &message, flow()))
    }

    fn next(&mut self) -> Option<Notification<&'static str, u32>> {
        let notification = self.notifier.next_notification()?;
        self.tx += 1;
        self.notifier
            .sent(self.now, notification.id, ClientTx(self.tx));
        Some(notification)
    }

    fn answer(&mut self, status: u16, lines: &str) {
        let response = message(format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:desk@x>;tag=o\r\nTo: <sip:anna@x>;tag=f\r\n\
             Call-ID: c\r\nCSeq: 1 NOTIFY\r\n{lines}Content-Length: 0\r\n\r\n"
        ));
        self.notifier
            .answered(self.now, ClientTx(self.tx), &response);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.notifier.timeout(self.now);
    }
}

fn header<'a>(headers: &'a [(HeaderName, String)], name: &HeaderName) -> &'a str {
    headers
        .iter()
        .find(|(known, _)| known == name)
        .map_or("", |(_, value)| value)
}

fn state(notification: &Notification<&'static str, u32>) -> String {
    header(
        &notification.request.headers,
        &HeaderName::SubscriptionState,
    )
    .to_owned()
}

#[test]
fn a_subscription_is_answered_with_its_time_and_told_at_once() {
    let mut bench = Bench::new();
    let response = bench.subscribe("Expires: 7200\r\n");
    assert_eq!(response.status, 200);
    assert_eq!(header(&response.headers, &HeaderName::Expires), "3600");
    assert!(response.contact.is_some());
    let tag = response.to_tag.unwrap();
    let notify = bench.next().unwrap();
    assert_eq!(state(&notify), "active;expires=3600");
    assert_eq!(
        header(&notify.request.headers, &HeaderName::Event),
        "dialog"
    );
    assert_eq!(notify.request.uri, "sip:anna@192.0.2.9");
    assert_eq!(notify.request.from, format!("<sip:desk@x>;tag={tag}"));
    assert_eq!(notify.request.to, "<sip:anna@x>;tag=f");
    assert_eq!((notify.to, notify.request.cseq), (flow(), 1));
    assert!(bench.next().is_none());
}

#[test]
fn the_event_id_comes_back_in_every_notify() {
    let mut bench = Bench::new();
    bench.subscribe_as("anna", "desk", "c", "Event: dialog;id=42;sla\r\n");
    let notify = bench.next().unwrap();
    assert_eq!(
        header(&notify.request.headers, &HeaderName::Event),
        "dialog;id=42"
    );
}

#[test]
fn a_refresh_is_answered_and_told_and_an_old_one_refused() {
    let mut bench = Bench::new();
    let tag = bench.subscribe("").to_tag.unwrap();
    bench.next().unwrap();
    bench.answer(200, "");
    bench.pass(500 * SECOND);
    let refreshed = bench
        .refresh(&tag, "Event: dialog\r\nExpires: 600\r\n")
        .unwrap();
    assert_eq!(refreshed.status, 200);
    assert_eq!(state(&bench.next().unwrap()), "active;expires=600");
    bench.answer(200, "");
    bench.cseq = 0;
    assert_eq!(
        bench.refresh(&tag, "Event: dialog\r\n").unwrap().status,
        500,
        "out of order"
    );
    bench.cseq = 9;
    assert_eq!(
        bench.refresh(&tag, "Event: presence\r\n").unwrap().status,
        481,
        "another subscription"
    );
    assert!(
        bench
            .refresh("e1-0000000000000000", "Event: dialog\r\n")
            .is_none(),
        "a guessed tag"
    );
    assert!(bench.refresh("nonsense", "Event: dialog\r\n").is_none());
}

#[test]
fn an_unsubscription_and_a_fetch_get_one_last_notify() {
    let mut bench = Bench::new();
    let tag = bench.subscribe("").to_tag.unwrap();
    bench.next().unwrap();
    bench.answer(200, "");
    bench
        .refresh(&tag, "Event: dialog\r\nExpires: 0\r\n")
        .unwrap();
    let last = bench.next().unwrap();
    assert_eq!(state(&last), "terminated;reason=timeout");
    assert_eq!(last.last, Some(7), "the owner's notes come back");
    assert!(bench.notifier.is_empty());
    let fetch = bench.subscribe("Expires: 0\r\n");
    assert_eq!(header(&fetch.headers, &HeaderName::Expires), "0");
    assert_eq!(state(&bench.next().unwrap()), "terminated;reason=timeout");
    assert!(bench.notifier.is_empty());
    assert_eq!(bench.notifier.next_timeout(), None);
}

#[test]
fn what_is_not_refreshed_ends_on_time() {
    let mut bench = Bench::new();
    bench.subscribe("Expires: 90\r\n");
    bench.next().unwrap();
    bench.answer(200, "");
    bench.pass(89 * SECOND);
    assert!(bench.next().is_none());
    bench.pass(SECOND);
    assert_eq!(state(&bench.next().unwrap()), "terminated;reason=timeout");
    assert_eq!(bench.notifier.counters().timed_out, 1);
}

#[test]
fn too_brief_unacceptable_and_malformed_ones_are_refused_by_name() {
    let mut bench = Bench::new();
    let brief = bench.subscribe("Expires: 5\r\n");
    assert_eq!(brief.status, 423);
    assert_eq!(header(&brief.headers, &HeaderName::MinExpires), "60");
    let accept = bench.subscribe("Accept: text/plain\r\n");
    assert_eq!(accept.status, 406);
    assert_eq!(header(&accept.headers, &HeaderName::Accept), DIALOG_INFO);
    assert_eq!(
        bench.subscribe_as("anna", "desk", "c", "").status,
        400,
        "no Event"
    );
    assert!(bench.notifier.is_empty() && bench.next().is_none());
}

#[test]
fn only_the_watchers_of_a_resource_are_told_of_it() {
    let mut bench = Bench::new();
    for (at, resource) in ["desk", "lobby", "desk"].into_iter().enumerate() {
        bench.subscribe_as("anna", resource, &format!("c{at}"), "Event: dialog\r\n");
        bench.next().unwrap();
        bench.answer(200, "");
    }
    bench.notifier.changed(bench.now, &"desk");
    let told: Vec<_> = std::iter::from_fn(|| bench.next().map(|n| n.resource)).collect();
    assert_eq!(told, ["desk", "desk"]);
    bench.notifier.changed(bench.now, &"garage");
    assert!(bench.next().is_none());
    assert!(bench.notifier.is_watched(&"lobby") && !bench.notifier.is_watched(&"garage"));
}

#[test]
fn one_notify_is_under_way_and_the_next_one_tells_the_rest() {
    let mut bench = Bench::new();
    bench.subscribe("");
    bench.next().unwrap();
    for _ in 0..1_000 {
        bench.notifier.changed(bench.now, &"desk");
    }
    assert!(bench.next().is_none());
    bench.answer(200, "");
    assert_eq!(bench.next().unwrap().request.cseq, 2);
    bench.answer(200, "");
    assert!(bench.next().is_none());
}

#[test]
fn a_subscriber_that_does_not_know_the_subscription_loses_it() {
    for status in [481, 404, 500] {
        let mut bench = Bench::new();
        bench.subscribe("");
        bench.next().unwrap();
        bench.answer(status, "");
        assert!(bench.notifier.is_empty(), "{status}");
        assert_eq!(bench.notifier.counters().unreachable, 1);
    }
    let mut bench = Bench::new();
    bench.subscribe("");
    bench.next().unwrap();
    bench.notifier.failed(bench.now, ClientTx(bench.tx));
    assert!(bench.notifier.is_empty(), "no answer at all");
}

#[test]
fn retry_after_is_waited_for() {
    let mut bench = Bench::new();
    bench.subscribe("");
    bench.next().unwrap();
    bench.answer(503, "Retry-After: 20 (busy)\r\n");
    bench.notifier.changed(bench.now, &"desk");
    assert!(bench.next().is_none());
    bench.pass(20 * SECOND);
    assert!(bench.next().is_some());
}

#[test]
fn tables_are_bounded_and_a_restarted_phone_takes_its_own_old_place() {
    let mut bench = Bench::with(NotifierConfig {
        max: 3,
        max_per_watcher: 2,
        ..NotifierConfig::default()
    });
    for (at, resource) in ["desk", "lobby"].into_iter().enumerate() {
        let call = format!("c{at}");
        let response = bench.subscribe_as("anna", resource, &call, "Event: dialog\r\n");
        assert_eq!(response.status, 200);
        bench.next().unwrap();
    }
    let third = bench.subscribe_as("anna", "garage", "c2", "Event: dialog\r\n");
    assert_eq!(third.status, 403);
    let again = bench.subscribe_as("anna", "desk", "c3", "Event: dialog\r\n");
    assert_eq!((again.status, bench.notifier.len()), (200, 2));
    bench.subscribe_as("petr", "desk", "c4", "Event: dialog\r\n");
    let full = bench.subscribe_as("eva", "desk", "c5", "Event: dialog\r\n");
    assert_eq!((full.status, bench.notifier.len()), (503, 3));
    assert_eq!(bench.notifier.counters().overflow, 2);
}

#[test]
fn at_shutdown_everybody_is_told_to_come_back() {
    let mut bench = Bench::new();
    bench.subscribe("");
    bench.next().unwrap();
    bench.notifier.changed(bench.now, &"desk");
    bench.notifier.end_all(bench.now, End::Deactivated);
    let last = bench.next().unwrap();
    assert_eq!(state(&last), "terminated;reason=deactivated");
    assert!(bench.next().is_none() && bench.notifier.is_empty());
}

#[test]
fn notifies_follow_a_subscriber_to_its_new_connection() {
    let mut bench = Bench::new();
    let tcp = |remote: u16, connection| Flow {
        transport: Transport::Tcp,
        remote: ([192, 0, 2, 9], remote).into(),
        connection,
        ..flow()
    };
    let message = bench.request("c", "", "Event: dialog\r\n");
    let request = Request {
        message: &message,
        flow: tcp(40_000, Some(ConnectionId(1))),
        watcher: "anna",
        resource: "desk",
        data: 7,
        content_type: DIALOG_INFO,
        default_expires: 600,
        state: State::Active,
        random: 1,
        contact: String::new(),
    };
    bench.notifier.subscribe(bench.now, request);
    bench.next().unwrap();
    bench.answer(200, "");
    bench.notifier.connection_closed(ConnectionId(1));
    let new = tcp(40_001, Some(ConnectionId(2)));
    bench.notifier.rehome("petr", "sip:anna@192.0.2.9", new);
    bench.notifier.rehome("anna", "sip:other@198.51.100.1", new);
    bench.notifier.changed(bench.now, &"desk");
    assert_eq!(bench.next().unwrap().to, new);
}

#[test]
fn tags_name_their_subscription_and_strangers_do_not_parse() {
    for stranger in [
        "",
        "e",
        "e1",
        "e1-12",
        "1.2.0123456789abcdef",
        "ezz-0123456789abcdef",
    ] {
        assert_eq!(SubscriptionId::of_tag(stranger), None, "{stranger}");
    }
    assert_eq!(
        SubscriptionId::of_tag("e1f-0123456789abcdef"),
        Some(SubscriptionId(31))
    );
}
