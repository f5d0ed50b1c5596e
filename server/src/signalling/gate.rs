//! Which messages are let in when there are more than can be served: what `sip_proxy::overload` decides, with what it
//! cannot know: who sent a message and whether its dialog is held.

use std::time::{Duration, Instant};

use intercom::{B2bua, Now};
use sip_proxy::Flow;
use sip_proxy::overload::{self, Arrival, Class, Overload, Verdict, arrival};

use super::sources::Sources;
use crate::metrics::Buckets;

/// Upper bounds of the queue delay's histogram, µs.
const DELAYS: [u64; 12] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000,
];

/// The gate.
pub(super) struct Gate {
    pub(super) overload: Overload,
    pub(super) delays: Buckets<12>,
    /// Datagrams the kernel had no room for.
    pub(super) lost: u64,
    /// What the log was told last.
    told: bool,
}

impl Gate {
    pub(super) fn new(target: Duration) -> Self {
        let config = overload::Config {
            target,
            ..overload::Config::default()
        };
        Self {
            overload: Overload::new(config),
            delays: Buckets::new(DELAYS),
            lost: 0,
            told: false,
        }
    }

    /// A message is looked at, `waited` after it came.
    pub(super) fn waited(&mut self, now: Instant, waited: Duration) {
        self.overload.waited(now, waited);
        self.delays
            .observe(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
    }

    /// The kernel dropped datagrams.
    pub(super) fn lost(&mut self, now: Instant, count: u32) {
        if count > 0 {
            self.lost += u64::from(count);
            self.overload.lost(now);
        }
    }

    /// What becomes of a message. Costs nothing while everything is served.
    pub(super) fn judge(
        &mut self,
        b2bua: &B2bua,
        sources: &Sources,
        now: Now,
        flow: &Flow,
        bytes: &[u8],
    ) -> Verdict {
        if !self.overload.refuses() {
            return Verdict::Serve;
        }
        let known = sources.knows(flow.remote.ip());
        let (class, hash) = match arrival(bytes) {
            Arrival::Follows => return Verdict::Serve,
            Arrival::InDialog { to_tag } if known || b2bua.knows_dialog(to_tag) => {
                return Verdict::Serve;
            }
            Arrival::InDialog { .. } | Arrival::Unreadable => (Class::Stranger, spread(flow)),
            Arrival::New { hash, .. } if !known => (Class::Stranger, hash),
            Arrival::New { method, hash, .. } => match method {
                "INVITE" => (Class::Call, hash),
                "REGISTER" => (Class::Register, hash),
                _ => (Class::Auxiliary, hash),
            },
        };
        let verdict = self.overload.judge(now.mono, class, hash);
        let verdict = match (verdict, class, arrival(bytes)) {
            (Verdict::Refuse(_), Class::Call, Arrival::New { from, dialled, .. })
                if b2bua.likely_precedes(now, flow.remote.ip(), from, dialled) =>
            {
                self.overload
                    .judge_again(now.mono, class, Class::Precedence, hash)
            }
            (verdict, ..) => verdict,
        };
        // Nothing can be answered that cannot be read; a stream's peer waits for an answer for ever.
        match verdict {
            Verdict::Drop if flow.transport.is_stream() => Verdict::Refuse(10),
            verdict => verdict,
        }
    }

    /// Says in the log when refusing begins and ends.
    pub(super) fn tell(&mut self, now: Instant) -> bool {
        let overloaded = self.overload.is_overloaded(now);
        if overloaded != self.told {
            self.told = overloaded;
            let delay = self.overload.delay().as_secs_f64() * 1_000.0;
            let refused: u64 = self.overload.refused().map(|(_, count)| count).sum();
            if overloaded {
                tracing::warn!(
                    delay_ms = delay,
                    refused,
                    "overloaded: new requests are refused, the least important first"
                );
            } else {
                tracing::info!(delay_ms = delay, refused, "no longer overloaded");
            }
        }
        overloaded
    }
}

/// Where there is no Call-ID, a source shares one fate.
fn spread(flow: &Flow) -> u64 {
    u64::from(flow.remote.port()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}
