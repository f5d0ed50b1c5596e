//! 8 ↔ 16 kHz by one half-band filter: 47 taps (Kaiser, about 60 dB), flat to 3.4 kHz, 1.4 ms of delay.
//!
//! Every second tap of a half-band filter is zero but the middle one, so half of the work falls away.

use super::MAX_PACKET_MS;

/// Non-zero taps beside the middle one.
const SIDE: usize = 24;
/// Most samples at 8 kHz in one call.
const MAX_NARROW: usize = MAX_PACKET_MS * 8;
/// Shape of the Kaiser window: 60 dB.
const BETA: f64 = 5.65;

/// The taps at odd distance from the middle, in order; their sum is 1 (gain of the interpolator's odd phase).
fn taps() -> [f32; SIDE] {
    let mut taps = [0.0_f64; SIDE];
    let reach = SIDE as f64;
    for (i, tap) in taps.iter_mut().enumerate() {
        // Distances -23, -21, … 23 from the middle.
        let distance = 2.0 * i as f64 - (reach - 1.0);
        let x = std::f64::consts::FRAC_PI_2 * distance;
        let edge = distance / reach;
        *tap = x.sin() / x * bessel(BETA * (1.0 - edge * edge).sqrt()) / bessel(BETA);
    }
    let sum: f64 = taps.iter().sum();
    taps.map(|t| (t / sum) as f32)
}

/// Modified Bessel function of order 0, by its power series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..32 {
        let factor = x / (2.0 * f64::from(k));
        term *= factor * factor;
        sum += term;
    }
    sum
}

fn round(value: f32) -> i16 {
    // A float cast saturates.
    value.round_ties_even() as i16
}

fn dot(taps: &[f32; SIDE], window: &[f32]) -> f32 {
    // Four sums let the compiler use vector registers without being asked to reorder one.
    let mut sums = [0.0_f32; 4];
    for (t, w) in taps.chunks_exact(4).zip(window.chunks_exact(4)) {
        for ((sum, a), b) in sums.iter_mut().zip(t).zip(w) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// 8 → 16 kHz.
#[derive(Clone, Debug)]
pub struct Up {
    taps: [f32; SIDE],
    /// `SIDE - 1` samples of the past, then those of the call.
    line: [f32; SIDE - 1 + MAX_NARROW],
}

impl Default for Up {
    fn default() -> Self {
        Self {
            taps: taps(),
            line: [0.0; SIDE - 1 + MAX_NARROW],
        }
    }
}

impl Up {
    /// Doubles the rate of at most 120 ms; writes and returns twice as many samples as given (fewer if `output`
    /// is short).
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let count = input.len().min(MAX_NARROW).min(output.len() / 2);
        for (slot, sample) in self.line.iter_mut().skip(SIDE - 1).zip(input) {
            *slot = f32::from(*sample);
        }
        for (pair, window) in output
            .chunks_exact_mut(2)
            .zip(self.line.windows(SIDE))
            .take(count)
        {
            if let ([even, odd], Some(middle)) = (pair, window.get(SIDE / 2 - 1)) {
                *even = round(*middle);
                *odd = round(dot(&self.taps, window));
            }
        }
        self.line.copy_within(count..count + SIDE - 1, 0);
        count * 2
    }

    /// Forgets the past.
    pub fn reset(&mut self) {
        self.line.fill(0.0);
    }
}

/// 16 → 8 kHz.
#[derive(Clone, Debug)]
pub struct Down {
    taps: [f32; SIDE],
    /// The two phases of the input, each as in [`Up`].
    even: [f32; SIDE - 1 + MAX_NARROW],
    odd: [f32; SIDE - 1 + MAX_NARROW],
}

impl Default for Down {
    fn default() -> Self {
        Self {
            taps: taps(),
            even: [0.0; SIDE - 1 + MAX_NARROW],
            odd: [0.0; SIDE - 1 + MAX_NARROW],
        }
    }
}

impl Down {
    /// Halves the rate of at most 120 ms (an even number of samples); writes and returns half as many samples as
    /// given (fewer if `output` is short).
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> usize {
        let count = (input.len() / 2).min(MAX_NARROW).min(output.len());
        let slots = self.even.iter_mut().zip(self.odd.iter_mut()).skip(SIDE - 1);
        for ((even, odd), pair) in slots.zip(input.chunks_exact(2)) {
            if let [a, b] = pair {
                *even = f32::from(*a);
                *odd = f32::from(*b);
            }
        }
        let windows = self.even.windows(SIDE).zip(self.odd.windows(SIDE));
        for (sample, (even, odd)) in output.iter_mut().zip(windows).take(count) {
            // The middle tap lies on the odd phase, 11 samples before the newest pair's partner.
            let middle = odd.get(SIDE / 2 - 1).copied().unwrap_or(0.0);
            *sample = round(0.5 * (middle + dot(&self.taps, even)));
        }
        self.even.copy_within(count..count + SIDE - 1, 0);
        self.odd.copy_within(count..count + SIDE - 1, 0);
        count
    }

    /// Forgets the past.
    pub fn reset(&mut self) {
        self.even.fill(0.0);
        self.odd.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, rate: f64, count: usize) -> Vec<i16> {
        (0..count)
            .map(|n| ((std::f64::consts::TAU * hz * n as f64 / rate).sin() * 10_000.0) as i16)
            .collect()
    }

    /// Root mean square after the filter has filled.
    fn level(samples: &[i16]) -> f64 {
        let tail = &samples[200..];
        (tail.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / tail.len() as f64).sqrt()
    }

    fn up(input: &[i16]) -> Vec<i16> {
        let (mut up, mut out) = (Up::default(), vec![0; input.len() * 2]);
        for (i, o) in input.chunks(160).zip(out.chunks_mut(320)) {
            up.process(i, o);
        }
        out
    }

    fn down(input: &[i16]) -> Vec<i16> {
        let (mut down, mut out) = (Down::default(), vec![0; input.len() / 2]);
        for (i, o) in input.chunks(320).zip(out.chunks_mut(160)) {
            down.process(i, o);
        }
        out
    }

    #[test]
    fn the_telephone_band_keeps_its_level_both_ways() {
        for hz in [300.0, 1_000.0, 2_000.0, 3_000.0, 3_300.0] {
            let up = up(&sine(hz, 8_000.0, 1_600));
            assert!(
                (level(&up) / 7_071.0 - 1.0).abs() < 0.01,
                "{hz} Hz up: {}",
                level(&up)
            );
            let down = down(&sine(hz, 16_000.0, 3_200));
            assert!(
                (level(&down) / 7_071.0 - 1.0).abs() < 0.01,
                "{hz} Hz down: {}",
                level(&down)
            );
        }
    }

    #[test]
    fn what_would_fold_back_is_gone() {
        for hz in [4_800.0, 5_500.0, 7_000.0] {
            let down = down(&sine(hz, 16_000.0, 3_200));
            assert!(
                level(&down) < 7_071.0 / 500.0,
                "{hz} Hz leaks {}",
                level(&down)
            );
        }
    }

    #[test]
    fn up_makes_no_mirror_image() {
        // 1 kHz up-sampled must be 1 kHz alone: subtract the best fitting sine and look at what stays.
        let out = up(&sine(1_000.0, 8_000.0, 1_600));
        let (mut a, mut b, n) = (0.0, 0.0, 1_600.0);
        for (i, s) in out[1_600..].iter().enumerate() {
            let phase = std::f64::consts::TAU * i as f64 / 16.0;
            a += f64::from(*s) * phase.cos() * 2.0 / n;
            b += f64::from(*s) * phase.sin() * 2.0 / n;
        }
        let rest: f64 = out[1_600..]
            .iter()
            .enumerate()
            .map(|(i, s)| {
                let phase = std::f64::consts::TAU * i as f64 / 16.0;
                (f64::from(*s) - a * phase.cos() - b * phase.sin()).powi(2)
            })
            .sum::<f64>()
            / n;
        assert!(rest.sqrt() < 10.0, "residue {}", rest.sqrt());
    }

    #[test]
    fn frame_length_makes_no_difference() {
        let input = sine(700.0, 8_000.0, 960);
        let mut whole = vec![0; 1_920];
        assert_eq!(Up::default().process(&input, &mut whole), 1_920);
        assert_eq!(up(&input), whole);
        let mut half = vec![0; 960];
        assert_eq!(Down::default().process(&whole, &mut half), 960);
        assert_eq!(down(&whole), half);
    }

    #[test]
    fn too_much_or_too_little_room_is_no_fault() {
        let mut out = [0; 10];
        assert_eq!(Up::default().process(&[1; 2_000], &mut out), 10);
        assert_eq!(Down::default().process(&[1; 4_000], &mut []), 0);
        assert_eq!(Down::default().process(&[1], &mut out), 0);
    }
}
