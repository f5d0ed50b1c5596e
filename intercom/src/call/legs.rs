//! The legs of a call: whom it has now, who is who, and those that left.

use std::time::Instant;

use sip_proxy::{ConnectionId, Flow, Message, ServerTx};

use super::branch::BranchState;
use super::call::{Call, Phase};
use super::leg::{Leg, Party};

impl Call {
    /// The legs that are in the call now: the caller's, the other side's, and the one that transfers it.
    pub(crate) fn established(&self) -> impl Iterator<Item = &Leg> {
        let winner = match &self.phase {
            Phase::Talking(talk) => Some(&talk.winner),
            _ => None,
        };
        let transferer = self.transfer.as_deref().map(|transfer| &transfer.leg);
        [&self.caller].into_iter().chain(winner).chain(transferer)
    }

    /// See [`Call::established`].
    pub(crate) fn established_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        let winner = match &mut self.phase {
            Phase::Talking(talk) => Some(&mut talk.winner),
            _ => None,
        };
        let transferer = self
            .transfer
            .as_deref_mut()
            .map(|transfer| &mut transfer.leg);
        [&mut self.caller]
            .into_iter()
            .chain(winner)
            .chain(transferer)
    }

    /// Whether two sides talk, and both know.
    pub(crate) fn is_talking(&self) -> bool {
        matches!(self.phase, Phase::Talking(_)) && self.progress.final_status == Some(200)
    }

    /// Whether the caller has been answered and the call is not over: its dialogs take requests.
    pub(crate) fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Talking(_)) || self.transfer.is_some()
    }

    /// A leg by its number, while it is in the call, or answered privately.
    pub(crate) fn leg(&mut self, index: u16) -> Option<&mut Leg> {
        if let Some(at) = self.private(index) {
            return self.branches.get_mut(at).map(|branch| &mut branch.leg);
        }
        self.established_mut().find(|leg| leg.index == index)
    }

    /// The branch of a leg that is answered privately.
    pub(crate) fn private(&self, index: u16) -> Option<usize> {
        self.branches.iter().position(|branch| {
            branch.leg.index == index && matches!(branch.state, BranchState::Answered(_))
        })
    }

    /// A leg to look at; also one that left the call, whose peer may still have a word to say.
    pub(crate) fn peek(&self, index: u16) -> Option<&Leg> {
        let find = |leg: &&Leg| leg.index == index;
        let mut legs = self.established();
        legs.find(find)
            .or_else(|| self.parted.iter().find(find))
            .or_else(|| Some(&self.branches.get(self.private(index)?)?.leg))
    }

    /// The side a request in a dialog is for: its flow and account. Early dialogs of branches are sides too.
    pub(crate) fn addressed(&self, index: u16, message: &Message) -> Option<(Flow, &str)> {
        if let Some(leg) = self.peek(index) {
            let dialog = leg.dialog.as_ref()?;
            return dialog
                .matches(message)
                .then_some((leg.flow, leg.party.user.as_str()));
        }
        let mut branches = self.branches.iter();
        let branch = branches.find(|branch| branch.leg.index == index)?;
        let mut earlies = branch.earlies.iter();
        earlies
            .any(|early| early.dialog.matches(message))
            .then_some((branch.leg.flow, branch.leg.party.user.as_str()))
    }

    /// Whose leg it is: of one in the call, or of one that rings.
    pub(crate) fn party(&self, index: u16) -> Option<&Party> {
        let branches = self.branches.iter().map(|branch| &branch.leg);
        let mut legs = self.established().chain(branches);
        legs.find(|leg| leg.index == index).map(|leg| &leg.party)
    }

    /// Whether it rings, from one of these doors or at one of these devices.
    pub(crate) fn rings_for(&self, doors: &[String], devices: &[String]) -> bool {
        let door = self.caller.party.door.as_ref();
        let there = |device: &String| {
            self.branches
                .iter()
                .any(|branch| branch.leg.party.device == *device && branch.is_live())
        };
        matches!(self.phase, Phase::Ringing(_))
            && (door.is_some_and(|door| doors.contains(door)) || devices.iter().any(there))
    }

    /// Who a leg is, for the story.
    pub(crate) fn party_name(&self, index: u16) -> String {
        let branches = self.branches.iter().map(|branch| &branch.leg);
        let legs = self.established().chain(branches).chain(&self.parted);
        legs.into_iter()
            .find(|leg| leg.index == index)
            .map_or_else(|| format!("leg {index}"), |leg| leg.party.device.clone())
    }

    /// A connection is gone: what its legs are told from now on goes by a new one, and those that talk are asked whether
    /// they are still there. `true` when some leg was on it.
    pub(crate) fn connection_closed(&mut self, now: Instant, connection: ConnectionId) -> bool {
        let mut touched = false;
        let mut lose = |leg: &mut Leg| {
            if leg.flow.connection == Some(connection) {
                leg.lose_connection();
                leg.suspect(now);
                touched = true;
            }
        };
        self.established_mut().for_each(&mut lose);
        let branches = self.branches.iter_mut().map(|branch| &mut branch.leg);
        let last = self.progress.winner.as_deref_mut();
        branches
            .chain(last)
            .chain(&mut self.parted)
            .for_each(&mut lose);
        touched
    }

    /// The door's leg, when one side of the call stands at a door and the other does not.
    pub(crate) fn door_side(&self) -> Option<(u16, String)> {
        let Phase::Talking(talk) = &self.phase else {
            return None;
        };
        match (&self.caller.party.door, &talk.winner.party.door) {
            (Some(door), None) => Some((self.caller.index, door.clone())),
            (None, Some(door)) => Some((talk.winner.index, door.clone())),
            _ => None,
        }
    }

    /// Those who talk, or want to.
    pub(crate) fn parties(&self) -> impl Iterator<Item = &Party> {
        self.established().map(|leg| &leg.party)
    }

    /// Whether a 2xx of ours in transaction `tx` waits for its ACK.
    pub(crate) fn awaits_ack(&self, tx: ServerTx) -> bool {
        self.established()
            .any(|leg| leg.unacked.is_some_and(|(unacked, _)| unacked == tx))
    }
}
