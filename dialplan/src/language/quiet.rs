//! `quiet "person:anna" during="quiet" except="desk,high"`

use kdl::KdlNode;

use super::node::{Fields, Name, Reader};
use super::rights::Who;

/// Quiet hours as written.
#[derive(Debug)]
pub(crate) struct WrittenQuiet {
    pub(crate) who: Vec<(Who, Name)>,
    pub(crate) during: Name,
    pub(crate) except: Vec<Name>,
}

pub(crate) fn read(node: &KdlNode, reader: &mut Reader) -> Option<WrittenQuiet> {
    let mut fields = Fields::new(node, reader);
    let who = fields.must_arg(reader, "whom it is quiet for");
    let during = fields.must_prop(reader, "during");
    let except = fields
        .prop(reader, "except")
        .map(|list| list.list(&reader.text))
        .unwrap_or_default();
    fields.finish(reader, false);
    let who = super::rights::read_who(&who?, reader);
    Some(WrittenQuiet {
        who,
        during: during?,
        except,
    })
}
