//! The tamper-evident log: what is recorded, its canonical form, and the hash chain over it.
//!
//! ```text
//!   Entry --canonical--> {"seq":7,"at":"…","kind":"unlock",…}
//!                                   |
//!   head(6) ---------> SHA-256( head(6) || canonical ) = head(7)
//! ```
//!
//! This module decides *what* a record says and *how* the chain is computed and checked. Committing it (order, `fsync`,
//! group commit) is the shell's; the machines here only learn `Recorded` or `RecordFailed`.

mod chain;
mod entry;
mod verify;

pub use chain::{Chain, ChainHash, Link};
pub use entry::{Decision, Entry, Journal, Kind, Record, RecordId};
pub use verify::{Checkpoint, Fault, Summary, Verifier};
