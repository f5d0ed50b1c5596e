//! A route compiled to a flat list of operations: what [`crate::Run`] walks and the checks read.

use std::time::Duration;

use crate::language::ring::{Add, Selector};
use crate::source::{SourceRef, Span};
use crate::step::{End, MemberRule, Preview, Priority, RingOutcome, Slots};

/// A compiled route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) priority: Priority,
    pub(crate) callers: Vec<CallerPattern>,
    pub(crate) dial: crate::language::dial::Pattern,
    pub(crate) dial_span: Span,
    pub(crate) ops: Vec<Op>,
    /// The first operation.
    pub(crate) start: usize,
    pub(crate) source: SourceRef,
}

impl Route {
    /// Whether doors call by it.
    pub(crate) fn is_door_route(&self) -> bool {
        self.callers.iter().any(|c| {
            matches!(
                c,
                CallerPattern::Door(_) | CallerPattern::DoorGroup(_) | CallerPattern::AnyDoor
            )
        })
    }
}

/// Who calls, in the order of specificity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CallerPattern {
    Door(String),
    Device(String),
    Person(String),
    Trunk(String),
    DoorGroup(String),
    Desk(String),
    Unit(String),
    Role(String),
    AnyDoor,
    AnyDevice,
}

impl CallerPattern {
    /// 0 a name, 1 a group, 2 all.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Door(_) | Self::Device(_) | Self::Person(_) | Self::Trunk(_) => 0,
            Self::DoorGroup(_) | Self::Desk(_) | Self::Unit(_) | Self::Role(_) => 1,
            Self::AnyDoor | Self::AnyDevice => 2,
        }
    }
}

/// One operation. Positions are indexes into [`Route::ops`].
#[derive(Debug)]
pub(crate) enum Op {
    /// The first arm whose condition holds, else `next`.
    Branch {
        arms: Vec<Arm>,
        next: usize,
    },
    Ring(Box<RingOp>),
    End {
        end: EndOp,
        source: SourceRef,
    },
    Proxy {
        source: SourceRef,
    },
    /// Takes over a call that rings; goes on below when there is none.
    Pickup {
        of: Vec<PickupOf>,
        next: usize,
        source: SourceRef,
    },
    /// Lays a transferred call down, or takes it up; goes on below when its time is up or there is none.
    Park {
        slots: Slots,
        for_: Duration,
        next: usize,
        source: SourceRef,
    },
    /// The body is over without an `end` (P002).
    Fall,
}

/// Whose ringing calls a pickup takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PickupOf {
    /// From this door, from doors of this group, or `*`.
    Place(String),
    /// Ringing at this desk.
    Desk(String),
}

/// One arm of a branch; without a condition it always holds.
#[derive(Debug)]
pub(crate) struct Arm {
    pub(crate) test: Option<Test>,
    pub(crate) to: usize,
    pub(crate) source: SourceRef,
}

/// A resolved condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) negate: bool,
    pub(crate) subject: Option<Subject>,
    pub(crate) flag: Option<String>,
}

/// What a condition asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Index into the plan's calendars.
    Calendar(usize),
    Mode(String),
    DoorGroup(String),
    Door(String),
    Desk(String),
}

/// A resolved ring; rings with `after=` are folded into the one they join.
#[derive(Debug)]
pub(crate) struct RingOp {
    pub(crate) waves: Vec<Wave>,
    pub(crate) for_: Duration,
    pub(crate) serial: bool,
    pub(crate) preview: Preview,
    pub(crate) join_late: bool,
    pub(crate) keys: String,
    pub(crate) auto_answer: bool,
    pub(crate) rules: Vec<(RingOutcome, MemberRule)>,
    pub(crate) on: Vec<(Vec<RingOutcome>, usize)>,
    pub(crate) next: usize,
    pub(crate) source: SourceRef,
}

/// Members that begin together.
#[derive(Debug)]
pub(crate) struct Wave {
    /// As written: `@unit`.
    pub(crate) shown: String,
    pub(crate) selectors: Vec<(Selector, String, Span)>,
    pub(crate) adds: Vec<Add>,
    pub(crate) after: Duration,
    pub(crate) for_: Option<Duration>,
    pub(crate) via: Vec<String>,
    pub(crate) confirm: Option<String>,
}

/// A resolved end.
#[derive(Debug, Clone)]
pub(crate) enum EndOp {
    /// The dialled unit's box.
    UnitMessage,
    Plain(End),
}
