//! `when "desk-hours"`, `unless "night"`, `when if="@unit.flag"`, `otherwise`.

use super::node::{Fields, Name, Reader, code};

/// A condition as written; all parts must hold.
#[derive(Debug)]
pub(crate) struct WrittenCondition {
    /// Turned round by `unless`.
    pub(crate) negate: bool,
    /// A calendar, a mode, or a typed name.
    pub(crate) subject: Option<Name>,
    /// The flag of `if="@unit.FLAG"`.
    pub(crate) flag: Option<Name>,
}

pub(crate) fn read(
    fields: &mut Fields<'_>,
    negate: bool,
    reader: &mut Reader,
) -> Option<WrittenCondition> {
    let subject = fields.arg(reader);
    let had_flag = fields.has("if");
    let flag = read_flag(fields, reader);
    if subject.is_none() && !had_flag {
        let diagnostic = reader.error(code::MISSING, fields.span, "a condition is missing");
        diagnostic.label = "the name of a calendar or mode, or if=".to_owned();
        return None;
    }
    if had_flag && flag.is_none() {
        return None;
    }
    Some(WrittenCondition {
        negate,
        subject,
        flag,
    })
}

/// Reads `if="@unit.FLAG"`.
pub(crate) fn read_flag(fields: &mut Fields<'_>, reader: &mut Reader) -> Option<Name> {
    let written = fields.prop(reader, "if")?;
    match written.value.strip_prefix("@unit.") {
        Some(flag) if !flag.is_empty() => Some(Name {
            value: flag.to_owned(),
            span: written.span,
        }),
        _ => {
            reader.unsupported(written.span, &format!("if=\"{}\"", written.value));
            None
        }
    }
}
