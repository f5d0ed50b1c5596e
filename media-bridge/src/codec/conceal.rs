//! Packet loss concealment for the waveform codecs, after the idea of G.711 Appendix I without its delay.
//!
//! A lost stretch repeats the last pitch period with the joint cross-faded, keeps its level for 10 ms, fades over
//! the next 50 ms, and is silent then. The first good samples afterwards are faded in over the running repetition.

use super::Rate;

/// Longest pitch period: 15 ms at 16 kHz.
const MAX_PITCH: usize = 240;
/// Past kept: two longest periods and the stretch that is matched, at 16 kHz.
const HISTORY: usize = 800;

/// Eight sums let the compiler use vector registers without being asked to reorder one.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// Remembers one stream and continues it where it broke off.
#[derive(Clone, Debug)]
pub(super) struct Concealer {
    per_ms: usize,
    history: [i16; HISTORY],
    cycle: [i16; MAX_PITCH],
    pitch: usize,
    /// Samples made up since the last good one; 0 = none.
    lost: usize,
    /// Step between the last good sample and the first repeated one, faded out over a quarter period.
    step: f32,
}

impl Concealer {
    /// For a codec whose own rate this is, at most 16 kHz.
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            per_ms: rate.per_ms().min(16),
            history: [0; HISTORY],
            cycle: [0; MAX_PITCH],
            pitch: MAX_PITCH,
            lost: 0,
            step: 0.0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.history.fill(0);
        self.lost = 0;
    }

    /// A packet came: its beginning is blended if it follows a loss, and it is remembered.
    pub(super) fn good(&mut self, pcm: &mut [i16]) {
        if self.lost > 0 {
            // 4 ms, and longer after a longer loss, for the two waveforms have drifted apart.
            let blend = ((4 + self.lost / (2 * self.per_ms)).min(10) * self.per_ms).min(pcm.len());
            for (i, sample) in pcm.iter_mut().take(blend).enumerate() {
                let weight = (i + 1) as f32 / (blend + 1) as f32;
                let old = f32::from(self.next_sample());
                *sample = (f32::from(*sample) * weight + old * (1.0 - weight)) as i16;
            }
            self.lost = 0;
        }
        self.remember(pcm);
    }

    /// A packet is missing: fills the whole of `out`.
    pub(super) fn lost(&mut self, out: &mut [i16]) {
        if self.lost == 0 {
            self.start();
        }
        for sample in out.iter_mut() {
            *sample = self.next_sample();
        }
        self.remember(out);
    }

    fn remember(&mut self, pcm: &[i16]) {
        let keep = HISTORY.saturating_sub(pcm.len());
        self.history.copy_within(HISTORY - keep.., 0);
        let fresh = pcm.iter().skip(pcm.len().saturating_sub(HISTORY));
        for (slot, sample) in self.history.iter_mut().skip(keep).zip(fresh) {
            *slot = *sample;
        }
    }

    /// Finds the pitch and cuts out one period.
    fn start(&mut self) {
        self.pitch = self.find_pitch();
        let quarter = self.pitch / 4;
        let past = |back: usize| {
            self.history
                .get(HISTORY - back)
                .copied()
                .map_or(0.0, f32::from)
        };
        let mut cycle = [0_i16; MAX_PITCH];
        for (i, slot) in cycle.iter_mut().take(self.pitch).enumerate() {
            let plain = past(self.pitch - i);
            // The last quarter runs over into what came before the period, so that the end meets the beginning.
            let into = (i + quarter).saturating_sub(self.pitch - 1);
            let weight = if quarter == 0 {
                0.0
            } else {
                into as f32 / quarter as f32
            };
            *slot = (plain * (1.0 - weight) + past(2 * self.pitch - i) * weight) as i16;
        }
        self.step = past(1) - past(self.pitch + 1);
        self.cycle = cycle;
    }

    /// The lag (5 to 15 ms) at which the last 20 ms resemble the past most.
    fn find_pitch(&self) -> usize {
        let (shortest, longest, length) = (5 * self.per_ms, 15 * self.per_ms, 20 * self.per_ms);
        let past = self.history.map(f32::from);
        let recent = past.get(HISTORY - length..).unwrap_or(&[]);
        let (mut best, mut best_score) = (longest, 0.0_f32);
        for lag in shortest..=longest {
            let earlier = past
                .get(HISTORY - length - lag..HISTORY - lag)
                .unwrap_or(&[]);
            let cross = dot(recent, earlier);
            let score = if cross > 0.0 {
                cross * cross / (dot(earlier, earlier) + 1.0)
            } else {
                0.0
            };
            if score > best_score {
                (best, best_score) = (lag, score);
            }
        }
        best
    }

    fn next_sample(&mut self) -> i16 {
        let at = self.lost;
        self.lost = self.lost.saturating_add(1);
        let (hold, end) = (10 * self.per_ms, 60 * self.per_ms);
        if at >= end {
            return 0;
        }
        let mut value = self
            .cycle
            .get(at % self.pitch.max(1))
            .copied()
            .map_or(0.0, f32::from);
        let quarter = self.pitch / 4;
        if at < quarter {
            value += self.step * (1.0 - (at + 1) as f32 / quarter as f32);
        }
        let fade = if at < hold {
            1.0
        } else {
            (end - at) as f32 / (end - hold) as f32
        };
        (value * fade) as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(from: usize, count: usize) -> Vec<i16> {
        (from..from + count)
            .map(|n| ((std::f64::consts::TAU * 200.0 * n as f64 / 8_000.0).sin() * 8_000.0) as i16)
            .collect()
    }

    #[test]
    fn a_periodic_signal_goes_on_in_phase() {
        let mut concealer = Concealer::new(Rate::Hz8000);
        for frame in 0..5 {
            concealer.good(&mut tone(frame * 160, 160));
        }
        let mut made = [0; 80];
        concealer.lost(&mut made);
        for (made, wanted) in made.iter().zip(tone(800, 80)) {
            assert!(
                (i32::from(*made) - i32::from(wanted)).abs() < 400,
                "{made} for {wanted}"
            );
        }
    }

    #[test]
    fn a_long_loss_fades_to_silence_and_the_return_has_no_click() {
        let mut concealer = Concealer::new(Rate::Hz8000);
        for frame in 0..5 {
            concealer.good(&mut tone(frame * 160, 160));
        }
        let mut made = vec![0; 640];
        concealer.lost(&mut made);
        let peak = |s: &[i16]| s.iter().map(|v| v.unsigned_abs()).max().unwrap();
        assert!(peak(&made[..80]) > 7_000);
        assert!(peak(&made[320..400]) < 5_000);
        assert_eq!(peak(&made[480..]), 0);
        let mut back = vec![8_000; 160];
        concealer.good(&mut back);
        assert!(
            back[0] < 500,
            "fades in from silence, starts at {}",
            back[0]
        );
        assert_eq!(back[159], 8_000);
    }

    #[test]
    fn loss_before_anything_was_heard_is_silence() {
        let mut out = [1; 960];
        Concealer::new(Rate::Hz16000).lost(&mut out);
        assert!(out.iter().all(|s| *s == 0));
    }
}
