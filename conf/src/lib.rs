//! Turns the written configuration (`doorward.toml`, `stations/*.toml`) into the checked configuration of every part.
//!
//! What it deliberately does not do: read files, look at the machine (interfaces, cores), bind anything, or know the
//! plan's language. Whoever calls hands in texts through [`Files`] and gets values or the list of faults.
//!
//! ```text
//!   doorward.toml --serde, spans, unknown keys refused--> Written --cross-checks--> Resolved
//!   stations/*.toml ---------------------------------------------> Profile --^
//!        |                                                            |
//!        +-- any fault: Errors (file, line, column, key, hint), and nothing else
//! ```
#![forbid(unsafe_code)]

mod error;
mod events;
mod listen;
mod resolve;
mod resolved;
mod secret;
pub mod station;
mod trace;
mod trunk;
mod written;

use std::path::{Path, PathBuf};

pub use error::{Error, Errors, Located};
pub use events::{Events, Qualify};
pub use resolved::{
    Audit, Certificate, Door, Limits, Listener, Media, MediaAddress, Outbound, Resolved, Sip, Site,
    Tls, TlsVersion, Unlock,
};
pub use secret::Secret;
pub use sip_proxy::Transport;
pub use trace::{Hep, Keep, Trace};
pub use written::nearest;

/// The files a configuration names. The shell reads the disk, tests a map.
pub trait Files {
    /// The text of a file.
    ///
    /// # Errors
    /// Why not, in words.
    fn read(&self, path: &Path) -> Result<String, String>;

    /// The `*.toml` files of a directory, in the order of their names.
    ///
    /// # Errors
    /// Why not, in words.
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, String>;
}

/// Resolves the configuration `text` of `file`. Paths in it are relative to the file's directory.
///
/// # Errors
/// Every fault found; nothing is half-resolved.
pub fn load(file: &Path, text: &str, files: &dyn Files) -> Result<Resolved, Errors> {
    resolve::resolve(file, text, files)
}
