//! Why the store could not do something.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// A failure of the store, with the next step where there is one.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file or its directory cannot be made or opened.
    #[error("cannot open the database {}: {source}", path.display())]
    File {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite cannot open the file.
    #[error("cannot open the database {}: {source}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the database {}: {source}", path.display())]
    Migration {
        /// The database file.
        path: PathBuf,
        /// What failed.
        source: sqlx::migrate::MigrateError,
    },
    /// The file belongs to another site or realm.
    #[error("the database {} belongs to {key} \"{stored}\", the configuration says \"{configured}\"", path.display())]
    Other {
        /// The database file.
        path: PathBuf,
        /// `site` or `realm`.
        key: &'static str,
        /// What the database was made for.
        stored: String,
        /// What the configuration says.
        configured: String,
    },
    /// Another server works on the file.
    #[error("another server runs on the database {}", path.display())]
    Served {
        /// The database file.
        path: PathBuf,
    },
    /// A stored value makes no sense.
    #[error("the database holds a value that makes no sense: {0}")]
    Corrupt(String),
    /// A statement failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The audit writer has stopped.
    #[error("the audit writer has stopped")]
    Stopped,
}

impl StoreError {
    pub(super) fn open(path: &Path, source: sqlx::Error) -> Self {
        Self::Open {
            path: path.to_owned(),
            source,
        }
    }

    /// The next step, in words.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Other { key: "realm", .. } => Some(
                "passwords are stored as hashes over the realm: set site.realm back, or give every account a new password",
            ),
            Self::Other { .. } => {
                Some("point store.path at this site's own database, or set site.name back")
            }
            Self::Migration {
                source: sqlx::migrate::MigrateError::VersionMissing(_),
                ..
            } => Some(
                "a newer doorward has migrated this file: run that version, or restore an older copy",
            ),
            Self::Served { .. } => Some("end it first, or give this one a store.path of its own"),
            Self::File { .. } | Self::Open { .. } => {
                Some("check that the directory exists and that this user may write to it")
            }
            _ => None,
        }
    }
}
