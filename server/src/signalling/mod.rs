//! The signalling thread: one owner of the B2BUA, its sockets and its timers.
//!
//! ```text
//!   UDP, streams ───────▶ ┌───────────────────────────┐ ──▶ UDP, streams
//!   media reports ──────▶ │ epoll ─▶ B2bua ─▶ outputs │ ──▶ orders to media workers
//!   commits, relays ────▶ │      (no lock, no task)   │ ──▶ records to the audit writer
//!   reload, drain ──────▶ └───────────────────────────┘ ──▶ drivers; bindings, calls (written behind)
//! ```
//!
//! Everything that comes in waits in a bounded place, everything that goes out too:
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | datagrams | kernel buffer | the kernel drops; SIP repeats |
//! | messages that waited too long (`gate`) | `limits.queue-delay` | the least important new requests get 503 |
//! | messages of an unregistered address | its bucket (`sources`) | dropped and counted |
//! | a stream peer's write queue | 256 KiB | the connection is closed and counted |
//! | media reports | [`REPORTS`] | the worker keeps them and stops reading packets |
//! | commits | [`COMMITS`] | cannot happen: no more records are under way than fit |
//! | relay results | [`RELAYS`] | the driver task waits |
//! | orders, records not yet taken | [`STALL`] | no SIP is read until they are |
//! | relay requests | [`DRIVES`] | refused at once, as a result like any other |
//! | bindings, calls to write behind | [`BEHIND`] | the oldest is dropped and counted |
//! | questions to the DNS | [`QUESTIONS`] | nobody answers, says the answer |
//! | answers of the DNS | [`NAMES`] | the resolver's tasks wait |
//! | messages for those who listen | `trace::QUEUE` | dropped and counted |
//! | log lines | `shell::journal` | dropped, the next line says how many |

mod gate;
mod notice;
mod publish;
mod reactor;
mod sources;
mod speakers;
mod traffic;
mod world;

use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use dialplan::{Directory, Plan};
use intercom::audit::RecordId;
use intercom::unlock::{Drive, IntentId, Outcome};
use intercom::{Accounts, B2bua, Cdr, Heard, Ladder, Story};
use sip_proxy::locate::Question;
use sip_proxy::location::{Binding, BindingChange};
use tokio::sync::mpsc;

use crate::dns::Named;
use crate::media::{Order, Report};
use crate::metrics::Published;
use crate::shell::mailbox::{Mailbox, Post, Waker, mailbox};
use crate::store::AuditWriter;
use crate::transport::stream::{Access, StreamLimits, StreamListener};
use crate::transport::tls::Expiry;
use crate::transport::udp::BoundUdp;

/// Media reports that may wait.
const REPORTS: usize = 8_192;
/// Records under way to the disk at most, and so commits that may wait.
const COMMITS: usize = 4_096;
/// Relay results that may wait.
const RELAYS: usize = 256;
/// Questions to the DNS that may wait.
const QUESTIONS: usize = 256;
/// Answers of the DNS that may wait.
const NAMES: usize = 256;
/// Relay requests that may wait for a driver.
const DRIVES: usize = 64;
/// Orders or records kept here from which on no SIP is read.
const STALL: usize = 1_024;
/// Bindings and calls that may wait to be written behind.
const BEHIND: usize = 65_536;

/// The disk's word on a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Commit {
    /// It is on disk.
    Recorded(RecordId),
    /// It will not be.
    Failed(RecordId),
}

/// A driver's word on an attempt.
#[derive(Debug)]
pub(crate) struct RelayDone {
    pub(crate) intent: IntentId,
    pub(crate) attempt: u8,
    pub(crate) outcome: Outcome,
}

/// What the shell tells signalling.
pub(crate) enum Control {
    /// New facts; calls in progress keep the old ones.
    Reload {
        plan: Arc<Plan>,
        directory: Arc<Directory>,
        accounts: Arc<Accounts>,
    },
    /// New certificates and origins of the stream listeners, in their order; connections go on with the old ones.
    Access(Vec<Access>, Certificates),
    /// How stations are spoken to, after a reload.
    Stations(Box<intercom::profile::Stations>),
    /// The trunks, after a reload.
    Trunks(std::collections::BTreeMap<String, Arc<pstn::Trunk>>),
    /// Who is known by address and certificate, after a reload.
    Peers {
        trusted: Vec<intercom::config::TrustedPeer>,
        certified: std::collections::BTreeMap<String, String>,
        /// Whose messages are not counted: trusted stations' and trunks'.
        addresses: Vec<std::net::IpAddr>,
    },
    /// Somebody listens to all messages, or nobody any more.
    Tap(bool),
    /// A call's messages.
    Ladder {
        id: String,
        reply: tokio::sync::oneshot::Sender<Option<crate::trace::Told>>,
    },
    /// Take no new calls; those in progress go on.
    Drain,
    /// End all calls politely.
    Shutdown,
    /// End the thread.
    Stop,
}

/// What is written behind: lost by a power cut, not by a killed process.
#[derive(Debug)]
pub(crate) enum Behind {
    /// Registrations that changed, with the clocks they were read by.
    Bindings(intercom::Now, Vec<BindingChange>),
    /// A call's record.
    Call(Box<Cdr>),
    /// A call's story.
    Story(Box<Story>),
    /// A call's messages, after the two above.
    Ladder(Box<Ladder>),
    /// An unlock had its result, so long after it was asked for.
    Unlocked(Duration),
}

/// The other threads' ends of signalling's mailboxes.
#[derive(Clone)]
pub(crate) struct Posts {
    pub(crate) reports: Post<Report>,
    pub(crate) commits: Post<Commit>,
    pub(crate) relays: Post<RelayDone>,
    pub(crate) names: Post<Named>,
    pub(crate) control: Post<Control>,
}

/// Signalling's own ends.
pub(crate) struct Inbox {
    waker: Waker,
    reports: Mailbox<Report>,
    commits: Mailbox<Commit>,
    relays: Mailbox<RelayDone>,
    names: Mailbox<Named>,
    control: Mailbox<Control>,
}

/// The mailboxes, made before any thread so that all can be given their ends.
pub(crate) fn mailboxes() -> std::io::Result<(Posts, Inbox)> {
    let waker = Waker::new()?;
    let (reports, reports_in) = mailbox(REPORTS, &waker);
    let (commits, commits_in) = mailbox(COMMITS, &waker);
    let (relays, relays_in) = mailbox(RELAYS, &waker);
    let (names, names_in) = mailbox(NAMES, &waker);
    let (control, control_in) = mailbox(16, &waker);
    Ok((
        Posts {
            reports,
            commits,
            relays,
            names,
            control,
        },
        Inbox {
            waker,
            reports: reports_in,
            commits: commits_in,
            relays: relays_in,
            names: names_in,
            control: control_in,
        },
    ))
}

/// Where signalling's outputs go.
pub(crate) struct Outlets {
    pub(crate) workers: Vec<Post<Order>>,
    pub(crate) audit: AuditWriter,
    pub(crate) drives: mpsc::Sender<Drive>,
    pub(crate) questions: mpsc::Sender<Question>,
    pub(crate) behind: mpsc::Sender<Behind>,
    /// Messages for those who listen. Overflow rule: dropped and counted.
    pub(crate) heard: mpsc::Sender<Box<Heard>>,
}

/// Receivers of the outlets that are served by tasks.
pub(crate) struct Served {
    pub(crate) drives: mpsc::Receiver<Drive>,
    pub(crate) questions: mpsc::Receiver<Question>,
    pub(crate) behind: mpsc::Receiver<Behind>,
    pub(crate) heard: mpsc::Receiver<Box<Heard>>,
}

/// The outlets' channels.
pub(crate) fn outlets(workers: Vec<Post<Order>>, audit: AuditWriter) -> (Outlets, Served) {
    let (drives, drives_out) = mpsc::channel(DRIVES);
    let (questions, questions_out) = mpsc::channel(QUESTIONS);
    let (behind, behind_out) = mpsc::channel(1_024);
    let (heard, heard_out) = mpsc::channel(crate::trace::QUEUE);
    (
        Outlets {
            workers,
            audit,
            drives,
            questions,
            behind,
            heard,
        },
        Served {
            drives: drives_out,
            questions: questions_out,
            behind: behind_out,
            heard: heard_out,
        },
    )
}

/// What is shown to those we connect to, and when our certificates end.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    pub(crate) client: Option<Arc<rustls::ClientConfig>>,
    pub(crate) expiries: Vec<Expiry>,
}

/// Bound listeners, not yet served.
pub(crate) struct Listeners {
    pub(crate) udp: Vec<BoundUdp>,
    pub(crate) streams: Vec<StreamListener>,
    pub(crate) stream_limits: StreamLimits,
    pub(crate) certificates: Certificates,
    /// Messages a second from one address without a registered account.
    pub(crate) requests_per_source: u32,
    /// Messages that wait longer on end are too many.
    pub(crate) queue_delay: Duration,
    /// Stations that are believed by their address; not limited.
    pub(crate) trusted: Vec<IpAddr>,
}

/// What the last run knew of registrations.
pub(crate) struct Restored {
    /// Those that still hold, by address-of-record.
    pub(crate) bindings: Vec<(String, Binding)>,
    /// Where those that ended lately had come from.
    pub(crate) lapsed: Vec<IpAddr>,
}

/// How long an address whose registration ended is still no stranger: over a night's power cut, and a day.
pub(crate) const LAPSED: Duration = Duration::from_secs(36 * 3_600);

/// Starts the thread. Bindings of the last run are restored before the first datagram is read, and before this returns.
pub(crate) fn start(
    b2bua: B2bua,
    restored: Restored,
    listeners: Listeners,
    inbox: Inbox,
    outlets: Outlets,
    published: Arc<Published>,
) -> std::io::Result<JoinHandle<()>> {
    let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("signalling".into())
        .spawn(move || {
            match reactor::Reactor::new(b2bua, listeners, inbox, outlets, published) {
                Ok(mut reactor) => {
                    reactor.restore(restored);
                    // Whoever started this thread waits for it.
                    let _ = ready.send(());
                    reactor.run();
                }
                Err(error) => tracing::error!(%error, "signalling cannot serve its sockets"),
            }
        })?;
    // An error: the thread has ended, which its owner sees by its handle.
    let _ = is_ready.recv();
    Ok(thread)
}
