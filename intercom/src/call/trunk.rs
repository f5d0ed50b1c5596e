//! A telephone number rung through its chain of trunks: look-up, INVITE, our credentials when that trunk asks for them,
//! and the next server or trunk when it fails.
//!
//! ```text
//!   ring_number ─▶ Chain ─▶ locate ─▶ located ─▶ INVITE (a branch of kind Trunk) ─┬▶ 18x, 2xx: as any branch
//!                    ▲                                                            ├▶ 486, 603, 404 …: the member's outcome
//!                    └────────── silent, 408, 5xx, 401/403 left open, no network ◀┘
//! ```
//! Nothing comes here but numbers the plan names; what a trunk answers never leads to another number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dialplan::{Redacted, RingOutcome};
use pstn::{Chain, Failed, Move, Trunk};
use sip_proxy::digest::client::{self, Secret};
use sip_proxy::locate::{Candidate, Destination, Failure, LookupId};
use sip_proxy::{ClientTx, Dialog, FailCause, Flow, HeaderName, Message, Transport, Uri};

use super::branch::{Branch, BranchKind, BranchState, outcome_of};
use super::call::{Call, Phase};
use crate::Now;
use crate::site::{Site, Target};
use crate::story::Line;

/// Challenges answered for one INVITE; the second only when the first nonce was too old.
const LOGINS: u8 = 2;
/// The Reason of a CANCEL, or of the BYE to a late answer, to a trunk that was silent too long.
const SILENT: &str = "SIP;cause=408;text=\"No response in time\"";

/// A number on its way down its chain of trunks. One for each number of a ring step.
#[derive(Debug)]
pub(crate) struct Dialling {
    step: u32,
    member: usize,
    number: Redacted,
    chain: Chain,
    lookup: Option<LookupId>,
    /// The leg of the branch at hand.
    leg: Option<u16>,
}

/// What a branch to a trunk has beside any other.
#[derive(Debug)]
pub(crate) struct TrunkBranch {
    trunk: Arc<Trunk>,
    server: (Transport, SocketAddr),
    logins: u8,
}

/// The next hop of an answered trunk leg is being looked up.
#[derive(Debug)]
pub(crate) struct Hop {
    lookup: LookupId,
    invite: ClientTx,
    cseq: u32,
}

impl Call {
    /// Starts a number down its chain; returns how many ring: one, or none when there is no trunk to try.
    pub(crate) fn ring_number(
        &mut self,
        site: &mut Site,
        now: Now,
        member: usize,
        number: &Redacted,
        via: &[String],
    ) -> usize {
        let trunks: Vec<Arc<Trunk>> = via
            .iter()
            .filter_map(|name| site.config.trunks.get(name).cloned())
            .filter(|trunk| trunk.request_uri(number.reveal()).is_some())
            .collect();
        let Phase::Ringing(fork) = &mut self.phase else {
            return 0;
        };
        if trunks.is_empty() || fork.invited.len() >= site.config.limits.max_branches {
            let why = format!("{}: no trunk can be tried", number.masked());
            self.note(now, Line::Call(why));
            return 0;
        }
        fork.invited.push(format!("trunk:{}", number.masked()));
        let step = fork.step;
        let (chain, first) = Chain::new(now.mono, trunks);
        self.dialling.push(Dialling {
            step,
            member,
            number: number.clone(),
            chain,
            lookup: None,
            leg: None,
        });
        self.follow(site, now, self.dialling.len() - 1, first);
        1
    }

    /// Does what the chain says until something has to be waited for.
    fn follow(&mut self, site: &mut Site, now: Now, at: usize, first: Move) {
        let mut step = first;
        loop {
            match step {
                Move::Locate(trunk) => {
                    let id = LookupId(self.take_tx().0);
                    if let Some(dialling) = self.dialling.get_mut(at) {
                        dialling.lookup = Some(id);
                        dialling.leg = None;
                    }
                    return site.locate(now, id, trunk.destination.clone());
                }
                Move::Try(trunk, candidate) => {
                    if self.try_trunk(site, now, at, &trunk, &candidate) {
                        return;
                    }
                    let next = self
                        .dialling
                        .get_mut(at)
                        .and_then(|dialling| dialling.chain.failed(now.mono, Failed::Network));
                    let Some(next) = next else { return };
                    step = next;
                }
                Move::Over(status) => return self.dialling_over(site, now, at, status),
            }
        }
    }

    fn try_trunk(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        trunk: &Arc<Trunk>,
        candidate: &Candidate,
    ) -> bool {
        let Some((member, number)) = self
            .dialling
            .get(at)
            .map(|dialling| (dialling.member, dialling.number.clone()))
        else {
            return false;
        };
        let name = candidate
            .transport
            .is_secure()
            .then_some(candidate.name.as_str());
        let flow = site.flow_to(candidate.transport, candidate.address, name);
        let party = site.party(&Site::trunk_user(&trunk.name));
        let uri = trunk.request_uri(number.reveal());
        let (Some(flow), Some(party), Some(uri)) = (flow, party, uri) else {
            let line = format!("{}: no listener for {}", trunk.name, candidate.transport);
            self.note(now, Line::Call(line));
            return false;
        };
        let line = format!(
            "{} by {} at {} {}",
            number.masked(),
            trunk.name,
            candidate.transport,
            candidate.address
        );
        self.note(now, Line::Call(line));
        let target = Target {
            key: uri.clone(),
            q: 1000,
            uri,
            route: Vec::new(),
            flow,
            diverted: None,
        };
        if !self.invite(site, now, member, party, &target) {
            return false;
        }
        let Some(branch) = self.branches.last_mut() else {
            return false;
        };
        branch.kind = BranchKind::Trunk(Box::new(TrunkBranch {
            trunk: Arc::clone(trunk),
            server: (candidate.transport, candidate.address),
            logins: 0,
        }));
        if let Some(dialling) = self.dialling.get_mut(at) {
            dialling.leg = Some(branch.leg.index);
            dialling.lookup = None;
        }
        true
    }

    /// No trunk is left to try.
    fn dialling_over(&mut self, site: &mut Site, now: Now, at: usize, status: Option<u16>) {
        let dialling = self.dialling.swap_remove(at);
        let line = format!("{}: no trunk carried the call", dialling.number.masked());
        self.note(now, Line::Call(line));
        let outcome = status.map_or(RingOutcome::Unreachable, outcome_of);
        self.member_lost(site, now, dialling.step, dialling.member, outcome);
    }

    /// Numbers whose ring step or member is over are dialled no further.
    fn forget_dialling(&mut self) {
        if self.dialling.is_empty() {
            return;
        }
        let current = match &self.phase {
            Phase::Ringing(fork) => Some(fork),
            _ => None,
        };
        self.dialling.retain(|dialling| {
            current.is_some_and(|fork| fork.step == dialling.step && fork.rings(dialling.member))
        });
    }

    /// A look-up of this call is through.
    pub(crate) fn located(
        &mut self,
        site: &mut Site,
        now: Now,
        id: LookupId,
        candidates: Vec<Candidate>,
    ) {
        if let Some(hop) = self.hop.take_if(|hop| hop.lookup == id) {
            return self.hop_located(site, &hop, &candidates);
        }
        self.forget_dialling();
        let Some(at) = self
            .dialling
            .iter()
            .position(|dialling| dialling.lookup == Some(id))
        else {
            return;
        };
        if candidates.is_empty() {
            self.note(
                now,
                Line::Call("the trunk's servers are not found".to_owned()),
            );
        }
        if let Some(dialling) = self.dialling.get_mut(at) {
            let next = dialling.chain.located(now.mono, candidates);
            self.follow(site, now, at, next);
        }
    }

    /// When [`Call::trunk_timers`] is due.
    pub(crate) fn trunk_timeout(&self) -> Option<Instant> {
        self.dialling
            .iter()
            .filter_map(|dialling| dialling.chain.next_timeout())
            .min()
    }

    /// Leaves servers that were silent too long.
    pub(crate) fn trunk_timers(&mut self, site: &mut Site, now: Now) {
        self.forget_dialling();
        while let Some(at) = self.dialling.iter().position(|dialling| {
            dialling
                .chain
                .next_timeout()
                .is_some_and(|due| due <= now.mono)
        }) {
            let Some(dialling) = self.dialling.get_mut(at) else {
                return;
            };
            let (leg, next) = (dialling.leg, dialling.chain.timeout(now.mono));
            let branch = self
                .branches
                .iter()
                .position(|branch| Some(branch.leg.index) == leg);
            if let Some((transport, address)) = branch.and_then(|branch| self.server_of(branch)) {
                site.locator
                    .failed(now.mono, transport, address, Failure::Unreachable);
            }
            let Some(next) = next else { continue };
            if let Some(branch) = branch {
                self.cancel_branch(site, now, branch, SILENT);
            }
            self.follow(site, now, at, next);
        }
    }

    fn server_of(&self, branch: usize) -> Option<(Transport, SocketAddr)> {
        match &self.branches.get(branch)?.kind {
            BranchKind::Trunk(trunk) => Some(trunk.server),
            BranchKind::Device => None,
        }
    }

    /// The number a live branch was sent out for.
    fn dialling_of(&self, branch: usize) -> Option<usize> {
        let branch = self
            .branches
            .get(branch)
            .filter(|branch| branch.is_live())?;
        self.dialling
            .iter()
            .position(|dialling| dialling.leg == Some(branch.leg.index))
    }

    /// A response by a trunk; `true` when it has been dealt with here.
    pub(crate) fn trunk_response(
        &mut self,
        site: &mut Site,
        now: Now,
        tx: ClientTx,
        message: &Message,
        flow: &Flow,
    ) -> bool {
        let Some(branch) = self.branches.iter().position(|branch| branch.tx == tx) else {
            return false;
        };
        let Some((transport, address)) = self.server_of(branch) else {
            return false;
        };
        let status = message.status().unwrap_or(0);
        match status {
            503 => {
                let retry_after = retry_after(message);
                let failure = Failure::Unavailable { retry_after };
                site.locator.failed(now.mono, transport, address, failure);
            }
            _ => site.locator.answered(transport, address),
        }
        let Some(at) = self.dialling_of(branch) else {
            return false;
        };
        if status < 200 {
            if let Some(dialling) = self.dialling.get_mut(at) {
                dialling.chain.heard();
            }
            return false;
        }
        if status < 300 {
            return false;
        }
        if matches!(status, 401 | 407) {
            match self.trunk_login(site, branch, message, flow) {
                Ok(()) => return true,
                Err(why) => self.note(
                    now,
                    Line::Call(format!("the trunk answered {status}: {why}")),
                ),
            }
        }
        let next = self
            .dialling
            .get_mut(at)
            .and_then(|dialling| dialling.chain.failed(now.mono, Failed::Status(status)));
        let Some(next) = next else {
            // The number itself has refused: that is the member's outcome.
            self.dialling.swap_remove(at);
            return false;
        };
        self.drop_branch(site, now, branch, &format!("{status} INVITE"));
        self.follow(site, now, at, next);
        true
    }

    /// A branch to a trunk failed without a response; `true` when it has been dealt with here.
    pub(crate) fn trunk_failed(
        &mut self,
        site: &mut Site,
        now: Now,
        tx: ClientTx,
        cause: FailCause,
    ) -> bool {
        let Some(branch) = self.branches.iter().position(|branch| branch.tx == tx) else {
            return false;
        };
        let Some((transport, address)) = self.server_of(branch) else {
            return false;
        };
        site.locator
            .failed(now.mono, transport, address, Failure::Unreachable);
        let Some(at) = self.dialling_of(branch) else {
            return false;
        };
        let next = self
            .dialling
            .get_mut(at)
            .and_then(|dialling| dialling.chain.failed(now.mono, Failed::Network));
        let Some(next) = next else { return false };
        self.drop_branch(site, now, branch, &format!("no response ({cause:?})"));
        self.follow(site, now, at, next);
        true
    }

    fn drop_branch(&mut self, site: &mut Site, now: Now, at: usize, what: &str) {
        let mut branch = self.branches.swap_remove(at);
        branch.leg.close_media(site);
        let line = Line::In {
            from: branch.leg.party.device.clone(),
            what: what.to_owned(),
        };
        self.note(now, line);
    }

    /// The same INVITE with our credentials: only those of this trunk, in its realm, to the address that was asked.
    fn trunk_login(
        &mut self,
        site: &mut Site,
        at: usize,
        message: &Message,
        flow: &Flow,
    ) -> Result<(), &'static str> {
        let tx = self.take_tx();
        let cnonce = format!("{:016x}", site.random());
        let branch = self.branches.get_mut(at).ok_or("the branch is gone")?;
        let BranchKind::Trunk(known) = &mut branch.kind else {
            return Err("it is no trunk");
        };
        let login = known
            .trunk
            .login
            .as_ref()
            .ok_or("no credentials are configured for it")?;
        if flow.remote.ip().to_canonical() != known.server.1.ip().to_canonical() {
            return Err("its address is not the one that was asked");
        }
        let (ask, reply) = if message.status() == Some(401) {
            (HeaderName::WwwAuthenticate, HeaderName::Authorization)
        } else {
            (
                HeaderName::ProxyAuthenticate,
                HeaderName::ProxyAuthorization,
            )
        };
        let challenges: Vec<&str> = message
            .headers(&ask)
            .filter(|challenge| client::realm_of(challenge).as_deref() == Some(&*login.realm))
            .collect();
        if challenges.is_empty() {
            return Err("its realm is not the configured one");
        }
        let stale = challenges
            .iter()
            .any(|challenge| client::is_stale(challenge));
        if known.logins >= LOGINS || known.logins > 0 && !stale {
            return Err("it did not take our credentials");
        }
        let digest = client::Request {
            method: "INVITE",
            uri: &branch.request.uri,
            cnonce: &cnonce,
            nc: 1,
        };
        let secret = Secret::Password(login.password.expose());
        let value = client::answer_best(challenges, &login.user, secret, &digest)
            .map_err(|_| "its challenge cannot be answered")?;
        known.logins += 1;
        branch.request.cseq += 1;
        branch.request.headers.retain(|(name, _)| {
            !matches!(
                name,
                HeaderName::Authorization | HeaderName::ProxyAuthorization
            )
        });
        branch.request.headers.push((reply, value));
        branch.tx = tx;
        branch.state = BranchState::Invited;
        site.sip(sip_proxy::Input::Request {
            tx,
            request: (*branch.request).clone(),
            to: branch.leg.flow,
        });
        Ok(())
    }

    /// An answered trunk leg is spoken to at the next hop of its dialog (RFC 3261 §12.2.1.1), which need not be where the
    /// INVITE went; gives the branch back. A device stays on its own flow: behind NAT that is the only way to it.
    pub(crate) fn take_hop(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        dialog: &Dialog,
    ) -> Option<&mut Branch> {
        let branch = self.branches.get_mut(at)?;
        if let Some(destination) = branch.take_near_hop(site, dialog) {
            let (invite, cseq) = (branch.tx, branch.request.cseq);
            let lookup = LookupId(self.take_tx().0);
            self.hop = Some(Hop {
                lookup,
                invite,
                cseq,
            });
            site.locate(now, lookup, destination);
        }
        self.branches.get_mut(at)
    }

    /// The ACK, which went the way of the INVITE meanwhile, is sent the right way too.
    fn hop_located(&mut self, site: &mut Site, hop: &Hop, candidates: &[Candidate]) {
        let Some(candidate) = candidates.first() else {
            return;
        };
        let leg = match &mut self.phase {
            Phase::Talking(talk) if talk.winner_tx == Some(hop.invite) => &mut talk.winner,
            // It is answered, and asked to confirm.
            _ => {
                let mut branches = self.branches.iter_mut();
                match branches.find(|branch| branch.tx == hop.invite) {
                    Some(branch) => &mut branch.leg,
                    None => return,
                }
            }
        };
        let name = candidate
            .transport
            .is_secure()
            .then_some(candidate.name.as_str());
        let Some(flow) = site.flow_to(candidate.transport, candidate.address, name) else {
            return;
        };
        leg.flow = flow;
        if let Some(dialog) = &leg.dialog {
            site.sip(sip_proxy::Input::Ack {
                request: dialog.ack(hop.cseq),
                to: flow,
                invite: hop.invite,
            });
        }
    }
}

impl Branch {
    /// Takes the next hop of a trunk's dialog where that needs no look-up, else says what is to be looked up.
    pub(crate) fn take_near_hop(
        &mut self,
        site: &mut Site,
        dialog: &Dialog,
    ) -> Option<Destination> {
        let BranchKind::Trunk(known) = &self.kind else {
            return None;
        };
        let uri = Uri::parse(dialog.next_hop()).ok()?;
        let destination = Destination::of(&uri).ok()?;
        let flow = self.leg.flow;
        match destination.address(flow.transport) {
            Some((_, address)) if address == flow.remote => None,
            Some((transport, address)) => {
                let name = known.trunk.destination.name();
                let name = transport.is_secure().then_some(name.as_str());
                if let Some(flow) = site.flow_to(transport, address, name) {
                    self.leg.flow = flow;
                }
                None
            }
            None if destination.name() == known.trunk.destination.name() => None,
            None => Some(destination),
        }
    }
}

/// Retry-After of a 503 (RFC 3261 §20.33): seconds, with an optional comment and parameters.
fn retry_after(message: &Message) -> Option<Duration> {
    let value = message.header(&HeaderName::RetryAfter)?;
    let digits = value.trim().split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(Duration::from_secs)
}
