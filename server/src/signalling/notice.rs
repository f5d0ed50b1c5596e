//! What the B2BUA remarks, for the log. Notices hold no personal data by construction.

use intercom::Notice;

pub(super) fn tell(notice: &Notice) {
    match &notice.call {
        Some(call) => tracing::info!(call, "{}", notice.text),
        None => tracing::info!("{}", notice.text),
    }
}
