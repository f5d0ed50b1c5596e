//! What signalling asks: legs opened, changed, joined, parted, played to and closed.

use std::time::Instant;

use super::Bridge;
use super::latch::Latch;
use super::leg::{DigitsOut, Leg};
use super::play::{KeyTones, Play, Purpose, Sound};
use super::reports::Reports;
use super::source::Source;
use super::splice::{Feed, Splice};
use super::transcode::Transcode;
use crate::codec::Rate;
use crate::dtmf::{Digit, rfc4733};
use crate::leg::{Command, Event, LegConfig, LegId, LegStats, Pacing, Tone};
use crate::tone::ToneSource;

impl Bridge {
    pub(super) fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Open {
                leg,
                config,
                feeds_keys,
            } => self.open(now, leg, config, feeds_keys),
            Command::Update { leg, config } => {
                if let Some(index) = self.named(leg) {
                    self.update(now, index, config);
                }
            }
            Command::Join { a, b } => {
                if let (Some(a), Some(b)) = (self.named(a), self.named(b)) {
                    self.join(a, b);
                }
            }
            Command::Part { leg } => {
                if let Some(index) = self.named(leg) {
                    self.part(index);
                }
            }
            Command::Play { leg, tone, repeat } => {
                if let Some(index) = self.named(leg) {
                    self.play(now, index, &tone, repeat);
                }
            }
            Command::StopPlay { leg } => {
                if let Some(leg) = self.named(leg).and_then(|index| self.legs.get_mut(index)) {
                    leg.stop_tone();
                }
            }
            Command::SendDigits {
                leg,
                order,
                digits,
                pacing,
            } => {
                if let Some(index) = self.named(leg) {
                    self.send_digits(now, index, order, digits.as_str(), pacing);
                }
            }
            Command::StopDigits { leg, order } => {
                if let Some(leg) = self.named(leg).and_then(|index| self.legs.get_mut(index)) {
                    leg.stop_digits(order);
                }
            }
            // RTP events are never passed to the partner, and the audio of a held key is silenced, muted or not.
            Command::MuteDigits { leg, muted: _ } => {
                let _ = self.named(leg);
            }
            Command::Close { leg } => {
                if let Some(index) = self.named(leg) {
                    self.close(now, index);
                }
            }
        }
    }

    fn named(&mut self, leg: LegId) -> Option<u32> {
        let index = self.legs.index(leg);
        self.counters.misdirected_commands += u64::from(index.is_none());
        index
    }

    fn new_feed(&mut self) -> Feed {
        self.feeds += 1;
        Feed(self.feeds)
    }

    fn open(&mut self, now: Instant, id: LegId, config: LegConfig, feeds_keys: bool) {
        if let Some(index) = self.legs.index(id) {
            if let Some(leg) = self.legs.get_mut(index) {
                leg.feeds_keys = feeds_keys;
            }
            self.update(now, index, config);
            return;
        }
        let feed = self.new_feed();
        let (ssrc, numbers) = (self.rng.next_u32(), self.rng.next_u64());
        // The first number is random, its upper half empty so that it does not wrap at once (RFC 3711 §3.3.1).
        let [low, high, t0, t1, t2, t3, ..] = numbers.to_le_bytes();
        let sequence = u16::from_le_bytes([low, high & 0x7f]);
        let timestamp = u32::from_le_bytes([t0, t1, t2, t3]);
        // The first report comes early (RFC 3550 §6.2: half the interval).
        let first_report = now + self.report_distance() / 2;
        let from = config.signalling_from;
        let clock = config.codec.rtp_clock();
        let leg = Leg {
            id,
            feeds_keys,
            rtp: Latch::new(config.remote_rtp, from),
            rtcp: Latch::new(config.remote_rtcp, from),
            source: Source::default(),
            splice: Splice::new(ssrc, sequence, timestamp, clock, config.send_payload),
            keys: rfc4733::Receiver::new(),
            filled_ms: 0,
            partner: None,
            feed,
            spoken: config.codec,
            transcode: None,
            play: None,
            digits: None,
            reports: Reports::new(first_report, self.rng.next_u64()),
            stats: LegStats::default(),
            heard: now,
            silence_told: false,
            wake: None,
            config,
        };
        if self.legs.insert(leg).is_none() {
            self.counters.refused_full += 1;
            self.buffers.event(Event::Closed {
                leg: id,
                stats: LegStats::default(),
            });
        } else if let Some(index) = self.legs.index(id) {
            self.arm(index);
        }
    }

    fn update(&mut self, now: Instant, index: u32, config: LegConfig) {
        let feed = self.new_feed();
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        let from = config.signalling_from;
        if leg.rtp.update(config.remote_rtp, from) {
            leg.source.retire();
            leg.keys = rfc4733::Receiver::new();
        }
        leg.rtcp.update(config.remote_rtcp, from);
        leg.splice
            .retune(config.codec.rtp_clock(), config.send_payload);
        let recoded = leg.config.codec != config.codec
            || leg.config.ptime_ms != config.ptime_ms
            || leg.config.opus != config.opus
            || leg.config.clear != config.clear;
        if let (Some(digits), Some(event)) = (&mut leg.digits, config.telephone_event) {
            digits.payload_type = event.payload;
        }
        if leg.config.direction != config.direction {
            leg.splice.cut();
            leg.feed = feed;
        }
        if leg.config.codec != config.codec {
            // What plays was encoded for the old codec.
            leg.stop_tone();
        }
        leg.config = config;
        leg.heard = now;
        leg.silence_told = false;
        if let (true, Some(partner)) = (recoded, leg.partner) {
            self.connect(index, partner);
            self.connect(partner, index);
        }
        self.arm(index);
    }

    fn join(&mut self, a: u32, b: u32) {
        if a == b {
            self.counters.misdirected_commands += 1;
            return;
        }
        for index in [a, b] {
            self.part(index);
            if let Some(leg) = self.legs.get_mut(index) {
                leg.stop_tone();
            }
        }
        for (index, partner) in [(a, b), (b, a)] {
            if let Some(leg) = self.legs.get_mut(index) {
                leg.partner = Some(partner);
            }
        }
        self.connect(a, b);
        self.connect(b, a);
    }

    /// Prepares the direction from one leg to its partner.
    fn connect(&mut self, from: u32, to: u32) {
        let feed = self.new_feed();
        let Some(config) = self.legs.get(to).map(|leg| &leg.config) else {
            return;
        };
        let Some(codec) = self.legs.get(from).map(|leg| leg.config.codec) else {
            return;
        };
        let same = codec == config.codec;
        let clear = config.clear || self.legs.get(from).is_some_and(|leg| leg.config.clear);
        let open = if same || clear {
            None
        } else {
            Transcode::open(codec, config).ok()
        };
        if !same && open.is_none() {
            self.counters.refused_pairs += 1;
        }
        if let Some(leg) = self.legs.get_mut(from) {
            leg.feed = feed;
            leg.transcode = open.map(Box::new);
        }
    }

    fn part(&mut self, index: u32) {
        let partner = self.legs.get(index).and_then(|leg| leg.partner);
        for index in [Some(index), partner].into_iter().flatten() {
            if let Some(leg) = self.legs.get_mut(index) {
                leg.partner = None;
                leg.transcode = None;
            }
        }
    }

    fn play(&mut self, now: Instant, index: u32, tone: &Tone, repeat: bool) {
        let feed = self.new_feed();
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        let (sound, rate) = if let Tone::Prompt(name) = tone {
            let prompt = self.config.prompts.get(name);
            (
                prompt.map(|prompt| Sound::prompt(prompt, repeat)),
                prompt.map(|prompt| prompt.rate),
            )
        } else {
            let rate = Play::tone_rate(leg.config.codec);
            (
                ToneSource::new(tone, rate, repeat).map(Sound::Tone),
                Some(rate),
            )
        };
        let play = sound.zip(rate).and_then(|(sound, rate)| {
            Play::open(now, &leg.config, sound, rate, feed, Purpose::Tone).ok()
        });
        leg.stop_tone();
        // Digits on their way as tones go first: a tone over them would spoil both.
        if let Some(play) = play.filter(|_| leg.play.is_none()) {
            leg.play = Some(Box::new(play));
            self.tick(now, index);
            self.arm(index);
        } else {
            self.buffers.event(Event::PlayDone { leg: leg.id });
        }
    }

    /// By telephone events if agreed, else as tones in the audio: a digit is never dropped in silence.
    fn send_digits(&mut self, now: Instant, index: u32, order: u64, digits: &str, pacing: Pacing) {
        let feed = self.new_feed();
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        let keys = digits.chars().filter_map(Digit::new);
        if let Some(event) = leg.config.telephone_event {
            let digits = leg.digits.get_or_insert_with(|| {
                let sender = rfc4733::Sender::new(event.clock, pacing.tone_ms, pacing.gap_ms);
                Box::new(DigitsOut {
                    order,
                    sender,
                    payload_type: event.payload,
                    next: now,
                    feed,
                })
            });
            digits.order = order;
            for key in keys {
                if !digits.sender.push(key) {
                    break;
                }
            }
        } else {
            if leg
                .play
                .as_mut()
                .is_some_and(|play| play.add_keys(digits, order))
            {
                return;
            }
            let rate = match leg.config.codec.own_rate() {
                Rate::Hz48000 => Rate::Hz16000,
                rate => rate,
            };
            let sound = Sound::Keys(KeyTones::new(digits, pacing, rate));
            let play = Play::open(now, &leg.config, sound, rate, feed, Purpose::Digits(order));
            if let Ok(play) = play {
                leg.play = Some(Box::new(play));
            }
        }
        self.tick(now, index);
        self.arm(index);
    }

    fn close(&mut self, now: Instant, index: u32) {
        self.part(index);
        let since_origin = self.age(now);
        if let Some(mut leg) = self.legs.remove(index) {
            leg.report(now, since_origin, true, &mut self.buffers);
            self.buffers.event(Event::Closed {
                leg: leg.id,
                stats: leg.stats(),
            });
        }
    }
}

impl Leg {
    /// Forgets digits that were not sent yet.
    fn stop_digits(&mut self, order: u64) {
        self.digits.take_if(|digits| digits.order == order);
        self.play
            .take_if(|play| play.purpose == Purpose::Digits(order));
    }

    /// Ends a tone or prompt; digits being sent as tones go on, for they are an order already given.
    fn stop_tone(&mut self) {
        if self
            .play
            .as_ref()
            .is_some_and(|play| play.purpose == Purpose::Tone)
        {
            self.play = None;
        }
    }
}
