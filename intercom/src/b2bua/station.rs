//! A station told to open by `Action: buzz` of ours: INFO in its call, MESSAGE or INVITE to its contact, and our
//! credentials when it asks for them — only its own, only from its own address, twice at most.

use sip_proxy::digest::client::{self, Secret};
use sip_proxy::{Body, ClientTx, Dialog, Flow, HeaderName, Message, Method, OutgoingRequest};

use super::B2bua;
use crate::Now;
use crate::buzz;
use crate::profile::{BuzzBy, StationOut};
use crate::unlock::{Drive, IntentId, Outcome};

/// Challenges answered for one attempt; the second only when the first nonce was too old.
const LOGINS: u8 = 2;

/// A request of ours that drives a relay, until its final response.
pub(super) struct Asked {
    intent: IntentId,
    attempt: u8,
    door: String,
    /// In the station's dialog of this call.
    call: Option<u64>,
    request: OutgoingRequest,
    to: Flow,
    logins: u8,
}

impl B2bua {
    /// What a door's station takes from us: by the profile the plan gives it, else by its account's.
    pub(super) fn station_out(&self, door: &str) -> StationOut {
        let planned = self.site.plan.door(door).map(|door| door.station.as_str());
        if let Some(out) = planned.and_then(|name| self.speech.out.get(name)) {
            return out.clone();
        }
        let device = self.site.door_devices(door).into_iter().next();
        let account = device
            .as_deref()
            .and_then(|device| self.site.accounts.get(self.site.accounts.user_of(device)?));
        account
            .and_then(|account| self.speech.out.get(&account.profile))
            .cloned()
            .unwrap_or_default()
    }

    /// `Action: buzz` to the station.
    pub(super) fn buzz_station(&mut self, now: Now, drive: &Drive) -> Result<(), String> {
        let number = drive.call.as_deref().and_then(|call| self.number_of(call));
        let out = self.station_out(&drive.door).buzz;
        let call = number.filter(|_| out.by == BuzzBy::Info);
        let in_call = call.and_then(|number| {
            let call = self.calls.get_mut(&number)?;
            call.door_request(&mut self.site, &drive.door, Method::Info)
        });
        let call = call.filter(|_| in_call.is_some());
        let (mut request, to) = match in_call {
            Some(found) => found,
            None => self
                .station_request(now, &drive.door, out.by)
                .ok_or("the station is not registered")?,
        };
        let value = out.value.replace("{output}", &drive.output);
        request
            .headers
            .push((HeaderName::from_token(&out.header), value));
        self.ask(Asked {
            intent: drive.intent,
            attempt: drive.attempt,
            door: drive.door.clone(),
            call,
            request,
            to,
            logins: 0,
        });
        Ok(())
    }

    fn ask(&mut self, asked: Asked) {
        let tx = self.station_tx();
        let (request, to) = (asked.request.clone(), asked.to);
        self.stations.insert(tx, asked);
        self.site.sip(sip_proxy::Input::Request { tx, request, to });
    }

    fn station_request(
        &mut self,
        now: Now,
        door: &str,
        by: BuzzBy,
    ) -> Option<(OutgoingRequest, Flow)> {
        let devices = self.site.door_devices(door);
        let (device, target) = devices.into_iter().find_map(|device| {
            self.site
                .targets(&device, now.mono)
                .into_iter()
                .next()
                .map(|target| (device, target))
        })?;
        let user = self.site.accounts.user_of(&device)?.to_owned();
        let random = self.site.random();
        let domain = self.site.config.domain();
        let (method, contact, kind, bytes) = match by {
            BuzzBy::Info | BuzzBy::Message => {
                (Method::Message, None, "text/plain", bytes::Bytes::new())
            }
            BuzzBy::Invite => {
                let address = target.flow.local.ip().to_canonical();
                let nothing = media_bridge::offer_nothing(address, random >> 2);
                let contact = Some(self.site.contact(&target.flow));
                (Method::Invite, contact, "application/sdp", nothing)
            }
        };
        let request = OutgoingRequest {
            method,
            uri: target.uri,
            from: format!("<sip:doorward@{domain}>;tag={random:016x}"),
            to: format!("<sip:{user}@{domain}>"),
            call_id: format!("{random:016x}-buzz@{domain}"),
            cseq: 1,
            max_forwards: 70,
            route: target.route,
            contact,
            headers: Vec::new(),
            body: Some(Body {
                content_type: kind.to_owned(),
                bytes,
            }),
        };
        Some((request, target.flow))
    }

    /// The next transaction that drives a station.
    pub(super) fn station_tx(&mut self) -> ClientTx {
        self.station_serials.next()
    }

    /// A station's response to a buzz of ours.
    pub(super) fn station_answered(
        &mut self,
        now: Now,
        tx: ClientTx,
        message: &Message,
        flow: &Flow,
    ) {
        let status = message.status().unwrap_or(0);
        if status < 200 {
            return;
        }
        let Some(asked) = self.stations.remove(&tx) else {
            return;
        };
        if status < 300 && asked.request.method == Method::Invite {
            self.hang_up_station(tx, &asked, message);
        }
        let (intent, attempt) = (asked.intent, asked.attempt);
        let result = message
            .header(&HeaderName::Other(buzz::ACTION_RESULT.into()))
            .map(str::trim);
        let outcome = match status {
            200..=299 if result.is_some_and(|result| result.eq_ignore_ascii_case("opened")) => {
                Outcome::Opened
            }
            200..=299 => Outcome::Sent,
            401 | 407 => match self.log_in(asked, message, flow) {
                Ok(()) => return,
                Err(why) => Outcome::Refused(format!("the station answered {status}: {why}")),
            },
            404 | 408 | 480 | 503 => Outcome::Unreachable(format!("the station answered {status}")),
            _ => Outcome::Refused(format!("the station answered {status}")),
        };
        self.unlock(now, |unlocks, world| {
            unlocks.outcome(world, intent, attempt, outcome);
        });
    }

    /// Asks again with the door's own credentials, if the challenge is the station's to make.
    fn log_in(
        &mut self,
        mut asked: Asked,
        message: &Message,
        flow: &Flow,
    ) -> Result<(), &'static str> {
        // After its time-out an intent opens nothing any more.
        if !self.unlocks.awaits(asked.intent, asked.attempt) {
            return Err("too late");
        }
        let login = self
            .speech
            .logins
            .get(&asked.door)
            .ok_or("no credentials are configured for it")?;
        let peer = flow.remote.ip().to_canonical();
        let known = login.peers.contains(&peer)
            || self
                .site
                .config
                .trusted_account(peer)
                .and_then(|account| self.site.party(account)?.door)
                .is_some_and(|door| door == asked.door);
        if !known || peer != asked.to.remote.ip().to_canonical() {
            return Err("its address is not the configured one");
        }
        let (ask, reply) = if message.status() == Some(401) {
            (HeaderName::WwwAuthenticate, HeaderName::Authorization)
        } else {
            (
                HeaderName::ProxyAuthenticate,
                HeaderName::ProxyAuthorization,
            )
        };
        let realm = login
            .realm
            .as_ref()
            .or_else(|| self.station_realms.get(&asked.door));
        let realm = match realm {
            Some(realm) => realm.clone(),
            None => message
                .headers(&ask)
                .find_map(client::realm_of)
                .ok_or("its challenge cannot be read")?,
        };
        let challenges: Vec<&str> = message
            .headers(&ask)
            .filter(|challenge| client::realm_of(challenge).as_ref() == Some(&realm))
            .collect();
        if challenges.is_empty() {
            return Err("it named another realm than before");
        }
        let stale = challenges
            .iter()
            .any(|challenge| client::is_stale(challenge));
        if asked.logins >= LOGINS || asked.logins > 0 && !stale {
            return Err("it did not take our credentials");
        }
        asked.logins += 1;
        let (user, password) = (login.user.clone(), login.password.clone());
        self.renew(&mut asked)?;
        let cnonce = format!("{:016x}", self.site.random());
        let digest = client::Request {
            method: asked.request.method.as_str(),
            uri: &asked.request.uri,
            cnonce: &cnonce,
            nc: 1,
        };
        let secret = Secret::Password(password.expose());
        let value = client::answer_best(challenges, &user, secret, &digest)
            .map_err(|_| "its challenge cannot be answered")?;
        // Doors are few and named by the configuration: as many realms as logins.
        self.station_realms.insert(asked.door.clone(), realm);
        asked.request.headers.push((reply, value));
        self.ask(asked);
        Ok(())
    }

    /// The same request once more: the next number of its dialog, or of its own (RFC 3261 §22.2).
    fn renew(&mut self, asked: &mut Asked) -> Result<(), &'static str> {
        let headers: Vec<_> = std::mem::take(&mut asked.request.headers)
            .into_iter()
            .filter(|(name, _)| {
                !matches!(
                    name,
                    HeaderName::Authorization | HeaderName::ProxyAuthorization
                )
            })
            .collect();
        match asked.call {
            Some(number) => {
                let found = self
                    .calls
                    .get_mut(&number)
                    .and_then(|call| call.door_request(&mut self.site, &asked.door, Method::Info));
                (asked.request, asked.to) = found.ok_or("the call has ended")?;
            }
            None => asked.request.cseq += 1,
        }
        asked.request.headers = headers;
        Ok(())
    }

    /// ACK and BYE of a call that was only a buzz.
    fn hang_up_station(&mut self, invite: ClientTx, asked: &Asked, message: &Message) {
        let Ok(mut dialog) = Dialog::from_response(&asked.request, message, asked.to) else {
            return;
        };
        let to = asked.to;
        let request = dialog.ack(message.cseq());
        self.site.sip(sip_proxy::Input::Ack {
            request,
            to,
            invite,
        });
        let request = dialog.request(Method::Bye);
        let tx = self.station_tx();
        self.site.sip(sip_proxy::Input::Request { tx, request, to });
    }

    /// Whether a message going out repeats a request whose intent is over.
    pub(super) fn is_overdue(&mut self, now: Now, bytes: &bytes::Bytes) -> bool {
        while self
            .overdue
            .front()
            .is_some_and(|(until, ..)| *until <= now.mono)
        {
            self.overdue.pop_front();
        }
        if self.overdue.is_empty() || !(bytes.starts_with(b"INFO") || bytes.starts_with(b"MESSAGE"))
        {
            return false;
        }
        let limits = &self.site.config.endpoint.limits;
        Message::parse(bytes.clone(), limits).is_ok_and(|message| {
            self.overdue
                .iter()
                .any(|(_, call_id, cseq)| call_id == message.call_id() && *cseq == message.cseq())
        })
    }

    pub(super) fn station_failed(&mut self, now: Now, tx: ClientTx) {
        let Some(asked) = self.stations.remove(&tx) else {
            return;
        };
        let outcome = Outcome::Unreachable("the station did not answer".to_owned());
        self.unlock(now, |unlocks, world| {
            unlocks.outcome(world, asked.intent, asked.attempt, outcome);
        });
    }

    /// The intent is over: a station that still rings for it stops, and what it has not heard yet it hears no more. A
    /// door must not open half a minute after everybody was told that it did not.
    pub(super) fn leave_station(&mut self, now: Now, intent: IntentId, call: Option<&str>) {
        let number = call.and_then(|call| self.number_of(call));
        let call = number.and_then(|number| self.calls.get_mut(&number));
        let info = call.and_then(|call| call.leave_driving(&mut self.site, intent));
        let asked = self
            .stations
            .values()
            .filter(|asked| asked.intent == intent && asked.request.method != Method::Invite)
            .map(|asked| (asked.request.call_id.clone(), asked.request.cseq));
        let until = now.mono + self.site.config.endpoint.timers.t1 * 64;
        for (call_id, cseq) in asked.chain(info) {
            if self.overdue.len() >= super::OVERDUE {
                self.overdue.pop_front();
            }
            self.overdue.push_back((until, call_id, cseq));
        }
        let ringing: Vec<ClientTx> = self
            .stations
            .iter()
            .filter(|(_, asked)| asked.intent == intent && asked.request.method == Method::Invite)
            .map(|(tx, _)| *tx)
            .collect();
        for tx in ringing {
            self.site.sip(sip_proxy::Input::Cancel { tx, reason: None });
        }
    }
}
