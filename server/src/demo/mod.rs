//! `doorward demo`: one real call over loopback sockets, then a server to register phones at.

use crate::cli::DemoArgs;

/// Runs the demo.
///
/// # Errors
/// When the server cannot start.
pub fn run(_args: DemoArgs) -> anyhow::Result<bool> {
    Ok(false)
}
