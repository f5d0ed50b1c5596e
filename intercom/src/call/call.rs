//! The call machine: one input at a time, by phase.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dialplan::{LegState, Plan, Run};
use media_bridge::Event;
use sip_proxy::locate::{Candidate, LookupId};
use sip_proxy::{ClientTx, FailCause, Flow, Message, Method, OutgoingResponse, ServerTx};

use super::branch::{Branch, BranchState};
use super::driving::Driving;
use super::finish::Progress;
use super::fork::Fork;
use super::leg::{Leg, Party};
use super::opening::Opening;
use super::park::Parked;
use super::reason::Cause;
use super::talk::Talk;
use super::transfer::Transfer;
use super::trunk::{Dialling, Hop};
use crate::Now;
use crate::cdr::{CdrStep, EndReason};
use crate::config::CallLimits;
use crate::site::{Effect, Site};
use crate::story::{Line, Story};

/// What comes in to a call.
#[derive(Debug)]
pub(crate) enum CallInput {
    /// A response to a request of ours.
    Response {
        tx: ClientTx,
        message: Message,
        flow: Flow,
    },
    /// A look-up of ours is through.
    Located {
        id: LookupId,
        candidates: Vec<Candidate>,
    },
    /// A request of ours got no response.
    Failed { tx: ClientTx, cause: FailCause },
    /// The caller gave up (CANCEL), and says why.
    Cancelled(Option<Cause>),
    /// ACK to a 2xx of ours.
    Ack { index: u16, message: Message },
    /// No ACK came for a 2xx of ours.
    AckMissing { tx: ServerTx },
    /// A request within one of the call's dialogs.
    Request {
        index: u16,
        tx: ServerTx,
        message: Message,
    },
    /// The worker says something of a leg.
    Media { index: u16, event: Event },
    /// A device registered while the call may be ringing.
    Registered { device: String },
    /// The caller's connection is gone.
    CallerGone,
    /// The person is revoked, or the server stops.
    End(EndReason),
    /// The call to be picked or taken up is not there.
    NothingThere,
    /// Plan, directory or accounts are new.
    Reloaded,
    /// A deadline passed.
    Timeout,
}

/// Where the call stands.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Between two steps; never seen from outside.
    Routing,
    /// A ring step is under way.
    Ringing(Box<Fork>),
    /// The plan pauses before it tries again.
    Pausing { until: Instant },
    /// It lies in a slot.
    Parked(Box<Parked>),
    /// Somebody answered.
    Talking(Box<Talk>),
    /// Over for the people; transactions and media give their last word.
    Ending,
}

/// A new call.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) number: u64,
    pub(crate) tx: ServerTx,
    pub(crate) message: Message,
    pub(crate) flow: Flow,
    pub(crate) party: Party,
    pub(crate) dial: String,
}

/// Times of the call that the CDR tells.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) routed: Option<Instant>,
    pub(crate) rang: Option<Instant>,
    pub(crate) answered: Option<Instant>,
    pub(crate) ended: Option<Instant>,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) started: Now,
    pub(crate) dial: String,
    /// A GRUU was dialled: of this device that user agent alone is called.
    pub(crate) user_agent: Option<(String, String)>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) run: Option<Run>,
    /// Who made the call; stays when its leg has left by a transfer.
    pub(crate) origin: Party,
    /// The side that waits for an answer, or talks: the caller's leg, or whom a transfer passes on.
    pub(crate) caller: Leg,
    pub(crate) caller_tx: ServerTx,
    pub(crate) late_offer: bool,
    pub(crate) max_forwards: u8,
    pub(crate) phase: Phase,
    pub(crate) branches: Vec<Branch>,
    /// Losing branches that were answered: their leg and flow, for what a fork behind them answers too.
    pub(crate) lost: Vec<(u16, Flow)>,
    /// Numbers on their way to a trunk. Bounded by the members of a ring step.
    pub(crate) dialling: Vec<Dialling>,
    pub(crate) hop: Option<Hop>,
    pub(crate) next_leg: u16,
    pub(crate) next_tx: u32,
    /// Requests of ours in dialogs that await a final response and mean nothing else (BYE).
    pub(crate) byes: Vec<ClientTx>,
    pub(crate) step: u32,
    pub(crate) times: Times,
    pub(crate) progress: Progress,
    pub(crate) provisional_at: Option<Instant>,
    /// The caller's early dialog.
    pub(crate) opening: Opening,
    pub(crate) ring_until: Instant,
    pub(crate) story: Story,
    pub(crate) trace_seen: usize,
    pub(crate) unlocks: u32,
    /// Digits on their way to the station on the door's leg.
    pub(crate) driving: Option<Driving>,
    /// A transfer under way: `caller` waits while its target is rung.
    pub(crate) transfer: Option<Box<Transfer>>,
    /// Its devices, as [`Site::engaged`] counts them.
    pub(crate) engaged: Vec<String>,
    /// See [`crate::config::CallLimits::max_hold`].
    pub(crate) max_hold: std::time::Duration,
    /// Transfers begun.
    pub(crate) transfers: u8,
    /// Legs that left the call before its end, for the record. One per transfer, and those are limited.
    pub(crate) parted: Vec<Leg>,
    /// BYEs that wait for the answer to a last NOTIFY. One per transfer.
    pub(crate) farewells: Vec<super::transfer::Farewell>,
    /// The plan's walk before the latest transfer.
    pub(crate) earlier: Vec<CdrStep>,
}

/// RFC 3261 §13.3.1.1: an unanswered INVITE hears something every minute.
pub(crate) const PROVISIONAL_EVERY: Duration = Duration::from_secs(60);

impl Call {
    /// A call for an authenticated INVITE. The caller has been answered nothing yet.
    pub(crate) fn new(site: &mut Site, now: Now, arrival: Arrival) -> Result<Self, u16> {
        let Arrival {
            number,
            tx,
            message,
            flow,
            party,
            dial,
        } = arrival;
        let local_tag = super::tag(number, 0, site.random());
        let dialog =
            sip_proxy::Dialog::from_request(&message, &local_tag, flow).map_err(|_| 400u16)?;
        let profile = site.profile(&party.user);
        let id = format!("{:08x}-{number}", site.epoch);
        let limits: &CallLimits = &site.config.limits;
        let max_hold = limits.max_hold;
        let story = Story::new(id.clone(), now.mono, limits.story_entries);
        let ring_until = now.mono + limits.max_ringing;
        let origin = party.clone();
        let mut caller = Leg::new(0, party, profile, flow, local_tag, Some(dialog));
        caller.learn(&message);
        caller.flags.private = super::identity::wishes_privacy(&message);
        let opening = Opening::new(site, &message);
        let mut call = Call {
            number,
            id,
            started: now,
            dial,
            user_agent: None,
            plan: Arc::clone(&site.plan),
            run: None,
            origin,
            caller,
            caller_tx: tx,
            late_offer: message.body().is_empty(),
            max_forwards: 70,
            phase: Phase::Routing,
            branches: Vec::new(),
            lost: Vec::new(),
            dialling: Vec::new(),
            hop: None,
            next_leg: 1,
            next_tx: 1,
            byes: Vec::new(),
            step: 0,
            times: Times::default(),
            progress: Progress::default(),
            provisional_at: None,
            opening,
            ring_until,
            story,
            trace_seen: 0,
            unlocks: 0,
            driving: None,
            transfer: None,
            engaged: Vec::new(),
            max_hold,
            transfers: 0,
            parted: Vec::new(),
            farewells: Vec::new(),
            earlier: Vec::new(),
        };
        call.heard(now, 0, &message);
        Ok(call)
    }

    /// One input.
    pub(crate) fn handle(&mut self, site: &mut Site, now: Now, input: CallInput) {
        match input {
            CallInput::Response { tx, message, flow } => {
                if !self.trunk_response(site, now, tx, &message, &flow) {
                    self.response(site, now, tx, &message);
                }
            }
            CallInput::Located { id, candidates } => self.located(site, now, id, candidates),
            CallInput::Failed { tx, cause } => {
                if !self.trunk_failed(site, now, tx, cause) {
                    self.failed(site, now, tx, cause);
                }
            }
            CallInput::Cancelled(cause) => {
                self.progress.cause = cause;
                self.note(
                    now,
                    Line::In {
                        from: self.caller.party.device.clone(),
                        what: "CANCEL".to_owned(),
                    },
                );
                self.finish(site, now, EndReason::CallerCancelled, 487);
            }
            CallInput::Ack { index, message } => self.acked(site, now, index, &message),
            CallInput::AckMissing { tx } => self.ack_missing(site, now, tx),
            CallInput::Request { index, tx, message } => {
                self.request(site, now, index, tx, &message);
            }
            CallInput::Media { index, event } => self.media_event(site, now, index, &event),
            CallInput::Registered { device } => self.late_join(site, now, &device),
            CallInput::CallerGone => {
                if self.progress.final_status.is_none() {
                    self.finish(site, now, EndReason::CallerCancelled, 487);
                }
            }
            CallInput::End(reason) => self.finish(site, now, reason, 503),
            CallInput::NothingThere => {
                self.note(now, Line::Call("there is no such call".to_owned()));
                self.go_on(site, now);
            }
            CallInput::Reloaded => self.cancel_revoked(site, now),
            CallInput::Timeout => {}
        }
        self.timers(site, now);
        self.branches
            .retain(|branch| !matches!(branch.state, BranchState::Gone));
        self.settle(site, now);
    }

    /// A response to a request of this call.
    fn response(&mut self, site: &mut Site, now: Now, tx: ClientTx, message: &Message) {
        let status = message.status().unwrap_or(0);
        if let Some(at) = self.byes.iter().position(|bye| *bye == tx) {
            if status >= 200 {
                self.byes.swap_remove(at);
            }
        } else if let Some(at) = self.branches.iter().position(|branch| branch.tx == tx) {
            self.branch_response(site, now, at, message);
        } else if self.info_answered(site, now, tx, Some(status))
            || self.probed(site, now, tx, Some(status))
            || self.notified(site, now, tx, status)
        {
        } else if self.is_established() {
            self.dialog_response(site, now, tx, message);
        } else if (200..300).contains(&status) && *message.method() == Method::Invite {
            // A re-INVITE of ours answered when the call is already over: the BYE is on its way, the ACK is owed.
            self.ack_stray(site, tx, message);
        }
    }

    fn failed(&mut self, site: &mut Site, now: Now, tx: ClientTx, cause: FailCause) {
        if let Some(at) = self.byes.iter().position(|bye| *bye == tx) {
            self.byes.swap_remove(at);
        } else if let Some(at) = self.branches.iter().position(|branch| branch.tx == tx) {
            self.branch_failed(site, now, at, cause);
        } else if self.info_answered(site, now, tx, None)
            || self.probed(site, now, tx, None)
            || self.notified(site, now, tx, 408)
        {
        } else if self.is_established() {
            self.dialog_failed(site, now, tx);
        }
    }

    /// Everything whose time has come.
    fn timers(&mut self, site: &mut Site, now: Now) {
        self.opening_timers(site, now);
        match &self.phase {
            Phase::Ringing(_) | Phase::Pausing { .. } if self.ring_until <= now.mono => {
                self.unanswered(site, now, EndReason::NotAnswered, 480);
            }
            Phase::Ringing(_) => {
                self.confirm_timers(site, now);
                self.trunk_timers(site, now);
                self.fork_timers(site, now);
            }
            Phase::Pausing { until } if *until <= now.mono => self.retry(site, now),
            Phase::Parked(parked) if parked.until <= now.mono => self.park_over(site, now),
            Phase::Talking(talk) if talk.until <= now.mono => {
                self.finish(site, now, EndReason::Limit, 480);
            }
            Phase::Talking(_) => self.sync_hold(site, now),
            Phase::Routing | Phase::Pausing { .. } | Phase::Parked(_) | Phase::Ending => {}
        }
        if self.is_established() {
            self.session_timers(site, now);
        }
        if self.is_established() {
            self.watch(site, now);
        }
    }

    /// When [`CallInput::Timeout`] is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Ringing(fork) => {
                let confirm = self.confirm_timeout().unwrap_or(self.ring_until);
                let fork = fork.next_timeout().unwrap_or(confirm);
                Some(fork.min(confirm).min(self.ring_until))
            }
            Phase::Pausing { until } => Some(*until),
            Phase::Parked(parked) => Some(parked.until),
            Phase::Talking(talk) => {
                let retries = [&self.caller, &talk.winner].into_iter();
                let retry = retries.filter_map(|leg| leg.retry_due()).min();
                Some(retry.map_or(talk.until, |at| at.min(talk.until)))
            }
            Phase::Ending => self.progress.next_timeout(),
            Phase::Routing => None,
        };
        let opening = self
            .progress
            .final_status
            .is_none()
            .then(|| self.opening.next_timeout())
            .flatten();
        let sessions = self
            .established()
            .filter(|_| self.is_established())
            .flat_map(|leg| {
                let session = leg.session.map(|timer| timer.next_timeout());
                [session, leg.watch_timeout(self.max_hold)]
            })
            .flatten()
            .min();
        // As in `timers`: numbers are dialled while it rings and no longer.
        let trunks = matches!(self.phase, Phase::Ringing(_))
            .then(|| self.trunk_timeout())
            .flatten();
        [phase, self.provisional_at, opening, sessions, trunks]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether it is over for its people.
    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ending)
    }

    /// Whether nothing of the call is left: no branch, no transaction, no open media.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ending)
            && self.progress.recorded
            && self.branches.is_empty()
            && self.byes.is_empty()
            && self.caller.unacked.is_none()
    }

    /// The next leg number; `None` when the call has used them all.
    pub(crate) fn take_leg(&mut self) -> Option<u16> {
        let index = self.next_leg;
        (index < super::MAX_LEGS).then(|| {
            self.next_leg += 1;
            index
        })
    }

    /// The next client transaction.
    pub(crate) fn take_tx(&mut self) -> ClientTx {
        let serial = self.next_tx;
        // A call of a million transactions does not exist: its duration is limited.
        self.next_tx = self.next_tx.wrapping_add(1) & super::MAX_TX;
        super::client_tx(self.number, serial)
    }

    /// A story line.
    pub(crate) fn note(&mut self, now: Now, line: Line) {
        self.story.push(now.mono, line);
    }

    /// A message received from leg `index`.
    pub(crate) fn heard(&mut self, now: Now, index: u16, message: &Message) {
        let from = self.party_name(index);
        self.note(
            now,
            Line::In {
                from,
                what: summary(message),
            },
        );
    }

    /// Answers a request.
    pub(crate) fn respond(
        &mut self,
        site: &mut Site,
        now: Now,
        to: String,
        tx: ServerTx,
        what: &str,
        response: OutgoingResponse,
    ) {
        let sdp = if response.body.is_some() {
            " (SDP)"
        } else {
            ""
        };
        self.note(
            now,
            Line::Out {
                to,
                what: format!("{} {what}{sdp}", response.status),
            },
        );
        site.sip(sip_proxy::Input::Respond { tx, response });
    }

    /// A leg's peer speaks from a new connection, which it has proven to be its own.
    pub(crate) fn moved(&mut self, index: u16, flow: Flow) {
        if let Some(leg) = self.leg(index) {
            leg.flow = flow;
        }
    }

    /// Whether the caller still waits for an answer.
    pub(crate) fn is_ringing(&self) -> bool {
        matches!(self.phase, Phase::Ringing(_) | Phase::Pausing { .. })
    }

    /// What a device is to a door in this call.
    pub(crate) fn relation(&self, device: &str, door: &str) -> LegState {
        if let Phase::Talking(talk) = &self.phase {
            let Some((index, found)) = self.door_side() else {
                return LegState::None;
            };
            let person = if index == self.caller.index {
                &talk.winner
            } else {
                &self.caller
            };
            let party =
                found == door && person.party.device == device && !person.flags.held && talk.joined;
            return if party {
                LegState::Answered
            } else {
                LegState::None
            };
        }
        let rung = self.caller.party.door.as_deref() == Some(door)
            && self
                .branches
                .iter()
                .any(|branch| branch.leg.party.device == device && branch.is_live());
        if rung { LegState::Rung } else { LegState::None }
    }

    /// Passes a line to the log.
    pub(crate) fn notice(&self, site: &mut Site, text: String) {
        let call = Some(self.id.clone());
        site.effects
            .push_back(Effect::Notice(crate::b2bua::Notice { call, text }));
    }
}

/// A message in one redacted line: method or status, and whether it bears SDP.
pub(crate) fn summary(message: &Message) -> String {
    let sdp = if message.body().is_empty() {
        ""
    } else if is_sdp(message) {
        " (SDP)"
    } else {
        " (body)"
    };
    match message.status() {
        Some(status) => format!("{status} {}{sdp}", message.method().as_str()),
        None => format!("{}{sdp}", message.method().as_str()),
    }
}

/// Whether the body is SDP; a body without Content-Type in an INVITE is taken for it, as old stations send none.
pub(crate) fn is_sdp(message: &Message) -> bool {
    message.content_type().is_none_or(|kind| {
        kind.split(';')
            .next()
            .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/sdp"))
    })
}
