//! One press counts once, however many ways it arrives.
//!
//! Handsets can be set to send RTP events *and* INFO for every key, and may leave the tone in the audio besides.
//! Two reports of the same key are one press when they come by different methods within the window; reports by the
//! same method are always different presses, for each method counts its own (RFC 4733 by timestamp, INFO by
//! request).
//!
//! A phone may report a key by one method when it goes down and by another when it comes up, with the time it was
//! held. So a press is a span, not a moment.

use std::time::{Duration, Instant};

use super::{Digit, DigitSource};

/// How far apart two methods may report one press. RTP reports at the start or end of the tone, INFO when the phone
/// gets round to it; people press the same key twice in a row slower than this or by one method in order.
const WINDOW: Duration = Duration::from_millis(400);

/// Longest time a key is believed to have been held: a phone that claims more must not swallow later presses.
const HELD: Duration = Duration::from_secs(5);

/// Presses remembered; more than this within the window nobody types. The oldest is forgotten first.
const REMEMBERED: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Press {
    /// The last report.
    at: Instant,
    digit: Digit,
    /// Methods that have reported it, as bits.
    seen: u8,
}

/// Per leg: drops the second report of a press that came by another method.
#[derive(Debug, Default)]
pub struct Normaliser {
    recent: [Option<Press>; REMEMBERED],
    next: usize,
}

impl Normaliser {
    /// A fresh one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports a press; `None` if it was reported by another method already. Each method's reports pair up with
    /// those of the others in order, so `5 5` by both methods is two presses.
    pub fn push(&mut self, now: Instant, digit: Digit, source: DigitSource) -> Option<Digit> {
        self.push_held(now, Duration::ZERO, digit, source)
    }

    /// As [`Normaliser::push`], of a key that came up now and was down for `held` (INFO's `Duration`, the duration of
    /// an RFC 4733 end packet); more than five seconds count as five.
    pub fn push_held(
        &mut self,
        now: Instant,
        held: Duration,
        digit: Digit,
        source: DigitSource,
    ) -> Option<Digit> {
        let down = now.checked_sub(held.min(HELD)).unwrap_or(now);
        let bit = match source {
            DigitSource::Rtp => 1,
            DigitSource::Info => 2,
            DigitSource::InBand => 4,
        };
        // Oldest first: the ring from `next` on.
        for index in (0..REMEMBERED).map(|i| (self.next + i) % REMEMBERED) {
            let Some(Some(press)) = self.recent.get_mut(index) else {
                continue;
            };
            // Zero where the new press began before the last report of the old one.
            let apart = down.saturating_duration_since(press.at);
            if apart <= WINDOW && press.digit == digit && press.seen & bit == 0 {
                press.seen |= bit;
                press.at = press.at.max(now);
                return None;
            }
        }
        if let Some(slot) = self.recent.get_mut(self.next) {
            *slot = Some(Press {
                at: now,
                digit,
                seen: bit,
            });
        }
        self.next = (self.next + 1) % REMEMBERED;
        Some(digit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DigitSource::{InBand, Info, Rtp};

    /// Runs (ms, key, source) reports and returns which were let through.
    fn run(reports: &[(u64, char, DigitSource)]) -> Vec<bool> {
        #[expect(
            clippy::disallowed_methods,
            reason = "one origin for the virtual clock"
        )]
        let origin = Instant::now();
        let mut normaliser = Normaliser::new();
        reports
            .iter()
            .map(|(ms, key, source)| {
                normaliser
                    .push(
                        origin + Duration::from_millis(*ms),
                        Digit::new(*key).unwrap(),
                        *source,
                    )
                    .is_some()
            })
            .collect()
    }

    #[test]
    fn each_pair_of_methods_counts_one_press_once() {
        for first in [Rtp, Info, InBand] {
            for second in [Rtp, Info, InBand] {
                let through = run(&[(0, '9', first), (50, '9', second)]);
                assert_eq!(
                    through,
                    [true, first == second],
                    "{first:?} then {second:?}"
                );
            }
        }
        assert_eq!(
            run(&[(0, '9', Rtp), (10, '9', Info), (20, '9', InBand)]),
            [true, false, false]
        );
    }

    #[test]
    fn other_keys_are_other_presses() {
        assert_eq!(run(&[(0, '9', Rtp), (10, '8', Info)]), [true, true]);
    }

    #[test]
    fn beyond_the_window_it_is_another_press() {
        assert_eq!(run(&[(0, '9', Rtp), (400, '9', Info)]), [true, false]);
        assert_eq!(run(&[(0, '9', Rtp), (401, '9', Info)]), [true, true]);
    }

    #[test]
    fn a_key_pressed_twice_by_two_methods_is_two_presses() {
        let reports = [
            (0, '5', Rtp),
            (30, '5', Info),
            (200, '5', Rtp),
            (230, '5', Info),
        ];
        assert_eq!(run(&reports), [true, false, true, false]);
        let late = [
            (0, '5', Rtp),
            (150, '5', Rtp),
            (200, '5', Info),
            (210, '5', Info),
        ];
        assert_eq!(run(&late), [true, true, false, false]);
    }

    #[test]
    fn a_fast_code_by_both_methods_comes_out_once() {
        let mut reports = Vec::new();
        for (i, key) in "1234567890".chars().enumerate() {
            let at = i as u64 * 80;
            reports.push((at, key, Rtp));
            if i >= 2 {
                reports.push((at + 10, "1234567890".chars().nth(i - 2).unwrap(), Info));
            }
        }
        assert_eq!(run(&reports).iter().filter(|t| **t).count(), 10);
    }

    #[test]
    fn a_held_key_reported_when_it_goes_down_and_when_it_comes_up_is_one_press() {
        #[expect(
            clippy::disallowed_methods,
            reason = "one origin for the virtual clock"
        )]
        let origin = Instant::now() + Duration::from_secs(60);
        let nine = Digit::new('9').unwrap();
        for (held, claimed, one) in [
            (1_000, 1_000, true),
            (3_000, 3_000, true),
            (5_300, 60_000, true),
            // Held longer than is believed, or than the phone says.
            (6_000, 6_000, false),
            (3_000, 160, false),
        ] {
            for (first, second) in [(Rtp, Info), (Info, Rtp)] {
                let mut normaliser = Normaliser::new();
                assert!(normaliser.push(origin, nine, first).is_some());
                let up = origin + Duration::from_millis(held);
                let claimed = Duration::from_millis(claimed);
                let again = normaliser.push_held(up, claimed, nine, second);
                assert_eq!(again.is_none(), one, "{held} {first:?}");
            }
        }
    }

    #[test]
    fn a_phone_that_claims_long_presses_still_presses_as_often_as_it_does() {
        #[expect(
            clippy::disallowed_methods,
            reason = "one origin for the virtual clock"
        )]
        let origin = Instant::now() + Duration::from_secs(60);
        let (nine, long) = (Digit::new('9').unwrap(), Duration::from_secs(4));
        let mut normaliser = Normaliser::new();
        let mut through = 0;
        for press in 0..6 {
            let down = origin + Duration::from_millis(press * 700);
            through += usize::from(normaliser.push(down, nine, Rtp).is_some());
            let up = down + Duration::from_millis(100);
            through += usize::from(normaliser.push_held(up, long, nine, Info).is_some());
        }
        assert_eq!(through, 6);
    }

    #[test]
    fn a_flood_is_bounded() {
        let flood: Vec<_> = (0..1_000).map(|i| (i, '1', Rtp)).collect();
        assert!(run(&flood).iter().all(|t| *t));
    }
}
