//! What the B2BUA remarks, for the log. Notices hold no personal data by construction.

use intercom::{Notice, SiteEvent};

pub(super) fn tell(notice: &Notice) {
    match &notice.call {
        Some(call) => tracing::info!(call, "{}", notice.text),
        None => tracing::info!("{}", notice.text),
    }
}

/// What happened in the site; what a person should look at stands out.
pub(super) fn happened(event: &SiteEvent) {
    let kind = event.kind();
    let door = event.door().unwrap_or("-");
    if event.is_alarm() {
        tracing::warn!(kind, door, "{event}");
    } else {
        tracing::info!(kind, door, "{event}");
    }
}
