//! Messages of calls, redacted.

use jiff::Timestamp;

use super::{Store, StoreError};
use crate::trace::Kept;

impl Store {
    /// Writes ladders in one transaction, behind (no fsync).
    ///
    /// # Errors
    /// When the database fails: then none of them is written.
    pub async fn save_ladders(&self, ladders: &[Kept]) -> Result<(), StoreError> {
        let mut transaction = self.behind.begin().await?;
        for ladder in ladders {
            sqlx::query("INSERT OR REPLACE INTO ladder (call, started_at, dropped, rungs) VALUES (?, ?, ?, ?)")
                .bind(&ladder.call)
                .bind(ladder.started.as_microsecond())
                .bind(ladder.dropped)
                .bind(serde_json::to_string(&ladder.rungs).unwrap_or_default())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets ladders of calls that began before `before`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_ladders(&self, before: Timestamp) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM ladder WHERE started_at < ?")
            .bind(before.as_microsecond())
            .execute(&self.behind)
            .await?;
        Ok(())
    }

    /// The ladder of a call, when it was kept.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn ladder(&self, call: &str) -> Result<Option<Kept>, StoreError> {
        let row: Option<(i64, u32, String)> =
            sqlx::query_as("SELECT started_at, dropped, rungs FROM ladder WHERE call = ?")
                .bind(call)
                .fetch_optional(&self.read)
                .await?;
        row.map(|(started, dropped, rungs)| {
            Ok(Kept {
                call: call.to_owned(),
                started: super::timestamp(started)?,
                dropped,
                rungs: serde_json::from_str(&rungs)
                    .map_err(|error| StoreError::Corrupt(error.to_string()))?,
            })
        })
        .transpose()
    }
}
