//! The demo call.

/// Runs it; `false` when the call failed.
///
/// # Errors
/// When it cannot start.
pub fn run(_args: crate::cli::DemoArgs) -> anyhow::Result<bool> {
    anyhow::bail!("the demo is not there yet")
}
