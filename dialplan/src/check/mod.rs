//! `plan check`: one file per code. Each takes the plan and the store's facts and gives findings.

pub(crate) mod p001;
pub(crate) mod p002;
pub(crate) mod p003;
pub(crate) mod p004;
pub(crate) mod p006;
pub(crate) mod p009;
pub(crate) mod unserved;

use jiff::Timestamp;

use crate::diagnostic::Diagnostic;
use crate::directory::Directory;
use crate::language::ring::Selector;
use crate::plan::Plan;
use crate::program::Wave;
use crate::source::Span;

/// The codes of all checks the language knows; those that this version runs have a file here.
pub(crate) const CODES: [&str; 18] = [
    "P001", "P002", "P003", "P004", "P005", "P006", "P007", "P008", "P009", "P010", "P011", "P012",
    "P013", "P014", "P015", "P016", "P017", "P018",
];

/// Runs them all; what is silenced in place is left out.
pub(crate) fn run(plan: &Plan, directory: &Directory, now: Timestamp) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    p001::check(plan, directory, &mut found);
    p002::check(plan, &mut found);
    p003::check(plan, &mut found);
    p004::check(plan, directory, now, &mut found);
    p006::check(plan, &mut found);
    p009::check(plan, &mut found);
    unserved::check(plan, &mut found);
    found.retain(|diagnostic| {
        let (start, end) = diagnostic.span;
        !plan.allows.iter().any(|allow| {
            allow.code == diagnostic.code && allow.span.0 <= start && end <= allow.span.1
        })
    });
    found.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.code));
    found
}

/// Whom a wave names, with the place of each.
fn members(wave: &Wave) -> impl Iterator<Item = (&Selector, Span)> {
    let first = wave
        .selectors
        .iter()
        .map(|(selector, _, span)| (selector, *span));
    let added = wave.adds.iter().flat_map(|add| &add.members);
    first.chain(added.map(|(selector, name)| (selector, name.span)))
}
