//! What happens without a packet: tones and digits on their clock, reports, silence noticed.

use std::time::{Duration, Instant};

use super::Bridge;
use super::leg::Leg;
use super::outputs::Buffers;
use super::play::Purpose;
use crate::dtmf::rfc4733::{Tick, UPDATE_MS};
use crate::leg::{Component, Event};

/// Legs looked after in one timeout at most; the others stay due, and the next timeout is at once.
pub(super) const DUE_AT_ONCE: usize = 64;

/// How often digits that wait for a held leg are looked after.
const HOLD_CHECK: Duration = Duration::from_millis(200);

const UPDATE: Duration = Duration::from_millis(UPDATE_MS as u64);

impl Bridge {
    pub(super) fn timeout(&mut self, now: Instant) {
        for _ in 0..DUE_AT_ONCE {
            let Some((at, index)) = self.deadlines.due(now) else {
                break;
            };
            let Some(leg) = self.legs.get_mut(index) else {
                continue;
            };
            if leg.wake != Some(at) {
                continue;
            }
            leg.wake = None;
            self.tick(now, index);
            self.watch(now, index);
            self.arm(index);
        }
    }

    /// Promises a look at the leg's next deadline, unless an earlier one is promised.
    pub(super) fn arm(&mut self, index: u32) {
        let silent_after = self.config.silent_after;
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        let at = leg.deadline(silent_after);
        if leg.wake.is_some_and(|promised| promised <= at) {
            return;
        }
        leg.wake = Some(at);
        self.deadlines.add(at, index);
        let legs = &self.legs;
        self.deadlines.prune(legs.len(), |at, index| {
            legs.get(index).is_some_and(|leg| leg.wake == Some(at))
        });
    }

    /// Sends what a tone or digits owe by now.
    pub(super) fn tick(&mut self, now: Instant, index: u32) {
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        if leg.digits.is_some() {
            let order = leg.digits.as_ref().map_or(0, |digits| digits.order);
            if leg.send_due_events(now, &mut self.buffers) {
                leg.digits = None;
                self.buffers.event(Event::DigitsSent { leg: leg.id, order });
            }
            // Digits go first; a tone waits for them, it does not pile up behind them.
            if let (Some(play), Some(digits)) = (&mut leg.play, &leg.digits) {
                play.next = digits.next;
            }
            if leg.digits.is_some() {
                return;
            }
        }
        if let Some(mut play) = leg.play.take() {
            let done = play.due(now, &mut self.pcm, leg.sink(&mut self.buffers));
            match (done, play.purpose) {
                (false, _) => leg.play = Some(play),
                (true, Purpose::Tone) => self.buffers.event(Event::PlayDone { leg: leg.id }),
                (true, Purpose::Digits(order)) => {
                    self.buffers.event(Event::DigitsSent { leg: leg.id, order });
                }
            }
        }
    }

    fn watch(&mut self, now: Instant, index: u32) {
        let since_origin = self.age(now);
        let distance = self.report_distance();
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        let quiet = now.saturating_duration_since(leg.heard);
        if leg.receives() && !leg.silence_told && quiet >= self.config.silent_after {
            leg.silence_told = true;
            self.buffers.event(Event::Silent {
                leg: leg.id,
                for_: quiet,
            });
        }
        if leg.reports.next <= now {
            leg.reports.next = now + distance;
            leg.report(now, since_origin, false, &mut self.buffers);
            if self.config.interim_stats {
                self.buffers.event(Event::Stats {
                    leg: leg.id,
                    stats: leg.stats(),
                });
            }
        }
    }

    /// Half to one and a half times the mean, drawn evenly (RFC 3550 §6.3.1), at least 100 ms.
    pub(super) fn report_distance(&mut self) -> Duration {
        let mean = self.config.report_interval;
        let draw = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        mean.mul_f64(0.5 + draw).max(Duration::from_millis(100))
    }
}

impl Leg {
    /// True when all digits are sent.
    fn send_due_events(&mut self, now: Instant, buffers: &mut Buffers) -> bool {
        let Some(mut digits) = self.digits.take() else {
            return true;
        };
        if !self.sends() || self.rtp.destination().is_none() {
            // On hold: digits wait, for nobody may be told they were sent.
            digits.next = now + HOLD_CHECK;
            self.digits = Some(digits);
            return false;
        }
        let mut catch_up = 0;
        while digits.next <= now {
            let mut span = digits.sender.span();
            match digits.sender.tick() {
                Tick::Done => return true,
                Tick::Quiet => {}
                Tick::Packet(sending) => {
                    span = digits.sender.span().max(span);
                    let clock = self.config.codec.rtp_clock();
                    let event_clock = digits.sender.clock();
                    let units = u64::from(span) * u64::from(clock) / u64::from(event_clock);
                    let units = u32::try_from(units).unwrap_or(0);
                    if let Some(sink) = self.sink(buffers) {
                        let mut stamp = if sending.first {
                            // Each press is a spurt of its own at real time.
                            sink.splice.cut();
                            sink.splice.next(now, digits.feed, units)
                        } else {
                            sink.splice.again(units)
                        };
                        stamp.payload_type = digits.payload_type;
                        let payload = sending.payload.octets();
                        sink.splice.count(payload.len());
                        sink.stats.packets_out += 1;
                        sink.stats.octets_out += payload.len() as u64;
                        let parts = [&stamp.header()[..], &payload[..]];
                        sink.buffers
                            .send_parts(sink.leg, Component::Rtp, sink.to, parts);
                    }
                }
            }
            digits.next += UPDATE;
            catch_up += 1;
            if catch_up == 3 && digits.next <= now {
                digits.next = now + UPDATE;
            }
        }
        self.digits = Some(digits);
        false
    }
}
