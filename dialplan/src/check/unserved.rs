//! L007: what the language evaluates but the server of this version does not carry out. Said before the visitor presses
//! the button: an output that nothing drives is an error, a fallback that comes to nothing a warning.

use crate::diagnostic::{Diagnostic, Level};
use crate::language::node::code;
use crate::language::ring::Selector;
use crate::plan::{DriverKind, Plan};
use crate::program::{EndOp, Op};
use crate::source::Span;
use crate::step::End;

pub(crate) fn check(plan: &Plan, found: &mut Vec<Diagnostic>) {
    let mut say = |level, span: Span, message: String, label: &str, hint: &str| {
        let diagnostic = Diagnostic::new(code::UNSUPPORTED, level, &plan.text, span, message);
        found.push(diagnostic.label(label).hint(hint));
    };
    for output in plan.doors.iter().flat_map(|door| &door.outputs) {
        let served = matches!(
            output.driver,
            DriverKind::Http | DriverKind::Dtmf | DriverKind::ActionBuzz
        );
        if !served {
            let message = format!(
                "driver \"{}\" is not served by this version",
                output.driver.as_str()
            );
            let hint = "use \"http\", \"dtmf\" or \"action-buzz\"";
            say(
                Level::Error,
                output.source.span,
                message,
                "nothing would drive this output",
                hint,
            );
        }
    }
    for op in plan.routes.iter().flat_map(|route| &route.ops) {
        match op {
            Op::End { end, source } => {
                if !matches!(end, EndOp::UnitMessage | EndOp::Plain(End::Message { .. })) {
                    continue;
                }
                let message = "end \"message\" is not served by this version".to_owned();
                say(
                    Level::Warn,
                    source.span,
                    message,
                    "ends as \"log\" does, with 480",
                    "write end \"log\"",
                );
            }
            Op::Ring(ring) => {
                for wave in ring.waves.iter().filter(|wave| wave.via.is_empty()) {
                    for (selector, span) in super::members(wave) {
                        if matches!(selector, Selector::DialledPhones | Selector::Number(_)) {
                            let message = "no trunk is named for a telephone number".to_owned();
                            let hint = "add via=\"trunk-a\" to the ring";
                            say(Level::Warn, span, message, "cannot be reached", hint);
                        }
                    }
                }
            }
            Op::Branch { .. }
            | Op::Proxy { .. }
            | Op::Pickup { .. }
            | Op::Park { .. }
            | Op::Fall => {}
        }
    }
}
