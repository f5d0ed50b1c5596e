//! `may-open`, `may-view` and `deny`.

use kdl::KdlNode;

use super::node::{Fields, Name, Reader, code, name_span};
use crate::rights::{LegState, Method};
use crate::source::SourceRef;

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    Role(String),
    Person(String),
    Unit(String),
    Device(String),
    Desk(String),
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Open,
    View,
    Deny,
}

/// A rule as written.
#[derive(Debug)]
pub(crate) struct WrittenRule {
    pub(crate) effect: Effect,
    pub(crate) who: Vec<(Who, Name)>,
    /// Doors and groups; `*` is every door.
    pub(crate) places: Vec<Name>,
    pub(crate) methods: Vec<Method>,
    pub(crate) require: LegState,
    pub(crate) during: Option<Name>,
    pub(crate) source: SourceRef,
}

const REQUIRE: [(&str, LegState); 3] = [
    ("answered", LegState::Answered),
    ("rung", LegState::Rung),
    ("none", LegState::None),
];

pub(crate) fn read(node: &KdlNode, effect: Effect, reader: &mut Reader) -> Option<WrittenRule> {
    let mut fields = Fields::new(node, reader);
    let who = fields.must_arg(reader, "whom it is about");
    let group = fields
        .prop(reader, "group")
        .map(|list| list.list(&reader.text));
    let door = fields
        .prop(reader, "door")
        .map(|list| list.list(&reader.text));
    let methods = fields.prop(reader, "method");
    let require = fields.prop(reader, "require");
    let during = fields.prop(reader, "during");
    fields.unsupported(reader, &["ask"]);
    fields.finish(reader, false);
    let places: Vec<Name> = group.into_iter().chain(door).flatten().collect();
    if places.is_empty() {
        let diagnostic = reader.error(
            code::MISSING,
            name_span(node),
            "a rule needs group= or door=",
        );
        diagnostic.label = "it names no door".to_owned();
        diagnostic.hint = Some("group=\"*\" is every door".to_owned());
    }
    let methods = match methods {
        Some(list) => read_methods(&list, reader),
        // A deny rule without methods covers all of them, integration tokens too.
        None => Method::ALL
            .into_iter()
            .filter(|m| effect == Effect::Deny || *m != Method::Api)
            .collect(),
    };
    let require = require.and_then(|word| reader.choice(&word, "requirement", &REQUIRE));
    let who = read_who(&who?, reader);
    Some(WrittenRule {
        effect,
        who,
        places,
        methods,
        require: require.unwrap_or(LegState::Answered),
        during,
        source: reader.at(name_span(node)),
    })
}

fn read_methods(list: &Name, reader: &mut Reader) -> Vec<Method> {
    let words: Vec<_> = Method::ALL
        .iter()
        .map(|method| (method.as_str(), *method))
        .collect();
    let names = list.list(&reader.text);
    names
        .iter()
        .filter_map(|name| reader.choice(name, "method", &words))
        .collect()
}

/// Reads a comma list of typed names.
pub(crate) fn read_who(list: &Name, reader: &mut Reader) -> Vec<(Who, Name)> {
    let mut all = Vec::new();
    for name in list.list(&reader.text) {
        let typed = name
            .value
            .split_once(':')
            .map(|(kind, rest)| (kind, rest.to_owned()));
        let who = match typed {
            Some(("role", rest)) => Who::Role(rest),
            Some(("person", rest)) => Who::Person(rest),
            Some(("unit", rest)) => Who::Unit(rest),
            Some(("device", rest)) => Who::Device(rest),
            Some(("desk", rest)) => Who::Desk(rest),
            Some((kind @ ("code" | "api"), _)) => {
                reader.unsupported(name.span, &format!("a rule for {kind}:"));
                continue;
            }
            _ => {
                let message = format!("\"{}\" does not say what it names", name.value);
                let diagnostic = reader.error(code::VALUE, name.span, message);
                diagnostic.label = "role: person: unit: device: or desk: is missing".to_owned();
                continue;
            }
        };
        all.push((who, name));
    }
    all
}
