//! P001: a name the store does not know. Names of the plan itself are resolved while it is loaded;
//! what the store lacks may still be imported, so it is a warning.

use crate::diagnostic::{Diagnostic, Level, nearest};
use crate::directory::Directory;
use crate::language::dial::{Class, Pattern};
use crate::language::rights::Who;
use crate::language::ring::Selector;
use crate::plan::Plan;
use crate::program::Op;
use crate::source::Span;

pub(crate) fn check(plan: &Plan, directory: &Directory, found: &mut Vec<Diagnostic>) {
    let mut missing = Missing {
        plan,
        directory,
        found,
    };
    for device in &plan.desk_devices {
        missing.device(&device.value, device.span);
    }
    let quiet = plan.quiet.iter().flat_map(|quiet| &quiet.who);
    for (who, name) in plan.rules.iter().flat_map(|rule| &rule.who).chain(quiet) {
        match who {
            Who::Person(id) => missing.person(id, name.span),
            Who::Unit(id) => missing.unit(id, name.span),
            Who::Device(id) => missing.device(id, name.span),
            Who::Role(_) | Who::Desk(_) => {}
        }
    }
    for route in &plan.routes {
        match &route.dial {
            Pattern::Literal(id, Some(Class::Unit)) => missing.unit(id, route.dial_span),
            Pattern::Literal(id, Some(Class::Person)) => missing.person(id, route.dial_span),
            Pattern::Literal(id, Some(Class::Device)) => missing.device(id, route.dial_span),
            Pattern::Literal(id, Some(Class::Door)) if plan.door(id).is_none() => {
                missing.report(
                    "door",
                    id,
                    route.dial_span,
                    plan.doors.iter().map(|door| door.name.as_str()),
                    Level::Error,
                );
            }
            _ => {}
        }
        for op in &route.ops {
            let Op::Ring(ring) = op else {
                continue;
            };
            let first = ring.waves.iter().flat_map(|wave| {
                wave.selectors
                    .iter()
                    .map(|(selector, _, span)| (selector, *span))
            });
            let added = ring
                .waves
                .iter()
                .flat_map(|wave| &wave.adds)
                .flat_map(|add| {
                    add.members
                        .iter()
                        .map(|(selector, name)| (selector, name.span))
                });
            for (selector, span) in first.chain(added) {
                match selector {
                    Selector::Unit { id, .. } => missing.unit(id, span),
                    Selector::Person { id, .. } => missing.person(id, span),
                    Selector::Device(id) => missing.device(id, span),
                    _ => {}
                }
            }
        }
    }
}

struct Missing<'a> {
    plan: &'a Plan,
    directory: &'a Directory,
    found: &'a mut Vec<Diagnostic>,
}

impl Missing<'_> {
    fn unit(&mut self, id: &str, span: Span) {
        let directory = self.directory;
        if directory.unit(id).is_none() {
            self.report(
                "unit",
                id,
                span,
                directory.units().keys().map(String::as_str),
                Level::Warn,
            );
        }
    }

    fn person(&mut self, id: &str, span: Span) {
        let directory = self.directory;
        if directory.person(id).is_none() {
            self.report(
                "person",
                id,
                span,
                directory.people().keys().map(String::as_str),
                Level::Warn,
            );
        }
    }

    fn device(&mut self, id: &str, span: Span) {
        let directory = self.directory;
        if directory.device(id).is_none() {
            self.report(
                "device",
                id,
                span,
                directory.devices().keys().map(String::as_str),
                Level::Warn,
            );
        }
    }

    fn report<'n>(
        &mut self,
        what: &str,
        id: &str,
        span: Span,
        known: impl Iterator<Item = &'n str>,
        level: Level,
    ) {
        let message = format!("unknown {what} \"{id}\"");
        let label = if level == Level::Warn {
            "not in the store yet"
        } else {
            "no such door in this plan"
        };
        let diagnostic =
            Diagnostic::new("P001", level, &self.plan.text, span, message).label(label);
        self.found.push(diagnostic.hint_opt(nearest(id, known)));
    }
}
