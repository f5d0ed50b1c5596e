//! Call records and call stories.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{Store, StoreError};

/// One ended call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallRow {
    /// The call's id in audit, metrics and logs.
    pub call: String,
    /// Its INVITE arrived.
    pub started: Timestamp,
    /// Its last leg ended.
    pub ended: Timestamp,
    /// `door:lobby`, `device:desk-1`.
    pub caller: String,
    /// What was dialled.
    pub dialled: String,
    /// How it ended: `answered`, `no-answer`, `busy`, `cancelled`, …
    pub outcome: String,
    /// The whole CDR as JSON.
    pub record: String,
}

/// Which calls are wanted; all that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct CallFilter {
    /// Calls of this door.
    pub door: Option<String>,
    /// Calls that began then or later.
    pub since: Option<Timestamp>,
    /// Calls that nobody answered.
    pub failed: bool,
}

impl Store {
    /// Writes calls, each with the lines of its story, in one transaction, behind (no fsync). The same call again
    /// replaces what was there.
    ///
    /// # Errors
    /// When the database fails: then none of them is written.
    pub async fn save_calls(&self, calls: &[(CallRow, String)]) -> Result<(), StoreError> {
        // One statement for all: each one of its own would be a change of threads and back.
        let rows: Vec<_> = calls
            .iter()
            .map(|(call, story)| {
                json!([
                    call.call,
                    call.started.as_microsecond(),
                    call.ended.as_microsecond(),
                    call.caller,
                    call.dialled,
                    call.outcome,
                    call.record,
                    story,
                ])
            })
            .collect();
        sqlx::query(
            "INSERT OR REPLACE INTO cdr (call, started_at, ended_at, caller, dialled, outcome, record, story) \
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, \
             value ->> 7 FROM json_each(?) ORDER BY key",
        )
        .bind(serde_json::Value::Array(rows).to_string())
        .execute(&self.behind)
        .await?;
        Ok(())
    }

    /// The latest `limit` calls of those wanted, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn calls(&self, filter: &CallFilter, limit: u32) -> Result<Vec<CallRow>, StoreError> {
        let rows: Vec<CallColumns> = sqlx::query_as(
            "SELECT call, started_at, ended_at, caller, dialled, outcome, record FROM cdr \
             WHERE (?1 IS NULL OR caller = 'door:' || ?1) AND started_at >= ?2 \
             AND (NOT ?3 OR outcome <> 'answered') \
             ORDER BY started_at DESC, call LIMIT ?4",
        )
        .bind(&filter.door)
        .bind(filter.since.map_or(i64::MIN, Timestamp::as_microsecond))
        .bind(filter.failed)
        .bind(limit)
        .fetch_all(&self.read)
        .await?;
        rows.into_iter().map(CallColumns::row).collect()
    }

    /// One call with its story, by id or by an unambiguous beginning of it; `None` when there is none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn call(&self, id: &str) -> Result<Option<(CallRow, Vec<String>)>, StoreError> {
        let rows: Vec<CallColumns> = sqlx::query_as(
            "SELECT call, started_at, ended_at, caller, dialled, outcome, record FROM cdr \
             WHERE call = ?1 OR substr(call, 1, length(?1)) = ?1 ORDER BY call <> ?1 LIMIT 2",
        )
        .bind(id)
        .fetch_all(&self.read)
        .await?;
        let mut rows = rows.into_iter();
        let (Some(first), second) = (rows.next(), rows.next()) else {
            return Ok(None);
        };
        if first.call != id && second.is_some() {
            return Ok(None);
        }
        let call = first.row()?;
        let story: String = sqlx::query_scalar("SELECT story FROM cdr WHERE call = ?")
            .bind(&call.call)
            .fetch_one(&self.read)
            .await?;
        Ok(Some((call, story.lines().map(str::to_owned).collect())))
    }
}

#[derive(sqlx::FromRow)]
struct CallColumns {
    call: String,
    started_at: i64,
    ended_at: i64,
    caller: String,
    dialled: String,
    outcome: String,
    record: String,
}

impl CallColumns {
    fn row(self) -> Result<CallRow, StoreError> {
        Ok(CallRow {
            started: super::timestamp(self.started_at)?,
            ended: super::timestamp(self.ended_at)?,
            call: self.call,
            caller: self.caller,
            dialled: self.dialled,
            outcome: self.outcome,
            record: self.record,
        })
    }
}
