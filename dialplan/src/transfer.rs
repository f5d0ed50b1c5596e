//! Calls that change hands: where a transfer goes that the plan itself names (`keys … transfer="desk"`,
//! `end "transfer" to="desk"`), and who may pick up a call.

use std::time::Duration;

use crate::directory::Directory;
use crate::facts::{CallFacts, Caller, Facts};
use crate::language::ring::Selector;
use crate::members::Context;
use crate::plan::Plan;
use crate::program::{Op, PickupOf, RingOp, Wave};
use crate::source::{SourceRef, Span};
use crate::step::{Preview, Priority, Ring};

impl Plan {
    /// Whether some route lets the caller pick up a call from `door`, or one that rings at any of `devices`.
    #[must_use]
    pub fn may_pick_up(
        &self,
        directory: &Directory,
        caller: &Caller,
        door: Option<&str>,
        devices: &[&str],
    ) -> bool {
        let callers = crate::matching::caller_patterns(self, directory, caller);
        let covers = |of: &PickupOf| match of {
            PickupOf::Place(place) => door.is_some_and(|door| self.place_holds(place, door)),
            PickupOf::Desk(desk) => self.desk(desk).is_some_and(|desk| {
                desk.devices
                    .iter()
                    .any(|device| devices.contains(&device.as_str()))
            }),
        };
        self.routes
            .iter()
            .filter(|route| {
                route
                    .callers
                    .iter()
                    .any(|pattern| callers.contains(pattern))
            })
            .flat_map(|route| &route.ops)
            .any(|op| matches!(op, Op::Pickup { of, .. } if of.iter().any(covers)))
    }

    /// The ring of a transfer to `target` (`desk`, `unit:101`, `door:lobby`, `person:anna`, `device:desk-1`), for so
    /// long, and with this key map for whoever answers. `call` names whom the ring must leave out. Its `members` may be
    /// empty: nobody of the target can be rung now.
    #[must_use]
    pub fn transfer_ring(
        &self,
        directory: &Directory,
        facts: &Facts,
        call: &CallFacts,
        (target, for_, keys): (&str, Duration, &str),
        source: SourceRef,
    ) -> Ring {
        let (kind, id) = target.split_once(':').unwrap_or(("desk", target));
        let id = id.to_owned();
        let selector = match kind {
            "unit" => Selector::Unit { id, label: None },
            "person" => Selector::Person { id, label: None },
            "device" => Selector::Device(id),
            "door" => Selector::Door(id),
            _ => Selector::Desk(id),
        };
        let serial = match &selector {
            Selector::Desk(desk) => self.desk(desk).is_some_and(|desk| desk.serial),
            _ => false,
        };
        let span = Span::default();
        let wave = Wave {
            shown: target.to_owned(),
            selectors: vec![(selector, target.to_owned(), span)],
            adds: Vec::new(),
            after: Duration::ZERO,
            for_: None,
            via: Vec::new(),
            confirm: None,
        };
        let op = RingOp {
            waves: vec![wave],
            for_,
            serial,
            preview: Preview::None,
            join_late: false,
            keys: keys.to_owned(),
            auto_answer: false,
            rules: Vec::new(),
            on: Vec::new(),
            next: 0,
            source,
        };
        let context = Context {
            plan: self,
            directory,
            facts,
            call,
            priority: Priority::Normal,
        };
        context.ring(&op)
    }
}
