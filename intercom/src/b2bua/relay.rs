//! The unlock pipeline's effects: records to the disk, drivers to the shell or to the station by SIP, answers to those
//! who asked.

use dialplan::DriverKind;
use sip_proxy::{Body, ClientTx, HeaderName, Message, Method, OutgoingRequest};

use super::{B2bua, Output};
use crate::Now;
use crate::buzz;
use crate::profile::StationOut;
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

    /// What the profile of a door's station says of sending.
    fn station_out(&self, door: &str) -> StationOut {
        let device = self.site.door_devices(door).into_iter().next();
        let account = device
            .as_deref()
            .and_then(|device| self.site.accounts.get(self.site.accounts.user_of(device)?));
        account
            .and_then(|account| self.stations_out.get(&account.profile))
            .cloned()
            .unwrap_or_default()
    }

    /// `Action: buzz` to the station: INFO in its call, else MESSAGE to its contact.
    fn buzz_station(&mut self, now: Now, drive: &Drive) -> Result<(), String> {
        let number = drive.call.as_deref().and_then(|call| self.number_of(call));
        let out = self.station_out(&drive.door).buzz;
        let in_call = number
            .filter(|_| out.in_call)
            .and_then(|number| self.calls.get_mut(&number))
            .and_then(|call| call.door_request(&mut self.site, &drive.door, Method::Info));
        let (mut request, to) = match in_call {
            Some(found) => found,
            None => self
                .station_message(now, &drive.door)
                .ok_or("the station is not registered")?,
        };
        let value = out.value.replace("{output}", &drive.output);
        request
            .headers
            .push((HeaderName::from_token(&out.header), value));
        let tx = self.station_tx();
        self.stations.insert(tx, (drive.intent, drive.attempt));
        self.site.sip(sip_proxy::Input::Request { tx, request, to });
        Ok(())
    }

    fn station_message(
        &mut self,
        now: Now,
        door: &str,
    ) -> Option<(OutgoingRequest, sip_proxy::Flow)> {
        let devices = self.site.door_devices(door);
        let (device, target) = devices.into_iter().find_map(|device| {
            self.site
                .targets(&device, now.mono)
                .into_iter()
                .next()
                .map(|target| (device, target))
        })?;
        let random = self.site.random();
        let domain = self.site.config.domain();
        let request = OutgoingRequest {
            method: Method::Message,
            uri: target.uri,
            from: format!("<sip:doorward@{domain}>;tag={random:016x}"),
            to: format!("<sip:{device}@{domain}>"),
            call_id: format!("{random:016x}-buzz@{domain}"),
            cseq: 1,
            max_forwards: 70,
            route: target.route,
            contact: None,
            headers: Vec::new(),
            body: Some(Body {
                content_type: "text/plain".to_owned(),
                bytes: bytes::Bytes::new(),
            }),
        };
        Some((request, target.flow))
    }

    /// The next client transaction outside calls.
    pub(super) fn station_tx(&mut self) -> ClientTx {
        let serial = self.next_station;
        self.next_station = if serial >= u64::from(crate::call::MAX_TX) {
            1
        } else {
            serial + 1
        };
        ClientTx(serial)
    }

    /// A station's response to a buzz of ours.
    pub(super) fn station_answered(&mut self, now: Now, tx: ClientTx, message: &Message) {
        let status = message.status().unwrap_or(0);
        if status < 200 {
            return;
        }
        let Some((intent, attempt)) = self.stations.remove(&tx) else {
            return;
        };
        let result = message
            .header(&HeaderName::Other(buzz::ACTION_RESULT.into()))
            .map(str::trim);
        let outcome = match status {
            200..=299 if result.is_some_and(|result| result.eq_ignore_ascii_case("opened")) => {
                Outcome::Opened
            }
            200..=299 => Outcome::Sent,
            404 | 408 | 480 | 503 => Outcome::Unreachable(format!("the station answered {status}")),
            // A station that wants a password has none from us: only configured peers are ever answered.
            _ => Outcome::Refused(format!("the station answered {status}")),
        };
        self.unlock(now, |unlocks, world| {
            unlocks.outcome(world, intent, attempt, outcome);
        });
    }

    pub(super) fn station_failed(&mut self, now: Now, tx: ClientTx) {
        let Some((intent, attempt)) = self.stations.remove(&tx) else {
            return;
        };
        let outcome = Outcome::Unreachable("the station did not answer".to_owned());
        self.unlock(now, |unlocks, world| {
            unlocks.outcome(world, intent, attempt, outcome);
        });
    }
}
