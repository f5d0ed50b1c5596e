//! From text to [`Plan`]: limits, KDL, constructs, names. Gathers every fault it can in one pass.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use kdl::{KdlDocument, KdlError};
use sha2::{Digest, Sha256};

use crate::compile::{self, Names};
use crate::diagnostic::{Diagnostic, Level};
use crate::language::calendar::Calendar;
use crate::language::holidays::Holidays;
use crate::language::keys::{self, Action, KeyMap};
use crate::language::mode::{self, WrittenMode};
use crate::language::nesting::{DEPTH, too_deep};
use crate::language::node::{Name, Reader, allow, code, name_span};
use crate::language::quiet::{self, WrittenQuiet};
use crate::language::rights::{self, Effect, Who, WrittenRule};
use crate::language::route::{self, WrittenRoute};
use crate::language::site::{self, WrittenSite};
use crate::language::{desk, desk::WrittenDesk, door, door::WrittenDoor};
use crate::matching::RouteIndex;
use crate::plan::{Plan, Quiet, Rule};
use crate::source::SourceText;
use crate::step::Priority;

/// Largest plan; a larger one is refused before it is parsed.
pub const PLAN_BYTES: usize = 4 << 20;
/// Most faults reported; the rest would only bury them.
const MOST_FAULTS: usize = 100;

/// What [`load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The plan, unless there is an error among the diagnostics.
    pub plan: Option<Plan>,
    /// Errors and warnings in file order, at most 100.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a plan. `files` gives the text of a holiday file by the name written in the plan.
#[must_use]
pub fn load(text: &str, file: &str, files: &dyn Fn(&str) -> Option<String>) -> Loaded {
    if text.len() > PLAN_BYTES {
        let message = format!(
            "the plan has {} bytes; at most {PLAN_BYTES} are read",
            text.len()
        );
        let source = SourceText::new(file, "");
        let fault = Diagnostic::new(code::LIMIT, Level::Error, &source, (0, 0), message);
        return Loaded {
            plan: None,
            diagnostics: vec![fault],
        };
    }
    let mut reader = Reader::new(SourceText::new(file, text));
    if let Some(at) = too_deep(text) {
        let message = format!("nested more than {DEPTH} deep");
        reader.error(code::LIMIT, (at, at + 1), message).label = "too deep".to_owned();
    } else {
        match KdlDocument::parse_v2(text) {
            Ok(document) => {
                let plan = build(&document, &mut reader, files);
                return finish(plan, reader);
            }
            Err(error) => syntax(&error, &mut reader),
        }
    }
    finish(None, reader)
}

fn finish(plan: Option<Plan>, reader: Reader) -> Loaded {
    let mut diagnostics = reader.diagnostics;
    // The plan's own first, then those of its holiday files.
    diagnostics.sort_by_key(|fault| (fault.text.name != reader.text.name, fault.span, fault.code));
    diagnostics.truncate(MOST_FAULTS);
    let refused = diagnostics.iter().any(Diagnostic::is_error);
    Loaded {
        plan: plan.filter(|_| !refused),
        diagnostics,
    }
}

/// Turns the parser's faults into ours.
fn syntax(error: &KdlError, reader: &mut Reader) {
    for fault in &error.diagnostics {
        let (mut start, mut length) = (fault.span.offset(), fault.span.len());
        let message = fault
            .message
            .clone()
            .unwrap_or_else(|| "this is not KDL".to_owned());
        if start == 0 && message.contains("value") {
            // The parser reports a missing value at offset 0: look for the place.
            if let Some(at) = missing_value(&reader.text.text) {
                (start, length) = (at, 1);
            }
        }
        let mut diagnostic = Diagnostic::new(
            code::SYNTAX,
            Level::Error,
            &reader.text,
            (start, start + length),
            message,
        );
        diagnostic = diagnostic
            .label(fault.label.clone().unwrap_or_else(|| "here".to_owned()))
            .hint_opt(fault.help.clone());
        reader.push(diagnostic);
    }
    if error.diagnostics.is_empty() {
        reader.error(code::SYNTAX, (0, 0), "this is not KDL");
    }
}

/// Offset of the first `=` that no value follows.
fn missing_value(text: &str) -> Option<usize> {
    text.match_indices('=').map(|(at, _)| at).find(|at| {
        let rest = text
            .get(at + 1..)
            .unwrap_or("")
            .trim_start_matches([' ', '\t']);
        rest.is_empty() || rest.starts_with(['\n', '\r', ';', '}', '{'])
    })
}

#[derive(Default)]
struct Written {
    site: Option<WrittenSite>,
    doors: Vec<WrittenDoor>,
    desks: Vec<WrittenDesk>,
    keys: Vec<KeyMap>,
    rules: Vec<WrittenRule>,
    quiet: Vec<WrittenQuiet>,
    modes: Vec<WrittenMode>,
    routes: Vec<WrittenRoute>,
}

const CONSTRUCTS: [&str; 12] = [
    "site", "door", "desk", "keys", "may-open", "may-view", "deny", "quiet", "input", "mode",
    "expect", "route",
];

fn build(
    document: &KdlDocument,
    reader: &mut Reader,
    files: &dyn Fn(&str) -> Option<String>,
) -> Option<Plan> {
    let mut written = Written::default();
    for node in document.nodes() {
        match node.name().value() {
            "site" => {
                if written.site.is_some() {
                    reader
                        .error(code::TWICE, name_span(node), "a file holds one site")
                        .label = "second site".to_owned();
                }
                written.site = site::read(node, reader).or(written.site);
            }
            "door" => written.doors.extend(door::read(node, reader)),
            "desk" => written.desks.extend(desk::read(node, reader)),
            "keys" => written.keys.extend(keys::read(node, reader)),
            "may-open" => written
                .rules
                .extend(rights::read(node, Effect::Open, reader)),
            "may-view" => written
                .rules
                .extend(rights::read(node, Effect::View, reader)),
            "deny" => written
                .rules
                .extend(rights::read(node, Effect::Deny, reader)),
            "quiet" => written.quiet.extend(quiet::read(node, reader)),
            "mode" => written.modes.extend(mode::read(node, reader)),
            "route" => written.routes.extend(route::read(node, reader)),
            "allow" => allow(node, (0, reader.text.text.len()), reader),
            word @ ("input" | "expect") => {
                reader.unsupported(name_span(node), &format!("\"{word}\""));
            }
            other => reader.unknown_word(name_span(node), "construct", other, CONSTRUCTS),
        }
    }
    if written.site.is_none() && !reader.diagnostics.iter().any(Diagnostic::is_error) {
        let diagnostic = reader.error(code::MISSING, (0, 0), "the plan names no site");
        diagnostic.hint = Some("site \"elm-court\" tz=\"Europe/Prague\" { … }".to_owned());
    }
    let names = names(&written, reader);
    resolve(written, &names, reader, files)
}

/// Gathers the plan's own names; doors and groups share one name space.
fn names(written: &Written, reader: &mut Reader) -> Names {
    let mut names = Names::default();
    for door in &written.doors {
        twice(
            names
                .doors
                .insert(door.name.value.clone(), door.door.groups.clone())
                .is_some(),
            &door.name,
            "door",
            reader,
        );
    }
    for door in &written.doors {
        for group in &door.door.groups {
            if names.doors.contains_key(group) {
                let message = format!("\"{group}\" is both a door and a group");
                reader.error(code::TWICE, door.name.span, message).label =
                    "its group has a door's name".to_owned();
            }
            names.groups.insert(group.clone(), ());
        }
    }
    for desk in &written.desks {
        twice(
            names
                .desks
                .insert(desk.name.value.clone(), desk.desk.serial)
                .is_some(),
            &desk.name,
            "desk",
            reader,
        );
    }
    for map in &written.keys {
        twice(
            names.key_maps.insert(map.name.value.clone(), ()).is_some(),
            &map.name,
            "key map",
            reader,
        );
    }
    // A plan without key maps still rings: nothing is bound then.
    names.key_maps.entry("default".to_owned()).or_default();
    for mode in &written.modes {
        twice(
            names.modes.insert(mode.name.value.clone(), ()).is_some(),
            &mode.name,
            "mode",
            reader,
        );
    }
    if let Some(site) = &written.site {
        for (at, calendar) in site.calendars.iter().enumerate() {
            twice(
                names
                    .calendars
                    .insert(calendar.name.value.clone(), at)
                    .is_some(),
                &calendar.name,
                "calendar",
                reader,
            );
        }
        for (at, holidays) in site.holidays.iter().enumerate() {
            twice(
                names
                    .holidays
                    .insert(holidays.name.value.clone(), at)
                    .is_some(),
                &holidays.name,
                "holidays",
                reader,
            );
        }
    }
    for mode in &written.modes {
        twice(
            names.calendars.contains_key(&mode.name.value),
            &mode.name,
            "calendar or mode",
            reader,
        );
    }
    let mut routes = BTreeMap::new();
    for route in &written.routes {
        twice(
            routes.insert(&route.name.value, ()).is_some(),
            &route.name,
            "route",
            reader,
        );
    }
    names
}

fn twice(already: bool, name: &Name, what: &str, reader: &mut Reader) {
    if already {
        let message = format!("{what} \"{}\" is defined twice", name.value);
        reader.error(code::TWICE, name.span, message).label = "second definition".to_owned();
    }
}

fn resolve(
    written: Written,
    names: &Names,
    reader: &mut Reader,
    files: &dyn Fn(&str) -> Option<String>,
) -> Option<Plan> {
    let mut hash = Sha256::new();
    hash.update(reader.text.text.as_bytes());
    let (site, zone, calendars) = match written.site {
        Some(site) => {
            let zone = site.zone.clone();
            let name = site.name.value.clone();
            (name, zone, calendars(site, names, reader, files, &mut hash))
        }
        None => (String::new(), jiff::tz::TimeZone::UTC, Vec::new()),
    };
    for map in &written.keys {
        check_keys(map, &written.doors, names, reader);
    }
    let rules: Vec<Rule> = written
        .rules
        .into_iter()
        .map(|rule| resolve_rule(rule, names, reader))
        .collect();
    let quiet: Vec<Quiet> = written
        .quiet
        .into_iter()
        .filter_map(|quiet| resolve_quiet(quiet, names, reader))
        .collect();
    for place in written.modes.iter().flat_map(|mode| &mode.block_codes) {
        names.check_place(place, reader);
    }
    let modes = written.modes.into_iter().map(|mode| {
        (
            mode.name.value,
            mode.block_codes
                .into_iter()
                .map(|place| place.value)
                .collect(),
        )
    });
    let modes = modes.collect();
    let routes: Vec<_> = written
        .routes
        .into_iter()
        .map(|route| compile::route(route, names, reader))
        .collect();
    let desk_devices = written
        .desks
        .iter()
        .flat_map(|desk| desk.devices.clone())
        .collect();
    let mut version = String::new();
    for byte in hash.finalize().iter().take(6) {
        let _ = write!(version, "{byte:02x}");
    }
    let doors: Vec<_> = written.doors.into_iter().map(|door| door.door).collect();
    Some(Plan {
        version,
        site,
        zone,
        text: reader.text.clone(),
        calendars,
        door_index: doors
            .iter()
            .enumerate()
            .map(|(at, door)| (door.name.clone(), at))
            .collect(),
        doors,
        desks: written.desks.into_iter().map(|desk| desk.desk).collect(),
        desk_devices,
        keys: written
            .keys
            .into_iter()
            .map(|map| (map.name.value.clone(), map))
            .collect(),
        rules,
        quiet,
        modes,
        index: RouteIndex::new(&routes),
        routes,
        allows: std::mem::take(&mut reader.allows),
    })
}

fn calendars(
    site: WrittenSite,
    names: &Names,
    reader: &mut Reader,
    files: &dyn Fn(&str) -> Option<String>,
    hash: &mut Sha256,
) -> Vec<Calendar> {
    let mut read: Vec<Arc<Holidays>> = Vec::new();
    for holidays in &site.holidays {
        let name = &holidays.file;
        let outside = name.value.starts_with('/') || name.value.split('/').any(|part| part == "..");
        let text = if outside { None } else { files(&name.value) };
        if let Some(text) = &text {
            hash.update(text.as_bytes());
        } else {
            let diagnostic = reader.error(
                "P001",
                name.span,
                format!("no holiday file \"{}\"", name.value),
            );
            diagnostic.label = "it cannot be read".to_owned();
            diagnostic.hint =
                Some("the name is relative to the plan's folder and stays inside it".to_owned());
        }
        let short = name.value.rsplit('/').next().unwrap_or(&name.value);
        let source = SourceText::new(short, &text.unwrap_or_default());
        let mut faults = Vec::new();
        read.push(Arc::new(Holidays::read(&source, &site.zone, &mut faults)));
        reader.diagnostics.extend(faults);
    }
    let mut calendars = Vec::new();
    for calendar in site.calendars {
        let mut not = Vec::new();
        for name in &calendar.not {
            match names.holidays.get(&name.value) {
                Some(at) => not.extend(read.get(*at).cloned()),
                None => {
                    Names::unknown(reader, name, "holidays", &name.value, names.holidays.keys());
                }
            }
        }
        calendars.push(Calendar {
            name: calendar.name.value,
            windows: calendar.windows,
            holidays: not,
            zone: site.zone.clone(),
            source: calendar.source,
        });
    }
    calendars
}

fn check_keys(map: &KeyMap, doors: &[WrittenDoor], names: &Names, reader: &mut Reader) {
    for key in &map.keys {
        match &key.action {
            Action::Transfer(target) => compile::transfer_target(target, names, reader),
            Action::Open {
                door: Some(door),
                output,
                ..
            } => {
                if names.check_door(door, &door.value, reader) {
                    let here = doors
                        .iter()
                        .filter(|d| d.name.value == door.value)
                        .flat_map(|d| &d.door.outputs);
                    let known: Vec<_> = here.map(|output| output.name.clone()).collect();
                    if !known.contains(&output.value) {
                        Names::unknown(reader, output, "output", &output.value, &known);
                    }
                }
            }
            Action::Open {
                door: None,
                output,
                if_present,
                ..
            } => {
                let all: Vec<_> = doors
                    .iter()
                    .flat_map(|d| &d.door.outputs)
                    .map(|output| output.name.clone())
                    .collect();
                if !if_present && !all.contains(&output.value) {
                    Names::unknown(reader, output, "output", &output.value, &all);
                }
            }
        }
    }
}

fn resolve_rule(rule: WrittenRule, names: &Names, reader: &mut Reader) -> Rule {
    for place in &rule.places {
        names.check_place(place, reader);
    }
    check_who(&rule.who, names, reader);
    Rule {
        effect: rule.effect,
        places: rule.places.into_iter().map(|place| place.value).collect(),
        methods: rule.methods,
        require: rule.require,
        during: rule
            .during
            .as_ref()
            .and_then(|name| names.calendar(name, reader)),
        who: rule.who,
        source: rule.source,
    }
}

fn check_who(who: &[(Who, Name)], names: &Names, reader: &mut Reader) {
    for (who, name) in who {
        if let Who::Desk(desk) = who {
            names.check_desk(name, desk, reader);
        }
    }
}

fn resolve_quiet(quiet: WrittenQuiet, names: &Names, reader: &mut Reader) -> Option<Quiet> {
    check_who(&quiet.who, names, reader);
    let mut resolved = Quiet {
        during: names.calendar(&quiet.during, reader)?,
        who: quiet.who,
        except_desks: Vec::new(),
        except_doors: Vec::new(),
        except_priority: Priority::Lift,
    };
    for name in &quiet.except {
        match name.value.as_str() {
            "high" => resolved.except_priority = Priority::High.min(resolved.except_priority),
            // These ring through quiet hours anyway.
            "emergency" | "lift" => {}
            desk if names.desks.contains_key(desk) => resolved.except_desks.push(desk.to_owned()),
            place if names.is_place(place) => resolved.except_doors.push(place.to_owned()),
            other => {
                let known: Vec<_> = names
                    .desks
                    .keys()
                    .chain(names.doors.keys())
                    .chain(names.groups.keys())
                    .cloned()
                    .collect();
                Names::unknown(reader, name, "desk, door, group or priority", other, &known);
            }
        }
    }
    Some(resolved)
}
