//! `Replaces` (RFC 3891): reads the header, and finds the seat it names in a call.

use sip_proxy::message::Params;

use super::call::{Call, Phase};
use super::seat::Place;

/// A Replaces header: a dialog by Call-ID and tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replaces {
    pub(crate) call_id: String,
    pub(crate) to_tag: String,
    pub(crate) from_tag: String,
    pub(crate) early_only: bool,
}

impl Replaces {
    /// Reads a header's value; `None` when it is malformed (400).
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let (call_id, rest) = value.split_at(value.find(';')?);
        let call_id = call_id.trim();
        let params = Params::parse(rest).ok()?;
        let one = |name: &str| {
            let mut found = params
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name));
            let value = found.next()?.1?;
            found.next().is_none().then(|| value.to_owned())
        };
        let replaces = Replaces {
            call_id: call_id.to_owned(),
            to_tag: one("to-tag")?,
            from_tag: one("from-tag")?,
            early_only: params.contains("early-only"),
        };
        (!call_id.is_empty() && !call_id.contains(char::is_whitespace)).then_some(replaces)
    }

    /// The tags: one is ours and names a leg, the other the peer's. Which is which depends on whose view of the dialog
    /// was written down: a phone that was told of another's dialog (RFC 4235) may have either.
    pub(crate) fn tags(&self) -> [(&str, &str); 2] {
        [
            (&self.to_tag, &self.from_tag),
            (&self.from_tag, &self.to_tag),
        ]
    }
}

/// What a dialog is in its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Of somebody who talks.
    Confirmed(u16),
    /// Of a phone that rings, by our INVITE.
    Early(u16),
    /// Of the caller, who waits: not ours to replace (RFC 3891 §3).
    Waiting,
    /// Over already.
    Gone,
}

impl Found {
    /// The seat it is.
    pub(crate) fn place(self) -> Option<Place> {
        match self {
            Found::Confirmed(index) => Some(Place::Leg(index)),
            Found::Early(_) => Some(Place::Winner),
            Found::Waiting | Found::Gone => None,
        }
    }
}

impl Call {
    /// The dialog of leg `index` with this Call-ID and tag of the peer, if it is one of this call.
    pub(crate) fn dialog(
        &self,
        index: u16,
        call_id: &str,
        ours: &str,
        theirs: &str,
    ) -> Option<Found> {
        let branch = self
            .branches
            .iter()
            .find(|branch| branch.leg.index == index);
        if let Some(branch) = branch {
            // Our own tag cannot be guessed; the peer's may be that of any of its early dialogs.
            let same = branch.request.call_id == call_id && branch.leg.local_tag == ours
                || self.is_shown_as(&branch.leg, call_id, ours, theirs);
            let rings = branch.is_live() && matches!(self.phase, Phase::Ringing(_));
            return same.then_some(if rings {
                Found::Early(index)
            } else {
                Found::Gone
            });
        }
        let leg = self.peek(index)?;
        let dialog = leg.dialog.as_ref()?;
        let shown = self.is_shown_as(leg, call_id, ours, theirs);
        let same =
            dialog.call_id == call_id && dialog.local_tag == ours && dialog.remote_tag == theirs;
        if !shown && !same {
            return None;
        }
        let here = self.established().any(|leg| leg.index == index);
        Some(match &self.phase {
            Phase::Talking(_) if here && !leg.flags.over => Found::Confirmed(index),
            Phase::Ending => Found::Gone,
            _ if !here || leg.flags.over => Found::Gone,
            // Who watches the caller's lamp and presses its key means the call that rings for it.
            Phase::Ringing(_) if shown => {
                let rings = self.branches.iter().find(|branch| branch.is_live());
                rings.map_or(Found::Waiting, |branch| Found::Early(branch.leg.index))
            }
            _ => Found::Waiting,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaces_header_is_read_strictly() {
        let read = Replaces::parse("a@b ;to-tag=1;from-tag=2;early-only").unwrap();
        assert_eq!((read.call_id.as_str(), read.early_only), ("a@b", true));
        assert_eq!(read.tags()[0], ("1", "2"));
        for wrong in [
            "",
            "a",
            "a;to-tag=1",
            "a;from-tag=1",
            ";to-tag=1;from-tag=2",
            "a;to-tag=1;to-tag=2;from-tag=3",
            "a b;to-tag=1;from-tag=2",
        ] {
            assert_eq!(Replaces::parse(wrong), None, "{wrong}");
        }
    }
}
