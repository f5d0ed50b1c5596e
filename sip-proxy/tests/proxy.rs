//! The proxy core between a caller and two callees, on a perfect link under a virtual clock (RFC 3261 section 16).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where its own words are wrong"
)]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sip_proxy::endpoint;
use sip_proxy::proxy::{self, Next, Proxy, ProxyConfig, Target};
use sip_proxy::{
    ClientTx, Dialog, Endpoint, EndpointConfig, Flow, HeaderName, Message, Method, OutgoingRequest,
    OutgoingResponse, Output, ServerTx, Transport,
};

const CALLER: &str = "192.0.2.10:5060";
const PROXY: &str = "192.0.2.1:5060";
const DESK: &str = "192.0.2.20:5060";
const APP: &str = "192.0.2.30:5060";

#[expect(
    clippy::disallowed_methods,
    reason = "tests need one Instant to count from"
)]
fn origin() -> Instant {
    Instant::now()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn flow(from: &str, to: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: at(from),
        remote: at(to),
        connection: None,
    }
}

/// A callee's tag.
fn tag_of(who: &str) -> String {
    who.replace(':', "-")
}

/// Everything that happens, with what each user agent heard.
struct Net {
    now: Instant,
    ends: BTreeMap<SocketAddr, Endpoint>,
    proxy: Proxy,
    targets: Vec<Target>,
    wire: VecDeque<(Flow, Bytes)>,
    /// All messages sent, as text, with sender and receiver.
    log: Vec<(SocketAddr, SocketAddr, String)>,
    heard: BTreeMap<SocketAddr, Vec<Output>>,
}

impl Net {
    fn new(callees: &[&str]) -> Self {
        let end = |n| {
            let config = EndpointConfig {
                reject_merged: n != 1,
                server_name: String::new(),
                ..Default::default()
            };
            Endpoint::new(config, Box::new(StdRng::seed_from_u64(n)))
        };
        let ends = [(CALLER, 0), (PROXY, 1), (DESK, 2), (APP, 3)]
            .map(|(address, n)| (at(address), end(n)));
        let config = ProxyConfig {
            own: vec![("192.0.2.1".into(), 5060), ("example.com".into(), 5060)],
            ..Default::default()
        };
        Self {
            now: origin(),
            ends: ends.into_iter().collect(),
            proxy: Proxy::new(config, [9; 32]),
            targets: callees
                .iter()
                .map(|to| Target {
                    uri: Some(format!("sip:user@{to}")),
                    path: Vec::new(),
                    flow: flow(PROXY, to),
                })
                .collect(),
            wire: VecDeque::new(),
            log: Vec::new(),
            heard: BTreeMap::new(),
        }
    }

    fn feed(&mut self, who: SocketAddr, input: endpoint::Input) {
        let now = self.now;
        let outputs: Vec<Output> = self
            .ends
            .get_mut(&who)
            .map(|end| end.handle(now, input).collect())
            .unwrap_or_default();
        for output in outputs {
            if let Output::Transmit { flow, bytes } = output {
                self.log.push((
                    who,
                    flow.remote,
                    String::from_utf8_lossy(&bytes).into_owned(),
                ));
                self.wire.push_back((flow, bytes));
            } else if who == at(PROXY) {
                self.route(output);
            } else {
                self.heard.entry(who).or_default().push(output);
            }
        }
    }

    /// What the shell does: the endpoint's outputs into the proxy, the proxy's into the endpoint.
    fn route(&mut self, output: Output) {
        let input = match output {
            Output::Request { tx, message, flow } => match self.proxy.prepare(&message) {
                Err(response) => {
                    return self.feed(
                        at(PROXY),
                        endpoint::Input::Respond {
                            tx,
                            response: *response,
                        },
                    );
                }
                Ok(prepared) => {
                    let targets = match &prepared.next {
                        Next::Location => self.targets.clone(),
                        Next::Hop(uri) => vec![resolve(uri)],
                    };
                    proxy::Input::Request {
                        tx,
                        message,
                        flow,
                        prepared,
                        targets,
                    }
                }
            },
            Output::Ack { message, flow, .. } => {
                let Ok(prepared) = self.proxy.prepare(&message) else {
                    return;
                };
                let Next::Hop(uri) = &prepared.next else {
                    return;
                };
                let target = resolve(uri);
                proxy::Input::Ack {
                    message,
                    flow,
                    prepared,
                    target,
                }
            }
            Output::Cancelled { tx, .. } => proxy::Input::Cancelled { tx },
            Output::Response { tx, message, .. } => proxy::Input::Response { tx, message },
            Output::Failed { tx, cause } => proxy::Input::Failed { tx, cause },
            _ => return,
        };
        self.drive(input);
    }

    fn drive(&mut self, input: proxy::Input) {
        let inputs: Vec<endpoint::Input> = self.proxy.handle(self.now, input).collect();
        for input in inputs {
            self.feed(at(PROXY), input);
        }
    }

    /// Delivers until the wire is empty.
    fn settle(&mut self) {
        while let Some((flow, bytes)) = self.wire.pop_front() {
            let back = Flow {
                local: flow.remote,
                remote: flow.local,
                ..flow
            };
            self.feed(flow.remote, endpoint::Input::Received { flow: back, bytes });
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = self
                .ends
                .values()
                .filter_map(Endpoint::next_timeout)
                .chain(self.proxy.next_timeout())
                .min();
            match next.filter(|next| *next <= end) {
                None => break,
                Some(next) => self.now = next,
            }
            for who in [CALLER, PROXY, DESK, APP].map(at) {
                self.feed(who, endpoint::Input::Timeout);
            }
            self.drive(proxy::Input::Timeout);
            self.settle();
        }
        self.now = end;
    }

    fn call(&mut self, request: OutgoingRequest) {
        self.feed(
            at(CALLER),
            endpoint::Input::Request {
                tx: ClientTx(1),
                request,
                to: flow(CALLER, PROXY),
            },
        );
        self.settle();
    }

    fn answer(&mut self, who: &str, response: OutgoingResponse) {
        let (tx, _) = self.asked(who);
        self.feed(at(who), endpoint::Input::Respond { tx, response });
        self.settle();
    }

    fn reply(&mut self, who: &str, status: u16) {
        self.answer(
            who,
            OutgoingResponse::new(status)
                .with_to_tag(tag_of(who))
                .with_contact(format!("<sip:user@{who}>")),
        );
    }

    /// The latest request a callee heard.
    fn asked(&self, who: &str) -> (ServerTx, Message) {
        self.heard
            .get(&at(who))
            .into_iter()
            .flatten()
            .rev()
            .find_map(|output| match output {
                Output::Request { tx, message, .. } => Some((*tx, message.clone())),
                _ => None,
            })
            .expect("a request")
    }

    /// The statuses the caller heard, 100 apart.
    fn statuses(&self) -> Vec<u16> {
        self.responses()
            .iter()
            .filter_map(Message::status_of)
            .filter(|status| *status > 100)
            .collect()
    }

    fn responses(&self) -> Vec<Message> {
        let heard = self.heard.get(&at(CALLER)).into_iter().flatten();
        heard
            .filter_map(|output| match output {
                Output::Response { message, .. } => Some(message.clone()),
                _ => None,
            })
            .collect()
    }

    fn was_cancelled(&self, who: &str) -> bool {
        self.heard
            .get(&at(who))
            .into_iter()
            .flatten()
            .any(|output| matches!(output, Output::Cancelled { .. }))
    }
}

trait StatusOf {
    fn status_of(&self) -> Option<u16>;
}
impl StatusOf for Message {
    fn status_of(&self) -> Option<u16> {
        self.status()
    }
}

fn resolve(uri: &str) -> Target {
    let uri = sip_proxy::Uri::parse(uri).unwrap();
    let to = format!("{}:{}", uri.host_str(), uri.port().unwrap_or(5060));
    Target {
        uri: None,
        path: Vec::new(),
        flow: flow(PROXY, &to),
    }
}

fn outgoing(method: Method) -> OutgoingRequest {
    OutgoingRequest {
        method,
        uri: "sip:user@example.com".into(),
        from: "<sip:caller@example.com>;tag=c".into(),
        to: "<sip:user@example.com>".into(),
        call_id: "call".into(),
        cseq: 1,
        max_forwards: 70,
        route: Vec::new(),
        contact: Some(format!("<sip:caller@{CALLER}>")),
        headers: Vec::new(),
        body: None,
    }
}

/// A request straight to the proxy's endpoint; what it answers.
fn refused(lines: &str, uri: &str, to_tag: &str) -> String {
    let mut net = Net::new(&[DESK]);
    let text = format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKx\r\nFrom: <sip:c@x>;tag=c\r\n\
         To: <sip:u@x>{to_tag}\r\nCall-ID: call\r\nCSeq: 1 INVITE\r\n{lines}Content-Length: 0\r\n\r\n"
    );
    net.feed(
        at(PROXY),
        endpoint::Input::Received {
            flow: flow(PROXY, CALLER),
            bytes: Bytes::from(text),
        },
    );
    net.log
        .iter()
        .map(|(_, _, text)| text.lines().next().unwrap_or_default())
        .filter(|line| !line.contains(" 100 "))
        .collect()
}

#[test]
fn what_is_not_the_proxys_is_forwarded_octet_by_octet() {
    let mut net = Net::new(&[DESK]);
    let text = "MESSAGE sip:user@example.com SIP/2.0\r\nv:  SIP/2.0/UDP 192.0.2.10:5060 ;branch=z9hG4bKx;rport\r\n\
                X-Odd :  a,,b;  ;\"\r\nf: <sip:c@x>;tag=c\r\nt: <sip:u@x>\r\ni: call\r\nCSeq:\t1   MESSAGE\r\n\
                Subject: folded\r\n here\r\nl: 3\r\n\r\na\0b";
    net.feed(
        at(PROXY),
        endpoint::Input::Received {
            flow: flow(PROXY, CALLER),
            bytes: Bytes::from(text),
        },
    );
    let (_, to, sent) = &net.log[0];
    assert_eq!(*to, at(DESK));
    assert!(sent.starts_with(&format!("MESSAGE sip:user@{DESK} SIP/2.0\r\n")));
    for kept in [
        "X-Odd :  a,,b;  ;\"\r\n",
        "CSeq:\t1   MESSAGE\r\n",
        "Subject: folded\r\n here\r\n",
        "\r\n\r\na\0b",
    ] {
        assert!(sent.contains(kept), "{kept:?} in {sent}");
    }
    assert!(sent.contains(";received=192.0.2.10;rport=5060"));
    assert!(sent.contains("Max-Forwards: 69\r\n"));
    assert!(!sent.contains("Record-Route"), "a MESSAGE makes no dialog");
}

#[test]
fn a_call_is_set_up_talks_and_ends_through_its_record_route() {
    let mut net = Net::new(&[DESK]);
    let invite = outgoing(Method::Invite);
    net.call(invite.clone());
    net.reply(DESK, 180);
    net.reply(DESK, 200);
    assert_eq!(net.statuses(), [180, 200]);
    let ok = net.responses().pop().unwrap();
    let mut dialog = Dialog::from_response(&invite, &ok, flow(CALLER, PROXY)).unwrap();
    assert_eq!(dialog.route_set.len(), 1);
    assert!(dialog.next_hop().contains("@192.0.2.1:5060;lr"));
    let ack = dialog.ack(1);
    net.feed(
        at(CALLER),
        endpoint::Input::Ack {
            request: ack,
            to: flow(CALLER, PROXY),
            invite: ClientTx(1),
        },
    );
    net.settle();
    assert!(
        net.heard[&at(DESK)]
            .iter()
            .any(|output| matches!(output, Output::Ack { tx: Some(_), .. }))
    );
    let bye = dialog.request(Method::Bye);
    net.feed(
        at(CALLER),
        endpoint::Input::Request {
            tx: ClientTx(2),
            request: bye,
            to: flow(CALLER, PROXY),
        },
    );
    net.settle();
    let (_, bye) = net.asked(DESK);
    assert_eq!(
        (bye.method(), bye.header(&HeaderName::Route)),
        (&Method::Bye, None)
    );
    net.reply(DESK, 200);
    assert_eq!(net.statuses(), [180, 200, 200]);
    net.pass(Duration::from_secs(200));
    assert_eq!(net.proxy.contexts(), 0);
    assert!(
        net.ends
            .values()
            .all(|end| end.server_transactions() + end.client_transactions() == 0)
    );
}

#[test]
fn the_first_answer_cancels_the_other_branch_with_a_reason() {
    let mut net = Net::new(&[DESK, APP]);
    net.call(outgoing(Method::Invite));
    net.reply(DESK, 180);
    net.reply(APP, 180);
    net.reply(DESK, 200);
    assert!(net.was_cancelled(APP) && !net.was_cancelled(DESK));
    assert!(net.log.iter().any(|(_, to, text)| {
        *to == at(APP)
            && text.starts_with("CANCEL")
            && text.contains("Reason: SIP;cause=200;text=\"Call completed elsewhere\"")
    }));
    net.reply(APP, 487);
    assert_eq!(net.statuses(), [180, 180, 200]);
}

#[test]
fn a_second_2xx_and_a_repeated_one_reach_the_caller() {
    let mut net = Net::new(&[DESK, APP]);
    net.call(outgoing(Method::Invite));
    net.reply(DESK, 200);
    net.reply(APP, 200);
    assert_eq!(net.statuses(), [200, 200]);
    let passed = |net: &Net| {
        net.log
            .iter()
            .filter(|(_, to, text)| *to == at(CALLER) && text.starts_with("SIP/2.0 200"))
            .count()
    };
    let before = passed(&net);
    net.pass(Duration::from_millis(600));
    assert!(
        passed(&net) > before,
        "the callee repeats until the ACK, and the proxy passes it on"
    );
}

#[test]
fn the_best_response_is_chosen_when_all_have_answered() {
    for (one, two, best) in [
        (486, 503, 486),
        (503, 503, 500),
        (500, 302, 302),
        (486, 404, 404),
        (480, 401, 401),
        (404, 603, 603),
        (501, 488, 488),
    ] {
        let mut net = Net::new(&[DESK, APP]);
        net.call(outgoing(Method::Invite));
        net.reply(DESK, one);
        assert!(
            net.statuses().is_empty(),
            "{one} waits for the other branch"
        );
        net.reply(APP, two);
        assert_eq!(net.statuses(), [best], "{one} and {two}");
    }
}

#[test]
fn a_6xx_cancels_the_rest_and_is_sent_when_they_have_ended() {
    let mut net = Net::new(&[DESK, APP]);
    net.call(outgoing(Method::Invite));
    net.reply(APP, 180);
    net.reply(DESK, 603);
    assert!(net.was_cancelled(APP));
    assert_eq!(net.statuses(), [180]);
    net.reply(APP, 487);
    assert_eq!(net.statuses(), [180, 603]);
}

#[test]
fn the_challenges_of_all_branches_are_passed_back_together() {
    let mut net = Net::new(&[DESK, APP]);
    net.call(outgoing(Method::Message));
    let challenge = |realm: &str| {
        OutgoingResponse::new(401).with_header(
            HeaderName::WwwAuthenticate,
            format!("Digest realm=\"{realm}\""),
        )
    };
    net.answer(DESK, challenge("desk"));
    net.answer(APP, challenge("app"));
    let response = net.responses().pop().unwrap();
    let all: Vec<&str> = response.headers(&HeaderName::WwwAuthenticate).collect();
    assert_eq!(all, ["Digest realm=\"desk\"", "Digest realm=\"app\""]);
}

#[test]
fn the_callers_cancel_reaches_every_branch() {
    let mut net = Net::new(&[DESK, APP]);
    net.call(outgoing(Method::Invite));
    // A CANCEL waits for a provisional (9.1): here each hop's own 100.
    net.pass(Duration::from_millis(200));
    net.feed(
        at(CALLER),
        endpoint::Input::Cancel {
            tx: ClientTx(1),
            reason: None,
        },
    );
    net.settle();
    assert!(net.was_cancelled(DESK) && net.was_cancelled(APP));
    net.reply(DESK, 487);
    net.reply(APP, 487);
    assert_eq!(net.statuses(), [487]);
}

#[test]
fn timer_c_ends_what_rings_for_ever() {
    let mut net = Net::new(&[DESK]);
    net.call(outgoing(Method::Invite));
    net.pass(Duration::from_secs(100));
    net.reply(DESK, 180);
    net.pass(Duration::from_secs(100));
    assert!(!net.was_cancelled(DESK), "the 180 restarted it");
    net.pass(Duration::from_secs(100));
    assert!(net.was_cancelled(DESK));
    net.reply(DESK, 487);
    assert_eq!(net.statuses(), [180, 487]);
    net.pass(Duration::from_secs(40));
    assert_eq!(net.proxy.contexts(), 0);
}

#[test]
fn a_silent_target_is_a_408_to_an_invite() {
    let mut net = Net::new(&["192.0.2.99:5060"]);
    net.call(outgoing(Method::Invite));
    net.pass(Duration::from_secs(40));
    assert_eq!(net.statuses(), [408]);
}

#[test]
fn no_target_is_480_and_too_many_for_max_breadth_440() {
    let mut net = Net::new(&[]);
    net.call(outgoing(Method::Invite));
    assert_eq!(net.statuses(), [480]);
    let mut net = Net::new(&[DESK, APP]);
    let mut invite = outgoing(Method::Invite);
    invite.headers.push((HeaderName::MaxBreadth, "1".into()));
    net.call(invite);
    assert_eq!(net.statuses(), [440]);
}

#[test]
fn breadth_is_shared_among_the_branches() {
    let mut net = Net::new(&[DESK, APP]);
    net.call(outgoing(Method::Invite));
    assert_eq!(
        net.asked(DESK).1.header(&HeaderName::MaxBreadth),
        Some("30")
    );
}

#[test]
fn a_request_that_comes_back_unchanged_is_a_loop() {
    let mut net = Net::new(&[PROXY]);
    net.targets[0].uri = Some("sip:user@example.com".into());
    net.call(outgoing(Method::Invite));
    assert_eq!(net.statuses(), [482]);
}

#[test]
fn a_request_that_comes_back_for_another_user_is_a_spiral() {
    let mut net = Net::new(&[PROXY]);
    net.targets[0].uri = Some("sip:other@example.com".into());
    net.call(outgoing(Method::Invite));
    // Once as `other`, and the second visit as `other` is the loop.
    assert_eq!(net.statuses(), [482]);
    assert_eq!(
        net.log
            .iter()
            .filter(|(_, to, text)| *to == at(PROXY) && text.starts_with("INVITE"))
            .count(),
        3
    );
}

#[test]
fn invalid_requests_are_refused_each_with_its_status() {
    assert_eq!(
        refused("Max-Forwards: 0\r\n", "sip:u@example.com", ""),
        "SIP/2.0 483 Too Many Hops"
    );
    assert_eq!(
        refused("Proxy-Require: foo\r\n", "sip:u@example.com", ""),
        "SIP/2.0 420 Bad Extension"
    );
    assert!(refused("", "tel:+4930", "").starts_with("SIP/2.0 416"));
    assert!(refused("", "nobody:knows", "").starts_with("SIP/2.0 416"));
}

#[test]
fn nobody_is_relayed_on_his_own_word() {
    let forged = "Route: <sip:000000000000000000000000@192.0.2.1;lr>, <sip:victim.example;lr>\r\n";
    assert!(
        refused(
            "Route: <sip:victim.example;lr>\r\n",
            "sip:u@example.com",
            ""
        )
        .starts_with("SIP/2.0 403")
    );
    assert!(refused(forged, "sip:u@example.com", "").starts_with("SIP/2.0 403"));
    assert!(refused(forged, "sip:u@example.com", ";tag=t").starts_with("SIP/2.0 403"));
    assert!(refused("", "sip:victim@192.0.2.99", ";tag=t").starts_with("SIP/2.0 481"));
    assert!(
        refused(
            "Route: <sip:192.0.2.1;lr>\r\n",
            "sip:victim@192.0.2.99",
            ";tag=t"
        )
        .starts_with("SIP/2.0 481")
    );
}

#[test]
fn a_token_serves_its_own_call_only() {
    let mut net = Net::new(&[DESK]);
    let invite = outgoing(Method::Invite);
    net.call(invite.clone());
    net.reply(DESK, 200);
    let ok = net.responses().pop().unwrap();
    let mut dialog = Dialog::from_response(&invite, &ok, flow(CALLER, PROXY)).unwrap();
    dialog.call_id = "another".into();
    let info = dialog.request(Method::Info);
    net.feed(
        at(CALLER),
        endpoint::Input::Request {
            tx: ClientTx(2),
            request: info,
            to: flow(CALLER, PROXY),
        },
    );
    net.settle();
    assert_eq!(net.statuses(), [200, 481]);
}

#[test]
fn a_phones_outbound_proxy_route_means_us_and_nothing_more() {
    let mut net = Net::new(&[DESK]);
    let mut invite = outgoing(Method::Invite);
    invite.route.push("<sip:192.0.2.1;lr>".into());
    net.call(invite);
    assert_eq!(net.asked(DESK).1.header(&HeaderName::Route), None);
}

#[test]
fn a_change_of_transport_is_recorded_twice() {
    let mut net = Net::new(&[DESK]);
    net.targets[0].flow.transport = Transport::Tcp;
    net.call(outgoing(Method::Invite));
    let (_, invite) = net.asked(DESK);
    let routes: Vec<&str> = invite.values(&HeaderName::RecordRoute).collect();
    assert_eq!(routes.len(), 2);
    assert!(routes[0].contains(";transport=tcp;lr>") && !routes[1].contains("transport"));
    net.reply(DESK, 200);
    let (_, invite) = net.asked(DESK);
    let mut dialog = Dialog::from_request(&invite, &tag_of(DESK), flow(DESK, PROXY)).unwrap();
    let info = dialog.request(Method::Info);
    net.feed(
        at(DESK),
        endpoint::Input::Request {
            tx: ClientTx(9),
            request: info,
            to: flow(DESK, PROXY),
        },
    );
    net.settle();
    assert_eq!(
        net.asked(CALLER).1.header(&HeaderName::Route),
        None,
        "both are taken off"
    );
}

#[test]
fn a_bindings_path_goes_in_front_and_a_strict_router_gets_its_due() {
    let mut net = Net::new(&[DESK]);
    net.targets[0].path = vec!["<sip:edge;lr>".into()];
    net.call(outgoing(Method::Invite));
    let (_, invite) = net.asked(DESK);
    assert_eq!(
        (invite.header(&HeaderName::Route), invite.uri()),
        (Some("<sip:edge;lr>"), "sip:user@192.0.2.20:5060")
    );
    let mut net = Net::new(&[DESK]);
    net.targets[0].path = vec!["<sip:strict>".into(), "<sip:edge;lr>".into()];
    net.call(outgoing(Method::Invite));
    let (_, invite) = net.asked(DESK);
    let routes: Vec<&str> = invite.values(&HeaderName::Route).collect();
    assert_eq!(
        (invite.uri(), routes),
        (
            "sip:strict",
            vec!["<sip:edge;lr>", "<sip:user@192.0.2.20:5060>"]
        )
    );
}

#[test]
fn a_strict_router_before_us_is_undone() {
    let mut net = Net::new(&[DESK]);
    let invite = outgoing(Method::Invite);
    net.call(invite.clone());
    net.reply(DESK, 200);
    let ok = net.responses().pop().unwrap();
    let dialog = Dialog::from_response(&invite, &ok, flow(CALLER, PROXY)).unwrap();
    let mut info = outgoing(Method::Info);
    info.cseq = 2;
    info.to = format!("<sip:user@example.com>;tag={}", tag_of(DESK));
    info.uri = dialog.next_hop().to_owned();
    info.route = vec![format!("<{}>", dialog.remote_target)];
    net.feed(
        at(CALLER),
        endpoint::Input::Request {
            tx: ClientTx(2),
            request: info,
            to: flow(CALLER, PROXY),
        },
    );
    net.settle();
    let (_, info) = net.asked(DESK);
    assert_eq!(
        (info.method(), info.uri(), info.header(&HeaderName::Route)),
        (&Method::Info, "sip:user@192.0.2.20:5060", None)
    );
}
