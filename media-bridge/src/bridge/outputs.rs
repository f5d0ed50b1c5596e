//! What a bridge answers: packets to send, borrowed from the input or from the bridge's own buffer, and events.

use std::net::SocketAddr;
use std::ops::Range;

use crate::codec::MAX_PACKET_OCTETS;
use crate::leg::{Component, Event, LegId};
use crate::rtp::HEADER_BYTES;

/// One consequence of an input.
#[derive(Debug, PartialEq)]
pub enum Output<'a> {
    /// Send a datagram from a leg's socket.
    Send {
        /// Whose socket.
        leg: LegId,
        /// Which of its two.
        component: Component,
        /// Destination.
        to: SocketAddr,
        /// The datagram.
        bytes: &'a [u8],
    },
    /// Tell signalling.
    Event(Event),
}

/// Where a datagram to be sent lies.
#[derive(Debug)]
enum Place {
    Input(Range<usize>),
    Scratch(Range<usize>),
}

#[derive(Debug)]
enum Queued {
    Send {
        leg: LegId,
        component: Component,
        to: SocketAddr,
        place: Place,
    },
    Event(Event),
}

/// Outputs being collected. Both buffers are emptied by every drain and keep their capacity, so that nothing is
/// allocated once the largest burst was seen; their bound is the work one input may cause (some packets for a
/// packet, [`DUE_AT_ONCE`](super::wakeups::DUE_AT_ONCE) legs for a timeout).
#[derive(Debug, Default)]
pub(super) struct Buffers {
    queue: Vec<Queued>,
    scratch: Vec<u8>,
    coded: Coded,
}

/// Room for one encoded payload.
#[derive(Debug)]
struct Coded(Box<[u8]>);

impl Default for Coded {
    fn default() -> Self {
        Self(vec![0; MAX_PACKET_OCTETS].into_boxed_slice())
    }
}

impl Buffers {
    /// Where an encoder writes before [`Buffers::send_coded`].
    pub(super) fn coded(&mut self) -> &mut [u8] {
        &mut self.coded.0
    }

    /// Queues a packet of this header and the first `octets` of what was encoded.
    pub(super) fn send_coded(
        &mut self,
        leg: LegId,
        component: Component,
        to: SocketAddr,
        header: [u8; HEADER_BYTES],
        octets: usize,
    ) {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(&header);
        self.scratch
            .extend_from_slice(self.coded.0.get(..octets).unwrap_or_default());
        let place = Place::Scratch(start..self.scratch.len());
        self.queue.push(Queued::Send {
            leg,
            component,
            to,
            place,
        });
    }

    /// Forgets what an earlier caller left undrained.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.scratch.clear();
    }

    /// Queues an event.
    pub(super) fn event(&mut self, event: Event) {
        self.queue.push(Queued::Event(event));
    }

    /// Queues the input buffer itself, rewritten.
    pub(super) fn send_input(
        &mut self,
        leg: LegId,
        component: Component,
        to: SocketAddr,
        range: Range<usize>,
    ) {
        self.queue.push(Queued::Send {
            leg,
            component,
            to,
            place: Place::Input(range),
        });
    }

    /// Queues a datagram made of two parts, copied into the bridge's own buffer.
    pub(super) fn send_parts(
        &mut self,
        leg: LegId,
        component: Component,
        to: SocketAddr,
        parts: [&[u8]; 2],
    ) {
        let start = self.scratch.len();
        for part in parts {
            self.scratch.extend_from_slice(part);
        }
        let place = Place::Scratch(start..self.scratch.len());
        self.queue.push(Queued::Send {
            leg,
            component,
            to,
            place,
        });
    }

    /// Hands everything out.
    pub(super) fn drain<'a>(&'a mut self, input: &'a [u8]) -> Outputs<'a> {
        Outputs {
            queue: self.queue.drain(..),
            scratch: &self.scratch,
            input,
        }
    }
}

/// The consequences of one input, in order. Borrows the bridge: what is not drained is gone, and a second input
/// cannot come before this is dropped.
#[must_use = "undrained outputs are packets and events lost"]
#[derive(Debug)]
pub struct Outputs<'a> {
    queue: std::vec::Drain<'a, Queued>,
    scratch: &'a [u8],
    input: &'a [u8],
}

impl<'a> Iterator for Outputs<'a> {
    type Item = Output<'a>;

    #[inline]
    fn next(&mut self) -> Option<Output<'a>> {
        Some(match self.queue.next()? {
            Queued::Event(event) => Output::Event(event),
            Queued::Send {
                leg,
                component,
                to,
                place,
            } => {
                let (buffer, range) = match place {
                    Place::Input(range) => (self.input, range),
                    Place::Scratch(range) => (self.scratch, range),
                };
                Output::Send {
                    leg,
                    component,
                    to,
                    bytes: buffer.get(range).unwrap_or_default(),
                }
            }
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.queue.size_hint()
    }
}
