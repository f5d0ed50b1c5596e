//! Every timer of RFC 3261 table 4 by its letter (L, M: RFC 6026), on both kinds of transport, with configured T1, T2 and
//! T4, measured at the endpoint under the virtual clock. Timer C is the proxy's: `tests/proxy.rs`.

use super::*;
use crate::Timers;

/// T1 100 ms, T2 400 ms, T4 1 s, D 5 s: 64·T1 is 6.4 s.
const TIMERS: Timers = Timers {
    t1: Duration::from_millis(100),
    t2: Duration::from_millis(400),
    t4: Duration::from_secs(1),
    timer_c: Duration::from_secs(185),
    timer_d: Duration::from_secs(5),
    trying: Duration::from_millis(200),
};
const SIXTY_FOUR_T1: u64 = 6_400;
const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// An endpoint with its clock; what it says is noted with the time since the start.
struct Bench {
    endpoint: Endpoint,
    start: Instant,
    now: Instant,
    flow: Flow,
    /// Milliseconds and first word of all that went out; a response's word is its status.
    sent: Vec<(u64, String)>,
    /// Milliseconds and what the transaction user was told.
    told: Vec<(u64, &'static str)>,
    last: Bytes,
    open: Option<ServerTx>,
}

impl Bench {
    fn new(transport: Transport) -> Self {
        Self::with(transport, TIMERS)
    }

    fn with(transport: Transport, timers: Timers) -> Self {
        let start = origin();
        let config = EndpointConfig {
            timers,
            ..Default::default()
        };
        Self {
            endpoint: endpoint(config),
            start,
            now: start,
            flow: flow(transport),
            sent: Vec::new(),
            told: Vec::new(),
            last: Bytes::new(),
            open: None,
        }
    }

    fn since(&self) -> u64 {
        u64::try_from((self.now - self.start).as_millis()).unwrap()
    }

    fn input(&mut self, input: Input) {
        let at = self.since();
        for output in self.endpoint.handle(self.now, input) {
            match output {
                Output::Transmit { bytes, .. } => {
                    let text = String::from_utf8_lossy(&bytes);
                    let mut words = text.split(' ');
                    let first = words.next().unwrap_or_default();
                    let word = if first == "SIP/2.0" {
                        words.next().unwrap_or_default()
                    } else {
                        first
                    };
                    self.sent.push((at, word.to_owned()));
                    self.last = bytes;
                }
                Output::Request { tx, .. } => self.open = Some(tx),
                Output::Ack { .. } => self.told.push((at, "ack")),
                Output::AckMissing { .. } => self.told.push((at, "ack missing")),
                Output::Response { .. } => self.told.push((at, "response")),
                Output::Failed { cause, .. } => self.told.push((
                    at,
                    match cause {
                        FailCause::Timeout => "timeout",
                        FailCause::Transport => "transport",
                    },
                )),
                Output::Cancelled { .. } => self.told.push((at, "cancelled")),
            }
        }
    }

    fn receive(&mut self, bytes: Bytes) {
        let flow = self.flow;
        self.input(Input::Received { flow, bytes });
    }

    /// Lets `time` pass, timer by timer.
    fn pass(&mut self, time: u64) {
        let end = self.now + ms(time);
        while let Some(at) = self.endpoint.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.input(Input::Timeout);
        }
        self.now = end;
    }

    /// Lets all timers run out; gives the time of the last.
    fn run_out(&mut self) -> u64 {
        while let Some(at) = self.endpoint.next_timeout() {
            self.now = at;
            self.input(Input::Timeout);
        }
        assert_eq!(self.endpoint.client_transactions(), 0);
        assert_eq!(self.endpoint.server_transactions(), 0);
        self.since()
    }

    fn ask(&mut self, method: Method) -> Bytes {
        let to = self.flow;
        self.input(Input::Request {
            tx: ClientTx(1),
            request: outgoing(method),
            to,
        });
        self.last.clone()
    }

    fn answer(&mut self, status: u16) {
        let tx = self.open.expect("a request");
        let response = OutgoingResponse::new(status).with_contact("<sip:us@192.0.2.1>");
        self.input(Input::Respond { tx, response });
    }

    fn times(&self, word: &str) -> Vec<u64> {
        let of = |(at, sent): &(u64, String)| (sent == word).then_some(*at);
        self.sent.iter().filter_map(of).collect()
    }
}

/// A request from outside over this bench's transport.
fn incoming(transport: Transport, method: &str) -> Bytes {
    let text = request(method, "192.0.2.9:5062;branch=z9hG4bKa", 1, "");
    let text = String::from_utf8(text.to_vec()).unwrap();
    Bytes::from(text.replace("SIP/2.0/UDP", &format!("SIP/2.0/{}", transport.as_via())))
}

#[test]
fn timer_a_repeats_an_invite_at_t1_doubling_without_end_and_only_by_udp() {
    let mut udp = Bench::new(Transport::Udp);
    udp.ask(Method::Invite);
    udp.run_out();
    assert_eq!(udp.times("INVITE"), [0, 100, 300, 700, 1_500, 3_100, 6_300]);
    let mut tcp = Bench::new(Transport::Tcp);
    tcp.ask(Method::Invite);
    tcp.run_out();
    assert_eq!(tcp.times("INVITE"), [0]);
}

#[test]
fn timer_b_ends_an_unanswered_invite_after_64_t1_on_every_transport() {
    for transport in BOTH {
        let mut bench = Bench::new(transport);
        bench.ask(Method::Invite);
        assert_eq!(bench.run_out(), SIXTY_FOUR_T1);
        assert_eq!(bench.told, [(SIXTY_FOUR_T1, "timeout")]);
    }
}

#[test]
fn timer_d_acknowledges_repeated_failures_as_long_as_configured_and_not_at_all_by_tcp() {
    for (transport, length) in [(Transport::Udp, 5_000), (Transport::Tcp, 0)] {
        let mut bench = Bench::new(transport);
        let sent = bench.ask(Method::Invite);
        let busy = answer(&sent, 486, "t", "INVITE");
        bench.receive(busy.clone());
        bench.pass(4_900);
        bench.receive(busy.clone());
        assert_eq!(bench.run_out().max(4_900), length.max(4_900));
        bench.receive(busy);
        let acks = if length > 0 { vec![0, 4_900] } else { vec![0] };
        assert_eq!(bench.times("ACK"), acks);
        assert_eq!(bench.told, [(0, "response")]);
    }
}

#[test]
fn timer_e_repeats_at_t1_doubling_up_to_t2_and_only_by_udp() {
    let mut udp = Bench::new(Transport::Udp);
    udp.ask(Method::Options);
    udp.run_out();
    let times = udp.times("OPTIONS");
    assert_eq!(times.get(..6), Some(&[0, 100, 300, 700, 1_100, 1_500][..]));
    assert_eq!(times.last(), Some(&6_300));
    let mut tcp = Bench::new(Transport::Tcp);
    tcp.ask(Method::Options);
    tcp.run_out();
    assert_eq!(tcp.times("OPTIONS"), [0]);
}

#[test]
fn timer_e_repeats_every_t2_once_a_provisional_came() {
    let mut bench = Bench::new(Transport::Udp);
    let sent = bench.ask(Method::Options);
    bench.receive(answer(&sent, 100, "t", "OPTIONS"));
    bench.run_out();
    let times = bench.times("OPTIONS");
    // The interval that was running ends first.
    assert_eq!(times.get(..4), Some(&[0, 100, 500, 900][..]));
}

#[test]
fn timer_f_ends_an_unanswered_request_after_64_t1_on_every_transport() {
    for transport in BOTH {
        let mut bench = Bench::new(transport);
        let sent = bench.ask(Method::Options);
        bench.pass(50);
        bench.receive(answer(&sent, 100, "t", "OPTIONS"));
        assert_eq!(bench.run_out(), SIXTY_FOUR_T1);
        assert_eq!(bench.told.last(), Some(&(SIXTY_FOUR_T1, "timeout")));
    }
}

#[test]
fn timer_g_repeats_a_failure_at_t1_doubling_up_to_t2_and_only_by_udp() {
    for (transport, times) in [
        (Transport::Udp, vec![0, 100, 300, 700, 1_100, 1_500]),
        (Transport::Tcp, vec![0]),
    ] {
        let mut bench = Bench::new(transport);
        bench.receive(incoming(transport, "INVITE"));
        bench.answer(486);
        bench.pass(1_500);
        assert_eq!(bench.times("486"), times);
    }
}

#[test]
fn timer_g_repeats_a_2xx_on_every_transport_until_its_ack() {
    for transport in BOTH {
        let mut bench = Bench::new(transport);
        bench.receive(incoming(transport, "INVITE"));
        bench.answer(200);
        bench.pass(1_000);
        let sent = Message::parse(bench.last.clone(), &Default::default()).unwrap();
        let tag = sent.to_tag().unwrap().to_owned();
        bench.receive(request("ACK", "192.0.2.9:5062;branch=z9hG4bKb", 1, &tag));
        bench.run_out();
        assert_eq!(bench.times("200"), [0, 100, 300, 700]);
        assert_eq!(bench.told, [(1_000, "ack")]);
    }
}

#[test]
fn timer_h_gives_up_the_ack_of_a_failure_after_64_t1_on_every_transport() {
    for transport in BOTH {
        let mut bench = Bench::new(transport);
        bench.receive(incoming(transport, "INVITE"));
        bench.answer(486);
        assert_eq!(bench.run_out(), SIXTY_FOUR_T1);
        assert_eq!(bench.endpoint.counters().timeouts, 1);
    }
}

#[test]
fn timer_h_reports_the_missing_ack_of_a_2xx_after_64_t1_on_every_transport() {
    for transport in BOTH {
        let mut bench = Bench::new(transport);
        bench.receive(incoming(transport, "INVITE"));
        bench.answer(200);
        bench.run_out();
        assert_eq!(bench.told, [(SIXTY_FOUR_T1, "ack missing")]);
    }
}

#[test]
fn timer_i_absorbs_acks_for_t4_and_not_at_all_by_tcp() {
    for (transport, length) in [(Transport::Udp, 1_000), (Transport::Tcp, 0)] {
        let mut bench = Bench::new(transport);
        let invite = incoming(transport, "INVITE");
        bench.receive(invite.clone());
        bench.answer(486);
        let text = String::from_utf8(invite.to_vec()).unwrap();
        let ack = Bytes::from(text.replace("INVITE", "ACK"));
        bench.receive(ack.clone());
        bench.receive(ack);
        assert_eq!(bench.run_out(), length);
        assert_eq!(bench.times("486"), [0]);
    }
}

#[test]
fn timer_j_answers_repetitions_for_64_t1_and_not_at_all_by_tcp() {
    for (transport, length) in [(Transport::Udp, SIXTY_FOUR_T1), (Transport::Tcp, 0)] {
        let mut bench = Bench::new(transport);
        let options = incoming(transport, "OPTIONS");
        bench.receive(options.clone());
        bench.answer(200);
        bench.pass(length.saturating_sub(100));
        let first = bench.open.take();
        bench.receive(options);
        if length > 0 {
            assert_eq!(bench.times("200"), [0, length - 100]);
            assert_eq!((bench.open, bench.run_out()), (None, length));
        } else {
            assert!(bench.open.is_some() && bench.open != first);
        }
    }
}

#[test]
fn timer_k_absorbs_repeated_finals_for_t4_and_not_at_all_by_tcp() {
    for (transport, length) in [(Transport::Udp, 1_000), (Transport::Tcp, 0)] {
        let mut bench = Bench::new(transport);
        let sent = bench.ask(Method::Options);
        let ok = answer(&sent, 200, "t", "OPTIONS");
        bench.receive(ok.clone());
        bench.receive(ok);
        assert_eq!(bench.run_out(), length);
        assert_eq!(bench.told, [(0, "response")]);
    }
}

#[test]
fn timer_l_absorbs_repeated_invites_for_64_t1_after_a_2xx_on_every_transport() {
    for transport in BOTH {
        let mut bench = Bench::new(transport);
        let invite = incoming(transport, "INVITE");
        bench.receive(invite.clone());
        bench.answer(200);
        bench.pass(SIXTY_FOUR_T1 - 100);
        let first = bench.open.take();
        bench.receive(invite);
        assert_eq!((first.is_some(), bench.open), (true, None));
        assert_eq!(bench.run_out(), SIXTY_FOUR_T1);
    }
}

#[test]
fn timer_m_takes_forked_2xx_for_64_t1_on_every_transport() {
    for transport in BOTH {
        let mut bench = Bench::new(transport);
        let sent = bench.ask(Method::Invite);
        bench.receive(answer(&sent, 200, "one", "INVITE"));
        bench.pass(SIXTY_FOUR_T1 - 100);
        bench.receive(answer(&sent, 200, "two", "INVITE"));
        assert_eq!(bench.run_out(), SIXTY_FOUR_T1);
        bench.receive(answer(&sent, 200, "three", "INVITE"));
        assert_eq!(
            bench.told,
            [(0, "response"), (SIXTY_FOUR_T1 - 100, "response")]
        );
        assert_eq!(bench.endpoint.counters().stray_responses, 1);
    }
}

#[test]
fn an_invite_is_answered_100_after_200_ms_unless_the_user_is_faster() {
    let mut slow = Bench::new(Transport::Udp);
    slow.receive(incoming(Transport::Udp, "INVITE"));
    slow.pass(1_000);
    assert_eq!(slow.sent, [(200, "100".to_owned())]);
    let mut fast = Bench::new(Transport::Udp);
    fast.receive(incoming(Transport::Udp, "INVITE"));
    fast.pass(100);
    fast.answer(180);
    fast.pass(1_000);
    assert_eq!(fast.sent, [(100, "180".to_owned())]);
}

#[test]
fn a_slow_non_invite_is_answered_100_when_timer_e_reaches_t2() {
    let mut bench = Bench::new(Transport::Udp);
    bench.receive(incoming(Transport::Udp, "OPTIONS"));
    bench.pass(2_000);
    // 100 + 200: then the interval is T2 (RFC 4320 section 4.1).
    assert_eq!(bench.sent, [(300, "100".to_owned())]);
}

#[test]
fn the_defaults_are_those_of_table_4() {
    let mut bench = Bench::with(Transport::Udp, Timers::default());
    bench.ask(Method::Options);
    bench.run_out();
    let times = bench.times("OPTIONS");
    let wanted = [
        0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500,
    ];
    assert_eq!(times, wanted);
    assert_eq!(bench.told, [(32_000, "timeout")]);
}
