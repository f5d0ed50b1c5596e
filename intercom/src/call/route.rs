//! From the plan's steps to rings and ends.

use std::sync::Arc;
use std::time::Duration;

use dialplan::{CallFacts, End, Member, Preview, Ring, RingOutcome, Step, Target};
use sip_proxy::{HeaderName, Message, OutgoingResponse};

use super::call::{Call, Phase};
use super::fork::Fork;
use crate::Now;
use crate::cdr::EndReason;
use crate::site::{Effect, Site};
use crate::story::Line;

/// How long a `proxy` step's device rings.
const PROXY_RING: Duration = Duration::from_secs(60);
/// Steps a call may take without anything ringing in between: a plan is finite, this only guards against our own error.
const IDLE_STEPS: u32 = 10_000;

impl Call {
    /// Checks the offer and starts the plan. The INVITE is the one the call was made from.
    pub(crate) fn start(&mut self, site: &mut Site, now: Now, message: &Message) {
        self.max_forwards = hops(message);
        if self.max_forwards == 0 {
            return self.refuse_start(site, now, 483);
        }
        let unsupported = unsupported_options(message);
        if !unsupported.is_empty() {
            let response =
                OutgoingResponse::new(420).with_header(HeaderName::Unsupported, unsupported);
            return self.refuse_with(site, now, response, EndReason::MediaRefused);
        }
        match sip_proxy::session_timer::answer(site.config.session, message) {
            Ok(agreed) => self.opening.session = agreed,
            Err(min) => {
                let response =
                    OutgoingResponse::new(422).with_header(HeaderName::MinSe, min.to_string());
                return self.refuse_with(site, now, response, EndReason::MediaRefused);
            }
        }
        if !self.late_offer && !super::call::is_sdp(message) {
            return self.refuse_start(site, now, 415);
        }
        if !self.caller.lease_media(site, self.number, None) {
            self.note(now, Line::Media("no media port free".to_owned()));
            self.notice(site, "refused: no media port free".to_owned());
            let response =
                OutgoingResponse::new(503).with_header(HeaderName::RetryAfter, "5".to_owned());
            return self.refuse_with(site, now, response, EndReason::NoLease);
        }
        if !self.late_offer
            && let Some(negotiation) = self.caller.negotiation()
            && let Err(error) = negotiation.receive_offer(message.body())
        {
            self.note(now, Line::Media(format!("offer refused: {error}")));
            return self.refuse_start(site, now, error.status());
        }
        if self
            .caller
            .negotiation()
            .is_some_and(|negotiation| negotiation.ring_notice())
        {
            let device = &self.caller.party.device;
            let line = format!("{device}: ring notice, no audio offered");
            self.notice(site, line.clone());
            self.note(now, Line::Media(line));
        }
        if let Some(value) = message.header(&HeaderName::Replaces) {
            return self.ask_to_replace(site, now, value);
        }
        let facts = CallFacts {
            caller: Site::caller(&self.caller.party),
            dial: self.dial.clone(),
        };
        let begun = self.plan.begin(&site.directory, &site.facts(now), facts);
        match begun {
            Ok((run, step)) => {
                self.run = Some(run);
                self.provisional_at = Some(now.mono + super::opening::HEARD_WITHIN);
                self.take_step(site, now, step);
            }
            Err(no_route) => {
                self.note(now, Line::Call(format!("no route: {no_route}")));
                self.finish(site, now, EndReason::NoRoute, 404);
            }
        }
        self.settle(site, now);
    }

    fn refuse_start(&mut self, site: &mut Site, now: Now, status: u16) {
        self.refuse_with(
            site,
            now,
            OutgoingResponse::new(status),
            EndReason::MediaRefused,
        );
    }

    fn refuse_with(
        &mut self,
        site: &mut Site,
        now: Now,
        response: OutgoingResponse,
        reason: EndReason,
    ) {
        self.refuse(site, now, response);
        self.finish(site, now, reason, 0);
        self.settle(site, now);
    }

    /// Does what the plan says.
    pub(crate) fn take_step(&mut self, site: &mut Site, now: Now, step: Step) {
        self.note_trace(now);
        match step {
            Step::Ring(ring) => self.ring(site, now, ring),
            Step::End(end) => self.end(site, now, &end),
            Step::Proxy { target } => {
                // The two cannot speak directly (b2bua/proxying): bridged like any call.
                match self.proxy_ring(target) {
                    Some(ring) => self.ring(site, now, ring),
                    None => self.unanswered(site, now, EndReason::NotAnswered, 480),
                }
            }
            Step::Pickup { .. } if self.transfer.is_some() => {
                self.unanswered(site, now, EndReason::NotAnswered, 480);
            }
            Step::Pickup { doors, devices, .. } => site.effects.push_back(Effect::PickUp {
                by: self.number,
                doors,
                devices,
            }),
            Step::Park {
                slots, slot, for_, ..
            } => self.park(site, now, slots, slot, for_),
            Step::Done => self.unanswered(site, now, EndReason::NotAnswered, 480),
        }
    }

    pub(crate) fn ring(&mut self, site: &mut Site, now: Now, ring: Ring) {
        self.step += 1;
        if self.step > IDLE_STEPS {
            return self.unanswered(site, now, EndReason::NotAnswered, 480);
        }
        for (member, outcome) in &ring.dropped {
            self.story
                .push(now.mono, Line::Call(format!("{member}: {outcome}")));
        }
        let preview = ring.preview;
        self.phase = Phase::Ringing(Box::new(Fork::new(self.step, ring, now.mono)));
        self.ring_begins(site, now, preview);
        self.fork_timers(site, now);
    }

    fn proxy_ring(&self, target: Target) -> Option<Ring> {
        let name = match &target {
            Target::Device(device) => device.clone(),
            Target::Door(door) => door.clone(),
            Target::Number { .. } => "number".to_owned(),
        };
        let source = self.run.as_ref()?.trace().last()?.source.clone();
        Some(Ring {
            members: vec![Member {
                selector: name.clone(),
                name,
                target,
                after: Duration::ZERO,
                for_: None,
                confirm: None,
                on: Vec::new(),
            }],
            serial: false,
            for_: PROXY_RING,
            join_late: false,
            preview: Preview::None,
            keys: "default".to_owned(),
            auto_answer: false,
            source,
            dropped: Vec::new(),
        })
    }

    /// The plan's end.
    fn end(&mut self, site: &mut Site, now: Now, end: &End) {
        match end {
            End::Retry { every, .. } => {
                self.phase = Phase::Pausing {
                    until: now.mono + *every,
                };
            }
            End::Message { .. } => {
                self.note(now, Line::Call("no message box is configured".to_owned()));
                self.unanswered(site, now, EndReason::NotAnswered, end.status());
            }
            End::Transfer { to } => self.end_transfer(site, now, to),
            End::Busy => self.unanswered(site, now, EndReason::Busy, end.status()),
            End::Log | End::Hangup => {
                self.unanswered(site, now, EndReason::NotAnswered, end.status());
            }
        }
    }

    /// The pause of `end "retry"` is over.
    pub(crate) fn retry(&mut self, site: &mut Site, now: Now) {
        let directory = Arc::clone(&site.directory);
        let facts = site.facts(now);
        let Some(run) = self.run.as_mut() else { return };
        let step = run.retry(&directory, &facts);
        self.phase = Phase::Routing;
        self.take_step(site, now, step);
    }

    /// A ring step is through.
    pub(crate) fn next_step(&mut self, site: &mut Site, now: Now, outcome: RingOutcome) {
        self.note(now, Line::Call(format!("ring step: {outcome}")));
        if self
            .transfer
            .as_deref()
            .is_some_and(|transfer| transfer.recall)
        {
            // Not a step of the plan.
            return self.unanswered(site, now, EndReason::NotAnswered, 480);
        }
        let directory = Arc::clone(&site.directory);
        let facts = site.facts(now);
        self.phase = Phase::Routing;
        let Some(run) = self.run.as_mut() else { return };
        let step = run.next(&directory, &facts, outcome);
        self.take_step(site, now, step);
    }

    /// Copies the plan's new trace lines into the story.
    pub(crate) fn note_trace(&mut self, now: Now) {
        let Some(run) = &self.run else { return };
        for line in run.trace().iter().skip(self.trace_seen) {
            let what = if line.detail.is_empty() {
                line.what.clone()
            } else {
                format!("{}: {}", line.what, line.detail)
            };
            self.story.push(
                now.mono,
                Line::Plan {
                    what,
                    source: line.source.to_string(),
                },
            );
        }
        self.trace_seen = run.trace().len();
    }
}

/// Max-Forwards to go on with: it keeps counting across us (RFC 7332); absent counts as 70.
fn hops(message: &Message) -> u8 {
    let hops = message
        .header(&HeaderName::MaxForwards)
        .and_then(|value| value.trim().parse::<u8>().ok());
    hops.map_or(70, |hops| hops.saturating_sub(1).min(70))
}

/// Required extensions we do not have (RFC 3261 §8.2.2.3).
pub(crate) fn unsupported_options(message: &Message) -> String {
    let known = |option: &str| {
        super::SUPPORTED
            .split(", ")
            .any(|known| known.eq_ignore_ascii_case(option))
    };
    let missing: Vec<&str> = message
        .values(&HeaderName::Require)
        .filter(|option| !known(option))
        .take(8)
        .collect();
    missing.join(", ")
}
