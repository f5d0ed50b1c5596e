//! A plan says who rings, when, and who may open what; this crate reads, checks, evaluates and explains it.
//!
//! Deliberately absent: clocks, files, sockets, credentials, and any loop or variable in the
//! language. Time, the store's facts and the state of the world come in as arguments.
//!
//! ```text
//!  plan.kdl ─► load ─► Plan ──check(directory)──► diagnostics (P001 …)
//!  *.ics ──────┘         │
//!                        ├─begin(call, facts)──► Run ──Step──► the call controller
//!  Directory, Facts ─────┤                        ▲───outcome──┘
//!                        ├─may_open(query)─────► Verdict
//!                        └─explain(call, given)► the same Run, told as text or JSON
//! ```
#![forbid(unsafe_code)]

mod check;
mod compile;
mod diagnostic;
mod directory;
mod evaluate;
mod explain;
mod facts;
mod language;
mod load;
mod matching;
mod members;
mod plan;
mod policy;
mod program;
mod rights;
mod source;
mod step;
mod transfer;

pub use diagnostic::{Diagnostic, Level, render};
pub use directory::{Device, Directory, Owner, Person, Redacted, Unit};
pub use evaluate::{NoRoute, Run, TraceLine};
pub use explain::{Explanation, Given, explain, parse_given};
pub use facts::{CallFacts, Caller, Facts, Override, Reach, Reachable};
pub use load::{Loaded, PLAN_BYTES, load};
pub use plan::{Desk, Door, DriverKind, Fail, OutputDef, Plan};
pub use rights::{Actor, DenyReason, KeyAction, LegState, Method, OpenQuery, Verdict};
pub use source::{SourceRef, SourceText, Span};
pub use step::{
    End, Member, MemberRule, Preview, Priority, Ring, RingOutcome, Slots, Step, Target,
};
