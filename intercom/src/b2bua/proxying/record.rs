//! What is kept of a call that passes through: its story, and the record when it is over.

use std::time::Instant;

use dialplan::Run;
use sip_proxy::{Flow, Input, Message, Method, ServerTx};

use super::{B2bua, LINGER};
use crate::Now;
use crate::call::{Party, summary};
use crate::cdr::{Cdr, CdrLeg, CdrStep, Destination, EndReason};
use crate::site::Effect;
use crate::story::{Line, Story};

/// How a call that passes through began.
pub(super) struct Begun {
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) party: Party,
    pub(super) dial: String,
    pub(super) run: Run,
}

/// The record under way.
#[derive(Debug)]
pub(super) struct Record {
    number: u64,
    id: String,
    party: Party,
    dial: String,
    run: Run,
    started: Now,
    rang: Option<Instant>,
    answered: Option<(Instant, String)>,
    cancelled: bool,
    status: u16,
    story: Story,
    written: bool,
}

impl Record {
    pub(super) fn new(now: Now, begun: Begun, message: &Message, entries: usize) -> Self {
        let Begun {
            number,
            id,
            party,
            dial,
            run,
        } = begun;
        let mut story = Story::new(id.clone(), now.mono, entries);
        let from = party.device.clone();
        let what = summary(message);
        story.push(now.mono, Line::In { from, what });
        for line in run.trace() {
            let what = match line.detail.as_str() {
                "" => line.what.clone(),
                detail => format!("{}: {detail}", line.what),
            };
            let source = line.source.to_string();
            story.push(now.mono, Line::Plan { what, source });
        }
        Record {
            number,
            id,
            party,
            dial,
            run,
            started: now,
            rang: None,
            answered: None,
            cancelled: false,
            status: 0,
            story,
            written: false,
        }
    }

    pub(super) fn heard(&mut self, now: Now, from: &str, message: &Message) {
        let (from, what) = (from.to_owned(), summary(message));
        self.story.push(now.mono, Line::In { from, what });
    }

    pub(super) fn cancelled(&mut self, now: Now) {
        self.cancelled = true;
        let from = self.party.device.clone();
        let what = "CANCEL".to_owned();
        self.story.push(now.mono, Line::In { from, what });
    }

    fn sent(&mut self, now: Now, to: &str, what: String) {
        let to = to.to_owned();
        self.story.push(now.mono, Line::Out { to, what });
    }

    fn cdr(&mut self, now: Now, end: EndReason) -> Cdr {
        let line = format!("ended: {}", end.words());
        self.story.push(now.mono, Line::Call(line));
        let since = |at: Instant| at.saturating_duration_since(self.started.mono);
        let winner = self.answered.as_ref().map(|(_, device)| device.clone());
        let legs = [Some(&self.party.device), winner.as_ref()];
        Cdr {
            call: self.id.clone(),
            caller: self.party.device.clone(),
            door: None,
            dialled: crate::story::is_name(&self.dial).then(|| self.dial.clone()),
            // The plan lets calls pass through between devices alone.
            destination: Destination::Device,
            route: Some(self.run.route_name().to_owned()),
            plan: self.run.plan().version().to_owned(),
            started: self.started.civil,
            routed_after: Some(std::time::Duration::ZERO),
            rang_after: self.rang.map(since),
            answered_after: self.answered.as_ref().map(|(at, _)| since(*at)),
            ended_after: since(now.mono),
            end,
            cause: None,
            status: self.status,
            unlocks: 0,
            // Media is direct: nothing is known of it.
            legs: legs
                .into_iter()
                .flatten()
                .map(|device| CdrLeg {
                    device: device.clone(),
                    codec: None,
                    packets_in: 0,
                    packets_out: 0,
                    lost: 0,
                    foreign: 0,
                })
                .collect(),
            winner,
            steps: self
                .run
                .trace()
                .iter()
                .map(|line| CdrStep {
                    at: line.at_offset,
                    what: crate::story::masked(line.what.clone()),
                    source: line.source.to_string(),
                })
                .collect(),
        }
    }
}

impl B2bua {
    pub(super) fn record_of(&mut self, tx: ServerTx) -> Option<&mut Record> {
        let call_id = self.proxying.invites.get(&tx)?;
        self.proxying
            .dialogs
            .get_mut(call_id)?
            .record
            .as_deref_mut()
    }

    /// A response of a branch: it tells which flow is the callee's.
    pub(super) fn branch_heard(&mut self, now: Now, message: &Message, flow: Flow) {
        let Some(dialog) = self.proxying.dialogs.get_mut(message.call_id()) else {
            return;
        };
        let status = message.status().unwrap_or(0);
        let by_caller = message.from_tag() == Some(&dialog.caller_tag);
        let device = if by_caller {
            dialog.callee.device.clone()
        } else {
            dialog.caller.device.clone()
        };
        let begins = matches!(message.method(), Method::Invite | Method::Subscribe);
        if begins && by_caller && (200..300).contains(&status) {
            dialog.callee.flow = Some(flow);
        }
        if status > 100
            && let Some(record) = &mut dialog.record
        {
            record.heard(now, &device, message);
        }
    }

    /// What the core does, for the story: what goes to whom, and what the caller is told in the end.
    pub(super) fn proxied(&mut self, now: Now, output: &Input) {
        match output {
            Input::Forward { request, .. } => {
                let message = &request.message;
                let Some(dialog) = self.proxying.dialogs.get_mut(message.call_id()) else {
                    return;
                };
                let by_caller = message.from_tag() == Some(&dialog.caller_tag);
                let to = if by_caller {
                    dialog.callee.device.clone()
                } else {
                    dialog.caller.device.clone()
                };
                if let Some(record) = &mut dialog.record {
                    record.sent(now, &to, summary(message));
                }
            }
            Input::ForwardResponse { tx, response, .. } => {
                let status = response.status().unwrap_or(0);
                self.proxied_answer(now, *tx, status, summary(response));
            }
            Input::Respond { tx, response } => {
                let status = response.status;
                self.proxied_answer(now, *tx, status, format!("{status} INVITE"));
            }
            _ => {}
        }
    }

    fn proxied_answer(&mut self, now: Now, tx: ServerTx, status: u16, what: String) {
        let callee = self
            .proxying
            .invites
            .get(&tx)
            .and_then(|call_id| self.proxying.dialogs.get(call_id))
            .map(|dialog| dialog.callee.device.clone());
        let Some(record) = self.record_of(tx) else {
            return;
        };
        let caller = record.party.device.clone();
        record.sent(now, &caller, what);
        if (101..200).contains(&status) {
            record.rang.get_or_insert(now.mono);
        } else if (200..300).contains(&status)
            && record.answered.is_none()
            && let Some(callee) = callee
        {
            record.answered = Some((now.mono, callee));
        }
        if status >= 200 {
            self.proxied_final(now, tx, status);
        }
    }

    /// The INVITE has its final answer.
    pub(super) fn proxied_final(&mut self, now: Now, tx: ServerTx, status: u16) {
        let Some(record) = self.record_of(tx) else {
            return;
        };
        record.status = status;
        let end = match status {
            200..=299 => None,
            _ if record.cancelled => Some(EndReason::CallerCancelled),
            486 | 600 => Some(EndReason::Busy),
            _ => Some(EndReason::NotAnswered),
        };
        let Some(call_id) = self.proxying.invites.remove(&tx) else {
            return;
        };
        if let Some(end) = end {
            self.proxied_call_over(now, &call_id, end, status);
            self.proxying.keep(&call_id, now.mono + LINGER);
        }
    }

    /// A call that nobody has hung up within the longest duration, or was never answered.
    pub(super) fn proxied_call_lost(&mut self, now: Now, call_id: &str) {
        self.proxied_call_over(now, call_id, EndReason::Limit, 0);
        self.proxying.invites.retain(|_, held| held != call_id);
    }

    /// Writes the record, once.
    pub(super) fn proxied_call_over(
        &mut self,
        now: Now,
        call_id: &str,
        end: EndReason,
        status: u16,
    ) {
        let Some(record) = self
            .proxying
            .dialogs
            .get_mut(call_id)
            .and_then(|dialog| dialog.record.as_deref_mut())
            .filter(|record| !record.written)
        else {
            return;
        };
        record.written = true;
        if record.status == 0 {
            record.status = status;
        }
        let cdr = record.cdr(now, end);
        let answered = cdr.answered_after.is_some();
        let (number, device) = (record.number, record.party.device.clone());
        let story = record.story.clone();
        self.counters.answered += u64::from(answered);
        self.release(&device);
        self.site
            .effects
            .push_back(Effect::Cdr(Box::new(cdr), Box::new(story)));
        self.end_ladder(number, answered);
    }
}

impl super::Proxying {
    /// Stories of calls that pass through now.
    pub(in super::super) fn stories(&self) -> impl Iterator<Item = &Story> {
        self.dialogs
            .values()
            .filter_map(|dialog| dialog.record.as_deref())
            .filter(|record| !record.written)
            .map(|record| &record.story)
    }
}
