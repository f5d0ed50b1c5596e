//! P002: a path that reaches no `end` is an error, a step that no path reaches a warning.

use crate::diagnostic::{Diagnostic, Level};
use crate::plan::Plan;
use crate::program::{Op, Route};
use crate::source::SourceRef;

pub(crate) fn check(plan: &Plan, found: &mut Vec<Diagnostic>) {
    for route in &plan.routes {
        check_route(plan, route, found);
    }
}

fn check_route(plan: &Plan, route: &Route, found: &mut Vec<Diagnostic>) {
    let mut reached = vec![false; route.ops.len()];
    let mut todo = vec![(route.start, &route.source)];
    // The source is the last step before the fall: where the `end` is missing.
    let mut falls: Vec<&SourceRef> = Vec::new();
    while let Some((at, from)) = todo.pop() {
        let Some(op) = route.ops.get(at) else {
            continue;
        };
        if matches!(op, Op::Fall) {
            falls.push(from);
            continue;
        }
        match reached.get_mut(at) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        match op {
            Op::Branch { arms, next } => {
                todo.extend(arms.iter().map(|arm| (arm.to, &arm.source)));
                let total = arms.iter().any(|arm| arm.test.is_none());
                if !total {
                    todo.push((*next, arms.last().map_or(from, |arm| &arm.source)));
                }
            }
            Op::Ring(ring) => {
                todo.push((ring.next, &ring.source));
                todo.extend(ring.on.iter().map(|(_, to)| (*to, &ring.source)));
            }
            Op::Pickup { next, source, .. } | Op::Park { next, source, .. } => {
                todo.push((*next, source));
            }
            Op::End { .. } | Op::Proxy { .. } | Op::Fall => {}
        }
    }
    falls.sort_by_key(|source| source.span);
    falls.dedup();
    for source in falls {
        let message = format!("a path of route \"{}\" reaches no end", route.name);
        let diagnostic = Diagnostic::new("P002", Level::Error, &plan.text, source.span, message);
        found.push(
            diagnostic
                .label("nothing follows here")
                .hint("add end \"log\", or an otherwise block that ends"),
        );
    }
    for (op, seen) in route.ops.iter().zip(&reached) {
        let source = match op {
            Op::Ring(ring) => &ring.source,
            Op::End { source, .. }
            | Op::Proxy { source }
            | Op::Pickup { source, .. }
            | Op::Park { source, .. } => source,
            Op::Branch { .. } | Op::Fall => continue,
        };
        if !seen {
            let diagnostic = Diagnostic::new(
                "P002",
                Level::Warn,
                &plan.text,
                source.span,
                "this step is never reached",
            );
            found.push(diagnostic.label("an earlier step ends every path"));
        }
    }
}
