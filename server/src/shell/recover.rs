//! What the log tells at start: the latest civil time in it, and unlocks that were granted and never got a result
//! because the process ended in between. Those get `unknown`; nothing is ever driven again.

use std::collections::BTreeMap;

use intercom::audit::{Decision, Entry, Kind};
use jiff::Timestamp;

use crate::store::{Store, StoreError};

/// What the walk over the log found.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// A clock before this is not trusted.
    pub(crate) high_water: Option<Timestamp>,
    /// Unlocks that now stand as unknown.
    pub(crate) unknown: usize,
}

/// Walks the log once and closes what was left open.
pub(crate) async fn recover(store: &Store) -> Result<Recovered, StoreError> {
    let mut open: BTreeMap<String, Entry> = BTreeMap::new();
    let mut high_water = None;
    let mut after = None;
    loop {
        let links = store.links(after).await?;
        let Some(last) = links.last() else { break };
        after = Some(last.seq);
        for link in &links {
            note(&link.canonical, &mut open);
        }
        if let Ok(entry) = Entry::from_canonical(&last.canonical) {
            high_water = high_water.max(Some(entry.at));
        }
    }
    let unknown = open.len();
    let entries: Vec<Entry> = open
        .into_values()
        .map(|granted| unknown_result(&granted))
        .collect();
    if !entries.is_empty() {
        store.append_audit(entries).await?;
    }
    Ok(Recovered {
        high_water,
        unknown,
    })
}

/// Keeps count of grants without a result. Bounded by the intents that can be under way at once.
fn note(canonical: &str, open: &mut BTreeMap<String, Entry>) {
    // Most records are neither; they need not be read whole.
    if !canonical.contains("\"kind\":\"unlock") {
        return;
    }
    let Ok(entry) = Entry::from_canonical(canonical) else {
        return;
    };
    let Some(intent) = entry.intent.clone() else {
        return;
    };
    match (entry.kind, entry.decision) {
        (Kind::Unlock, Some(Decision::Granted)) => {
            open.insert(intent, entry);
        }
        (Kind::UnlockResult, _) => {
            open.remove(&intent);
        }
        _ => {}
    }
}

fn unknown_result(granted: &Entry) -> Entry {
    let mut entry = Entry::new(Timestamp::now(), &granted.site, Kind::UnlockResult);
    entry.door.clone_from(&granted.door);
    entry.output.clone_from(&granted.output);
    entry.actor.clone_from(&granted.actor);
    entry.call.clone_from(&granted.call);
    entry.intent.clone_from(&granted.intent);
    entry.result = Some("unknown".to_owned());
    entry.detail = Some("the server ended before the result was known".to_owned());
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, intent: &str, decision: Option<Decision>) -> Entry {
        let mut entry = Entry::new(Timestamp::now(), "elm-court", kind);
        entry.intent = Some(intent.to_owned());
        entry.decision = decision;
        entry.door = Some("lobby".to_owned());
        entry
    }

    #[tokio::test]
    async fn a_grant_without_a_result_becomes_unknown_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("house.db"), "elm-court", "example.org")
            .await
            .unwrap();
        store
            .append_audit(vec![
                entry(Kind::Unlock, "a", Some(Decision::Granted)),
                entry(Kind::Unlock, "b", Some(Decision::Granted)),
                entry(Kind::Unlock, "c", Some(Decision::Denied)),
                entry(Kind::UnlockResult, "a", None),
            ])
            .await
            .unwrap();
        let first = recover(&store).await.unwrap();
        assert_eq!(first.unknown, 1);
        assert!(first.high_water.is_some());
        let last = store.links(Some(4)).await.unwrap();
        let entry = Entry::from_canonical(&last[0].canonical).unwrap();
        assert_eq!(
            (entry.intent.as_deref(), entry.result.as_deref()),
            (Some("b"), Some("unknown"))
        );
        assert_eq!(recover(&store).await.unwrap().unknown, 0);
        assert!(store.verify(None).await.unwrap().is_ok());
    }
}
