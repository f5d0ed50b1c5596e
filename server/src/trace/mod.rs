//! Messages for those who watch: the live trace, Homer, a call's ladder.
//!
//! ```text
//!   signalling ──Heard, while tapped──▶ queue ──▶ trace task ──▶ Homer (HEP over UDP)
//!                                                     └──▶ filter ──▶ a listener's queue ──▶ HTTP (SSE)
//! ```
//! Nothing is told while nobody listens: signalling hands messages out only between the first listener and the last.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | messages from signalling | `QUEUE` | dropped and counted (`trace_dropped`) |
//! | a listener's lines | `LINES` | dropped; the listener is told how many it lost |
//! | listeners | `LISTENERS` | refused (503) |

mod export;
mod filter;
mod hep;
pub(crate) mod http;
pub(crate) mod pcap;
mod rung;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use intercom::Heard;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub(crate) use filter::Filter;
pub use rung::{Kept, Rung};

use crate::shell::mailbox::Post;
use crate::signalling::Control;
use export::Exporter;

/// Messages that may wait for the trace task.
pub(crate) const QUEUE: usize = 4_096;
/// Lines that may wait for one listener.
const LINES: usize = 512;
/// Listeners at once.
const LISTENERS: usize = 16;

/// What became of messages on their way to those who watch.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hep_sent: AtomicU64,
    pub(crate) hep_dropped: AtomicU64,
    pub(crate) lines_lost: AtomicU64,
}

/// One line of the live trace.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// A message.
    Message {
        /// Call id of the server.
        call: Option<String>,
        #[serde(flatten)]
        rung: Rung,
    },
    /// So many were left out here: the listener reads too slowly.
    Lost(u64),
}

struct Listener {
    filter: Filter,
    lines: mpsc::Sender<Line>,
    lost: u64,
}

/// Those who listen.
pub(crate) struct Hub {
    listeners: Mutex<Vec<Listener>>,
    control: Post<Control>,
    /// Homer always listens.
    exports: bool,
    /// What signalling was told last; held while it is being told.
    tapped: tokio::sync::Mutex<bool>,
    pub(crate) counters: Arc<Counters>,
}

impl Hub {
    /// Made before signalling runs, so that Homer hears its first message.
    pub(crate) fn new(control: Post<Control>, exports: bool) -> Self {
        let tapped = exports && control.try_post(Control::Tap(true)).is_ok();
        Self {
            listeners: Mutex::new(Vec::new()),
            control,
            exports,
            tapped: tokio::sync::Mutex::new(tapped),
            counters: Arc::default(),
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens signalling's tap, or closes it, as there is somebody to listen or not.
    async fn tap(&self) {
        let mut tapped = self.tapped.lock().await;
        let wanted = self.exports || !self.locked().is_empty();
        if wanted != *tapped && self.control.post(Control::Tap(wanted)).await {
            *tapped = wanted;
        }
    }

    /// One more listener; `None` when there are too many.
    pub(crate) async fn listen(&self, filter: Filter) -> Option<mpsc::Receiver<Line>> {
        let (lines, receiver) = mpsc::channel(LINES);
        {
            let mut listeners = self.locked();
            listeners.retain(|listener| !listener.lines.is_closed());
            if listeners.len() >= LISTENERS {
                return None;
            }
            listeners.push(Listener {
                filter,
                lines,
                lost: 0,
            });
        }
        self.tap().await;
        Some(receiver)
    }

    /// A call's messages and story, from signalling's memory.
    pub(crate) async fn ladder(&self, id: String) -> Option<Told> {
        let (reply, told) = tokio::sync::oneshot::channel();
        self.control.post(Control::Ladder { id, reply }).await;
        told.await.ok().flatten()
    }

    /// Tells everybody; `false` when a listener has gone.
    fn tell(&self, heard: &Heard) -> bool {
        let mut all_there = true;
        let mut line = None;
        self.locked().retain_mut(|listener| {
            if listener.lines.is_closed() {
                all_there = false;
                return false;
            }
            if !listener.filter.wants(heard) {
                return true;
            }
            if listener.lost > 0 && listener.lines.try_send(Line::Lost(listener.lost)).is_ok() {
                listener.lost = 0;
            }
            let line = line.get_or_insert_with(|| Line::Message {
                call: heard.call.as_deref().map(str::to_owned),
                rung: Rung::of(&heard.message),
            });
            if listener.lost > 0 || listener.lines.try_send(line.clone()).is_err() {
                listener.lost += 1;
                self.counters.lines_lost.fetch_add(1, Ordering::Relaxed);
            }
            true
        });
        all_there
    }
}

/// What signalling knows of a call in progress or ended lately.
#[derive(Debug)]
pub(crate) struct Told {
    /// Its story so far; `None` when it has ended.
    pub(crate) story: Option<String>,
    pub(crate) ladder: intercom::Ladder,
}

/// Serves those who listen until signalling ends.
pub(crate) async fn serve(
    mut heard: mpsc::Receiver<Box<Heard>>,
    hub: Arc<Hub>,
    hep: Option<conf::Hep>,
) {
    let mut exporter = hep.map(|hep| Exporter::new(hep, Arc::clone(&hub.counters)));
    hub.tap().await;
    while let Some(heard) = heard.recv().await {
        if let Some(exporter) = &mut exporter {
            exporter.send(&heard).await;
        }
        if !hub.tell(&heard) {
            hub.tap().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use intercom::ladder::Recorded;
    use jiff::Timestamp;
    use sip_proxy::{Flow, Transport};

    use super::*;
    use crate::shell::mailbox::{Mailbox, Waker, mailbox};

    fn hub() -> (Hub, Mailbox<Control>) {
        let waker = Waker::new().unwrap();
        let (post, control) = mailbox(16, &waker);
        (Hub::new(post, false), control)
    }

    fn heard() -> Heard {
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.7:5060".parse().unwrap(),
            connection: None,
        };
        let text = "BYE sip:x SIP/2.0\r\nCall-ID: c\r\nCSeq: 2 BYE\r\n\r\n";
        let message = Recorded::new(Timestamp::UNIX_EPOCH, false, flow, "".into(), text.into());
        Heard {
            message,
            call: None,
        }
    }

    #[tokio::test]
    async fn the_tap_is_open_between_the_first_listener_and_the_last() {
        let (hub, mut control) = hub();
        let first = hub.listen(Filter::default()).await.unwrap();
        assert!(matches!(control.take(), Some(Control::Tap(true))));
        let second = hub.listen(Filter::default()).await.unwrap();
        assert!(control.take().is_none());
        drop(first);
        assert!(!hub.tell(&heard()));
        hub.tap().await;
        assert!(control.take().is_none());
        drop(second);
        assert!(!hub.tell(&heard()));
        hub.tap().await;
        assert!(matches!(control.take(), Some(Control::Tap(false))));
    }

    #[tokio::test]
    async fn a_slow_reader_loses_lines_and_is_told_how_many() {
        let (hub, _control) = hub();
        let mut lines = hub.listen(Filter::default()).await.unwrap();
        for _ in 0..LINES + 7 {
            hub.tell(&heard());
        }
        for _ in 0..LINES {
            assert!(matches!(lines.recv().await, Some(Line::Message { .. })));
        }
        hub.tell(&heard());
        assert!(matches!(lines.recv().await, Some(Line::Lost(7))));
        assert!(matches!(lines.recv().await, Some(Line::Message { .. })));
        assert_eq!(hub.counters.lines_lost.load(Ordering::Relaxed), 7);
    }

    #[tokio::test]
    async fn listeners_are_bounded_and_a_place_becomes_free_again() {
        let (hub, _control) = hub();
        let mut held = Vec::new();
        for _ in 0..LISTENERS {
            held.push(hub.listen(Filter::default()).await.unwrap());
        }
        assert!(hub.listen(Filter::default()).await.is_none());
        held.pop();
        assert!(hub.listen(Filter::default()).await.is_some());
    }
}
