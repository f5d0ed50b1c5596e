//! The endpoint's rules, one test each, over written messages.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::message::{HeaderName, Method, OutgoingRequest};
use crate::transaction::FailCause;
use crate::transaction::tests::origin;
use crate::transport::Transport;

mod forgetting;
mod large;
mod timers;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn endpoint(config: EndpointConfig) -> Endpoint {
    Endpoint::new(config, Box::new(StdRng::seed_from_u64(1)))
}

fn flow(transport: Transport) -> Flow {
    Flow {
        transport,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.9:40000".parse().unwrap(),
        connection: transport.is_stream().then_some(ConnectionId(7)),
    }
}

fn udp() -> Flow {
    flow(Transport::Udp)
}

/// A request from outside; `via` is what follows the transport, `tag` the To tag.
fn request(method: &str, via: &str, cseq: u32, tag: &str) -> Bytes {
    let to = if tag.is_empty() {
        String::new()
    } else {
        format!(";tag={tag}")
    };
    Bytes::from(format!(
        "{method} sip:desk@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nMax-Forwards: 70\r\n\
         From: <sip:door@192.0.2.9>;tag=f\r\nTo: <sip:desk@192.0.2.1>{to}\r\nCall-ID: c1\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:door@192.0.2.9>\r\nContent-Length: 0\r\n\r\n"
    ))
}

fn invite() -> Bytes {
    request("INVITE", "192.0.2.9:5062;branch=z9hG4bKa", 1, "")
}

/// The answer to a request of ours.
fn answer(sent: &Bytes, status: u16, tag: &str, method: &str) -> Bytes {
    let sent = Message::parse(sent.clone(), &Default::default()).unwrap();
    let line = |name| sent.header(&name).unwrap().to_owned();
    Bytes::from(format!(
        "SIP/2.0 {status} X\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag={tag}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\n\
         Contact: <sip:x@192.0.2.9>\r\nContent-Length: 0\r\n\r\n",
        line(HeaderName::Via),
        line(HeaderName::From),
        line(HeaderName::To),
        sent.call_id(),
        sent.cseq(),
    ))
}

fn outgoing(method: Method) -> OutgoingRequest {
    OutgoingRequest {
        method,
        uri: "sip:x@192.0.2.9".into(),
        from: "<sip:us@192.0.2.1>;tag=us".into(),
        to: "<sip:x@192.0.2.9>".into(),
        call_id: "out".into(),
        cseq: 5,
        max_forwards: 70,
        route: vec!["<sip:hop;lr>".into()],
        contact: None,
        headers: Vec::new(),
        body: None,
    }
}

/// An endpoint that answers 100 at once.
fn prompt() -> Endpoint {
    let timers = crate::Timers {
        trying: Duration::ZERO,
        ..Default::default()
    };
    endpoint(EndpointConfig {
        timers,
        ..Default::default()
    })
}

fn feed(endpoint: &mut Endpoint, now: Instant, flow: Flow, bytes: Bytes) -> Vec<Output> {
    endpoint
        .handle(now, Input::Received { flow, bytes })
        .collect()
}

fn run(endpoint: &mut Endpoint, now: Instant, input: Input) -> Vec<Output> {
    endpoint.handle(now, input).collect()
}

fn sent(outputs: &[Output]) -> Vec<(Flow, Bytes)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Transmit { flow, bytes } => Some((*flow, bytes.clone())),
            _ => None,
        })
        .collect()
}

fn text(outputs: &[Output]) -> String {
    sent(outputs)
        .iter()
        .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
        .collect()
}

fn tx_of(outputs: &[Output]) -> ServerTx {
    outputs
        .iter()
        .find_map(|output| match output {
            Output::Request { tx, .. } => Some(*tx),
            _ => None,
        })
        .expect("a request")
}

fn respond(endpoint: &mut Endpoint, now: Instant, tx: ServerTx, status: u16) -> Vec<Output> {
    run(
        endpoint,
        now,
        Input::Respond {
            tx,
            response: OutgoingResponse::new(status),
        },
    )
}

/// Starts a request of ours; returns what went out.
fn begin(endpoint: &mut Endpoint, now: Instant, method: Method, to: Flow) -> Bytes {
    let outputs = run(
        endpoint,
        now,
        Input::Request {
            tx: ClientTx(1),
            request: outgoing(method),
            to,
        },
    );
    sent(&outputs)[0].1.clone()
}

#[test]
fn an_invite_reaches_the_user_once_and_is_answered_100_at_once_when_so_configured() {
    let (mut e, now) = (prompt(), origin());
    let outputs = feed(&mut e, now, udp(), invite());
    assert!(matches!(outputs[0], Output::Request { .. }));
    assert!(text(&outputs).starts_with("SIP/2.0 100 Trying\r\n"));
    let again = feed(&mut e, now, udp(), invite());
    assert_eq!(again.len(), 1);
    assert!(text(&again).starts_with("SIP/2.0 100"));
    assert_eq!(e.counters().retransmissions_in, 1);
    assert_eq!(e.counters().requests_in.get(&Method::Invite), 1);
}

#[test]
fn a_delayed_100_is_left_out_when_the_user_is_faster() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let outputs = feed(&mut e, now, udp(), invite());
    assert!(sent(&outputs).is_empty());
    assert_eq!(e.next_timeout(), Some(now + ms(200)));
    assert!(text(&respond(&mut e, now + ms(50), tx_of(&outputs), 180)).starts_with("SIP/2.0 180"));
    assert!(run(&mut e, now + ms(300), Input::Timeout).is_empty());
}

#[test]
fn without_rport_the_answer_goes_to_the_port_of_the_via() {
    let (mut e, now) = (prompt(), origin());
    let (to, bytes) = sent(&feed(&mut e, now, udp(), invite()))[0].clone();
    assert_eq!(to.remote, "192.0.2.9:5062".parse().unwrap());
    assert!(!String::from_utf8_lossy(&bytes).contains("received="));
}

#[test]
fn with_rport_the_answer_goes_to_the_source_and_says_so() {
    let (mut e, now) = (prompt(), origin());
    let outputs = feed(
        &mut e,
        now,
        udp(),
        request("INVITE", "10.0.0.1:5062;rport;branch=z9hG4bKa", 1, ""),
    );
    assert_eq!(sent(&outputs)[0].0.remote, udp().remote);
    assert!(text(&outputs).contains(";received=192.0.2.9;rport=40000"));
}

#[test]
fn on_a_stream_the_answer_goes_back_on_the_connection() {
    let (mut e, now) = (prompt(), origin());
    let outputs = feed(&mut e, now, flow(Transport::Tcp), invite());
    assert_eq!(sent(&outputs)[0].0, flow(Transport::Tcp));
}

#[test]
fn one_to_tag_serves_every_response_of_a_transaction() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(&mut e, now, udp(), invite()));
    let tag = |outputs: &[Output]| {
        let bytes = sent(outputs)[0].1.clone();
        Message::parse(bytes, &Default::default())
            .unwrap()
            .to_tag()
            .map(str::to_owned)
    };
    let first = tag(&respond(&mut e, now, tx, 180));
    assert!(first.is_some());
    assert_eq!(first, tag(&respond(&mut e, now, tx, 486)));
}

#[test]
fn an_ack_to_a_failure_is_absorbed_and_ends_the_retransmission() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(&mut e, now, udp(), invite()));
    respond(&mut e, now, tx, 486);
    assert!(text(&run(&mut e, now + ms(500), Input::Timeout)).starts_with("SIP/2.0 486"));
    let ack = request("ACK", "192.0.2.9:5062;branch=z9hG4bKa", 1, "x");
    assert!(feed(&mut e, now + ms(600), udp(), ack).is_empty());
    assert_eq!(
        e.next_timeout(),
        Some(now + ms(5600)),
        "only timer I is left"
    );
    run(&mut e, now + ms(5600), Input::Timeout);
    assert_eq!(e.server_transactions(), 0);
}

#[test]
fn a_2xx_is_repeated_until_its_ack_which_is_passed_up_once() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(&mut e, now, udp(), invite()));
    let ok = OutgoingResponse::new(200).with_to_tag("desk");
    run(&mut e, now, Input::Respond { tx, response: ok });
    assert!(text(&run(&mut e, now + ms(500), Input::Timeout)).starts_with("SIP/2.0 200"));
    assert!(text(&run(&mut e, now + ms(1500), Input::Timeout)).starts_with("SIP/2.0 200"));
    let ack = request("ACK", "192.0.2.9:5062;branch=z9hG4bKother", 1, "desk");
    let outputs = feed(&mut e, now + ms(1600), udp(), ack.clone());
    assert!(matches!(outputs[..], [Output::Ack { tx: Some(of), .. }] if of == tx));
    assert!(feed(&mut e, now + ms(1700), udp(), ack).is_empty());
    assert!(run(&mut e, now + ms(31_000), Input::Timeout).is_empty());
    run(&mut e, now + ms(32_000), Input::Timeout);
    assert_eq!((e.server_transactions(), e.next_timeout()), (0, None));
}

#[test]
fn an_unacknowledged_2xx_is_reported_after_64_t1() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(&mut e, now, flow(Transport::Tcp), invite()));
    respond(&mut e, now, tx, 200);
    let outputs = run(&mut e, now + ms(32_000), Input::Timeout);
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::AckMissing { tx: of } if *of == tx))
    );
    assert_eq!(e.server_transactions(), 0);
}

#[test]
fn an_ack_with_another_tag_is_not_the_answer_to_ours() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(&mut e, now, udp(), invite()));
    run(
        &mut e,
        now,
        Input::Respond {
            tx,
            response: OutgoingResponse::new(200).with_to_tag("desk"),
        },
    );
    let outputs = feed(
        &mut e,
        now,
        udp(),
        request("ACK", "192.0.2.9:5062;branch=z9hG4bKother", 1, "guess"),
    );
    assert!(matches!(outputs[..], [Output::Ack { tx: None, .. }]));
    assert_eq!(e.counters().stray_acks, 1);
}

#[test]
fn an_ack_with_the_invites_branch_counts_only_with_our_tag() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(&mut e, now, udp(), invite()));
    let answer = text(&respond(&mut e, now, tx, 200));
    let tag = answer.split("To: ").nth(1).unwrap();
    let tag = tag
        .split("tag=")
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap();
    let ack = |tag: &str| request("ACK", "192.0.2.9:5062;branch=z9hG4bKa", 1, tag);
    for wrong in ["", "other"] {
        assert!(feed(&mut e, now, udp(), ack(wrong)).is_empty(), "{wrong}");
    }
    assert_eq!(e.counters().stray_acks, 2);
    let again = run(&mut e, now + ms(500), Input::Timeout);
    assert_eq!(sent(&again).len(), 1, "the 2xx is repeated still");
    let outputs = feed(&mut e, now, udp(), ack(tag));
    assert!(matches!(outputs[..], [Output::Ack { tx: Some(_), .. }]));
}

#[test]
fn a_cancel_is_answered_200_and_reported_once() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(&mut e, now, udp(), invite()));
    let cancel = request("CANCEL", "192.0.2.9:5062;branch=z9hG4bKa", 1, "");
    let outputs = feed(&mut e, now, udp(), cancel.clone());
    assert!(text(&outputs).starts_with("SIP/2.0 200"));
    assert!(matches!(outputs[1], Output::Cancelled { tx: of, .. } if of == tx));
    let again = feed(&mut e, now, udp(), cancel);
    assert_eq!((again.len(), &text(&again)[..11]), (1, "SIP/2.0 200"));
    assert!(text(&respond(&mut e, now, tx, 487)).starts_with("SIP/2.0 487"));
}

#[test]
fn a_cancel_after_the_final_response_changes_nothing() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(&mut e, now, udp(), invite()));
    respond(&mut e, now, tx, 200);
    let outputs = feed(
        &mut e,
        now,
        udp(),
        request("CANCEL", "192.0.2.9:5062;branch=z9hG4bKa", 1, ""),
    );
    assert_eq!(outputs.len(), 1);
    assert!(text(&outputs).starts_with("SIP/2.0 200"));
}

#[test]
fn a_cancel_without_invite_is_answered_481() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let outputs = feed(
        &mut e,
        now,
        udp(),
        request("CANCEL", "192.0.2.9:5062;branch=z9hG4bKnone", 1, ""),
    );
    assert!(text(&outputs).starts_with("SIP/2.0 481"));
    assert_eq!(e.counters().stray_cancels, 1);
}

#[test]
fn the_same_request_by_another_path_is_merged_482() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    feed(&mut e, now, udp(), invite());
    let outputs = feed(
        &mut e,
        now,
        udp(),
        request("INVITE", "192.0.2.9:5062;branch=z9hG4bKb", 1, ""),
    );
    assert_eq!(outputs.len(), 1);
    assert!(text(&outputs).starts_with("SIP/2.0 482"));
    let mut proxy = endpoint(EndpointConfig {
        reject_merged: false,
        ..Default::default()
    });
    feed(&mut proxy, now, udp(), invite());
    let outputs = feed(
        &mut proxy,
        now,
        udp(),
        request("INVITE", "192.0.2.9:5062;branch=z9hG4bKb", 1, ""),
    );
    assert!(matches!(outputs[0], Output::Request { .. }));
}

#[test]
fn rfc_2543_requests_match_by_their_fields() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let old = request("INVITE", "192.0.2.9:5062", 1, "");
    let tx = tx_of(&feed(&mut e, now, udp(), old.clone()));
    assert!(
        !feed(&mut e, now, udp(), old)
            .iter()
            .any(|output| matches!(output, Output::Request { .. }))
    );
    respond(&mut e, now, tx, 486);
    assert!(feed(&mut e, now, udp(), request("ACK", "192.0.2.9:5062", 1, "x")).is_empty());
    assert_eq!(
        e.next_timeout(),
        Some(now + ms(5000)),
        "the ACK was placed: timer I runs"
    );
}

#[test]
fn the_same_branch_from_another_sender_is_another_transaction() {
    let (mut e, now) = (
        endpoint(EndpointConfig {
            reject_merged: false,
            ..Default::default()
        }),
        origin(),
    );
    feed(&mut e, now, udp(), invite());
    let outputs = feed(
        &mut e,
        now,
        udp(),
        request("INVITE", "192.0.2.77:5062;branch=z9hG4bKa", 1, ""),
    );
    assert!(matches!(outputs[0], Output::Request { .. }));
}

#[test]
fn a_full_table_answers_503_with_retry_after() {
    let (mut e, now) = (
        endpoint(EndpointConfig {
            max_server_transactions: 1,
            ..Default::default()
        }),
        origin(),
    );
    feed(&mut e, now, udp(), invite());
    let outputs = feed(
        &mut e,
        now,
        udp(),
        request("INVITE", "192.0.2.9:5062;branch=z9hG4bKb", 2, ""),
    );
    assert!(
        text(&outputs).starts_with("SIP/2.0 503") && text(&outputs).contains("Retry-After: 5\r\n")
    );
    assert_eq!(
        (e.counters().server_overflow, e.server_transactions()),
        (1, 1)
    );
}

#[test]
fn a_malformed_request_is_answered_400_and_counted() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let bad = String::from_utf8(invite().to_vec())
        .unwrap()
        .replace("CSeq: 1 INVITE", "CSeq: x INVITE");
    let outputs = feed(&mut e, now, udp(), Bytes::from(bad));
    assert!(text(&outputs).starts_with("SIP/2.0 400"));
    assert_eq!(e.counters().parse_errors.values().sum::<u64>(), 1);
    assert_eq!(e.server_transactions(), 0);
}

#[test]
fn a_request_whose_via_breaks_the_grammar_is_answered_where_its_sent_by_says() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let sound = String::from_utf8(invite().to_vec()).unwrap();
    let via = sound.lines().find(|line| line.starts_with("Via")).unwrap();
    for (bad, status, port) in [
        ("Via: SIP/2.0/UDP 192.0.2.15:5072;;,;,,", "400", Some(5072)),
        (
            "Via: SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw",
            "400",
            Some(5060),
        ),
        ("Via: SIP/2.0/UDP", "400", None),
    ] {
        let outputs = feed(&mut e, now, udp(), Bytes::from(sound.replace(via, bad)));
        let sent = sent(&outputs);
        assert_eq!(sent.first().map(|(to, _)| to.remote.port()), port, "{bad}");
        let text = text(&outputs);
        assert!(
            port.is_none() || text.starts_with(&format!("SIP/2.0 {status}")),
            "{text}"
        );
    }
}

#[test]
fn neither_a_malformed_ack_nor_a_malformed_response_is_answered() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let ack = String::from_utf8(invite().to_vec())
        .unwrap()
        .replace("INVITE", "ACK")
        .replace("CSeq: 1", "CSeq: x");
    assert!(feed(&mut e, now, udp(), Bytes::from(ack)).is_empty());
    let response =
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKa\r\nCSeq: x\r\n\r\n";
    assert!(feed(&mut e, now, udp(), Bytes::from(response)).is_empty());
}

#[test]
fn another_version_is_answered_505() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let bad =
        String::from_utf8(invite().to_vec())
            .unwrap()
            .replacen("SIP/2.0\r\n", "SIP/7.0\r\n", 1);
    assert!(text(&feed(&mut e, now, udp(), Bytes::from(bad))).starts_with("SIP/2.0 505"));
}

#[test]
fn keep_alives_are_answered_on_streams_and_swallowed_on_udp() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    assert!(feed(&mut e, now, udp(), Bytes::from_static(b"\r\n\r\n")).is_empty());
    assert_eq!(
        text(&feed(
            &mut e,
            now,
            flow(Transport::Tcp),
            Bytes::from_static(b"\r\n\r\n")
        )),
        "\r\n"
    );
    assert_eq!(e.counters().keep_alives, 2);
}

#[test]
fn a_non_invite_gets_no_408_and_no_provisional_but_100() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(
        &mut e,
        now,
        udp(),
        request("OPTIONS", "192.0.2.9:5062;branch=z9hG4bKo", 1, ""),
    ));
    assert!(respond(&mut e, now, tx, 183).is_empty());
    assert!(respond(&mut e, now, tx, 100).is_empty());
    assert!(text(&run(&mut e, now + ms(3500), Input::Timeout)).starts_with("SIP/2.0 100"));
    assert!(respond(&mut e, now, tx, 408).is_empty());
    assert_eq!(e.server_transactions(), 0);
}

#[test]
fn an_answer_to_no_transaction_is_misuse() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    assert!(respond(&mut e, now, ServerTx(99), 200).is_empty());
    let tx = tx_of(&feed(&mut e, now, udp(), invite()));
    respond(&mut e, now, tx, 486);
    assert!(respond(&mut e, now, tx, 200).is_empty());
    assert_eq!(e.counters().misuse, 2);
}

#[test]
fn a_request_of_ours_has_an_advertised_via_with_rport() {
    let advertise = [(udp().local, "door.example:5099".to_owned())]
        .into_iter()
        .collect();
    let (mut e, now) = (
        endpoint(EndpointConfig {
            advertise,
            ..Default::default()
        }),
        origin(),
    );
    let bytes = begin(&mut e, now, Method::Options, udp());
    let message = Message::parse(bytes, &Default::default()).unwrap();
    assert_eq!(
        (message.top_via().host, message.top_via().port),
        ("door.example", Some(5099))
    );
    assert!(message.top_via().wants_rport() && message.top_via().rfc3261_branch().is_some());
    assert_eq!(message.header(&HeaderName::UserAgent), Some("Doorward"));
}

#[test]
fn a_failure_is_acknowledged_with_the_invites_branch_and_route() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let bytes = begin(&mut e, now, Method::Invite, udp());
    let outputs = feed(&mut e, now, udp(), answer(&bytes, 486, "x", "INVITE"));
    let ack = Message::parse(sent(&outputs)[0].1.clone(), &Default::default()).unwrap();
    let invite = Message::parse(bytes.clone(), &Default::default()).unwrap();
    assert_eq!(ack.method(), &Method::Ack);
    assert_eq!(ack.top_via().branch(), invite.top_via().branch());
    assert_eq!((ack.cseq(), ack.to_tag()), (5, Some("x")));
    assert_eq!(ack.header(&HeaderName::Route), Some("<sip:hop;lr>"));
    assert!(matches!(outputs[1], Output::Response { .. }));
    let again = feed(&mut e, now, udp(), answer(&bytes, 486, "x", "INVITE"));
    assert!(
        matches!(again[..], [Output::Transmit { .. }]),
        "acknowledged again, not passed up"
    );
}

#[test]
fn a_repeated_2xx_is_acknowledged_from_memory_and_a_forked_one_passed_up() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let bytes = begin(&mut e, now, Method::Invite, udp());
    let ok = answer(&bytes, 200, "one", "INVITE");
    assert!(matches!(
        feed(&mut e, now, udp(), ok.clone())[..],
        [Output::Response { .. }]
    ));
    let mut ack = outgoing(Method::Ack);
    ack.to.push_str(";tag=one");
    let first = run(
        &mut e,
        now,
        Input::Ack {
            request: ack,
            to: udp(),
            invite: ClientTx(1),
        },
    );
    let again = feed(&mut e, now, udp(), ok);
    assert_eq!(sent(&first), sent(&again));
    assert_eq!(again.len(), 1);
    let fork = feed(&mut e, now, udp(), answer(&bytes, 200, "two", "INVITE"));
    assert!(matches!(fork[..], [Output::Response { .. }]));
    run(&mut e, now + ms(32_000), Input::Timeout);
    assert_eq!(e.client_transactions(), 0);
}

#[test]
fn a_cancel_waits_for_a_provisional_and_carries_its_reason() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let bytes = begin(&mut e, now, Method::Invite, udp());
    let reason = Some("SIP;cause=200;text=\"Call completed elsewhere\"".to_owned());
    assert!(
        run(
            &mut e,
            now,
            Input::Cancel {
                tx: ClientTx(1),
                reason
            }
        )
        .is_empty()
    );
    let outputs = feed(&mut e, now, udp(), answer(&bytes, 180, "x", "INVITE"));
    let cancel = Message::parse(sent(&outputs)[0].1.clone(), &Default::default()).unwrap();
    let invite = Message::parse(bytes.clone(), &Default::default()).unwrap();
    assert_eq!(
        (cancel.method(), cancel.cseq(), cancel.to_tag()),
        (&Method::Cancel, 5, None)
    );
    assert_eq!(cancel.top_via().branch(), invite.top_via().branch());
    assert!(
        cancel
            .header(&HeaderName::Reason)
            .unwrap()
            .contains("elsewhere")
    );
    assert!(
        run(
            &mut e,
            now,
            Input::Cancel {
                tx: ClientTx(1),
                reason: None
            }
        )
        .is_empty(),
        "once is enough"
    );
    // The answer to the CANCEL is nobody's business, that to the INVITE is the user's.
    assert!(
        feed(
            &mut e,
            now,
            udp(),
            answer(
                sent(&outputs).first().map(|s| &s.1).unwrap(),
                200,
                "x",
                "CANCEL"
            )
        )
        .is_empty()
    );
    let end = feed(&mut e, now, udp(), answer(&bytes, 487, "x", "INVITE"));
    assert!(
        end.iter()
            .any(|output| matches!(output, Output::Response { .. }))
    );
}

#[test]
fn a_held_cancel_is_forgotten_when_a_final_comes_first() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let bytes = begin(&mut e, now, Method::Invite, udp());
    run(
        &mut e,
        now,
        Input::Cancel {
            tx: ClientTx(1),
            reason: None,
        },
    );
    let outputs = feed(&mut e, now, udp(), answer(&bytes, 200, "x", "INVITE"));
    assert!(matches!(outputs[..], [Output::Response { .. }]));
}

#[test]
fn a_cancelled_invite_that_never_ends_is_given_up() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let bytes = begin(&mut e, now, Method::Invite, udp());
    feed(&mut e, now, udp(), answer(&bytes, 180, "x", "INVITE"));
    run(
        &mut e,
        now,
        Input::Cancel {
            tx: ClientTx(1),
            reason: None,
        },
    );
    let mut outputs = Vec::new();
    while let Some(at) = e.next_timeout() {
        outputs.extend(run(&mut e, at, Input::Timeout));
    }
    assert!(matches!(
        outputs.last(),
        Some(Output::Failed {
            cause: FailCause::Timeout,
            ..
        })
    ));
    assert_eq!(e.client_transactions(), 0);
}

#[test]
fn a_stray_response_is_dropped_and_counted() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let bytes = begin(&mut e, now, Method::Options, udp());
    let forged = String::from_utf8(answer(&bytes, 200, "x", "OPTIONS").to_vec()).unwrap();
    let forged = forged.replace("z9hG4bK0.", "z9hG4bK0.1");
    assert!(feed(&mut e, now, udp(), Bytes::from(forged)).is_empty());
    let other_method = answer(&bytes, 200, "x", "INFO");
    assert!(feed(&mut e, now, udp(), other_method).is_empty());
    assert_eq!(e.counters().stray_responses, 2);
}

#[test]
fn a_response_with_a_second_via_is_dropped_and_counted() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let sent = begin(&mut e, now, Method::Options, udp());
    let ok = String::from_utf8(answer(&sent, 200, "t", "OPTIONS").to_vec()).unwrap();
    let second = ok.replacen(
        "\r\nFrom",
        "\r\nVia: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKx\r\nFrom",
        1,
    );
    assert!(feed(&mut e, now, udp(), Bytes::from(second)).is_empty());
    assert_eq!(e.counters().stray_responses, 1);
    assert_eq!(feed(&mut e, now, udp(), Bytes::from(ok)).len(), 1);
}

#[test]
fn a_closed_connection_fails_its_unanswered_requests_only() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    begin(&mut e, now, Method::Options, flow(Transport::Tcp));
    assert!(
        run(
            &mut e,
            now,
            Input::ConnectionClosed {
                connection: ConnectionId(8)
            }
        )
        .is_empty()
    );
    let outputs = run(
        &mut e,
        now,
        Input::ConnectionClosed {
            connection: ConnectionId(7),
        },
    );
    assert!(matches!(
        outputs[..],
        [Output::Failed {
            tx: ClientTx(1),
            cause: FailCause::Transport
        }]
    ));
    assert_eq!(e.client_transactions(), 0);
}

#[test]
fn a_failed_send_fails_the_transaction_its_bytes_name() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let bytes = begin(&mut e, now, Method::Invite, udp());
    let outputs = run(&mut e, now, Input::TransportFailed { flow: udp(), bytes });
    assert!(matches!(
        outputs[..],
        [Output::Failed {
            cause: FailCause::Transport,
            ..
        }]
    ));
}

#[test]
fn a_full_client_table_fails_the_request_at_once() {
    let (mut e, now) = (
        endpoint(EndpointConfig {
            max_client_transactions: 1,
            ..Default::default()
        }),
        origin(),
    );
    begin(&mut e, now, Method::Options, udp());
    let outputs = run(
        &mut e,
        now,
        Input::Request {
            tx: ClientTx(2),
            request: outgoing(Method::Info),
            to: udp(),
        },
    );
    assert!(matches!(
        outputs[..],
        [Output::Failed {
            tx: ClientTx(2),
            cause: FailCause::Transport
        }]
    ));
    assert_eq!(e.counters().client_overflow, 1);
}

#[test]
fn outputs_left_undrained_come_first_the_next_time() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    drop(e.handle(
        now,
        Input::Received {
            flow: udp(),
            bytes: invite(),
        },
    ));
    let outputs = run(&mut e, now, Input::Timeout);
    assert!(matches!(outputs[0], Output::Request { .. }));
}

#[test]
fn a_request_nobody_answers_ends_after_its_client_gave_up() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    feed(
        &mut e,
        now,
        udp(),
        request("OPTIONS", "192.0.2.9:5062;branch=z9hG4bKo", 1, ""),
    );
    while let Some(at) = e.next_timeout() {
        run(&mut e, at, Input::Timeout);
    }
    assert_eq!(e.server_transactions(), 0);
}
