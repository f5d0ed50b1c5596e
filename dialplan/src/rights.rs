//! The question "may this actor open that?" and its answer. Denied unless a rule allows; a deny rule wins.

use std::fmt;

use serde::Serialize;

use crate::directory::{Directory, Owner};
use crate::plan::Plan;
use crate::source::SourceRef;

/// By which way the request to open came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Browser, app or a person's token.
    App,
    /// A SIP device's digits or `Action: buzz`.
    Handset,
    /// A telephone we rang.
    Pstn,
    /// A telephone that called in and was identified.
    DialIn,
    /// A code at the keypad.
    Code,
    /// An integration token.
    Api,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::App,
        Self::Handset,
        Self::Pstn,
        Self::DialIn,
        Self::Code,
        Self::Api,
    ];

    /// The word the plan uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Handset => "handset",
            Self::Pstn => "pstn",
            Self::DialIn => "dial-in",
            Self::Code => "code",
            Self::Api => "api",
        }
    }

    /// Whether `require` applies: the ways that need a call with the door.
    #[must_use]
    pub fn needs_call(self) -> bool {
        matches!(self, Self::App | Self::Handset | Self::Pstn)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The actor's part in a call with the door, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LegState {
    /// Not in a call with that door.
    None,
    /// Being rung by it. Whoever feeds digits must not ask: a ringing leg has no key map.
    Rung,
    /// Party to an answered call with it.
    Answered,
}

/// Who wants to open, as far as authentication established it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// The device the request came from.
    pub device: Option<String>,
    /// The person it belongs to.
    pub person: Option<String>,
    /// The unit the person or device belongs to.
    pub unit: Option<String>,
    /// Roles held.
    pub roles: Vec<String>,
    /// Desks the device sits at.
    pub desks: Vec<String>,
}

impl Actor {
    /// The actor a device stands for: its owner's unit, role and desks.
    ///
    /// A unit's own panel acts as `resident` while at least one unrevoked resident belongs to that
    /// unit, so the panel of an empty flat opens nothing.
    #[must_use]
    pub fn of_device(plan: &Plan, directory: &Directory, device: &str) -> Self {
        let mut actor = Self {
            device: Some(device.to_owned()),
            desks: plan.desks_of_device(device).map(str::to_owned).collect(),
            ..Self::default()
        };
        match directory.device(device).map(|device| &device.owner) {
            Some(Owner::Person(id)) => {
                actor.person = Some(id.clone());
                if let Some(person) = directory.person(id) {
                    actor.unit.clone_from(&person.unit);
                    actor.roles.push(person.role.clone());
                }
            }
            Some(Owner::Unit(unit)) => {
                actor.unit = Some(unit.clone());
                if directory
                    .people_of_unit(unit)
                    .any(|person| person.role == "resident")
                {
                    actor.roles.push("resident".to_owned());
                }
            }
            Some(Owner::Desk(desk)) => {
                if !actor.desks.contains(desk) {
                    actor.desks.push(desk.clone());
                }
            }
            Some(Owner::Door(_)) | None => {}
        }
        actor
    }

    /// The actor a person stands for when no device is involved.
    #[must_use]
    pub fn of_person(directory: &Directory, id: &str) -> Self {
        let person = directory.person(id);
        Self {
            person: Some(id.to_owned()),
            unit: person.and_then(|person| person.unit.clone()),
            roles: person
                .map(|person| person.role.clone())
                .into_iter()
                .collect(),
            ..Self::default()
        }
    }

    /// Whether the device and the person exist and neither is revoked.
    pub(crate) fn is_live(&self, directory: &Directory) -> bool {
        let device = self.device.as_ref();
        let person = self.person.as_ref();
        (device.is_some() || person.is_some())
            && device.is_none_or(|id| directory.is_live_device(id))
            && person.is_none_or(|id| directory.person(id).is_some_and(|p| !p.revoked))
    }
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub struct OpenQuery<'a> {
    /// Who asks.
    pub actor: &'a Actor,
    /// Which door.
    pub door: &'a str,
    /// Which output; `None` is the door's first.
    pub output: Option<&'a str>,
    /// By which way.
    pub method: Method,
    /// The actor's part in a call with that door.
    pub leg: LegState,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Granted by a rule.
    Allow {
        /// The rule.
        rule: SourceRef,
        /// In words for the audit record: `resident, answered`.
        text: String,
        /// The output to drive.
        output: String,
    },
    /// Refused.
    Deny {
        /// The deny rule, or the allow rule that came nearest.
        rule: Option<SourceRef>,
        /// Why.
        reason: DenyReason,
    },
}

impl Verdict {
    /// Whether it is a grant.
    #[must_use]
    pub fn is_allow(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }
}

/// Why an unlock was refused. Right, output and call state are judged in this order, so that
/// nobody without the right learns which outputs exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DenyReason {
    /// The device or person is unknown or revoked.
    Revoked,
    /// No such door, or no rule allows this actor there by this way.
    NoRight,
    /// A rule allows, but not at this time.
    OutsideHours,
    /// A deny rule matches.
    DenyRule,
    /// A mode that is on blocks codes.
    ModeBlocks,
    /// The door has no such output.
    NoSuchOutput,
    /// The rule requires an answered (or at least a ringing) call with the door.
    NotInCall,
}

impl DenyReason {
    /// A stable word for audit and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::NoRight => "no-right",
            Self::OutsideHours => "outside-hours",
            Self::DenyRule => "deny-rule",
            Self::ModeBlocks => "mode-blocks",
            Self::NoSuchOutput => "no-such-output",
            Self::NotInCall => "not-in-call",
        }
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a key of a key map does at a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyAction {
    /// Drive an output.
    Open {
        /// The door.
        door: String,
        /// Its output.
        output: String,
        /// The presser confirms by pressing the key again after a prompt.
        two_step: bool,
        /// Where the key stands.
        source: SourceRef,
    },
    /// Ring a target for 20 s and drop the presser when it answers.
    Transfer {
        /// The target as the plan names it: a desk's name or a typed name.
        target: String,
        /// Where the key stands.
        source: SourceRef,
    },
    /// The key is bound, but this door has no such output.
    Absent,
}
