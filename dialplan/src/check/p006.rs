//! P006: an `open` that nothing entitles, and a telephone rung by a door without `confirm`: its
//! voicemail would take the call. Emergency and lift routes are excepted from the latter.

use crate::diagnostic::{Diagnostic, Level};
use crate::language::node::Reader;
use crate::language::ring::Selector;
use crate::plan::Plan;
use crate::program::Op;
use crate::source::Span;
use crate::step::Priority;

/// Reported while reading, where the order of the steps is at hand.
pub(crate) fn open_without_right(reader: &mut Reader, span: Span) {
    let diagnostic = reader.error(
        "P006",
        span,
        "nothing before this \"open\" entitles anybody",
    );
    diagnostic.label = "no valid code, identified caller or answered leg comes first".to_owned();
    diagnostic.hint =
        Some("put it after \"collect\", \"identify\" or an answered \"ring\"".to_owned());
}

pub(crate) fn check(plan: &Plan, found: &mut Vec<Diagnostic>) {
    let excepted = |priority| matches!(priority, Priority::Emergency | Priority::Lift);
    for route in plan
        .routes
        .iter()
        .filter(|route| route.is_door_route() && !excepted(route.priority))
    {
        for op in &route.ops {
            let Op::Ring(ring) = op else {
                continue;
            };
            for wave in ring.waves.iter().filter(|wave| wave.confirm.is_none()) {
                let trunk = |selector: &Selector| {
                    matches!(selector, Selector::DialledPhones | Selector::Number(_))
                };
                for (_, span) in super::members(wave).filter(|(selector, _)| trunk(selector)) {
                    let message = "a telephone is rung by a door without confirm=";
                    let diagnostic =
                        Diagnostic::new("P006", Level::Error, &plan.text, span, message);
                    found.push(
                        diagnostic
                            .label("its voicemail would take the call")
                            .hint("add confirm=\"1\" to the ring"),
                    );
                }
            }
        }
    }
}
