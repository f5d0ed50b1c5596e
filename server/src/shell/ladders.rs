//! Which calls' messages are written to the store, and for how long they stay there.

use std::time::{Duration, Instant};

use conf::{Keep, Trace};
use intercom::Ladder;

use crate::store::Store;
use crate::trace::Kept;

/// How often old ones are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// Ladders on their way to the store. Bounded by what is gathered in one go.
pub(super) struct Ladders {
    trace: Trace,
    waiting: Vec<Kept>,
    forget_at: Instant,
}

impl Ladders {
    pub(super) fn new(trace: Trace) -> Self {
        Self {
            trace,
            waiting: Vec::new(),
            forget_at: Instant::now(),
        }
    }

    pub(super) fn push(&mut self, ladder: &Ladder) {
        let wanted = match self.trace.keep {
            Keep::None => false,
            Keep::Failed => !ladder.answered,
            Keep::All => true,
        };
        if wanted {
            self.waiting.push(Kept::of(ladder));
        }
    }

    pub(super) async fn save(&mut self, store: &Store) {
        if !self.waiting.is_empty()
            && let Err(error) = store.save_ladders(&self.waiting).await
        {
            tracing::error!(%error, lost = self.waiting.len(), "messages of calls could not be written");
        }
        self.waiting.clear();
        if self.forget_at > Instant::now() {
            return;
        }
        self.forget_at = Instant::now() + FORGET_EVERY;
        let before = jiff::Timestamp::now().checked_sub(self.trace.keep_for);
        if let Ok(before) = before
            && let Err(error) = store.forget_ladders(before).await
        {
            tracing::error!(%error, "old messages of calls could not be forgotten");
        }
    }
}
