//! Questions to the log, answered by the columns SQLite reads out of each entry, without walking the chain.

use std::collections::BTreeSet;

use intercom::audit::{ChainHash, Fault, Link};
use jiff::Timestamp;
use sqlx::{QueryBuilder, Sqlite};

use super::{Store, StoreError};

/// Which records are meant; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Of this door.
    pub door: Option<String>,
    /// Done by one of these, `device:desk-1`, `person:anna`.
    pub actors: Option<BTreeSet<String>>,
    /// By this way, `handset`, `app` …
    pub method: Option<String>,
}

/// A record with the hash it was chained to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The record.
    pub link: Link,
    /// The hash of the record before it; `None` when that one is missing.
    pub previous: Option<ChainHash>,
}

impl Proven {
    /// Whether the record is the one that was written in its place, judged by its neighbour.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Fault> {
        let seq = self.link.seq;
        match self.previous {
            None => Err(Fault::Missing { seq: seq - 1 }),
            Some(previous) if previous.next(&self.link.canonical) == self.link.hash => Ok(()),
            Some(_) => Err(Fault::Changed { seq }),
        }
    }
}

impl Store {
    /// Places of the records meant by `filter`, and of all that cannot be read, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn matching(&self, filter: &AuditFilter) -> Result<Vec<i64>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT seq FROM audit WHERE true");
        for (condition, value) in [
            (" AND at >= ", filter.since.map(time)),
            (" AND at < ", filter.until.map(time)),
            (" AND door = ", filter.door.clone()),
            (" AND method = ", filter.method.clone()),
        ] {
            if let Some(value) = value {
                query.push(condition).push_bind(value);
            }
        }
        if let Some(actors) = &filter.actors {
            query.push(" AND actor IN (");
            let mut list = query.separated(", ");
            for actor in actors {
                list.push_bind(actor.clone());
            }
            list.push_unseparated(")");
        }
        query.push(" UNION SELECT seq FROM audit WHERE kind IS NULL ORDER BY seq");
        Ok(query.build_query_scalar().fetch_all(&self.read).await?)
    }

    /// The records at these places, in order, each with the hash before it. Ask for a thousand at a time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn proven(&self, places: &[i64]) -> Result<Vec<Proven>, StoreError> {
        let places = serde_json::to_string(places).unwrap_or_default();
        // As bytes: a flipped bit may leave text that is not UTF-8, and must be found, not be an error.
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT a.seq, CAST(a.hash AS BLOB), CAST(a.entry AS BLOB), CAST(b.hash AS BLOB) \
             FROM json_each(?) p JOIN audit a ON a.seq = p.value LEFT JOIN audit b ON b.seq = a.seq - 1 ORDER BY a.seq",
        )
        .bind(places)
        .fetch_all(&self.read)
        .await?;
        let hash = |bytes: Vec<u8>| ChainHash(bytes.try_into().unwrap_or([0; 32]));
        let proven = |(seq, own, entry, previous): Row| Proven {
            link: Link {
                seq: u64::try_from(seq).unwrap_or(0),
                hash: hash(own),
                canonical: String::from_utf8_lossy(&entry).into_owned(),
            },
            previous: if seq == 1 {
                Some(ChainHash::genesis(&self.site))
            } else {
                previous.map(hash)
            },
        };
        Ok(rows.into_iter().map(proven).collect())
    }

    /// The last record of the chain.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn head(&self) -> Result<Option<Link>, StoreError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT max(seq) FROM audit")
            .fetch_one(&self.read)
            .await?;
        let places: Vec<i64> = last.into_iter().collect();
        Ok(self.proven(&places).await?.pop().map(|head| head.link))
    }

    /// Granted unlocks that never got a result, in the order they were granted.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_grants(&self) -> Result<Vec<Link>, StoreError> {
        let places: Vec<i64> = sqlx::query_scalar(OPEN_GRANTS)
            .fetch_all(&self.read)
            .await?;
        let proven = self.proven(&places).await?;
        Ok(proven.into_iter().map(|grant| grant.link).collect())
    }
}

/// A record's place, hash and entry, and the hash before it.
type Row = (i64, Vec<u8>, Vec<u8>, Option<Vec<u8>>);

/// Two partial indexes side by side; no entry is read.
const OPEN_GRANTS: &str = "SELECT seq FROM audit AS g INDEXED BY audit_grants \
     WHERE kind = 'unlock' AND decision = 'granted' AND intent IS NOT NULL \
     AND NOT EXISTS (SELECT 1 FROM audit AS r WHERE r.kind = 'unlock-result' AND r.intent = g.intent) ORDER BY seq";

/// As the column `at` has it.
fn time(at: Timestamp) -> String {
    at.to_string().trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use intercom::audit::{Decision, Entry, Kind};

    async fn store(dir: &tempfile::TempDir) -> Store {
        Store::open(&dir.path().join("house.db"), "elm-court", "example.org")
            .await
            .unwrap()
    }

    fn entry(at: &str, door: &str, actor: &str, method: &str) -> Entry {
        let mut entry = Entry::new(at.parse().unwrap(), "elm-court", Kind::Unlock);
        entry.door = Some(door.to_owned());
        entry.actor = Some(actor.to_owned());
        entry.method = Some(method.to_owned());
        entry
    }

    async fn places(store: &Store, filter: AuditFilter) -> Vec<i64> {
        store.matching(&filter).await.unwrap()
    }

    #[tokio::test]
    async fn a_filter_takes_what_it_names_and_times_sort_whatever_their_decimals() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let entries = vec![
            entry("2026-11-20T10:00:00Z", "lobby", "device:desk-1", "handset"),
            entry("2026-11-20T10:00:00.5Z", "garage", "device:anna-app", "app"),
            entry("2026-11-20T10:00:01Z", "lobby", "person:anna", "app"),
        ];
        store.append_audit(entries).await.unwrap();
        let at = |text: &str| Some(text.parse().unwrap());
        let all = AuditFilter::default();
        assert_eq!(places(&store, all.clone()).await, [1, 2, 3]);
        for (filter, expected) in [
            (
                AuditFilter {
                    since: at("2026-11-20T10:00:00.2Z"),
                    ..all.clone()
                },
                vec![2, 3],
            ),
            (
                AuditFilter {
                    until: at("2026-11-20T10:00:00.5Z"),
                    ..all.clone()
                },
                vec![1],
            ),
            (
                AuditFilter {
                    until: at("2026-11-20T10:00:01Z"),
                    ..all.clone()
                },
                vec![1, 2],
            ),
            (
                AuditFilter {
                    door: Some("lobby".into()),
                    ..all.clone()
                },
                vec![1, 3],
            ),
            (
                AuditFilter {
                    method: Some("app".into()),
                    ..all.clone()
                },
                vec![2, 3],
            ),
            (
                AuditFilter {
                    actors: Some(["person:anna".into(), "device:anna-app".into()].into()),
                    ..all.clone()
                },
                vec![2, 3],
            ),
            (
                AuditFilter {
                    actors: Some(BTreeSet::new()),
                    ..all.clone()
                },
                vec![],
            ),
        ] {
            assert_eq!(places(&store, filter.clone()).await, expected, "{filter:?}");
        }
        for proven in store.proven(&[1, 2, 3]).await.unwrap() {
            assert_eq!(proven.check(), Ok(()));
        }
        assert_eq!(store.head().await.unwrap().unwrap().seq, 3);
    }

    #[tokio::test]
    async fn what_was_read_out_of_an_entry_cannot_be_written_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let entries = vec![entry(
            "2026-11-20T10:00:00Z",
            "lobby",
            "device:desk-1",
            "app",
        )];
        store.append_audit(entries).await.unwrap();
        sqlx::query("DROP TRIGGER audit_no_update")
            .execute(&store.write)
            .await
            .unwrap();
        let change = sqlx::query("UPDATE audit SET door = 'garage'")
            .execute(&store.write)
            .await;
        assert!(change.is_err());
        sqlx::query("UPDATE audit SET entry = 'no JSON'")
            .execute(&store.write)
            .await
            .unwrap();
        let filter = AuditFilter {
            door: Some("nowhere".into()),
            ..AuditFilter::default()
        };
        assert_eq!(
            places(&store, filter).await,
            [1],
            "what cannot be read is always shown"
        );
        let shown = store.proven(&[1]).await.unwrap();
        assert_eq!(
            shown.first().unwrap().check(),
            Err(Fault::Changed { seq: 1 })
        );
    }

    #[tokio::test]
    async fn open_grants_are_found_by_the_indexes_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "EXPLAIN QUERY PLAN {OPEN_GRANTS}"
        )))
        .fetch_all(&store.read)
        .await
        .unwrap();
        let plan: Vec<String> = plan.into_iter().map(|row| row.3).collect();
        let plan = plan.join("\n");
        assert!(
            plan.contains("audit_grants") && plan.contains("audit_results"),
            "{plan}"
        );
        let mut granted = entry("2026-11-20T10:00:00Z", "lobby", "device:desk-1", "app");
        granted.intent = Some("a".into());
        granted.decision = Some(Decision::Granted);
        store.append_audit(vec![granted]).await.unwrap();
        assert_eq!(store.open_grants().await.unwrap().len(), 1);
    }
}
