//! Tones, prompts and in-band digits: the only audio with a clock of its own.

use std::collections::VecDeque;
use std::f32::consts::TAU;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Prompt;
use super::splice::Feed;
use super::transcode::{Sink, frame_ms};
use crate::codec::{self, Codec, CodecError, Encode, Rate};
use crate::dtmf::{Digit, rfc4733};
use crate::leg::{LegConfig, Pacing};
use crate::tone::ToneSource;

/// Frames sent at most in one late wake-up; what is beyond is played later, not faster.
const MAX_CATCH_UP: usize = 3;

/// What a player says when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `PlayDone`.
    Tone,
    /// `DigitsSent` of that order: the leg knows no telephone events and was sent tones instead.
    Digits(u64),
}

/// Linear audio on demand.
#[derive(Debug)]
pub(super) enum Sound {
    Tone(ToneSource),
    Prompt {
        pcm: Arc<[i16]>,
        at: usize,
        repeat: bool,
    },
    Keys(KeyTones),
}

impl Sound {
    pub(super) fn prompt(prompt: &Prompt, repeat: bool) -> Self {
        Self::Prompt {
            pcm: Arc::clone(&prompt.pcm),
            at: 0,
            repeat,
        }
    }

    /// Fills `out`, with silence after the end; samples that are sound.
    fn fill(&mut self, out: &mut [i16]) -> usize {
        match self {
            Self::Tone(tone) => tone.fill(out),
            Self::Keys(keys) => keys.fill(out),
            Self::Prompt { pcm, at, repeat } => {
                let mut filled = 0;
                while filled < out.len() {
                    if *at >= pcm.len() {
                        if !*repeat || pcm.is_empty() {
                            break;
                        }
                        *at = 0;
                    }
                    let rest = pcm.get(*at..).unwrap_or_default();
                    let room = out.get_mut(filled..).unwrap_or_default();
                    let count = rest.len().min(room.len());
                    room.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                    *at += count;
                    filled += count;
                }
                out.get_mut(filled..).unwrap_or_default().fill(0);
                filled
            }
        }
    }
}

/// DTMF tone pairs (ITU-T Q.23) for a leg that agreed no telephone events.
#[derive(Debug)]
pub(super) struct KeyTones {
    queue: VecDeque<Digit>,
    rate: f32,
    tone: usize,
    gap: usize,
    at: usize,
}

impl KeyTones {
    pub(super) fn new(digits: &str, pacing: Pacing, rate: Rate) -> Self {
        let samples = |ms: u16| usize::from(ms.clamp(40, 5_000)) * rate.per_ms();
        let mut keys = Self {
            queue: VecDeque::new(),
            #[expect(clippy::cast_precision_loss, reason = "at most 48,000")]
            rate: rate.hz() as f32,
            tone: samples(pacing.tone_ms),
            gap: samples(pacing.gap_ms),
            at: 0,
        };
        keys.extend(digits);
        keys
    }

    /// Appends digits; what is beyond the bound is dropped.
    fn extend(&mut self, digits: &str) {
        let room = rfc4733::MAX_QUEUED.saturating_sub(self.queue.len());
        self.queue
            .extend(digits.chars().filter_map(Digit::new).take(room));
    }

    /// Row and column frequency, Hz.
    fn pair(digit: Digit) -> (f32, f32) {
        let row = match digit.label() {
            '1' | '2' | '3' | 'A' => 697.0,
            '4' | '5' | '6' | 'B' => 770.0,
            '7' | '8' | '9' | 'C' => 852.0,
            _ => 941.0,
        };
        let column = match digit.label() {
            '1' | '4' | '7' | '*' => 1_209.0,
            '2' | '5' | '8' | '0' => 1_336.0,
            '3' | '6' | '9' | '#' => 1_477.0,
            _ => 1_633.0,
        };
        (row, column)
    }

    fn fill(&mut self, out: &mut [i16]) -> usize {
        let mut filled = 0;
        for sample in out.iter_mut() {
            *sample = 0;
            let Some(&digit) = self.queue.front() else {
                continue;
            };
            if self.at < self.tone {
                let (row, column) = Self::pair(digit);
                #[expect(clippy::cast_precision_loss, reason = "at most 5 s of samples")]
                let time = self.at as f32 / self.rate;
                let wave = (TAU * row * time).sin() + (TAU * column * time).sin();
                #[expect(clippy::cast_possible_truncation, reason = "within ±10,000")]
                let level = (wave * 5_000.0) as i16; // each tone at -13 dBm0
                *sample = level;
            }
            self.at += 1;
            filled += 1;
            if self.at >= self.tone + self.gap {
                self.queue.pop_front();
                self.at = 0;
            }
        }
        filled
    }
}

/// Something playing towards a leg.
pub(super) struct Play {
    sound: Sound,
    encoder: Box<dyn Encode>,
    frame: usize,
    units: u32,
    tick: Duration,
    pub(super) next: Instant,
    feed: Feed,
    pub(super) purpose: Purpose,
}

impl std::fmt::Debug for Play {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Play")
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

impl Play {
    /// The rate a tone is made at for a codec: tones carry nothing above the telephone band, so Opus codes them
    /// at 8 kHz.
    pub(super) fn tone_rate(codec: Codec) -> Rate {
        codec.own_rate().min(if codec == Codec::Opus {
            Rate::Hz8000
        } else {
            Rate::Hz16000
        })
    }

    /// Starts at once. `rate` is that of `sound`.
    ///
    /// # Errors
    /// What [`codec::encoder`] says.
    pub(super) fn open(
        now: Instant,
        config: &LegConfig,
        sound: Sound,
        rate: Rate,
        feed: Feed,
        purpose: Purpose,
    ) -> Result<Self, CodecError> {
        let ms = frame_ms(config.codec, config.ptime_ms);
        Ok(Self {
            sound,
            encoder: codec::encoder(config.codec, rate, &config.opus)?,
            frame: usize::from(ms) * rate.per_ms(),
            units: u32::from(ms) * (config.codec.rtp_clock() / 1_000),
            tick: Duration::from_millis(u64::from(ms)),
            next: now,
            feed,
            purpose,
        })
    }

    /// Appends to digits being sent as tones; false if this plays something else.
    pub(super) fn add_keys(&mut self, digits: &str, order: u64) -> bool {
        let Sound::Keys(keys) = &mut self.sound else {
            return false;
        };
        keys.extend(digits);
        self.purpose = Purpose::Digits(order);
        true
    }

    /// Plays what is due; true when it ended. Without a sink (nowhere to send) time passes all the same.
    pub(super) fn due(
        &mut self,
        now: Instant,
        pcm: &mut [i16],
        mut sink: Option<Sink<'_>>,
    ) -> bool {
        for _ in 0..MAX_CATCH_UP {
            if self.next > now {
                return false;
            }
            let frame = pcm.get_mut(..self.frame).unwrap_or_default();
            let filled = self.sound.fill(frame);
            if filled == 0 {
                return true;
            }
            if let Some(sink) = &mut sink {
                sink.encode(now, self.feed, self.units, self.encoder.as_mut(), frame);
            }
            self.next += self.tick;
        }
        if self.next <= now {
            self.next = now + self.tick;
        }
        false
    }
}
