//! A bad network: seeded delay, loss, duplication; different delays reorder.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How bad.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss: f64,
    pub(crate) duplication: f64,
    pub(crate) delay_ms: (u64, u64),
}

impl Weather {
    pub(crate) const FINE: Weather = Weather {
        loss: 0.0,
        duplication: 0.0,
        delay_ms: (1, 1),
    };
    pub(crate) const JITTER: Weather = Weather {
        loss: 0.0,
        duplication: 0.02,
        delay_ms: (1, 40),
    };
    /// Reordered, duplicated, and now and then lost.
    pub(crate) const LOSSY: Weather = Weather {
        loss: 0.03,
        duplication: 0.05,
        delay_ms: (1, 40),
    };
    pub(crate) const BAD: Weather = Weather {
        loss: 0.10,
        duplication: 0.05,
        delay_ms: (1, 60),
    };
}

/// One direction's fate, packet by packet.
pub(crate) struct Link {
    rng: StdRng,
    pub(crate) weather: Weather,
}

impl Link {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        Link {
            rng: StdRng::seed_from_u64(seed),
            weather,
        }
    }

    /// The delays at which copies of a packet arrive; none when it is lost.
    pub(crate) fn carry(&mut self) -> Vec<Duration> {
        let Weather {
            loss,
            duplication,
            delay_ms,
        } = self.weather;
        let mut copies = 1;
        if loss > 0.0 && self.rng.random_bool(loss) {
            copies = 0;
        }
        if duplication > 0.0 && self.rng.random_bool(duplication) {
            copies += 1;
        }
        (0..copies)
            .map(|_| {
                let (low, high) = delay_ms;
                Duration::from_millis(if low == high {
                    low
                } else {
                    self.rng.random_range(low..=high)
                })
            })
            .collect()
    }
}
