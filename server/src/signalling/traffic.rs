//! Messages by way, transport and kind of peer: arrays that this thread owns, published once a second.

use std::time::Duration;

use sip_proxy::Transport;

use crate::metrics::{Buckets, Observed, Sample};

const TRANSPORTS: [Transport; 5] = [
    Transport::Udp,
    Transport::Tcp,
    Transport::Tls,
    Transport::Ws,
    Transport::Wss,
];
/// Upper bounds of a turn's length, µs.
const TURNS: [u64; 10] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000,
];
/// A turn that takes longer keeps every call waiting.
const STALL: Duration = Duration::from_millis(100);

/// The counts.
pub(super) struct Traffic {
    /// By transport, then known peers and strangers.
    received: [[u64; 2]; TRANSPORTS.len()],
    sent: [[u64; 2]; TRANSPORTS.len()],
    turns: Buckets<10>,
    stalls: u64,
}

impl Traffic {
    pub(super) fn new() -> Self {
        Self {
            received: Default::default(),
            sent: Default::default(),
            turns: Buckets::new(TURNS),
            stalls: 0,
        }
    }

    pub(super) fn received(&mut self, transport: Transport, known: bool) {
        count(&mut self.received, transport, known);
    }

    pub(super) fn sent(&mut self, transport: Transport, known: bool) {
        count(&mut self.sent, transport, known);
    }

    /// One turn of the loop: from waking up to waiting again.
    pub(super) fn turn(&mut self, length: Duration) {
        self.turns
            .observe(u64::try_from(length.as_micros()).unwrap_or(u64::MAX));
        self.stalls += u64::from(length >= STALL);
    }

    pub(super) fn samples(&self, samples: &mut Vec<Sample>) {
        for (name, help, counts) in [
            (
                "sip_messages_in",
                "SIP messages that were looked at",
                &self.received,
            ),
            ("sip_messages_out", "SIP messages sent", &self.sent),
        ] {
            for (transport, counts) in TRANSPORTS.iter().zip(counts) {
                for (peer, count) in ["known", "stranger"].iter().zip(counts) {
                    samples.push(
                        Sample::count(name, help, *count)
                            .label("transport", &transport.as_param())
                            .label("peer", peer),
                    );
                }
            }
        }
        samples.push(Sample::count(
            "signalling_turns_over_100ms",
            "Turns of the signalling loop that kept everything waiting",
            self.stalls,
        ));
    }

    pub(super) fn turns(&self) -> Observed {
        self.turns.sample(
            "signalling_turn_seconds",
            "Length of a turn of the signalling loop",
        )
    }
}

fn count(counts: &mut [[u64; 2]; TRANSPORTS.len()], transport: Transport, known: bool) {
    let place = TRANSPORTS.iter().position(|other| *other == transport);
    let count = place
        .and_then(|place| counts.get_mut(place))
        .and_then(|peers| peers.get_mut(usize::from(!known)));
    if let Some(count) = count {
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_count_by_transport_and_peer_and_long_turns_are_stalls() {
        let mut traffic = Traffic::new();
        traffic.received(Transport::Tls, true);
        traffic.received(Transport::Tls, false);
        traffic.received(Transport::Tls, false);
        traffic.sent(Transport::Udp, true);
        traffic.turn(Duration::from_millis(1));
        traffic.turn(Duration::from_millis(101));
        let mut samples = Vec::new();
        traffic.samples(&mut samples);
        let counted: Vec<_> = samples
            .iter()
            .filter(|sample| sample.value > 0)
            .map(|sample| {
                let labels: Vec<&str> = sample.labels.iter().map(|(_, v)| v.as_str()).collect();
                (sample.name, labels.join(" "), sample.value)
            })
            .collect();
        assert_eq!(
            counted,
            [
                ("sip_messages_in", "tls known".to_owned(), 1),
                ("sip_messages_in", "tls stranger".to_owned(), 2),
                ("sip_messages_out", "udp known".to_owned(), 1),
                ("signalling_turns_over_100ms", String::new(), 1),
            ]
        );
    }
}
