//! Where a transfer goes that the plan itself names: `keys … transfer="desk"`, `end "transfer" to="desk"`.

use std::time::Duration;

use crate::directory::Directory;
use crate::facts::{CallFacts, Facts};
use crate::language::ring::Selector;
use crate::members::Context;
use crate::plan::Plan;
use crate::program::{RingOp, Wave};
use crate::source::{SourceRef, Span};
use crate::step::{Preview, Priority, Ring};

impl Plan {
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
