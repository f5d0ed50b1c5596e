//! What the machine is told and what it wants done.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use dialplan::{Directory, Plan};
use media_bridge::{Command, Event, Lease, LeaseId};
use sip_proxy::locate::{Answer, Question};
use sip_proxy::{Binding, BindingChange, ConnectionId, Flow, Transport};

use crate::accounts::Accounts;
use crate::audit::{Record, RecordId};
use crate::cdr::Cdr;
use crate::config::TrustedPeer;
use crate::event::Waiting;
use crate::happening::SiteEvent;
use crate::ladder::{Heard, Ladder};
use crate::lease::Want;
use crate::profile::Stations;
use crate::story::Story;
use crate::unlock::{Drive, IntentId, Outcome};

/// What the machine is told.
pub enum Input {
    /// One datagram or framed message.
    Received {
        /// Where it came from.
        flow: Flow,
        /// The octets.
        bytes: Bytes,
    },
    /// The same when there is too much to do: a new request is answered 503 and costs nothing more.
    Refuse {
        /// Where it came from.
        flow: Flow,
        /// The octets.
        bytes: Bytes,
        /// Retry-After, seconds.
        retry_after: u32,
    },
    /// A stream connection is gone.
    ConnectionClosed {
        /// Which.
        connection: ConnectionId,
    },
    /// The peer of a TLS connection proved, by a certificate that one of our authorities vouches for, to be these names
    /// (DNS names and URIs of its subjectAltName, lower case). Before the connection's first message.
    Certified {
        /// Which connection.
        connection: ConnectionId,
        /// Who it is.
        names: Vec<String>,
    },
    /// The shell could not send.
    TransportFailed {
        /// By which flow.
        flow: Flow,
        /// What was to be sent.
        bytes: Bytes,
    },
    /// [`super::B2bua::next_timeout`] is due. Also once at start: it asks for the first media leases.
    Timeout,
    /// A media worker says something.
    Media(Event),
    /// A lease that was asked for.
    Leased(Lease),
    /// A durable record is on the disk.
    Recorded {
        /// Which.
        record: RecordId,
    },
    /// A durable record could not be written.
    RecordFailed {
        /// Which.
        record: RecordId,
    },
    /// A driver's word on an [`Output::OpenRelay`].
    RelayDone {
        /// The intent.
        intent: IntentId,
        /// The attempt, as in [`Drive::attempt`].
        attempt: u8,
        /// What came of it.
        outcome: Outcome,
    },
    /// New snapshots. Calls in progress keep the plan they began with; who is no longer in the directory or the
    /// accounts is cut off at once.
    Reload {
        /// The plan.
        plan: Arc<Plan>,
        /// People and devices.
        directory: Arc<Directory>,
        /// Accounts.
        accounts: Arc<Accounts>,
    },
    /// How stations are spoken to; at start and after a reload.
    Stations(Box<Stations>),
    /// The trunks, by name; at a reload. Calls to one that is gone are cut off.
    Trunks(BTreeMap<String, Arc<pstn::Trunk>>),
    /// Who is known by an address or a certificate; at a reload. Who no longer is loses it at once, with the registrations
    /// that came by a connection it vouched for.
    Peers {
        /// As in [`crate::Config::trusted`].
        trusted: Vec<TrustedPeer>,
        /// As in [`crate::Config::certified`].
        certified: BTreeMap<String, String>,
    },
    /// The DNS's answer to [`Output::Resolve`].
    Resolved {
        /// What was asked.
        question: Question,
        /// The answer.
        answer: Answer,
    },
    /// Bindings from the store, at start.
    Restore(Vec<(String, Binding)>),
    /// Messages wait in the box of an account, or no more do; phones that watch it light their lamps (RFC 3842).
    MessagesWaiting {
        /// Whose box.
        account: String,
        /// What is in it.
        waiting: Waiting,
    },
    /// Whether somebody listens to all messages ([`Output::Heard`]). Nobody does at start.
    Tap(bool),
    /// Take no new calls; those in progress go on.
    Drain,
    /// End all calls: BYE to the established, a final response to those that ring.
    Shutdown,
}

/// What the machine wants done.
pub enum Output {
    /// Send.
    Transmit {
        /// By this flow.
        flow: Flow,
        /// One whole message.
        bytes: Bytes,
    },
    /// Open a connection; always before the first message for it. [`Flow::connection`] names it from then on. When it
    /// cannot be opened, does not prove `name`, or ends, [`Input::ConnectionClosed`] says so; it is never replaced by
    /// another one, least of all by one in clear text.
    Open {
        /// Its number, given by the machine ([`ConnectionId::opened`]).
        connection: ConnectionId,
        /// TCP or TLS.
        transport: Transport,
        /// Our address on it, as peers are told.
        local: SocketAddr,
        /// Where to.
        remote: SocketAddr,
        /// The name the peer's certificate must prove (RFC 5922), a DNS name or an IP address. Without it TLS fails.
        name: Option<String>,
    },
    /// Ask the DNS; answered by [`Input::Resolved`]. What is never answered ends by itself.
    Resolve(Question),
    /// Command a media worker.
    Media {
        /// Which.
        worker: u16,
        /// What.
        command: Command,
    },
    /// Write a record; a durable one is answered with `Recorded` or `RecordFailed`.
    Record(Record),
    /// Drive a relay. Only ever after the commit of its granted record.
    OpenRelay(Drive),
    /// Bindings changed, for the store.
    Bindings(Vec<BindingChange>),
    /// A call has ended.
    Cdr(Box<Cdr>),
    /// Its story.
    Story(Box<Story>),
    /// Its messages, after the last of its transactions.
    Ladder(Box<Ladder>),
    /// A message received or sent, in order, for whoever listens; only while [`Input::Tap`] is on.
    Heard(Box<Heard>),
    /// A line for the log.
    Notice(Notice),
    /// Something happened that is neither a call nor an unlock: to be logged, counted and passed on.
    Event(Box<SiteEvent>),
    /// More leases are wanted.
    WantLeases(Want),
    /// A lease that was never opened.
    ReturnLease(LeaseId),
}

/// Messages hold names, numbers, credentials and codes: their length is shown, and of the rest what redacts itself.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Received { flow, bytes } => sized(f, "Received", flow, bytes),
            Input::Refuse { flow, bytes, .. } => sized(f, "Refuse", flow, bytes),
            Input::TransportFailed { flow, bytes } => sized(f, "TransportFailed", flow, bytes),
            Input::ConnectionClosed { connection } => {
                f.debug_tuple("ConnectionClosed").field(connection).finish()
            }
            Input::Certified { connection, .. } => {
                f.debug_tuple("Certified").field(connection).finish()
            }
            Input::Timeout => f.write_str("Timeout"),
            Input::Media(event) => f.debug_tuple("Media").field(event).finish(),
            Input::Leased(lease) => f.debug_tuple("Leased").field(lease).finish(),
            Input::Recorded { record } => f.debug_tuple("Recorded").field(record).finish(),
            Input::RecordFailed { record } => f.debug_tuple("RecordFailed").field(record).finish(),
            Input::RelayDone {
                intent,
                attempt,
                outcome,
            } => f
                .debug_struct("RelayDone")
                .field("intent", intent)
                .field("attempt", attempt)
                .field("outcome", outcome)
                .finish(),
            Input::Reload { .. } => f.write_str("Reload"),
            Input::Stations(_) => f.write_str("Stations"),
            Input::Trunks(trunks) => f.debug_tuple("Trunks").field(&trunks.len()).finish(),
            Input::Peers { trusted, certified } => f
                .debug_struct("Peers")
                .field("trusted", &trusted.len())
                .field("certified", &certified.len())
                .finish(),
            Input::Resolved { question, .. } => f.debug_tuple("Resolved").field(question).finish(),
            Input::Restore(bindings) => f.debug_tuple("Restore").field(&bindings.len()).finish(),
            Input::MessagesWaiting { account, waiting } => f
                .debug_struct("MessagesWaiting")
                .field("account", account)
                .field("waiting", waiting)
                .finish(),
            Input::Tap(on) => f.debug_tuple("Tap").field(on).finish(),
            Input::Drain => f.write_str("Drain"),
            Input::Shutdown => f.write_str("Shutdown"),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Transmit { flow, bytes } => sized(f, "Transmit", flow, bytes),
            Output::Open {
                connection,
                transport,
                remote,
                name,
                ..
            } => f
                .debug_struct("Open")
                .field("connection", connection)
                .field("transport", transport)
                .field("remote", remote)
                .field("name", name)
                .finish(),
            Output::Resolve(question) => f.debug_tuple("Resolve").field(question).finish(),
            Output::Media { worker, command } => {
                f.debug_tuple("Media").field(worker).field(command).finish()
            }
            Output::Record(record) => f.debug_tuple("Record").field(record).finish(),
            Output::OpenRelay(drive) => f.debug_tuple("OpenRelay").field(drive).finish(),
            Output::Bindings(changes) => f.debug_tuple("Bindings").field(&changes.len()).finish(),
            Output::Cdr(cdr) => f.debug_tuple("Cdr").field(cdr).finish(),
            Output::Story(story) => f.debug_tuple("Story").field(story).finish(),
            Output::Ladder(ladder) => f.debug_tuple("Ladder").field(ladder).finish(),
            Output::Heard(heard) => f.debug_tuple("Heard").field(heard).finish(),
            Output::Notice(notice) => f.debug_tuple("Notice").field(notice).finish(),
            Output::Event(event) => f.debug_tuple("Event").field(&event.kind()).finish(),
            Output::WantLeases(want) => f.debug_tuple("WantLeases").field(want).finish(),
            Output::ReturnLease(lease) => f.debug_tuple("ReturnLease").field(lease).finish(),
        }
    }
}

fn sized(f: &mut fmt::Formatter<'_>, name: &str, flow: &Flow, bytes: &Bytes) -> fmt::Result {
    f.debug_struct(name)
        .field("flow", flow)
        .field("bytes", &bytes.len())
        .finish()
}

/// A line for the log, without personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The call it concerns.
    pub call: Option<String>,
    /// What happened.
    pub text: String,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls begun.
    pub calls: u64,
    /// Of these, passed through without a bridge.
    pub proxied: u64,
    /// Calls answered.
    pub answered: u64,
    /// Calls refused for a limit or drain.
    pub refused: u64,
    /// Challenges sent.
    pub challenged: u64,
    /// Wrong credentials.
    pub wrong_credentials: u64,
    /// Stations of doors that registered from a new address.
    pub doors_moved: u64,
    /// Sources that began a silence for their wrong credentials.
    pub penalties: u64,
    /// Messages met with that silence.
    pub silenced: u64,
    /// Requests in dialogs we do not hold (481).
    pub unknown_dialog: u64,
    /// Methods not served (405).
    pub not_served: u64,
    /// Deadlines of calls that stayed in the past and were put off. Zero, but for a mistake of ours.
    pub stuck_deadlines: u64,
    /// Requests for foreign domains.
    pub foreign: u64,
    /// Unlocks asked for.
    pub unlocks: u64,
    /// Relays opened or stations told.
    pub opened: u64,
}

/// The outputs of one input, in order. It borrows the machine, so a second input before these are drained does not
/// compile; what is left undrained comes first the next time.
#[must_use = "outputs hold messages to be sent"]
#[derive(Debug)]
pub struct Outputs<'a> {
    pub(super) queue: &'a mut VecDeque<Output>,
}

impl Iterator for Outputs<'_> {
    type Item = Output;

    fn next(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }
}
