//! P009: a door that does not say what it does when all fails, or one that says "open" with no fire
//! input to open it.

use crate::diagnostic::{Diagnostic, Level};
use crate::plan::{Fail, Plan};

pub(crate) fn check(plan: &Plan, found: &mut Vec<Diagnostic>) {
    for door in &plan.doors {
        let (message, label, hint) = match door.fail {
            Some(Fail::Closed) => continue,
            None => (
                format!("door \"{}\" does not say how it fails", door.name),
                "fail= is mandatory",
                "add fail=\"closed\"",
            ),
            // Inputs are not read by this version, so no plan can have one.
            Some(Fail::Open) => (
                format!(
                    "door \"{}\" fails open, but no fire input opens it",
                    door.name
                ),
                "nothing would release it",
                "this version has no inputs: use fail=\"closed\" and a hard-wired release",
            ),
        };
        let diagnostic =
            Diagnostic::new("P009", Level::Error, &plan.text, door.source.span, message);
        found.push(diagnostic.label(label).hint(hint));
    }
}
