//! Overload control: from how long messages waited before they were looked at, which new requests are still served.
//!
//! ```text
//!   waited ──▶ least wait of 100 ms above the target? ──▶ threshold up: less is admitted
//!                          no ──▶ threshold down, slowly
//!   new request ──▶ rank = class × STEPS + hash(Call-ID) ──▶ rank ≥ threshold: serve, else 503 or nothing
//! ```
//! The least wait of a window, not the mean, is what tells a queue that stands from a burst that drains (as in RFC 8289).
//! A request and its repetition with credentials have one Call-ID and so one fate: what was let in is let through. What
//! belongs to something already begun (responses, ACK, CANCEL, requests in a dialog) is never asked about.

mod arrival;

use std::time::{Duration, Instant};

pub use arrival::{Arrival, arrival};

/// What a new request is, the first to be refused first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Anything from an address that is neither registered nor trusted, or that is no SIP.
    Stranger,
    /// SUBSCRIBE, MESSAGE, OPTIONS and all that makes neither call nor registration.
    Auxiliary,
    /// REGISTER.
    Register,
    /// A call.
    Call,
    /// A door's call, a lift's, an emergency call.
    Precedence,
}

impl Class {
    /// All, the first to be refused first.
    pub const ALL: [Class; 5] = [
        Class::Stranger,
        Class::Auxiliary,
        Class::Register,
        Class::Call,
        Class::Precedence,
    ];

    /// As written in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Stranger => "stranger",
            Class::Auxiliary => "auxiliary",
            Class::Register => "register",
            Class::Call => "call",
            Class::Precedence => "precedence",
        }
    }
}

/// What to do with a new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Serve it.
    Serve,
    /// 503 with this Retry-After in seconds, without a transaction.
    Refuse(u32),
    /// Even the answer would cost too much.
    Drop,
}

/// Settings.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// A queue in which every message waits longer than this stands.
    pub target: Duration,
    /// How long it must stand.
    pub window: Duration,
    /// Fewer messages in a window are no overload: then the machine was busy with something else.
    pub least: u32,
    /// After the last refusal it is called overloaded for so long.
    pub calm: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            target: Duration::from_millis(20),
            window: Duration::from_millis(100),
            least: 32,
            calm: Duration::from_secs(5),
        }
    }
}

/// Steps within a class: what part of it is admitted.
const STEPS: u16 = 32;
const RANKS: u16 = STEPS * Class::ALL.len() as u16;
/// However bad it is, a quarter of the last class is served.
const HIGHEST: u16 = RANKS - STEPS / 4;
/// So many times the target is bad: strangers hear nothing, and the threshold rises faster.
const BAD: u32 = 4;
/// Retry-After: this many seconds, and up to as many more by Call-ID, so that not all come back at once.
const RETRY_AFTER: u32 = 5;

/// The machine.
#[derive(Debug)]
pub struct Overload {
    config: Config,
    /// The window's end; `None` before the first message.
    ends: Option<Instant>,
    least_wait: Duration,
    messages: u32,
    lost: bool,
    smoothed: Duration,
    /// Ranks below are not admitted.
    threshold: u16,
    /// New requests of this window, by rank.
    arrivals: [u32; RANKS as usize],
    /// The last window was bad.
    bad: bool,
    refused_at: Option<Instant>,
    /// Until then strangers that are refused hear nothing.
    silent_until: Option<Instant>,
    refused: [u64; Class::ALL.len()],
    dropped: u64,
}

impl Overload {
    /// A machine that admits everything.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Overload {
            config,
            ends: None,
            least_wait: Duration::MAX,
            messages: 0,
            lost: false,
            smoothed: Duration::ZERO,
            threshold: 0,
            arrivals: [0; RANKS as usize],
            bad: false,
            refused_at: None,
            silent_until: None,
            refused: [0; Class::ALL.len()],
            dropped: 0,
        }
    }

    /// A message is looked at, `waited` after it came.
    pub fn waited(&mut self, now: Instant, waited: Duration) {
        self.turn(now);
        self.least_wait = self.least_wait.min(waited);
        self.messages = self.messages.saturating_add(1);
        self.smoothed = (self.smoothed * 15 + waited) / 16;
    }

    /// The kernel had no room for messages.
    pub fn lost(&mut self, now: Instant) {
        self.turn(now);
        self.lost = true;
    }

    /// Whether anything is refused now: only then is it worth finding out what a message is.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.threshold > 0
    }

    /// What to do with a new request. `hash` is of its Call-ID.
    pub fn judge(&mut self, now: Instant, class: Class, hash: u64) -> Verdict {
        let step = u16::try_from(hash % u64::from(STEPS)).unwrap_or(0);
        let rank = class as u16 * STEPS + step;
        if let Some(count) = self.arrivals.get_mut(usize::from(rank)) {
            *count = count.saturating_add(1);
        }
        if rank >= self.threshold {
            return Verdict::Serve;
        }
        self.refused_at = Some(now);
        if let Some(count) = self.refused.get_mut(class as usize) {
            *count += 1;
        }
        // To refuse them all was not enough, or will not be: the answers themselves are the load. For a while longer too,
        // or the next answers bring it back.
        if self.bad || self.threshold > STEPS {
            self.silent_until = Some(now + self.config.calm);
        }
        if class == Class::Stranger && self.silent_until.is_some_and(|until| now < until) {
            self.dropped += 1;
            return Verdict::Drop;
        }
        let spread = u32::try_from((hash >> 16) % u64::from(RETRY_AFTER + 1)).unwrap_or(0);
        Verdict::Refuse(RETRY_AFTER + spread)
    }

    /// A request counted as `from` turned out to be of `class` and is judged again.
    pub fn judge_again(&mut self, now: Instant, from: Class, class: Class, hash: u64) -> Verdict {
        if let Some(count) = self.refused.get_mut(from as usize) {
            *count = count.saturating_sub(1);
        }
        self.judge(now, class, hash)
    }

    /// Refusing, or was a moment ago.
    #[must_use]
    pub fn is_overloaded(&self, now: Instant) -> bool {
        let lately = self
            .refused_at
            .is_some_and(|at| now.saturating_duration_since(at) < self.config.calm);
        self.threshold > 0 && self.refused_at.is_some() && self.is_fresh(now) || lately
    }

    /// How long messages wait, smoothed.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.smoothed
    }

    /// Refused by class, those included that heard nothing.
    pub fn refused(&self) -> impl Iterator<Item = (Class, u64)> + '_ {
        Class::ALL.into_iter().zip(self.refused)
    }

    /// Of these, those that heard nothing.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Messages came within the last second.
    fn is_fresh(&self, now: Instant) -> bool {
        self.ends
            .is_some_and(|ends| now.saturating_duration_since(ends) < Duration::from_secs(1))
    }

    fn turn(&mut self, now: Instant) {
        let Some(ends) = self.ends else {
            self.ends = Some(now + self.config.window);
            return;
        };
        if now < ends {
            return;
        }
        if self.is_fresh(now) {
            self.adjust();
        } else {
            (self.threshold, self.bad) = (0, false);
        }
        self.ends = Some(now + self.config.window);
        (self.least_wait, self.messages, self.lost) = (Duration::MAX, 0, false);
        self.arrivals = [0; RANKS as usize];
    }

    /// The threshold for the next window, by what came in this one.
    fn adjust(&mut self) {
        let enough = self.messages >= self.config.least;
        let stands = self.least_wait > self.config.target;
        self.bad = enough && (self.lost || self.least_wait > self.config.target * BAD);
        let admitted: u32 = self.sum_from(self.threshold);
        if enough && (stands || self.lost) {
            // A twentieth less, or a fifth when it is bad.
            let wanted = admitted - (admitted / if self.bad { 5 } else { 20 }).min(admitted);
            let mut threshold = self.threshold + 1;
            while threshold < HIGHEST && self.sum_from(threshold) > wanted {
                threshold += 1;
            }
            self.threshold = threshold.min(HIGHEST);
        } else if !enough {
            self.threshold = self.threshold.saturating_sub(STEPS);
        } else {
            // A fiftieth more, and at least a step.
            let wanted = admitted + admitted / 50;
            let mut threshold = self.threshold.saturating_sub(1);
            while threshold > 0 && self.sum_from(threshold - 1) <= wanted {
                threshold -= 1;
            }
            self.threshold = threshold;
        }
    }

    fn sum_from(&self, threshold: u16) -> u32 {
        let ranks = self.arrivals.get(usize::from(threshold)..);
        ranks.unwrap_or_default().iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[expect(clippy::disallowed_methods, reason = "one origin for the test")]
    fn origin() -> Instant {
        Instant::now()
    }

    /// `count` messages in each of `windows` windows, each waiting `wait`; a request of every class with each.
    fn run(
        overload: &mut Overload,
        start: Instant,
        windows: u32,
        count: u32,
        wait: Duration,
    ) -> Instant {
        let mut now = start;
        for _ in 0..windows {
            for n in 0..count {
                now += Duration::from_millis(100) / count;
                overload.waited(now, wait);
                for class in Class::ALL {
                    overload.judge(now, class, u64::from(n));
                }
            }
        }
        now
    }

    #[test]
    fn nothing_is_refused_while_the_queue_drains_now_and_then() {
        let mut overload = Overload::new(Config::default());
        let mut now = origin();
        for _ in 0..50 {
            now = run(&mut overload, now, 1, 50, 300 * MS);
            overload.waited(now, MS);
        }
        assert!(!overload.refuses() && !overload.is_overloaded(now));
    }

    #[test]
    fn a_few_messages_that_wait_long_are_no_overload() {
        let mut overload = Overload::new(Config::default());
        let now = run(&mut overload, origin(), 50, 25, 400 * MS);
        assert!(!overload.refuses() && !overload.is_overloaded(now));
    }

    #[test]
    fn a_standing_queue_refuses_strangers_first_and_doors_last() {
        let mut overload = Overload::new(Config::default());
        let (mut now, mut seen) = (origin(), Vec::new());
        for _ in 0..400 {
            now = run(&mut overload, now, 1, 64, 50 * MS);
            for (class, refused) in overload.refused() {
                if refused > 0 && !seen.contains(&class) {
                    seen.push(class);
                }
            }
        }
        assert_eq!(seen, Class::ALL);
        assert!(overload.is_overloaded(now));
        let served = (0..STEPS)
            .filter(|hash| {
                overload.judge(now, Class::Precedence, u64::from(*hash)) == Verdict::Serve
            })
            .count();
        assert_eq!(
            served,
            usize::from(STEPS) / 4,
            "some doors ring whatever happens"
        );
    }

    #[test]
    fn strangers_hear_nothing_when_it_is_bad_and_others_always_an_answer() {
        let mut overload = Overload::new(Config::default());
        let mut now = run(&mut overload, origin(), 400, 64, 200 * MS);
        assert_eq!(overload.judge(now, Class::Stranger, 3), Verdict::Drop);
        assert!(overload.dropped() > 0);
        let retries: std::collections::BTreeSet<u32> = (0..100_u64)
            .filter_map(|n| match overload.judge(now, Class::Register, n << 16) {
                Verdict::Refuse(after) => Some(after),
                _ => None,
            })
            .collect();
        assert_eq!(retries, (5..=10).collect(), "spread");
        let mut mild = Overload::new(Config::default());
        now = run(&mut mild, now, 3, 64, 50 * MS);
        assert!(matches!(
            mild.judge(now, Class::Stranger, 0),
            Verdict::Refuse(_)
        ));
    }

    #[test]
    fn messages_the_kernel_lost_are_overload_too() {
        let mut overload = Overload::new(Config::default());
        let mut now = origin();
        for _ in 0..3 {
            overload.lost(now);
            now = run(&mut overload, now, 1, 64, MS);
        }
        assert!(overload.refuses());
    }

    #[test]
    fn it_recovers_slowly_and_is_called_overloaded_a_while_longer() {
        let mut overload = Overload::new(Config::default());
        let mut now = run(&mut overload, origin(), 100, 64, 50 * MS);
        let mut windows = 0;
        while overload.refuses() {
            now = run(&mut overload, now, 1, 64, MS);
            windows += 1;
        }
        assert!((5..=200).contains(&windows), "{windows}");
        assert!(overload.is_overloaded(now));
        let later = now + Config::default().calm;
        assert!(!overload.is_overloaded(later));
    }

    #[test]
    fn a_pause_ends_it_at_once() {
        let mut overload = Overload::new(Config::default());
        let now = run(&mut overload, origin(), 100, 64, 50 * MS);
        assert!(overload.refuses());
        overload.waited(now + Duration::from_secs(3), MS);
        assert!(!overload.refuses());
    }

    #[test]
    fn a_request_and_its_repetition_share_their_fate_while_the_threshold_stands() {
        let mut overload = Overload::new(Config::default());
        let now = run(&mut overload, origin(), 20, 64, 50 * MS);
        for hash in 0..1_000 {
            let first = overload.judge(now, Class::Call, hash);
            assert_eq!(overload.judge(now, Class::Call, hash), first);
        }
        let before: u64 = overload.refused().map(|(_, count)| count).sum();
        let verdict = overload.judge(now, Class::Stranger, 0);
        assert_ne!(verdict, Verdict::Serve);
        let again = overload.judge_again(now, Class::Stranger, Class::Precedence, 0);
        assert_eq!(again, Verdict::Serve);
        let after: u64 = overload.refused().map(|(_, count)| count).sum();
        assert_eq!(before, after);
    }
}
