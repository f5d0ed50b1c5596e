//! `mode "night" { block-codes group="*"; route-all "desk" }`: switched by hand, read as a fact.

use kdl::KdlNode;

use super::node::{Fields, Name, Reader, name_span};

/// A mode as written.
#[derive(Debug)]
pub(crate) struct WrittenMode {
    pub(crate) name: Name,
    /// Doors and groups whose codes are blocked while it is on.
    pub(crate) block_codes: Vec<Name>,
}

pub(crate) fn read(node: &KdlNode, reader: &mut Reader) -> Option<WrittenMode> {
    let mut fields = Fields::new(node, reader);
    let name = fields.must_arg(reader, "the mode's name");
    fields.unsupported(reader, &["when"]);
    let mut block_codes = Vec::new();
    for child in fields.children(reader) {
        match child.name().value() {
            "block-codes" => {
                let mut inner = Fields::new(child, reader);
                let group = inner.must_prop(reader, "group");
                block_codes.extend(
                    group
                        .map(|list| list.list(&reader.text))
                        .unwrap_or_default(),
                );
                inner.finish(reader, false);
            }
            word @ ("hold-open" | "route-all" | "codes" | "unknown") => {
                reader.unsupported(name_span(child), &format!("\"{word}\" in a mode"));
            }
            other => {
                let known = ["block-codes", "hold-open", "route-all", "codes", "unknown"];
                reader.unknown_word(name_span(child), "part of a mode", other, known);
            }
        }
    }
    fields.finish(reader, true);
    Some(WrittenMode {
        name: name?,
        block_codes,
    })
}
