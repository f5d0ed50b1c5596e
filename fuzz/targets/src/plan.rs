//! Any text: reading, checking and drawing a plan never panics.

/// One input.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // The part after a NUL is served as the holiday file.
    let (plan, holidays) = text.split_once('\0').unwrap_or((&text, ""));
    let loaded = dialplan::load(plan, "plan.kdl", &|_| Some(holidays.to_owned()));
    let _ = dialplan::render(&loaded.diagnostics, false);
    if let Some(plan) = loaded.plan {
        let _ = plan.check(&dialplan::Directory::default(), jiff::Timestamp::UNIX_EPOCH);
    }
}
