//! The unlock pipeline's effects: records to the disk, drivers to the shell or to the station by SIP, answers to those
//! who asked.

use dialplan::DriverKind;

use super::{B2bua, Output};
use crate::Now;
use crate::story::Line;
use crate::unlock::{Done, Drive, Effect, Outcome, Unlocks, World};

impl B2bua {
    /// One input to the pipeline, and what it wants done.
    pub(super) fn unlock(&mut self, now: Now, input: impl FnOnce(&mut Unlocks, &mut World<'_>)) {
        let mut effects = std::mem::take(&mut self.unlock_effects);
        let facts = self.site.facts(now);
        let mut world = World {
            now,
            plan: &self.site.plan,
            directory: &self.site.directory,
            facts: &facts,
            journal: &mut self.journal,
            rng: &mut *self.site.rng,
            out: &mut effects,
        };
        input(&mut self.unlocks, &mut world);
        for effect in effects.drain(..) {
            match effect {
                Effect::Record(record) => self.queue.push_back(Output::Record(record)),
                Effect::Drive(drive) => self.drive(now, drive),
                Effect::Again { request } => self.again(now, &request),
                Effect::Done(done) => self.done(now, &done),
            }
        }
        self.unlock_effects = effects;
    }

    fn again(&mut self, now: Now, request: &crate::unlock::Request) {
        let line = format!("{}: press again to open {}", request.who, request.door);
        self.tell(now, request.call.as_deref(), Line::Unlock(line));
        if let Some(number) = request
            .call
            .as_deref()
            .and_then(|call| self.number_of(call))
            && let Some(call) = self.calls.get_mut(&number)
            && let Some(device) = request.who.strip_prefix("device:")
        {
            call.beep(&mut self.site, device);
        }
        if let Some(tx) = request.reply {
            self.forget_buzz(tx);
            // A request by Action: buzz has no second press: 202 would say too much, so it is told what is missing.
            self.answer(
                tx,
                sip_proxy::OutgoingResponse::new(403).with_reason("Press Again"),
            );
        }
    }

    fn done(&mut self, now: Now, done: &Done) {
        if done.result.is_success() {
            self.counters.opened += 1;
        }
        if let Some(intent) = done.intent {
            self.leave_station(now, intent, done.request.call.as_deref());
        }
        let rule = done.rule.as_deref().unwrap_or("no rule");
        let output = done.output.as_deref().unwrap_or("-");
        let why = done
            .detail
            .as_deref()
            .map(|why| format!(" ({why})"))
            .unwrap_or_default();
        let line = format!(
            "{} {}/{output}: {}{why} [{rule}] {} ms",
            done.request.who,
            done.request.door,
            done.result,
            done.latency.as_millis()
        );
        self.tell(now, done.request.call.as_deref(), Line::Unlock(line));
        if let Some(tx) = done.request.reply {
            self.answer_buzz(tx, done.result);
        }
    }

    /// One driver's turn.
    fn drive(&mut self, now: Now, drive: Drive) {
        let line = format!(
            "{}/{}: recorded, driving by {}",
            drive.door,
            drive.output,
            drive.driver.as_str()
        );
        self.tell(now, drive.call.as_deref(), Line::Unlock(line));
        let told = match drive.driver {
            DriverKind::Http | DriverKind::Mqtt | DriverKind::Webhook => {
                self.queue.push_back(Output::OpenRelay(drive));
                return;
            }
            DriverKind::Dtmf => self.send_digits(now, &drive),
            DriverKind::ActionBuzz => self.buzz_station(now, &drive),
            DriverKind::SipInfo | DriverKind::SipMessage => {
                Err("this driver is not served".to_owned())
            }
        };
        if let Err(why) = told {
            let outcome = Outcome::Unreachable(why);
            self.site.effects.push_back(crate::site::Effect::Driven(
                drive.intent,
                drive.attempt,
                outcome,
            ));
        }
    }

    /// Digits into the door's own call.
    fn send_digits(&mut self, now: Now, drive: &Drive) -> Result<(), String> {
        let out = self.station_out(&drive.door).digits;
        let number = drive.call.as_deref().and_then(|call| self.number_of(call));
        let call = number
            .and_then(|number| self.calls.get_mut(&number))
            .ok_or("no call with the door")?;
        call.send_digits(&mut self.site, now, drive, &out)
    }
}
