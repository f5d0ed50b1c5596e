//! The audit chain on disk: one thread commits records in groups and acknowledges each after the disk has it.
//!
//! ```text
//!   submit --> queue (bounded; full: the sender waits) --> batch --> BEGIN IMMEDIATE, head, insert …, COMMIT (fsync)
//!                                                            |            |
//!                                     not durable: kept, retried     acknowledge each
//! ```
//! The head of the chain is read inside the transaction that extends it, so the command line may add records of its own
//! while the server runs.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use intercom::audit::{
    Chain, ChainHash, Checkpoint, Entry, Fault, Link, Record, RecordId, Summary, Verifier,
};
use serde_json::json;
use sqlx::sqlite::{SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::mpsc;

use super::{Store, StoreError};

/// Links read at once when the chain is walked.
const PAGE: u32 = 1_000;
/// How long a record that nobody waits for waits for others to share its commit.
const GATHER: Duration = Duration::from_millis(20);
/// Pause before records that could not be written are tried again.
pub(crate) const RETRY: Duration = Duration::from_millis(200);
/// How often a database that failed is asked again while there is nothing to write.
const PROBE: Duration = Duration::from_secs(1);
/// Tries once nobody sends any more: the process must be able to end without its database.
const TRIES_AT_THE_END: u32 = 25;

/// Bounds of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Records that may wait; then the sender waits.
    pub queue: usize,
    /// Records committed together at most.
    pub batch: usize,
    /// A durable record not on disk after this long has failed.
    pub commit_within: Duration,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            queue: 1_024,
            batch: 256,
            commit_within: Duration::from_millis(500),
        }
    }
}

/// The writer's word on one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// It is on disk.
    Recorded(RecordId),
    /// A durable record could not be committed in time. It is not retried: what waited for it must not happen.
    Failed(RecordId, String),
}

/// The sending end. Clones share one queue; the writer ends, with everything written, when the last one is dropped.
#[derive(Clone, Debug)]
pub struct AuditWriter {
    queue: mpsc::Sender<Record>,
    failing: Arc<AtomicBool>,
}

impl AuditWriter {
    /// Starts the writer's thread. `acknowledge` is called on it, once for each record in the order of the chain; it
    /// must not block.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn spawn(
        store: &Store,
        settings: AuditSettings,
        acknowledge: impl FnMut(Acknowledged) + Send + 'static,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let (queue, records) = mpsc::channel(settings.queue.max(1));
        let file = |source| StoreError::File {
            path: store.path.clone(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(file)?;
        let failing = Arc::new(AtomicBool::new(false));
        let mut writer = Writer {
            failing: Arc::clone(&failing),
            path: store.path.clone(),
            site: store.site.clone(),
            settings,
            connection: None,
            kept: VecDeque::new(),
            uncertain: None,
            acknowledge,
        };
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || runtime.block_on(writer.run(records)))
            .map_err(file)?;
        Ok((Self { queue, failing }, thread))
    }

    /// True from a commit that failed to the next that succeeds.
    #[must_use]
    pub fn failing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.failing)
    }

    /// Hands a record over; waits while the queue is full.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when the writer has ended.
    pub async fn submit(&self, record: Record) -> Result<(), StoreError> {
        self.queue
            .send(record)
            .await
            .map_err(|_| StoreError::Stopped)
    }

    /// Hands a record over without waiting; gives it back when the queue is full or the writer has ended.
    ///
    /// # Errors
    /// The record.
    #[expect(
        clippy::result_large_err,
        reason = "the record goes back as it came, without an allocation on the call path"
    )]
    pub fn try_submit(&self, record: Record) -> Result<(), Record> {
        self.queue
            .try_send(record)
            .map_err(mpsc::error::TrySendError::into_inner)
    }

    /// Hands a record over from a thread outside the runtime; blocks while the queue is full.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when the writer has ended.
    pub fn blocking_submit(&self, record: Record) -> Result<(), StoreError> {
        self.queue
            .blocking_send(record)
            .map_err(|_| StoreError::Stopped)
    }
}

struct Writer<F> {
    failing: Arc<AtomicBool>,
    path: PathBuf,
    site: String,
    settings: AuditSettings,
    connection: Option<SqliteConnection>,
    /// Records taken from the queue and not yet on disk. Bounded by `settings.queue`: beyond it nothing more is taken.
    kept: VecDeque<Record>,
    /// A commit that was cut off: where its last record would stand. Settled before anything else is written.
    uncertain: Option<Attempt>,
    acknowledge: F,
}

/// A batch on its way: its last link, and how many of `kept` are in it.
#[derive(Clone, Copy)]
struct Attempt {
    seq: u64,
    hash: ChainHash,
    records: usize,
}

impl<F: FnMut(Acknowledged)> Writer<F> {
    async fn run(&mut self, mut records: mpsc::Receiver<Record>) {
        let mut tries_at_the_end = TRIES_AT_THE_END;
        loop {
            if self.kept.is_empty() {
                let failing = self.failing.load(Ordering::Relaxed);
                match tokio::time::timeout(PROBE, records.recv()).await {
                    Ok(Some(record)) => {
                        let urgent = record.durable;
                        self.kept.push_back(record);
                        if !urgent {
                            self.gather(&mut records).await;
                        }
                    }
                    Ok(None) => break,
                    // With nothing to write, an empty transaction tells whether the database is back.
                    Err(_) if failing => {}
                    Err(_) => continue,
                }
            }
            self.take(&mut records);
            let commit = tokio::time::timeout(self.settings.commit_within, self.commit()).await;
            let why = match commit {
                Ok(Ok(())) => {
                    self.failing.store(false, Ordering::Release);
                    continue;
                }
                Ok(Err(e)) => e.to_string(),
                Err(_) => format!(
                    "not on disk within {} ms",
                    self.settings.commit_within.as_millis()
                ),
            };
            // A new connection: the old one may be in the middle of anything.
            self.connection = None;
            self.failing.store(true, Ordering::Release);
            // Those that came during this try have waited for it as well; they need not wait for another.
            self.take(&mut records);
            tracing::error!(%why, waiting = self.kept.len(), "audit records could not be committed");
            self.give_up_durable(&why);
            if records.is_closed() {
                tries_at_the_end -= 1;
                if tries_at_the_end == 0 {
                    tracing::error!(
                        lost = self.kept.len(),
                        "audit records lost: the database stayed away at the end"
                    );
                    break;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Nobody waits for what is kept: others may share its commit, until one comes that somebody waits for.
    async fn gather(&mut self, records: &mut mpsc::Receiver<Record>) {
        let kept = &mut self.kept;
        let batch = self.settings.batch;
        let more = async {
            while kept.len() < batch
                && let Some(record) = records.recv().await
            {
                let urgent = record.durable;
                kept.push_back(record);
                if urgent {
                    break;
                }
            }
        };
        // The time being over is how most gatherings end.
        let _ = tokio::time::timeout(GATHER, more).await;
    }

    fn take(&mut self, records: &mut mpsc::Receiver<Record>) {
        while self.kept.len() < self.settings.queue.max(1) {
            let Ok(record) = records.try_recv() else {
                break;
            };
            self.kept.push_back(record);
        }
    }

    /// Commits the next batch and acknowledges it.
    async fn commit(&mut self) -> Result<(), StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        if let Some(attempt) = self.uncertain {
            let stored: Option<Vec<u8>> =
                sqlx::query_scalar("SELECT hash FROM audit WHERE seq = ?")
                    .bind(i64::try_from(attempt.seq).unwrap_or(i64::MAX))
                    .fetch_optional(&mut connection)
                    .await?;
            self.uncertain = None;
            if stored.as_deref() == Some(&attempt.hash.0) {
                self.acknowledge(attempt.records);
            }
        }
        let count = self.kept.len().min(self.settings.batch.max(1));
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        let entries = self
            .kept
            .iter()
            .take(count)
            .map(|record| record.entry.clone());
        let Some(last) = append_in(&mut tx, &self.site, entries).await? else {
            return Ok(());
        };
        self.uncertain = Some(Attempt {
            seq: last.seq,
            hash: last.hash,
            records: count,
        });
        tx.commit().await?;
        self.uncertain = None;
        self.acknowledge(count);
        self.connection = Some(connection);
        Ok(())
    }

    async fn connect(&self) -> Result<SqliteConnection, StoreError> {
        let wait = self.settings.commit_within.mul_f32(0.8);
        let options = super::options(&self.path, SqliteSynchronous::Full)
            .create_if_missing(false)
            .busy_timeout(wait);
        options
            .connect()
            .await
            .map_err(|e| StoreError::open(&self.path, e))
    }

    fn acknowledge(&mut self, count: usize) {
        for record in self.kept.drain(..count.min(self.kept.len())) {
            (self.acknowledge)(Acknowledged::Recorded(record.id));
        }
    }

    /// Nobody may wait longer for these. What nobody waits for stays and is written when the disk is back.
    fn give_up_durable(&mut self, why: &str) {
        if let Some(attempt) = self.uncertain.as_mut() {
            // Their place in the cut-off batch still counts: if it reached the disk after all, the log shows a grant
            // without a result, which is what happened.
            attempt.records = self
                .kept
                .iter()
                .take(attempt.records)
                .filter(|r| !r.durable)
                .count();
        }
        let acknowledge = &mut self.acknowledge;
        self.kept.retain(|record| {
            if record.durable {
                acknowledge(Acknowledged::Failed(record.id, why.to_owned()));
            }
            !record.durable
        });
    }
}

/// Appends `entries` to the chain inside the caller's transaction, which must have begun with `BEGIN IMMEDIATE`.
/// Returns the last link.
///
/// # Errors
/// When the database fails or the chain's head is not a hash.
pub(super) async fn append_in(
    tx: &mut SqliteConnection,
    site: &str,
    entries: impl Iterator<Item = Entry>,
) -> Result<Option<Link>, StoreError> {
    let head: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut *tx)
            .await?;
    let mut chain = match head {
        None => Chain::new(site),
        Some((seq, hash)) => {
            let hash: [u8; 32] = hash
                .try_into()
                .map_err(|_| StoreError::Corrupt(format!("hash of audit record {seq}")))?;
            Chain::resume(site, u64::try_from(seq).unwrap_or(0), ChainHash(hash))
        }
    };
    let links: Vec<Link> = entries.map(|entry| chain.append(entry)).collect();
    let rows: Vec<_> = links
        .iter()
        .map(|link| json!([link.seq, link.hash.to_string(), link.canonical]))
        .collect();
    // One statement for all: each one of its own would be a change of threads and back.
    sqlx::query(
        "INSERT INTO audit (seq, hash, entry) \
         SELECT value ->> 0, unhex(value ->> 1), value ->> 2 FROM json_each(?) ORDER BY key",
    )
    .bind(serde_json::Value::Array(rows).to_string())
    .execute(&mut *tx)
    .await?;
    Ok(links.into_iter().next_back())
}

impl Store {
    /// Appends `entries` now and returns when they are on disk. For the command line; the server uses [`AuditWriter`].
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn append_audit(&self, entries: Vec<Entry>) -> Result<Option<Link>, StoreError> {
        let mut tx = self.write.begin_with("BEGIN IMMEDIATE").await?;
        let last = append_in(&mut tx, &self.site, entries.into_iter()).await?;
        tx.commit().await?;
        Ok(last)
    }

    /// The stored links after place `after` (all: `None`), in the order of their place, at most a thousand.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn links(&self, after: Option<u64>) -> Result<Vec<Link>, StoreError> {
        // As bytes: a flipped bit may leave text that is not UTF-8, and must be found, not be an error.
        let after = after.map_or(i64::MIN, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT seq, CAST(hash AS BLOB), CAST(entry AS BLOB) FROM audit WHERE seq > ? ORDER BY seq LIMIT ?",
        )
        .bind(after)
        .bind(PAGE)
        .fetch_all(&self.read)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(seq, hash, entry)| Link {
                seq: u64::try_from(seq).unwrap_or(0),
                hash: ChainHash(hash.try_into().unwrap_or([0; 32])),
                canonical: String::from_utf8_lossy(&entry).into_owned(),
            })
            .collect())
    }

    /// Walks the whole chain; the inner result is the first fault.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn verify(
        &self,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Result<Summary, Fault>, StoreError> {
        let mut verifier = Verifier::new(&self.site, checkpoint);
        let mut after = None;
        loop {
            let links = self.links(after).await?;
            let Some(last) = links.last() else {
                return Ok(verifier.finish());
            };
            after = Some(last.seq);
            for link in &links {
                if let Err(fault) = verifier.push(link) {
                    return Ok(Err(fault));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_gives_up_before_the_unlock_does() {
        // A record that comes during the pause after a failed try waits for the pause and one whole try.
        let latest = RETRY + conf::Audit::LONGEST_COMMIT;
        assert!(latest < intercom::unlock::Config::default().record_timeout);
    }
}
