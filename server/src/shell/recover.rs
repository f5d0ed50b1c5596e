//! What the log tells at start: the latest civil time in it, and unlocks that were granted and never got a result
//! because the process ended in between. Those get `unknown`; nothing is ever driven again.

use intercom::audit::{Entry, Kind};
use jiff::Timestamp;

use crate::store::{Store, StoreError};

/// What the log told.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// A clock before this is not trusted.
    pub(crate) high_water: Option<Timestamp>,
    /// Unlocks that now stand as unknown.
    pub(crate) unknown: usize,
}

/// Closes what was left open; asks by index, so that a log of years costs no more than one of days.
pub(crate) async fn recover(store: &Store) -> Result<Recovered, StoreError> {
    let head = store.head().await?;
    let high_water = head
        .and_then(|link| Entry::from_canonical(&link.canonical).ok())
        .map(|entry| entry.at);
    let entries: Vec<Entry> = store
        .open_grants()
        .await?
        .iter()
        .filter_map(|link| Entry::from_canonical(&link.canonical).ok())
        .map(|granted| unknown_result(&granted))
        .collect();
    let unknown = entries.len();
    if !entries.is_empty() {
        store.append_audit(entries).await?;
    }
    Ok(Recovered {
        high_water,
        unknown,
    })
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
    use intercom::audit::Decision;

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
