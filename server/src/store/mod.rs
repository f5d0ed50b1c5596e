//! The store: one SQLite file (WAL) with the directory, bindings, call records and the audit chain.
//!
//! ```text
//!   read   4 connections, read-only            snapshot, bindings, calls, audit export
//!   write  1 connection, synchronous=FULL      directory changes: on disk when the call returns
//!   behind 1 connection, synchronous=NORMAL    bindings, CDR, story: survive a killed process, not a power cut
//!   audit  1 connection, synchronous=FULL      group commit, acknowledged record by record (see `audit`)
//! ```
//! A change of the directory and its audit record are one transaction.

mod accounts;
mod audit;
mod calls;
mod error;
mod ladders;
mod log;
mod registrations;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub use accounts::{AccountRow, Change, Snapshot};
pub use audit::{Acknowledged, AuditSettings, AuditWriter};
pub use calls::{CallFilter, CallRow};
pub use error::StoreError;
pub use log::{AuditFilter, Proven};
pub use registrations::{BindingRow, BindingWrite};

/// All migrations, compiled in.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How long a statement waits for another writer before it fails.
const BUSY: Duration = Duration::from_secs(5);

/// An open database of one site. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    site: String,
    realm: String,
    read: SqlitePool,
    write: SqlitePool,
    behind: SqlitePool,
}

/// A server's claim on its database; see [`Store::claim`]. It ends with the process, however that ends.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "held, never read")] std::fs::File);

impl Store {
    /// Opens the database at `path`, creating it (and its directory) when absent, and brings its schema up to date.
    /// A new database is bound to `site` (its audit chain) and `realm` (its password hashes).
    ///
    /// # Errors
    /// When the file cannot be opened or migrated, is newer than this program, or belongs to another site or realm.
    pub async fn open(path: &Path, site: &str, realm: &str) -> Result<Self, StoreError> {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|source| StoreError::File {
                path: path.to_owned(),
                source,
            })?;
        }
        create_private(path)?;
        let options = options(path, SqliteSynchronous::Full);
        let write = pool(1)
            .connect_with(options.clone())
            .await
            .map_err(|e| StoreError::open(path, e))?;
        MIGRATIONS
            .run(&write)
            .await
            .map_err(|e| StoreError::Migration {
                path: path.to_owned(),
                source: e,
            })?;
        let mut store = Self {
            path: path.to_owned(),
            site: site.to_owned(),
            realm: realm.to_owned(),
            read: pool(4)
                .connect_with(options.clone().read_only(true).create_if_missing(false))
                .await
                .map_err(|e| StoreError::open(path, e))?,
            write,
            behind: pool(1)
                .connect_with(options.synchronous(SqliteSynchronous::Normal))
                .await
                .map_err(|e| StoreError::open(path, e))?,
        };
        store.site = store.bind("site", site).await?;
        store.realm = store.bind("realm", realm).await?;
        Ok(store)
    }

    /// Claims the database for one server as long as the value lives: a second one would take the first one's unlocks
    /// under way for lost, and its registrations for its own. The command line needs no claim.
    ///
    /// # Errors
    /// [`StoreError::Served`] while another process holds it.
    pub fn claim(&self) -> Result<Claim, StoreError> {
        use std::os::unix::fs::OpenOptionsExt;
        // A file of its own: closing any descriptor of the database would take SQLite's own locks away.
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let file = |source| StoreError::File {
            path: self.path.clone(),
            source,
        };
        let lock = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(file)?;
        match lock.try_lock() {
            Ok(()) => Ok(Claim(lock)),
            Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Served {
                path: self.path.clone(),
            }),
            Err(std::fs::TryLockError::Error(source)) => Err(file(source)),
        }
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The site whose audit chain is in here.
    #[must_use]
    pub fn site(&self) -> &str {
        &self.site
    }

    /// The digest realm stored password hashes are bound to.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Grows with every change of units, people and devices. Reading it is cheap: poll it to learn of changes another
    /// process (the command line) made, then take a new [`Store::snapshot`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn generation(&self) -> Result<u64, StoreError> {
        let value: String = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'generation'")
            .fetch_one(&self.read)
            .await?;
        Ok(value.parse().unwrap_or(0))
    }

    /// Closes all connections; the last one folds the WAL into the file.
    pub async fn close(self) {
        self.read.close().await;
        self.behind.close().await;
        self.write.close().await;
    }

    /// A secret of this database: `fresh` the first time, afterwards always that one.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub async fn secret(&self, key: &'static str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let hex: String = fresh.iter().map(|octet| format!("{octet:02x}")).collect();
        sqlx::query("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(hex)
            .execute(&self.write)
            .await?;
        let stored: String = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
            .bind(key)
            .fetch_one(&self.write)
            .await?;
        let octet = |at: usize| u8::from_str_radix(stored.get(2 * at..2 * at + 2)?, 16).ok();
        let mut secret = [0; 32];
        for (at, place) in secret.iter_mut().enumerate() {
            *place = octet(at).ok_or_else(|| StoreError::Corrupt(format!("{key} in meta")))?;
        }
        Ok(secret)
    }

    /// Stores `value` under `key` the first time; afterwards it must be the same.
    async fn bind(&self, key: &'static str, value: &str) -> Result<String, StoreError> {
        sqlx::query("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(value)
            .execute(&self.write)
            .await?;
        let stored: String = sqlx::query_scalar("SELECT value FROM meta WHERE key = ?")
            .bind(key)
            .fetch_one(&self.write)
            .await?;
        if stored == value {
            return Ok(stored);
        }
        Err(StoreError::Other {
            path: self.path.clone(),
            key,
            stored,
            configured: value.to_owned(),
        })
    }
}

fn options(path: &Path, synchronous: SqliteSynchronous) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(BUSY)
}

fn pool(size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .min_connections(1)
        .acquire_timeout(BUSY)
}

/// The file holds names and password hashes: its owner alone may read it. SQLite gives its WAL the same mode.
fn create_private(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    match std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(StoreError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// A time column (microseconds since 1970).
fn timestamp(micros: i64) -> Result<jiff::Timestamp, StoreError> {
    jiff::Timestamp::from_microsecond(micros).map_err(|e| StoreError::Corrupt(e.to_string()))
}
