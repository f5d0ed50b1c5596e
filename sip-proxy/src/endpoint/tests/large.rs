//! RFC 3261 section 18.1.1: above 1300 octets by TCP, and back to UDP when refused.

use super::*;

/// A request of `method` that is long for a datagram.
fn long(method: Method) -> OutgoingRequest {
    OutgoingRequest {
        headers: vec![(HeaderName::Subject, "x".repeat(1_300))],
        ..outgoing(method)
    }
}

fn begin(
    endpoint: &mut Endpoint,
    now: Instant,
    n: u64,
    request: OutgoingRequest,
    to: Flow,
) -> Vec<(Flow, Bytes)> {
    let tx = ClientTx(n);
    sent(&run(endpoint, now, Input::Request { tx, request, to }))
}

fn via(bytes: &Bytes) -> (Transport, String) {
    let message = Message::parse(bytes.clone(), &Default::default()).unwrap();
    let via = message.top_via();
    (via.transport().unwrap(), via.branch().unwrap().to_owned())
}

#[test]
fn a_long_request_goes_by_tcp_and_says_so_in_its_via() {
    let (mut endpoint, now) = (endpoint(EndpointConfig::default()), origin());
    let sent = begin(&mut endpoint, now, 1, long(Method::Invite), udp());
    let [(to, bytes)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!((to.transport, to.remote), (Transport::Tcp, udp().remote));
    assert_eq!(via(bytes).0, Transport::Tcp);
    assert!(!text_of(bytes).contains(";rport"));
    // On TCP nothing is repeated.
    assert!(sent_at(&mut endpoint, now + ms(500)).is_empty());
    assert_eq!(endpoint.counters().large_by_tcp, 1);
}

fn text_of(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn sent_at(endpoint: &mut Endpoint, now: Instant) -> Vec<(Flow, Bytes)> {
    sent(&run(endpoint, now, Input::Timeout))
}

#[test]
fn refused_by_tcp_it_goes_by_udp_with_the_same_branch_and_is_repeated() {
    for method in [Method::Invite, Method::Message] {
        let (mut endpoint, now) = (endpoint(EndpointConfig::default()), origin());
        let (flow, bytes) = begin(&mut endpoint, now, 1, long(method.clone()), udp()).remove(0);
        let branch = via(&bytes).1;
        let again = sent(&run(
            &mut endpoint,
            now,
            Input::TransportFailed { flow, bytes },
        ));
        let [(to, bytes)] = &again[..] else {
            panic!("{again:?}")
        };
        assert_eq!(*to, udp());
        assert_eq!(via(bytes), (Transport::Udp, branch));
        assert_eq!(sent_at(&mut endpoint, now + ms(500)), again, "timer A or E");
        let ok = answer(bytes, 200, "t", method.as_str());
        let told = feed(&mut endpoint, now + ms(600), udp(), ok);
        assert!(told.iter().any(|o| matches!(
            o,
            Output::Response {
                tx: ClientTx(1),
                ..
            }
        )));
        // For a while the next one is not tried by TCP.
        let next = begin(
            &mut endpoint,
            now + ms(700),
            2,
            long(Method::Message),
            udp(),
        );
        assert_eq!(next[0].0, udp());
        let later = now + Duration::from_secs(601);
        let next = begin(&mut endpoint, later, 3, long(Method::Message), udp());
        assert_eq!(next[0].0.transport, Transport::Tcp);
        assert_eq!(endpoint.counters().large_back_to_udp, 1);
    }
}

#[test]
fn unreachable_by_udp_too_it_has_failed() {
    let (mut endpoint, now) = (endpoint(EndpointConfig::default()), origin());
    let (flow, bytes) = begin(&mut endpoint, now, 1, long(Method::Invite), udp()).remove(0);
    let (flow, bytes) = sent(&run(
        &mut endpoint,
        now,
        Input::TransportFailed { flow, bytes },
    ))
    .remove(0);
    let told = run(&mut endpoint, now, Input::TransportFailed { flow, bytes });
    let failed = |o: &Output| {
        matches!(
            o,
            Output::Failed {
                cause: FailCause::Transport,
                ..
            }
        )
    };
    assert!(told.iter().any(failed), "{told:?}");
}

#[test]
fn to_a_device_that_has_udp_alone_it_goes_by_udp() {
    let (mut endpoint, now) = (endpoint(EndpointConfig::default()), origin());
    let to = udp().datagrams_only();
    let sent = begin(&mut endpoint, now, 1, long(Method::Invite), to);
    assert_eq!(sent[0].0, udp(), "the mark stays inside");
    assert_eq!(endpoint.counters().large_datagrams, 1);
    assert_eq!(endpoint.counters().large_by_tcp, 0);
}

#[test]
fn a_cancel_follows_its_invite_to_tcp() {
    let (mut endpoint, now) = (endpoint(EndpointConfig::default()), origin());
    let (flow, bytes) = begin(&mut endpoint, now, 1, long(Method::Invite), udp()).remove(0);
    feed(&mut endpoint, now, flow, answer(&bytes, 180, "t", "INVITE"));
    let cancel = Input::Cancel {
        tx: ClientTx(1),
        reason: None,
    };
    let out = sent(&run(&mut endpoint, now, cancel));
    assert_eq!(out[0].0.transport, Transport::Tcp);
    assert_eq!(via(&out[0].1), via(&bytes));
}

#[test]
fn a_long_response_stays_where_its_request_came_by() {
    let (mut endpoint, now) = (endpoint(EndpointConfig::default()), origin());
    let told = feed(&mut endpoint, now, udp(), invite());
    let tx = told
        .iter()
        .find_map(|output| match output {
            Output::Request { tx, .. } => Some(*tx),
            _ => None,
        })
        .unwrap();
    let response = OutgoingResponse::new(486).with_header(HeaderName::Subject, "x".repeat(1_300));
    let out = sent(&run(&mut endpoint, now, Input::Respond { tx, response }));
    assert_eq!(out[0].0.transport, Transport::Udp);
    assert!(out[0].1.len() > 1_300);
}
