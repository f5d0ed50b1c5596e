//! Reliable provisional responses (RFC 3262), both roles, beside the INVITE's own transaction.
//!
//! ```text
//!   UAS  Provisionals:  Idle ── send ──► Unacknowledged ── PRACK ──► Idle
//!                                          │   ▲ timer: T1, 2·T1, 4·T1 …
//!                                          └───┘
//!                                          └── 64·T1 ──► given up: the INVITE is refused with a 5xx
//!   UAC  Arrivals:      one an early dialog; a response is acknowledged in the order of RSeq and once
//! ```
//!
//! Deliberately absent: the PRACK's own transaction (the endpoint's), and what its body means (the offer/answer's).

use std::time::{Duration, Instant};

use crate::dialog::Reject;
use crate::message::{HeaderName, Message, OutgoingResponse};
use crate::transaction::Timers;

/// The option tag.
pub const OPTION: &str = "100rel";

/// Retransmissions end after this many T1 (section 3).
const GIVE_UP: u32 = 64;

/// A reliable response under way.
#[derive(Debug)]
struct Unacknowledged {
    rseq: u32,
    cseq: u32,
    response: OutgoingResponse,
    interval: Duration,
    next: Instant,
    until: Instant,
}

/// The UAS's side of one INVITE: one unacknowledged reliable response at a time (section 3).
#[derive(Debug)]
pub struct Provisionals {
    last: u32,
    current: Option<Box<Unacknowledged>>,
    /// What waits for the PRACK of the current one. Bounded: a newer one without a body takes the place of an older.
    waiting: Option<OutgoingResponse>,
    t1: Duration,
}

/// What a PRACK brought about.
#[derive(Debug)]
pub struct Acknowledged {
    /// The response acknowledged bore a body.
    pub bore_body: bool,
    /// The next one to send.
    pub next: Option<OutgoingResponse>,
}

/// What is due.
#[derive(Debug)]
pub enum Due {
    /// The response again.
    Repeat(OutgoingResponse),
    /// No PRACK for 64·T1: the request is to be refused with a 5xx.
    GivenUp,
}

impl Provisionals {
    /// A side that sent nothing yet. RSeq begins at a random number of 1 to 2³¹-1 (section 3).
    #[must_use]
    pub fn new(random: u32, timers: &Timers) -> Self {
        Self {
            last: random & 0x3fff_ffff,
            current: None,
            waiting: None,
            t1: timers.t1.max(Duration::from_millis(1)),
        }
    }

    /// Makes `response` reliable; `cseq` is the INVITE's. `None`: another one waits for its PRACK, this goes after it.
    pub fn send(
        &mut self,
        now: Instant,
        cseq: u32,
        response: OutgoingResponse,
    ) -> Option<OutgoingResponse> {
        if self.current.is_some() {
            let keep = self.waiting.as_ref().is_some_and(|old| old.body.is_some());
            if !keep {
                self.waiting = Some(response);
            }
            return None;
        }
        self.last += 1;
        let response = response
            .with_header(HeaderName::Require, OPTION)
            .with_header(HeaderName::RSeq, self.last.to_string());
        self.current = Some(Box::new(Unacknowledged {
            rseq: self.last,
            cseq,
            response: response.clone(),
            interval: self.t1,
            next: now + self.t1,
            until: now + self.t1 * GIVE_UP,
        }));
        Some(response)
    }

    /// A PRACK of the dialog.
    ///
    /// # Errors
    /// 400 without a readable RAck, 481 when it names no response that waits (section 3).
    pub fn acknowledge(&mut self, now: Instant, prack: &Message) -> Result<Acknowledged, Reject> {
        let (rseq, cseq, method) = prack
            .header(&HeaderName::RAck)
            .and_then(parse_rack)
            .ok_or(Reject::new(400, "Bad RAck"))?;
        let matches = |current: &Unacknowledged| {
            current.rseq == rseq && current.cseq == cseq && method == "INVITE"
        };
        let current = match self.current.take() {
            Some(current) if matches(&current) => current,
            other => {
                self.current = other;
                return Err(Reject::new(481, "No Such Provisional Response"));
            }
        };
        let next = self
            .waiting
            .take()
            .and_then(|response| self.send(now, cseq, response));
        Ok(Acknowledged {
            bore_body: current.response.body.is_some(),
            next,
        })
    }

    /// Whether a response with a body waits for its PRACK: no 2xx may be sent before it came (section 3).
    #[must_use]
    pub fn holds_success(&self) -> bool {
        let body = |response: &OutgoingResponse| response.body.is_some();
        self.current
            .as_ref()
            .is_some_and(|current| body(&current.response))
            || self.waiting.as_ref().is_some_and(body)
    }

    /// Nothing is repeated any more.
    pub fn clear(&mut self) {
        self.current = None;
        self.waiting = None;
    }

    /// When [`Self::timeout`] is due. Not asked any more once the final response is sent: a PRACK under way then is still
    /// taken.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let current = self.current.as_ref()?;
        Some(current.next.min(current.until))
    }

    /// What is due now.
    pub fn timeout(&mut self, now: Instant) -> Option<Due> {
        let current = self.current.as_mut()?;
        if current.until <= now {
            self.clear();
            return Some(Due::GivenUp);
        }
        if current.next > now {
            return None;
        }
        current.interval *= 2;
        current.next = now + current.interval;
        Some(Due::Repeat(current.response.clone()))
    }
}

/// How a reliable response relates to those before it in its early dialog (section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The next in order: acknowledge it.
    Next,
    /// Seen already: its PRACK is under way.
    Repeated,
    /// One before it is missing: neither acknowledged nor taken.
    Early,
}

/// The UAC's side of one early dialog.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrivals {
    last: Option<u32>,
}

impl Arrivals {
    /// A reliable response with this RSeq came in.
    pub fn receive(&mut self, rseq: u32) -> Arrival {
        match self.last {
            Some(last) if rseq <= last => Arrival::Repeated,
            Some(last) if rseq > last + 1 => Arrival::Early,
            _ => {
                self.last = Some(rseq);
                Arrival::Next
            }
        }
    }
}

/// The RSeq of a response that wants a PRACK: 101 to 199 with `Require: 100rel` (section 4).
#[must_use]
pub fn rseq(response: &Message) -> Option<u32> {
    let status = response.status()?;
    let wanted = (101..200).contains(&status)
        && response
            .values(&HeaderName::Require)
            .any(|option| option.eq_ignore_ascii_case(OPTION));
    if !wanted {
        return None;
    }
    let rseq: u32 = response.header(&HeaderName::RSeq)?.trim().parse().ok()?;
    (1..u32::MAX).contains(&rseq).then_some(rseq)
}

/// The RAck that acknowledges `response` (section 7.2).
#[must_use]
pub fn rack(rseq: u32, response: &Message) -> String {
    format!("{rseq} {} {}", response.cseq(), response.method().as_str())
}

/// Whether a request names the option in `Supported` or `Require`.
#[must_use]
pub fn takes(request: &Message) -> bool {
    [HeaderName::Supported, HeaderName::Require]
        .iter()
        .any(|name| names(request, name))
}

/// Whether a request demands the option.
#[must_use]
pub fn demands(request: &Message) -> bool {
    names(request, &HeaderName::Require)
}

fn names(request: &Message, name: &HeaderName) -> bool {
    request
        .values(name)
        .any(|option| option.eq_ignore_ascii_case(OPTION))
}

fn parse_rack(value: &str) -> Option<(u32, u32, &str)> {
    let mut words = value.split_ascii_whitespace();
    let rseq = words.next()?.parse().ok()?;
    let cseq = words.next()?.parse().ok()?;
    let method = words.next()?;
    words.next().is_none().then_some((rseq, cseq, method))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(start: &str, cseq: &str, lines: &str) -> Message {
        let text = format!(
            "{start}\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=f\r\nTo: <sip:b@x>;tag=t\r\n\
             Call-ID: c\r\nCSeq: {cseq}\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Default::default()).unwrap()
    }

    fn prack(rack: &str) -> Message {
        message(
            "PRACK sip:b@x SIP/2.0",
            "8 PRACK",
            &format!("RAck: {rack}\r\n"),
        )
    }

    fn side() -> Provisionals {
        Provisionals::new(9, &Timers::default())
    }

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "the origin of the virtual clock")]
        Instant::now()
    }

    fn ringing() -> OutgoingResponse {
        OutgoingResponse::new(180)
    }

    fn progress() -> OutgoingResponse {
        OutgoingResponse::new(183).with_body("application/sdp", Bytes::from_static(b"v=0"))
    }

    fn header<'a>(response: &'a OutgoingResponse, name: &HeaderName) -> Option<&'a str> {
        let found = response.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_reliable_response_says_so_and_is_numbered() {
        let mut side = side();
        let sent = side.send(start(), 7, ringing()).unwrap();
        assert_eq!(header(&sent, &HeaderName::Require), Some("100rel"));
        assert_eq!(header(&sent, &HeaderName::RSeq), Some("10"));
    }

    #[test]
    fn one_at_a_time_and_the_next_is_one_higher() {
        let (mut side, now) = (side(), start());
        side.send(now, 7, progress()).unwrap();
        assert!(side.send(now, 7, ringing()).is_none());
        let acknowledged = side.acknowledge(now, &prack("10 7 INVITE")).unwrap();
        assert!(acknowledged.bore_body);
        let next = acknowledged.next.unwrap();
        assert_eq!(
            (next.status, header(&next, &HeaderName::RSeq)),
            (180, Some("11"))
        );
    }

    #[test]
    fn a_prack_for_another_response_gets_481_and_a_broken_one_400() {
        let (mut side, now) = (side(), start());
        side.send(now, 7, ringing()).unwrap();
        for stranger in ["9 7 INVITE", "10 6 INVITE", "10 7 UPDATE"] {
            let refused = side.acknowledge(now, &prack(stranger)).unwrap_err();
            assert_eq!(refused.status, 481, "{stranger}");
        }
        assert_eq!(side.acknowledge(now, &prack("x")).unwrap_err().status, 400);
        assert!(side.acknowledge(now, &prack("10 7 INVITE")).is_ok());
        let again = side.acknowledge(now, &prack("10 7 INVITE")).unwrap_err();
        assert_eq!(again.status, 481);
    }

    #[test]
    fn it_is_repeated_at_doubling_intervals_without_a_ceiling_and_given_up_after_64_t1() {
        let (mut side, begin) = (side(), start());
        side.send(begin, 7, ringing()).unwrap();
        let mut at = Vec::new();
        while let Some(due) = side.next_timeout() {
            match side.timeout(due).unwrap() {
                Due::Repeat(_) => at.push((due - begin).as_millis()),
                Due::GivenUp => at.push(0),
            }
        }
        assert_eq!(at, [500, 1_500, 3_500, 7_500, 15_500, 31_500, 0]);
    }

    #[test]
    fn a_success_waits_for_the_prack_of_a_response_with_a_body_only() {
        let (mut side, now) = (side(), start());
        side.send(now, 7, ringing()).unwrap();
        assert!(!side.holds_success());
        side.send(now, 7, progress());
        assert!(side.holds_success());
        side.acknowledge(now, &prack("10 7 INVITE")).unwrap();
        assert!(side.holds_success());
        side.acknowledge(now, &prack("11 7 INVITE")).unwrap();
        assert!(!side.holds_success());
    }

    #[test]
    fn a_uac_acknowledges_in_order_and_once() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.receive(500), Arrival::Next);
        assert_eq!(arrivals.receive(500), Arrival::Repeated);
        assert_eq!(arrivals.receive(502), Arrival::Early);
        assert_eq!(arrivals.receive(501), Arrival::Next);
        assert_eq!(arrivals.receive(502), Arrival::Next);
    }

    #[test]
    fn a_response_wants_a_prack_when_it_requires_the_option_and_is_no_100() {
        let response = |status: &str, lines: &str| {
            rseq(&message(&format!("SIP/2.0 {status} x"), "7 INVITE", lines))
        };
        let lines = "Require: 100rel\r\nRSeq: 5\r\n";
        assert_eq!(response("183", lines), Some(5));
        assert_eq!(response("100", lines), None);
        assert_eq!(response("200", lines), None);
        assert_eq!(response("183", "RSeq: 5\r\n"), None);
        assert_eq!(response("183", "Require: 100rel\r\nRSeq: 0\r\n"), None);
        let ringing = message("SIP/2.0 180 x", "7 INVITE", lines);
        assert_eq!(rack(5, &ringing), "5 7 INVITE");
    }
}
