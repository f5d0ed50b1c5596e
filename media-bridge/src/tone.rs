//! Call progress tones, synthesised: frequencies and cadences of ITU-T E.180 Supplement 2.
//!
//! A tone is a list of steps (frequencies, length); a step without frequencies is silence. Sines come from
//! rotating phasors, two multiplications a sample, so there is no table and nothing is allocated.

use crate::codec::Rate;
use crate::leg::Tone;

/// Amplitude of one sine: about -12 dBm0, the level networks send tones at.
const AMPLITUDE: f32 = 5_800.0;
/// Attack and release of each step, ms: without them tones click.
const RAMP_MS: usize = 4;

/// Whose tones: an ISO 3166 country code. Unknown ones sound like most of Europe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads two ASCII letters, in any case.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        match code.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Some(Self([a.to_ascii_lowercase(), b.to_ascii_lowercase()]))
            }
            _ => None,
        }
    }
}

impl Default for Country {
    /// The common European set.
    fn default() -> Self {
        Self(*b"eu")
    }
}

/// Up to two frequencies in Hz (0 = none), and a length in ms.
type Step = (u16, u16, u16);

struct Set {
    ringback: &'static [Step],
    busy: &'static [Step],
    congestion: &'static [Step],
}

const EUROPE: Set = Set {
    ringback: &[(425, 0, 1000), (0, 0, 4000)],
    busy: &[(425, 0, 500), (0, 0, 500)],
    congestion: &[(425, 0, 250), (0, 0, 250)],
};
const CZECHIA: Set = Set {
    ringback: &[(425, 0, 1000), (0, 0, 4000)],
    busy: &[(425, 0, 330), (0, 0, 330)],
    congestion: &[(425, 0, 165), (0, 0, 165)],
};
const GERMANY: Set = Set {
    ringback: &[(425, 0, 1000), (0, 0, 4000)],
    busy: &[(425, 0, 480), (0, 0, 480)],
    congestion: &[(425, 0, 240), (0, 0, 240)],
};
const BRITAIN: Set = Set {
    ringback: &[(400, 450, 400), (0, 0, 200), (400, 450, 400), (0, 0, 2000)],
    busy: &[(400, 0, 375), (0, 0, 375)],
    congestion: &[(400, 0, 400), (0, 0, 350), (400, 0, 225), (0, 0, 525)],
};
const NORTH_AMERICA: Set = Set {
    ringback: &[(440, 480, 2000), (0, 0, 4000)],
    busy: &[(480, 620, 500), (0, 0, 500)],
    congestion: &[(480, 620, 250), (0, 0, 250)],
};
/// A call that is kept: two soft marks in ten seconds of quiet, so that nobody takes it for a dead line.
const HOLD: &[Step] = &[(425, 0, 150), (0, 0, 150), (425, 0, 150), (0, 0, 9_550)];
const BEEP: &[Step] = &[(1000, 0, 200)];

fn set(country: Country) -> &'static Set {
    match &country.0 {
        b"cz" | b"sk" => &CZECHIA,
        b"de" | b"at" => &GERMANY,
        b"gb" | b"uk" | b"ie" => &BRITAIN,
        b"us" | b"ca" => &NORTH_AMERICA,
        _ => &EUROPE,
    }
}

/// A sine by rotation of a unit vector.
#[derive(Clone, Copy, Debug, Default)]
struct Phasor {
    now: (f32, f32),
    turn: (f32, f32),
}

impl Phasor {
    fn new(hz: u16, rate: Rate) -> Self {
        if hz == 0 {
            return Self::default();
        }
        let angle = std::f64::consts::TAU * f64::from(hz) / f64::from(rate.hz());
        Self {
            now: (1.0, 0.0),
            turn: (angle.cos() as f32, angle.sin() as f32),
        }
    }

    fn next(&mut self) -> f32 {
        let ((c, s), (tc, ts)) = (self.now, self.turn);
        self.now = (c * tc - s * ts, s * tc + c * ts);
        s
    }

    /// Rounding makes the vector grow or shrink slowly: back to length 1.
    fn renormalise(&mut self) {
        let (c, s) = self.now;
        let length = c.hypot(s);
        if length > 0.5 {
            self.now = (c / length, s / length);
        }
    }
}

/// A tone being played: linear audio on demand, no allocation.
#[derive(Clone, Debug)]
pub struct ToneSource {
    steps: &'static [Step],
    rate: Rate,
    repeat: bool,
    step: usize,
    /// Samples of the step already made.
    done: usize,
    sines: [Phasor; 2],
}

impl ToneSource {
    /// Starts a tone; `None` for a prompt, which is a recording. Without `repeat` it ends after one cadence.
    #[must_use]
    pub fn new(tone: &Tone, rate: Rate, repeat: bool) -> Option<Self> {
        let steps = match tone {
            Tone::Ringback { country } => set(*country).ringback,
            Tone::Busy { country } => set(*country).busy,
            Tone::Congestion { country } => set(*country).congestion,
            Tone::Beep => BEEP,
            Tone::Hold => HOLD,
            Tone::Prompt(_) => return None,
        };
        let mut source = Self {
            steps,
            rate,
            repeat,
            step: 0,
            done: 0,
            sines: [Phasor::default(); 2],
        };
        source.enter();
        Some(source)
    }

    /// Fills `out` and returns the samples that belong to the tone: fewer than `out.len()` when it ended (the
    /// rest is silence).
    pub fn fill(&mut self, out: &mut [i16]) -> usize {
        let length = out.len();
        let mut rest = &mut out[..];
        while !rest.is_empty() {
            let Some((first, second, ms)) = self.steps.get(self.step).copied() else {
                rest.fill(0);
                return length - rest.len();
            };
            let total = usize::from(ms) * self.rate.per_ms();
            let count = (total - self.done).min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            if first == 0 && second == 0 {
                now.fill(0);
            } else {
                self.sound(now, total);
            }
            self.done += count;
            rest = later;
            if self.done == total {
                self.step += 1;
                if self.repeat && self.step == self.steps.len() {
                    self.step = 0;
                }
                self.enter();
            }
        }
        length
    }

    fn enter(&mut self) {
        self.done = 0;
        if let Some((first, second, _)) = self.steps.get(self.step) {
            self.sines = [
                Phasor::new(*first, self.rate),
                Phasor::new(*second, self.rate),
            ];
        }
    }

    fn sound(&mut self, out: &mut [i16], total: usize) {
        let ramp = RAMP_MS * self.rate.per_ms();
        let [a, b] = &mut self.sines;
        for (i, sample) in out.iter_mut().enumerate() {
            let at = self.done + i;
            let edge = at.min(total - 1 - at).min(ramp);
            *sample = (AMPLITUDE * (a.next() + b.next()) * edge as f32 / ramp as f32) as i16;
        }
        a.renormalise();
        b.renormalise();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ringback(code: &str) -> Tone {
        Tone::Ringback {
            country: Country::new(code).unwrap(),
        }
    }

    /// Strength of one frequency (Goertzel), as the amplitude of its sine.
    fn strength(pcm: &[i16], hz: f64, rate: f64) -> f64 {
        let (mut c, mut s) = (0.0, 0.0);
        for (i, v) in pcm.iter().enumerate() {
            let angle = std::f64::consts::TAU * hz * i as f64 / rate;
            c += f64::from(*v) * angle.cos();
            s += f64::from(*v) * angle.sin();
        }
        c.hypot(s) * 2.0 / pcm.len() as f64
    }

    #[test]
    fn czech_ringback_is_425_hz_one_second_in_five() {
        for rate in [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000] {
            let mut source = ToneSource::new(&ringback("CZ"), rate, true).unwrap();
            let mut pcm = vec![1; rate.per_ms() * 6_000];
            for frame in pcm.chunks_mut(rate.per_ms() * 20) {
                assert_eq!(source.fill(frame), frame.len());
            }
            let ms = rate.per_ms();
            let hz = f64::from(rate.hz());
            let on = strength(&pcm[100 * ms..900 * ms], 425.0, hz);
            assert!((on / 5_800.0 - 1.0).abs() < 0.02, "{on}");
            assert!(strength(&pcm[100 * ms..900 * ms], 440.0, hz) < 100.0);
            assert!(pcm[1_000 * ms..5_000 * ms].iter().all(|s| *s == 0));
            assert!(
                strength(&pcm[5_100 * ms..5_900 * ms], 425.0, hz) > 5_600.0,
                "and again"
            );
        }
    }

    #[test]
    fn two_frequency_tones_have_both() {
        let mut pcm = vec![0; 8_000];
        ToneSource::new(&ringback("us"), Rate::Hz8000, true)
            .unwrap()
            .fill(&mut pcm);
        for hz in [440.0, 480.0] {
            assert!((strength(&pcm, hz, 8_000.0) / 5_800.0 - 1.0).abs() < 0.05);
        }
    }

    #[test]
    fn unknown_countries_sound_european() {
        let play = |code| {
            let mut pcm = vec![0; 16_000];
            let tone = Tone::Busy {
                country: Country::new(code).unwrap(),
            };
            ToneSource::new(&tone, Rate::Hz8000, true)
                .unwrap()
                .fill(&mut pcm);
            pcm
        };
        assert_eq!(play("zz"), play("fr"));
        assert_ne!(play("cz"), play("fr"));
        assert_eq!(Country::new("c"), None);
        assert_eq!(Country::new("c1"), None);
    }

    #[test]
    fn a_tone_played_once_ends_and_says_where() {
        let mut source = ToneSource::new(&Tone::Beep, Rate::Hz8000, false).unwrap();
        let mut frame = [1; 1_200];
        assert_eq!(source.fill(&mut frame), 1_200);
        let mut frame = [1; 800];
        assert_eq!(source.fill(&mut frame), 400);
        assert!(frame[400..].iter().all(|s| *s == 0));
        assert_eq!(source.fill(&mut frame), 0);
    }

    #[test]
    fn steps_begin_and_end_without_a_click() {
        let mut pcm = vec![0; 8_000 * 6];
        ToneSource::new(&ringback("eu"), Rate::Hz8000, true)
            .unwrap()
            .fill(&mut pcm);
        let jump = pcm
            .windows(2)
            .map(|w| (i32::from(w[0]) - i32::from(w[1])).abs())
            .max()
            .unwrap();
        // A 425 Hz sine of this level moves by 1,900 per sample at most.
        assert!(jump < 2_000, "{jump}");
    }

    #[test]
    fn a_prompt_is_no_tone() {
        assert!(ToneSource::new(&Tone::Prompt("x".into()), Rate::Hz8000, false).is_none());
    }
}
