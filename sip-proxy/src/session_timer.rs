//! Session timers (RFC 4028): what is asked and agreed, and when one side of a call is refreshed or taken for dead.
//!
//! ```text
//!   request: Session-Expires, Min-SE ──► answer()  ──► 2xx with Session-Expires;refresher, or 422 with Min-SE
//!   2xx:     Session-Expires          ──► accept()  ──► SessionTimer: Refresh at half, Expired at the end
//!   422:     Min-SE                   ──► raise()   ──► the request again
//! ```
//!
//! Deliberately absent: how a refresh is sent (UPDATE or re-INVITE), which the transaction user knows.

use std::time::{Duration, Instant};

use crate::message::{HeaderName, Message};

/// The option tag.
pub const OPTION: &str = "timer";
/// No interval is ever shorter (section 4), seconds.
pub const FLOOR: u32 = 90;
/// A peer that wants longer ones is not followed, seconds: nobody would hear of a dead call within a day.
const CEILING: u32 = 86_400;

/// What a site wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPolicy {
    /// Session-Expires offered, seconds; 0 offers none.
    pub expires: u32,
    /// Shortest accepted (Min-SE), seconds.
    pub min: u32,
}

impl Default for SessionPolicy {
    /// What RFC 4028 section 4 recommends.
    fn default() -> Self {
        Self {
            expires: 1_800,
            min: FLOOR,
        }
    }
}

impl SessionPolicy {
    /// Shortest accepted, never below [`FLOOR`].
    #[must_use]
    pub fn min(&self) -> u32 {
        self.min.max(FLOOR)
    }

    /// The fields of a request of ours; `min` is what a 422 asked for, or 0.
    #[must_use]
    pub fn fields(&self, min: u32) -> Option<[(HeaderName, String); 2]> {
        if self.expires == 0 {
            return None;
        }
        let min = min.max(self.min());
        let expires = self.expires.max(min);
        Some([
            (HeaderName::SessionExpires, expires.to_string()),
            (HeaderName::MinSe, min.to_string()),
        ])
    }
}

/// Who refreshes, by role in the request that agreed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// Who sent the request.
    Uac,
    /// Who answered it.
    Uas,
}

/// An agreed session interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Seconds.
    pub interval: u32,
    /// Who refreshes.
    pub refresher: Refresher,
}

impl Agreed {
    /// The Session-Expires value.
    #[must_use]
    pub fn value(&self) -> String {
        let who = match self.refresher {
            Refresher::Uac => "uac",
            Refresher::Uas => "uas",
        };
        format!("{};refresher={who}", self.interval)
    }
}

/// The UAS's answer to what a request asks for (section 9). `None`: no timer on this side.
///
/// # Errors
/// The interval is too short: 422 with this Min-SE.
pub fn answer(policy: SessionPolicy, request: &Message) -> Result<Option<Agreed>, u32> {
    let supported = supports(request);
    let Some((asked, refresher)) = session_expires(request) else {
        // A peer that only supports it is asked to refresh at the interval we like, section 9.
        return Ok((supported && policy.expires > 0).then(|| Agreed {
            interval: policy.expires.max(floor(policy, request)).min(CEILING),
            refresher: Refresher::Uac,
        }));
    };
    // Who does not know the extension would not know a 422: a proxy wrote the field, section 9.
    if asked < policy.min() && supported {
        return Err(policy.min());
    }
    let wish = if policy.expires == 0 {
        asked
    } else {
        asked.min(policy.expires)
    };
    let refresher = match refresher {
        Some(named) if supported => named,
        None if supported => Refresher::Uac,
        _ => Refresher::Uas,
    };
    Ok(Some(Agreed {
        interval: wish.max(floor(policy, request)).min(CEILING),
        refresher,
    }))
}

fn floor(policy: SessionPolicy, request: &Message) -> u32 {
    min_se(request).unwrap_or(0).max(policy.min())
}

/// What a 2xx agreed to (section 7.2). `None`: the peer keeps no timer.
#[must_use]
pub fn accept(response: &Message) -> Option<Agreed> {
    let (interval, refresher) = session_expires(response)?;
    Some(Agreed {
        interval: interval.clamp(FLOOR, CEILING),
        refresher: refresher.unwrap_or(Refresher::Uac),
    })
}

/// The Min-SE to go on with after a 422 (section 7.3); `None` when it asks for nothing new or for too much.
#[must_use]
pub fn raise(before: u32, response: &Message) -> Option<u32> {
    min_se(response).filter(|min| *min > before && *min <= CEILING)
}

/// Whether a message names the option in `Supported` or `Require`.
#[must_use]
pub fn supports(message: &Message) -> bool {
    [HeaderName::Supported, HeaderName::Require]
        .iter()
        .any(|name| {
            message
                .values(name)
                .any(|option| option.eq_ignore_ascii_case(OPTION))
        })
}

fn min_se(message: &Message) -> Option<u32> {
    seconds(message.header(&HeaderName::MinSe)?)
}

fn session_expires(message: &Message) -> Option<(u32, Option<Refresher>)> {
    let value = message.header(&HeaderName::SessionExpires)?;
    let refresher = value.split(';').skip(1).find_map(|param| {
        let (name, value) = param.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("refresher") {
            return None;
        }
        match value.trim() {
            who if who.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            who if who.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            _ => None,
        }
    });
    Some((seconds(value)?, refresher))
}

fn seconds(value: &str) -> Option<u32> {
    value.split(';').next()?.trim().parse().ok()
}

/// What is due on one side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Refresh it.
    Refresh,
    /// Nobody refreshed it: BYE (section 10).
    Expired,
}

/// The timer of one dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimer {
    /// When we refresh; `None` when the peer does, or when a refresh is out.
    refresh: Option<Instant>,
    expires: Instant,
    interval: u32,
    ours: bool,
}

impl SessionTimer {
    /// A timer that begins with the 2xx sent or received now.
    #[must_use]
    pub fn new(now: Instant, interval: u32, ours: bool) -> Self {
        let length = Duration::from_secs(interval.into());
        // Section 10: BYE is sent before the end, by a third or by 32 s.
        let grace = Duration::from_secs(u64::from(interval / 3).min(32));
        Self {
            refresh: ours.then(|| now + length / 2),
            expires: now + length.saturating_sub(grace),
            interval,
            ours,
        }
    }

    /// The Session-Expires value of a request of ours that renews it: who refreshes stays as it is.
    #[must_use]
    pub fn value(&self) -> String {
        let refresher = if self.ours {
            Refresher::Uac
        } else {
            Refresher::Uas
        };
        let interval = self.interval;
        Agreed {
            interval,
            refresher,
        }
        .value()
    }

    /// Whether we refresh.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// The agreed interval, seconds.
    #[must_use]
    pub fn interval(&self) -> u32 {
        self.interval
    }

    /// When [`Self::due`] says something.
    #[must_use]
    pub fn next_timeout(&self) -> Instant {
        self.refresh.map_or(self.expires, |at| at.min(self.expires))
    }

    /// What is due; a refresh is said once.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        if self.expires <= now {
            return Some(Due::Expired);
        }
        if self.refresh.is_some_and(|at| at <= now) {
            self.refresh = None;
            return Some(Due::Refresh);
        }
        None
    }

    /// A refresh could not be sent now, or met another request (491): once more after `wait`.
    pub fn postpone(&mut self, now: Instant, wait: Duration) {
        self.refresh = Some(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(start: &str, lines: &str) -> Message {
        let text = format!(
            "{start}\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=f\r\nTo: <sip:b@x>;tag=t\r\n\
             Call-ID: c\r\nCSeq: 7 INVITE\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Default::default()).unwrap()
    }

    fn invite(lines: &str) -> Message {
        message("INVITE sip:b@x SIP/2.0", lines)
    }

    fn answered(lines: &str) -> Result<Option<Agreed>, u32> {
        answer(SessionPolicy::default(), &invite(lines))
    }

    fn agreed(interval: u32, refresher: Refresher) -> Option<Agreed> {
        Some(Agreed {
            interval,
            refresher,
        })
    }

    #[test]
    fn a_caller_without_the_extension_gets_no_timer() {
        assert_eq!(answered(""), Ok(None));
    }

    #[test]
    fn a_caller_that_supports_it_refreshes_at_our_interval() {
        assert_eq!(
            answered("Supported: 100rel, timer\r\n"),
            Ok(agreed(1_800, Refresher::Uac))
        );
    }

    #[test]
    fn the_callers_interval_is_kept_or_lowered_but_not_below_its_minimum() {
        let asked = |expires: u32, min: &str| {
            answered(&format!("Supported: timer\r\nx: {expires}\r\n{min}"))
        };
        assert_eq!(asked(600, ""), Ok(agreed(600, Refresher::Uac)));
        assert_eq!(asked(7_200, ""), Ok(agreed(1_800, Refresher::Uac)));
        assert_eq!(
            asked(7_200, "Min-SE: 3600\r\n"),
            Ok(agreed(3_600, Refresher::Uac))
        );
    }

    #[test]
    fn no_minimum_asked_for_makes_a_timer_longer_than_a_day() {
        for expires in ["", "Session-Expires: 1800\r\n"] {
            let lines = format!("Supported: timer\r\nMin-SE: 4000000000\r\n{expires}");
            assert_eq!(answered(&lines), Ok(agreed(CEILING, Refresher::Uac)));
        }
    }

    #[test]
    fn too_short_is_422_with_our_minimum_for_who_would_understand_it() {
        assert_eq!(answered("Supported: timer\r\nx: 60\r\n"), Err(90));
        assert_eq!(answered("x: 60\r\n"), Ok(agreed(90, Refresher::Uas)));
    }

    #[test]
    fn the_callers_choice_of_refresher_stands() {
        assert_eq!(
            answered("Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n"),
            Ok(agreed(600, Refresher::Uas))
        );
        assert_eq!(
            answered("Session-Expires: 600;refresher=uac\r\n"),
            Ok(agreed(600, Refresher::Uas)),
            "a proxy wrote it: the caller cannot refresh"
        );
    }

    #[test]
    fn a_2xx_without_the_field_means_no_timer_and_without_a_refresher_us() {
        let ok = |lines: &str| accept(&message("SIP/2.0 200 OK", lines));
        assert_eq!(ok(""), None);
        assert_eq!(ok("Session-Expires: 300\r\n"), agreed(300, Refresher::Uac));
        assert_eq!(
            ok("Session-Expires: 300;refresher=uas\r\n"),
            agreed(300, Refresher::Uas)
        );
    }

    #[test]
    fn a_422_raises_the_minimum_once_and_within_reason() {
        let refused = |min: u32| message("SIP/2.0 422 x", &format!("Min-SE: {min}\r\n"));
        assert_eq!(raise(90, &refused(2_000)), Some(2_000));
        assert_eq!(raise(2_000, &refused(2_000)), None);
        assert_eq!(raise(90, &refused(1_000_000)), None);
        let fields = SessionPolicy::default().fields(2_000).unwrap();
        assert_eq!(
            (fields[0].1.as_str(), fields[1].1.as_str()),
            ("2000", "2000")
        );
    }

    #[test]
    fn a_policy_of_zero_offers_nothing() {
        let policy = SessionPolicy {
            expires: 0,
            min: 90,
        };
        assert_eq!(policy.fields(0), None);
        assert_eq!(answer(policy, &invite("Supported: timer\r\n")), Ok(None));
    }

    #[test]
    fn the_refresher_acts_at_half_and_both_give_up_before_the_end() {
        #[expect(clippy::disallowed_methods, reason = "the origin of the virtual clock")]
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut ours = SessionTimer::new(now, 1_800, true);
        assert_eq!(ours.next_timeout(), after(900));
        assert_eq!(ours.due(after(900)), Some(Due::Refresh));
        assert_eq!(ours.due(after(901)), None);
        assert_eq!(ours.next_timeout(), after(1_768));
        assert_eq!(ours.due(after(1_768)), Some(Due::Expired));
        assert_eq!(ours.value(), "1800;refresher=uac");
        let theirs = SessionTimer::new(now, 90, false);
        assert_eq!(theirs.next_timeout(), after(60));
    }
}
