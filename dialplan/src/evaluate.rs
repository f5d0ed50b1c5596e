//! The one evaluator: a leaf machine that walks one call through its route.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::directory::Directory;
use crate::facts::Facts;
use crate::plan::Plan;
use crate::source::SourceRef;
use crate::step::{End, Priority, RingOutcome, Step};

/// No route matches the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no route for this caller and dialled number")]
pub struct NoRoute;

/// One line of what the plan did, the same in `explain`, the call story and the CDR.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraceLine {
    /// Civil time since the call began.
    pub at_offset: Duration,
    /// What was decided: `ring @unit 25 s`.
    pub what: String,
    /// The line of the plan.
    pub source: SourceRef,
    /// Why.
    pub detail: String,
}

/// One call's walk through its route.
#[derive(Debug)]
pub struct Run {
    plan: Arc<Plan>,
    trace: Vec<TraceLine>,
}

impl Run {
    /// Tells how the last ring went and takes the next step.
    pub fn next(&mut self, directory: &Directory, facts: &Facts, outcome: RingOutcome) -> Step {
        let _ = (directory, facts, outcome);
        Step::End(End::Hangup)
    }

    /// Starts the route again after [`End::Retry`]; `End::Log` once its time is up.
    pub fn retry(&mut self, directory: &Directory, facts: &Facts) -> Step {
        let _ = (directory, facts);
        Step::End(End::Log)
    }

    /// What was decided so far, and why.
    #[must_use]
    pub fn trace(&self) -> &[TraceLine] {
        &self.trace
    }

    /// The chosen route's name.
    #[must_use]
    pub fn route_name(&self) -> &str {
        ""
    }

    /// Its priority.
    #[must_use]
    pub fn priority(&self) -> Priority {
        Priority::Normal
    }

    /// The plan this call runs on.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}
