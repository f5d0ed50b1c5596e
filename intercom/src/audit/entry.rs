//! One record of the log and its canonical form.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A record's handle between the machine that emits it and the shell that commits it; lives as long as the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub u64);

/// A record on its way to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Handle for the shell's `Recorded`/`RecordFailed`.
    pub id: RecordId,
    /// Something waits for the commit: the shell answers `Recorded` after the disk has it, or `RecordFailed`.
    pub durable: bool,
    /// What is recorded.
    pub entry: Entry,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A call ended; the CDR has the rest.
    Call,
    /// An unlock was asked for: granted (on disk before any driver runs) or denied.
    Unlock,
    /// What became of a granted unlock.
    UnlockResult,
    /// A failed authentication.
    AuthFailure,
    /// The station of a door registered from a new address.
    ContactMoved,
    /// An account, device or person was added, changed or revoked.
    Credential,
    /// A plan or configuration was loaded or refused.
    Reload,
    /// Something that needs a person's eye: rate limit reached, a clock that went backwards, a record that could not be written in time.
    Alarm,
    /// The server started or stopped.
    Process,
}

/// The policy's word on an unlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// A rule allows it and none denies it.
    Granted,
    /// No rule allows it, or one denies it.
    Denied,
}

/// The content of a record. Codes, PINs and telephone numbers never stand in it; people stand in it by id.
///
/// The canonical form is this struct's JSON: keys in the order written here, absent fields left out, no white space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Place in the chain, from 1; given by [`super::Chain::append`].
    pub seq: u64,
    /// When it happened, civil time with microseconds.
    pub at: Timestamp,
    /// The site whose chain this is.
    pub site: String,
    /// What it is about.
    pub kind: Kind,
    /// The door concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// The door's output concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Who: `device:desk-1`, `person:anna`, `input:fire-panel`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// By which way: `handset`, `app`, `pstn`, `dial-in`, `code`, `api`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Signalling address of the leg or source that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leg: Option<String>,
    /// The call, as in its CDR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The unlock intent, the same in `unlock` and `unlock-result`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// The policy's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The rule that decided, `plan.kdl:12`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The driver that acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// What came of it: `opened`, `sent`, `already-open`, `timed-out`, `unknown` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Milliseconds from the request to this record's event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Gives records their ids. One for the process; the shell never makes records of its own beside it while it runs.
#[derive(Debug)]
pub struct Journal {
    site: String,
    next: u64,
}

impl Journal {
    /// For `site`'s chain.
    #[must_use]
    pub fn new(site: &str) -> Self {
        Self {
            site: site.to_owned(),
            next: 1,
        }
    }

    /// An entry of this site.
    #[must_use]
    pub fn entry(&self, at: Timestamp, kind: Kind) -> Entry {
        Entry::new(at, &self.site, kind)
    }

    /// A record nobody waits for. It is never dropped either.
    pub fn record(&mut self, entry: Entry) -> Record {
        self.number(entry, false)
    }

    /// A record whose commit something waits for.
    pub fn durable(&mut self, entry: Entry) -> Record {
        self.number(entry, true)
    }

    fn number(&mut self, entry: Entry, durable: bool) -> Record {
        let id = RecordId(self.next);
        self.next += 1;
        Record { id, durable, entry }
    }
}

impl Entry {
    /// An entry with nothing but its time, site and kind; `seq` is set when it joins the chain.
    #[must_use]
    pub fn new(at: Timestamp, site: &str, kind: Kind) -> Self {
        Self {
            seq: 0,
            at,
            site: site.to_owned(),
            kind,
            door: None,
            output: None,
            actor: None,
            method: None,
            leg: None,
            call: None,
            intent: None,
            decision: None,
            rule: None,
            driver: None,
            result: None,
            latency_ms: None,
            detail: None,
        }
    }

    /// The bytes that are hashed and stored.
    #[must_use]
    pub fn canonical(&self) -> String {
        // A struct of strings, numbers and unit enums always serialises; an empty string would not verify.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a canonical form back.
    ///
    /// # Errors
    /// When the text is not an entry's JSON.
    pub fn from_canonical(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_is_stable_and_reads_back() {
        let mut entry = Entry::new(
            "2026-11-20T10:00:00.5Z".parse().unwrap(),
            "elm-court",
            Kind::Unlock,
        );
        entry.seq = 3;
        entry.door = Some("lobby".into());
        entry.decision = Some(Decision::Granted);
        let text = entry.canonical();
        assert_eq!(
            text,
            r#"{"seq":3,"at":"2026-11-20T10:00:00.5Z","site":"elm-court","kind":"unlock","door":"lobby","decision":"granted"}"#
        );
        assert_eq!(Entry::from_canonical(&text).unwrap(), entry);
    }

    #[test]
    fn line_breaks_in_a_field_cannot_forge_a_second_record() {
        let mut entry = Entry::new(
            "2026-11-20T10:00:00Z".parse().unwrap(),
            "s",
            Kind::AuthFailure,
        );
        entry.actor = Some("device:x\n{\"seq\":9}".into());
        assert!(!entry.canonical().contains('\n'));
    }
}
