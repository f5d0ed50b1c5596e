//! Call records and call stories.

use jiff::Timestamp;
use serde::Serialize;

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

impl Store {
    /// Writes calls, each with the lines of its story, in one transaction, behind (no fsync). The same call again
    /// replaces what was there.
    ///
    /// # Errors
    /// When the database fails: then none of them is written.
    pub async fn save_calls(&self, calls: &[(CallRow, String)]) -> Result<(), StoreError> {
        let mut tx = self.behind.begin_with("BEGIN IMMEDIATE").await?;
        for (call, story) in calls {
            sqlx::query(
                "INSERT OR REPLACE INTO cdr (call, started_at, ended_at, caller, dialled, outcome, record, story) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&call.call)
            .bind(call.started.as_microsecond())
            .bind(call.ended.as_microsecond())
            .bind(&call.caller)
            .bind(&call.dialled)
            .bind(&call.outcome)
            .bind(&call.record)
            .bind(story)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The latest `limit` calls, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn calls(&self, limit: u32) -> Result<Vec<CallRow>, StoreError> {
        let rows: Vec<CallColumns> = sqlx::query_as(
            "SELECT call, started_at, ended_at, caller, dialled, outcome, record FROM cdr \
             ORDER BY started_at DESC, call LIMIT ?",
        )
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
