//! The only shell: sockets, media threads, relay drivers, the store and the commands around the pure machines.
//!
//! What it deliberately does not do: decide. Who rings, who may open, what a packet means and what a record says is
//! answered by the pure crates; this one reads, sends, commits, and hands results back.
//!
//! ```text
//!   doorward.toml, plan.kdl, stations/ --files--> conf::Resolved + Plan      (nothing bound before all of it resolved)
//!                                                        |
//!   cli: serve, demo ------------------------------> shell ---- signalling ---- media workers ---- drivers
//!   cli: plan, config, directory, account, audit         |           |
//!                        |                               +-- store --+   SQLite: directory, bindings, CDR, story, audit
//!                        +---------------------------------------^
//! ```
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the shell is where clocks, files and sockets live"
)]

pub mod cli;
pub mod demo;
pub mod directory;
mod dns;
mod driver;
pub mod files;
mod media;
mod metrics;
pub mod shell;
mod signalling;
pub mod store;
pub mod trace;
mod transport;
