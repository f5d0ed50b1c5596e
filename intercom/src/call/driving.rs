//! A relay driven through the door's own leg: digits by RFC 4733 or INFO, or a request in its dialog.

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use media_bridge::{Command, Digit, LegId};
use sip_proxy::{Body, ClientTx, Flow, Method, OutgoingRequest};

use super::call::Call;
use crate::Now;
use crate::profile::{DigitsOut, DtmfMethod};
use crate::site::{Effect, Site};
use crate::unlock::{IntentId, Outcome};

/// Digits on their way to a station.
pub(crate) struct Driving {
    pub(crate) intent: IntentId,
    pub(crate) attempt: u8,
    /// The attempt's own time-out: no digit leaves after it, for then the door would open unasked.
    until: Instant,
    /// By INFO: what is left, and the request that is out.
    left: VecDeque<char>,
    info: Option<ClientTx>,
    /// By the media worker: leg, worker and the order's name.
    order: Option<(LegId, u16, u64)>,
    /// Its Call-ID and CSeq.
    named: Option<(String, u32)>,
    tone_ms: u16,
}

impl fmt::Debug for Driving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driving")
            .field("intent", &self.intent)
            .field("left", &self.left.len())
            .finish_non_exhaustive()
    }
}

impl Driving {
    /// Digits that the worker has not sent yet stay unsent.
    pub(super) fn take_back(&self, site: &mut Site) {
        if let Some((leg, worker, order)) = self.order {
            site.media(worker, Command::StopDigits { leg, order });
        }
    }
}

/// Longest code.
const CODE_DIGITS: usize = 32;

impl Call {
    /// Sends a code to the station of `door`, which must be in this call.
    pub(crate) fn send_digits(
        &mut self,
        site: &mut Site,
        now: Now,
        drive: &crate::unlock::Drive,
        out: &DigitsOut,
    ) -> Result<(), String> {
        let mut code = drive.options.get("code").cloned().unwrap_or_default();
        if code.is_empty() {
            return Err("the output has no code".to_owned());
        }
        if !code.ends_with(&out.terminator) {
            code.push_str(&out.terminator);
        }
        if code.chars().count() > CODE_DIGITS {
            return Err("the code is too long".to_owned());
        }
        if !code.chars().all(|key| Digit::new(key).is_some()) {
            return Err("the code has characters that are no keys".to_owned());
        }
        let (index, found) = self.door_side().ok_or("the call has no door")?;
        if found != drive.door {
            return Err("the call is with another door".to_owned());
        }
        if self
            .driving
            .as_ref()
            .is_some_and(|driving| now.mono < driving.until)
        {
            return Err("digits are being sent already".to_owned());
        }
        let mut driving = Driving {
            intent: drive.intent,
            attempt: drive.attempt,
            until: now.mono + drive.timeout,
            left: VecDeque::new(),
            info: None,
            order: None,
            named: None,
            tone_ms: out.pacing.tone_ms,
        };
        match out.method {
            DtmfMethod::Rtp | DtmfMethod::InBand => {
                let media = self
                    .peek(index)
                    .and_then(|leg| leg.media.as_ref())
                    .ok_or("the door has no media")?;
                let agreed = media.negotiation.agreed().ok_or("the door has no audio")?;
                if agreed.telephone_event.is_none() && out.method == DtmfMethod::Rtp {
                    return Err("the station agreed to no telephone-event".to_owned());
                }
                // The bridge would keep the digits until the door resumes, long after the intent.
                if !agreed.direction.sends() {
                    return Err("the door holds the call".to_owned());
                }
                let (leg, worker) = (media.id, media.lease.worker);
                // Unique in this call, as every number of a transaction.
                let order = self.take_tx().0;
                driving.order = Some((leg, worker, order));
                let command = Command::SendDigits {
                    leg,
                    order,
                    digits: code.into(),
                    pacing: out.pacing,
                };
                site.media(worker, command);
                self.driving = Some(driving);
            }
            DtmfMethod::Info => {
                driving.left = code.chars().collect();
                self.driving = Some(driving);
                self.next_info(site, now);
            }
        }
        Ok(())
    }

    /// The next digit by INFO; after the last one the station has been told.
    fn next_info(&mut self, site: &mut Site, now: Now) {
        let tx = self.take_tx();
        let Some(driving) = self.driving.as_mut() else {
            return;
        };
        let (intent, attempt, tone_ms) = (driving.intent, driving.attempt, driving.tone_ms);
        let Some(digit) = driving.left.pop_front() else {
            self.driving = None;
            site.effects
                .push_back(Effect::Driven(intent, attempt, Outcome::Sent));
            return;
        };
        if now.mono >= driving.until {
            self.driving = None;
            return;
        }
        driving.info = Some(tx);
        let door = self.door_side().map(|(_, door)| door).unwrap_or_default();
        let Some((mut request, to)) = self.door_request(site, &door, Method::Info) else {
            self.driving = None;
            let gone = Outcome::Unreachable("the door's call ended".to_owned());
            site.effects
                .push_back(Effect::Driven(intent, attempt, gone));
            return;
        };
        let text = format!("Signal={digit}\r\nDuration={tone_ms}\r\n");
        request.body = Some(Body {
            content_type: "application/dtmf-relay".to_owned(),
            bytes: text.into(),
        });
        if let Some(driving) = self.driving.as_mut() {
            driving.named = Some((request.call_id.clone(), request.cseq));
        }
        site.sip(sip_proxy::Input::Request { tx, request, to });
    }

    /// The intent is over: no more digits. The INFO that is out, by Call-ID and CSeq.
    pub(crate) fn leave_driving(
        &mut self,
        site: &mut Site,
        intent: IntentId,
    ) -> Option<(String, u32)> {
        let driving = self.driving.take_if(|driving| driving.intent == intent)?;
        driving.take_back(site);
        driving.named
    }

    /// The door has put the call on hold: what it has not heard of a code yet must not reach it when it resumes, for
    /// by then everybody has been told that it did not open.
    pub(crate) fn driving_held(&mut self, site: &mut Site, index: u16) {
        let door = self.door_side().is_some_and(|(door, _)| door == index);
        let agreed = self
            .peek(index)
            .and_then(|leg| leg.media.as_ref()?.negotiation.agreed());
        let held = agreed.is_some_and(|agreed| !agreed.direction.sends());
        if !door || !held {
            return;
        }
        let Some(driving) = self.driving.take_if(|driving| driving.order.is_some()) else {
            return;
        };
        driving.take_back(site);
        let outcome = Outcome::Unreachable("the door holds the call".to_owned());
        let (intent, attempt) = (driving.intent, driving.attempt);
        site.effects
            .push_back(Effect::Driven(intent, attempt, outcome));
    }

    /// Whether `tx` is the INFO that is out; if so, goes on or gives up by its final status (`None`: no response).
    pub(crate) fn info_answered(
        &mut self,
        site: &mut Site,
        now: Now,
        tx: ClientTx,
        status: Option<u16>,
    ) -> bool {
        let Some(driving) = self
            .driving
            .as_ref()
            .filter(|driving| driving.info == Some(tx))
        else {
            return false;
        };
        let (intent, attempt) = (driving.intent, driving.attempt);
        match status {
            Some(100..=199) => {}
            Some(200..=299) => self.next_info(site, now),
            other => {
                self.driving = None;
                let outcome = match other {
                    Some(status) => Outcome::Refused(format!("INFO was answered {status}")),
                    None => Outcome::Unreachable("INFO was not answered".to_owned()),
                };
                site.effects
                    .push_back(Effect::Driven(intent, attempt, outcome));
            }
        }
        true
    }

    /// The worker has sent all digits of an order.
    pub(crate) fn digits_sent(&mut self, site: &mut Site, sent: u64) {
        let ours = |driving: &mut Driving| driving.order.is_some_and(|(.., order)| order == sent);
        if let Some(driving) = self.driving.take_if(ours) {
            site.effects.push_back(Effect::Driven(
                driving.intent,
                driving.attempt,
                Outcome::Sent,
            ));
        }
    }

    /// A request within the dialog of `door`'s station.
    pub(crate) fn door_request(
        &mut self,
        site: &mut Site,
        door: &str,
        method: Method,
    ) -> Option<(OutgoingRequest, Flow)> {
        let (index, found) = self.door_side()?;
        if found != door {
            return None;
        }
        let leg = self.leg(index)?;
        let flow = leg.flow;
        Some((leg.request(site, method)?, flow))
    }
}
