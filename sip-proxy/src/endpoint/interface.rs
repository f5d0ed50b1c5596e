//! What goes into the endpoint and what comes out of it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;

use crate::message::{HeaderName, Limits, Message, OutgoingRequest, OutgoingResponse};
use crate::transaction::{FailCause, Timers};
use crate::transport::{ConnectionId, Flow};

/// A server transaction, numbered by the endpoint; numbers are not reused while anyone could remember them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerTx(pub u64);

/// A client transaction, numbered by the transaction user, unique for the endpoint's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientTx(pub u64);

/// Everything an endpoint is told once.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Bounds of one message.
    pub limits: Limits,
    /// T1, T2, T4 and the rest.
    pub timers: Timers,
    /// Server transactions held at once; over it completed ones that may go make room, and where there are none new
    /// requests are answered 503 statelessly and counted.
    pub max_server_transactions: usize,
    /// Of these, completed non-INVITE ones whose request may safely come up again; over it the oldest goes before its
    /// timer J and is counted. Safe are REGISTER (its Call-ID and CSeq tell a repetition, 10.3 step 7), OPTIONS (changes
    /// nothing), requests in a dialog (their CSeq is known, 12.2.2) and whatever was refused.
    pub max_completed: usize,
    /// Client transactions held at once; over it a new one fails as [`FailCause::Transport`] (503) and is counted.
    pub max_client_transactions: usize,
    /// Value of Server and User-Agent; empty writes neither.
    pub server_name: String,
    /// The Via sent-by ("host" or "host:port") to write instead of [`Flow::local`], by local address.
    pub advertise: BTreeMap<SocketAddr, String>,
    /// Answer merged requests 482 (8.2.2.2). A user agent's rule; a pure proxy turns it off.
    pub reject_merged: bool,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            timers: Timers::default(),
            max_server_transactions: 100_000,
            // 3.5 s of answers at 4,600 a second: three repetitions by timer E.
            max_completed: 16_384,
            max_client_transactions: 100_000,
            server_name: "Doorward".to_owned(),
            advertise: BTreeMap::new(),
            reject_merged: true,
        }
    }
}

/// A request passed on by the proxy core: the received message and what changes in it. All other bytes stay as they
/// came.
#[derive(Debug, Clone)]
pub struct ForwardRequest {
    /// The request as received.
    pub message: Message,
    /// The flow it came by, for `received` and `rport` in its topmost Via.
    pub from: Flow,
    /// The new Request-URI; `None` keeps it.
    pub uri: Option<String>,
    /// The new Max-Forwards.
    pub max_forwards: u8,
    /// Topmost Route values to remove.
    pub pop_routes: usize,
    /// Route values to put in front (a binding's Path), after the removal.
    pub push_routes: Vec<String>,
    /// All Route values, where a strict router before or after us leaves none in its place (16.4, 16.6 step 6); then
    /// the two fields above do not count.
    pub routes: Option<Vec<String>>,
    /// Record-Route values to put in front, topmost first.
    pub record_routes: Vec<String>,
    /// Max-Breadth to write (RFC 5393 section 5.3.3); `None` leaves it as it is.
    pub max_breadth: Option<u32>,
    /// The loop-detection part of the branch (16.6 step 8, RFC 5393 section 4.2.2).
    pub loop_hash: Option<u64>,
}

/// What the endpoint is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// One datagram or one framed message. CRLF keep-alives are swallowed, a double CRLF is answered (RFC 5626 4.4.1).
    Received {
        /// Where it came from.
        flow: Flow,
        /// The octets.
        bytes: Bytes,
    },
    /// The same when there is too much to do: a new request is answered 503 without a transaction, anything else is
    /// served.
    Refuse {
        /// Where it came from.
        flow: Flow,
        /// The octets.
        bytes: Bytes,
        /// Retry-After, seconds.
        retry_after: u32,
    },
    /// A stream connection is gone: its unanswered client transactions fail.
    ConnectionClosed {
        /// Which.
        connection: ConnectionId,
    },
    /// The shell could not send `bytes` by `flow`; the bytes say which transaction it was.
    TransportFailed {
        /// The flow tried.
        flow: Flow,
        /// What was to be sent.
        bytes: Bytes,
    },
    /// Starts a client transaction. With [`Flow::connection`] `None` on a stream the shell finds or opens one.
    Request {
        /// The new transaction's number.
        tx: ClientTx,
        /// The request; Via and Content-Length are added here.
        request: OutgoingRequest,
        /// Where to.
        to: Flow,
    },
    /// The ACK for a 2xx, remembered so that a repeated 2xx is acknowledged again from here.
    Ack {
        /// The ACK ([`crate::dialog::Dialog::ack`]).
        request: OutgoingRequest,
        /// Where to.
        to: Flow,
        /// The INVITE it belongs to.
        invite: ClientTx,
    },
    /// Cancels a client INVITE; held until a provisional came (9.1), forgotten if a final comes first.
    Cancel {
        /// The INVITE.
        tx: ClientTx,
        /// Value of a Reason header (RFC 3326).
        reason: Option<String>,
    },
    /// The transaction user's answer.
    ///
    /// A 401 or 407 outside a dialog, a 481, and a response marked stateless leave no transaction behind (8.2.7), so
    /// that who has proved nothing costs no memory; the request again comes up again, the ACK is absorbed. Not so once
    /// an INVITE has had a provisional: that has stopped its client's repetitions, and the final must be kept.
    Respond {
        /// The request answered.
        tx: ServerTx,
        /// The response; Via, From, To, Call-ID, CSeq, Record-Route and Content-Length are added here.
        response: OutgoingResponse,
    },
    /// Starts a client transaction for a proxied request.
    Forward {
        /// The new transaction's number.
        tx: ClientTx,
        /// The request and its changes.
        request: Box<ForwardRequest>,
        /// Where to.
        to: Flow,
    },
    /// Passes on an ACK for a 2xx, which has no transaction (16.11).
    ForwardAck {
        /// The ACK and its changes.
        request: Box<ForwardRequest>,
        /// Where to.
        to: Flow,
    },
    /// Passes a response back with our Via removed.
    ForwardResponse {
        /// The request it answers.
        tx: ServerTx,
        /// The response as received.
        response: Message,
        /// Headers to add: the challenges of other branches (16.7 step 7).
        add: Vec<(HeaderName, String)>,
    },
    /// Time has come: [`super::Endpoint::next_timeout`] is due.
    Timeout,
}

/// What the endpoint tells.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send these octets.
    Transmit {
        /// By this flow.
        flow: Flow,
        /// One whole message.
        bytes: Bytes,
    },
    /// A new request; never a retransmission, an ACK or a CANCEL.
    Request {
        /// Its transaction, to be answered.
        tx: ServerTx,
        /// The request.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// A CANCEL met a pending INVITE. It was answered 200 here; the INVITE is the transaction user's to answer (487).
    Cancelled {
        /// The INVITE's transaction.
        tx: ServerTx,
        /// The CANCEL.
        cancel: Message,
    },
    /// An ACK to a 2xx, once; it may hold the answer to a late offer.
    Ack {
        /// The INVITE's transaction; `None` for an ACK that is no answer to ours, which only a proxy can place.
        tx: Option<ServerTx>,
        /// The ACK.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// A 2xx was repeated for 64·T1 without an ACK; the user agent sends BYE (13.3.1.4).
    AckMissing {
        /// The INVITE's transaction.
        tx: ServerTx,
    },
    /// A response: each provisional, the final once, and each further 2xx with another To tag. Of a forwarded INVITE
    /// also the repeated 2xx, which a proxy passes on (16.7 step 5).
    Response {
        /// The transaction it answers.
        tx: ClientTx,
        /// The response.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// The transaction ended without a final response.
    Failed {
        /// Which.
        tx: ClientTx,
        /// Why.
        cause: FailCause,
    },
}

/// The outputs of one input, in order. It borrows the endpoint, so a second input before these are drained does not
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

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.queue.len(), Some(self.queue.len()))
    }
}

impl ExactSizeIterator for Outputs<'_> {}
