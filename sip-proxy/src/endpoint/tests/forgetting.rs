//! What is answered without keeping a transaction, and what goes early when room is short.

use super::*;

fn options(branch: &str) -> Bytes {
    request("OPTIONS", &format!("192.0.2.9:5062;branch={branch}"), 1, "")
}

/// The To tag of the one response among the outputs.
fn to_tag(outputs: &[Output]) -> String {
    let bytes = sent(outputs)[0].1.clone();
    let message = Message::parse(bytes, &Default::default()).unwrap();
    message.to_tag().unwrap().to_owned()
}

#[test]
fn a_challenge_to_an_invite_leaves_no_transaction_and_its_ack_is_absorbed() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    for status in [401, 407] {
        let outputs = feed(&mut e, now, udp(), invite());
        assert!(
            sent(&outputs).is_empty(),
            "the challenge is faster than 100"
        );
        let response = OutgoingResponse::new(status).with_to_tag("the user's own");
        let tx = tx_of(&outputs);
        let first = run(&mut e, now, Input::Respond { tx, response });
        assert!(text(&first).starts_with(&format!("SIP/2.0 {status}")));
        assert_eq!((e.server_transactions(), e.next_timeout()), (0, None));
        let again = tx_of(&feed(&mut e, now + ms(500), udp(), invite()));
        assert_ne!(again, tx, "the repeated INVITE comes up again");
        let second = respond(&mut e, now + ms(500), again, status);
        assert_eq!(
            to_tag(&first),
            to_tag(&second),
            "the same request, the same tag"
        );
        let ack = request("ACK", "192.0.2.9:5062;branch=z9hG4bKa", 1, &to_tag(&first));
        assert!(feed(&mut e, now + ms(600), udp(), ack).is_empty());
    }
    let counters = e.counters();
    assert_eq!((counters.stateless_acks, counters.stray_acks), (2, 0));
    assert_eq!(counters.responses_out.get(401), 2);
}

#[test]
fn an_ack_with_a_made_up_tag_is_not_absorbed_as_one_of_a_challenge() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let ack = request(
        "ACK",
        "192.0.2.9:5062;branch=z9hG4bKa",
        1,
        "0000000000000000",
    );
    assert!(matches!(
        feed(&mut e, now, udp(), ack)[..],
        [Output::Ack { tx: None, .. }]
    ));
}

#[test]
fn a_challenge_after_a_provisional_is_kept_and_repeated() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(&mut e, now, udp(), invite()));
    assert!(text(&run(&mut e, now + ms(200), Input::Timeout)).starts_with("SIP/2.0 100"));
    respond(&mut e, now + ms(300), tx, 401);
    assert_eq!(e.server_transactions(), 1);
    assert!(text(&run(&mut e, now + ms(800), Input::Timeout)).starts_with("SIP/2.0 401"));
    assert!(text(&feed(&mut e, now + ms(900), udp(), invite())).starts_with("SIP/2.0 401"));
}

#[test]
fn a_challenge_within_a_dialog_is_kept_and_a_481_is_not() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let within = request("INVITE", "192.0.2.9:5062;branch=z9hG4bKw", 1, "dialog");
    let tx = tx_of(&feed(&mut e, now, udp(), within.clone()));
    respond(&mut e, now, tx, 401);
    assert_eq!(e.server_transactions(), 1);
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let tx = tx_of(&feed(&mut e, now, udp(), within));
    respond(&mut e, now, tx, 481);
    assert_eq!((e.server_transactions(), e.next_timeout()), (0, None));
}

#[test]
fn a_final_marked_stateless_keeps_no_transaction_but_a_2xx_to_an_invite() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    for (bytes, status, left) in [
        (invite(), 403, 0),
        (options("z9hG4bKo"), 200, 0),
        (invite(), 200, 1),
    ] {
        let tx = tx_of(&feed(&mut e, now, udp(), bytes));
        let response = OutgoingResponse::new(status).stateless();
        run(&mut e, now, Input::Respond { tx, response });
        assert_eq!(e.server_transactions(), left, "{status}");
    }
}

#[test]
fn answers_the_endpoint_gives_itself_absorb_their_ack() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    feed(&mut e, now, udp(), invite());
    let via = "192.0.2.9:5062;branch=z9hG4bKother";
    let merged = feed(&mut e, now, udp(), request("INVITE", via, 1, ""));
    assert!(text(&merged).starts_with("SIP/2.0 482"));
    let ack = request("ACK", via, 1, &to_tag(&merged));
    assert!(feed(&mut e, now, udp(), ack).is_empty());
}

/// An endpoint with room for `max` transactions, full of answered OPTIONS.
fn full_of_answered(max: usize) -> (Endpoint, Instant) {
    let (mut e, now) = (
        endpoint(EndpointConfig {
            max_server_transactions: max,
            reject_merged: false,
            ..Default::default()
        }),
        origin(),
    );
    for n in 0..max {
        let tx = tx_of(&feed(&mut e, now, udp(), options(&format!("z9hG4bK{n}"))));
        respond(&mut e, now, tx, 200);
    }
    assert_eq!((e.server_transactions(), e.counters().evicted), (max, 0));
    (e, now)
}

#[test]
fn answered_requests_make_room_for_an_invite_the_oldest_first() {
    let (mut e, now) = full_of_answered(3);
    tx_of(&feed(&mut e, now, udp(), invite()));
    let counters = e.counters();
    assert_eq!((counters.evicted, counters.server_overflow), (1, 0));
    let known = feed(&mut e, now, udp(), options("z9hG4bK1"));
    assert!(
        text(&known).starts_with("SIP/2.0 200"),
        "the second is kept"
    );
    let forgotten = feed(&mut e, now, udp(), options("z9hG4bK0"));
    tx_of(&forgotten);
}

#[test]
fn what_is_not_answered_yet_makes_no_room() {
    let (mut e, now) = full_of_answered(2);
    for n in 0..2 {
        let via = format!("192.0.2.9:5062;branch=z9hG4bKi{n}");
        tx_of(&feed(&mut e, now, udp(), request("INVITE", &via, n, "")));
    }
    let refused = feed(&mut e, now, udp(), options("z9hG4bKlate"));
    assert!(text(&refused).starts_with("SIP/2.0 503"));
    assert_eq!((e.counters().evicted, e.server_transactions()), (2, 2));
}

#[test]
fn completed_requests_are_bounded_on_their_own() {
    let (mut e, now) = (
        endpoint(EndpointConfig {
            max_completed: 10,
            reject_merged: false,
            ..Default::default()
        }),
        origin(),
    );
    for n in 0..1_000_u32 {
        let now = now + ms(u64::from(n));
        let register = request("REGISTER", &format!("192.0.2.9;branch=z9hG4bK{n}"), n, "");
        let tx = tx_of(&feed(&mut e, now, udp(), register));
        respond(&mut e, now, tx, 200);
        assert!(e.server_transactions() <= 10);
    }
    assert_eq!(e.counters().evicted, 990);
    assert!(e.deadlines.len() <= 2_000, "{}", e.deadlines.len());
    while let Some(at) = e.next_timeout() {
        run(&mut e, at, Input::Timeout);
    }
    assert_eq!(e.server_transactions(), 0);
}

/// A MESSAGE may ring a bell: heard twice it would ring twice, and no CSeq we know tells so.
#[test]
fn an_accepted_message_outside_a_dialog_is_never_forgotten_early() {
    let (mut e, now) = (
        endpoint(EndpointConfig {
            max_server_transactions: 1,
            ..Default::default()
        }),
        origin(),
    );
    let message = request("MESSAGE", "192.0.2.9:5062;branch=z9hG4bKm", 1, "");
    let tx = tx_of(&feed(&mut e, now, udp(), message.clone()));
    respond(&mut e, now, tx, 200);
    assert!(text(&feed(&mut e, now, udp(), invite())).starts_with("SIP/2.0 503"));
    assert!(text(&feed(&mut e, now, udp(), message)).starts_with("SIP/2.0 200"));
}

#[test]
fn a_challenge_to_a_non_invite_leaves_no_transaction_behind() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let options = request("OPTIONS", "192.0.2.9:5062;branch=z9hG4bKo", 1, "");
    let tx = tx_of(&feed(&mut e, now, udp(), options.clone()));
    assert!(text(&respond(&mut e, now, tx, 401)).starts_with("SIP/2.0 401"));
    assert_eq!((e.server_transactions(), e.next_timeout()), (0, None));
    assert_ne!(
        tx_of(&feed(&mut e, now, udp(), options)),
        tx,
        "the request again is challenged again"
    );
}

#[test]
fn a_refused_request_is_503_without_a_transaction_and_a_repetition_of_a_served_one_is_served() {
    let (mut e, now) = (endpoint(EndpointConfig::default()), origin());
    let refuse = |bytes: Bytes| Input::Refuse {
        flow: udp(),
        bytes,
        retry_after: 7,
    };
    let outputs = run(&mut e, now, refuse(invite()));
    assert!(text(&outputs).starts_with("SIP/2.0 503"));
    assert!(text(&outputs).contains("Retry-After: 7\r\n"));
    assert_eq!((e.server_transactions(), e.next_timeout()), (0, None));
    let ack = request(
        "ACK",
        "192.0.2.9:5062;branch=z9hG4bKa",
        1,
        &to_tag(&outputs),
    );
    assert!(feed(&mut e, now, udp(), ack).is_empty(), "absorbed");

    let tx = tx_of(&feed(&mut e, now, udp(), invite()));
    respond(&mut e, now, tx, 180);
    let again = run(&mut e, now + ms(500), refuse(invite()));
    assert!(text(&again).starts_with("SIP/2.0 180"), "its call rings");
    let cancel = request("CANCEL", "192.0.2.9:5062;branch=z9hG4bKa", 1, "");
    let outputs = run(&mut e, now + ms(600), refuse(cancel));
    assert!(
        outputs
            .iter()
            .any(|output| matches!(output, Output::Cancelled { .. }))
    );
    let ringing = Bytes::from_static(b"SIP/2.0 180 Ringing\r\n\r\n");
    assert!(run(&mut e, now, refuse(ringing)).is_empty());
    assert_eq!(e.counters().refused, 1);
}
