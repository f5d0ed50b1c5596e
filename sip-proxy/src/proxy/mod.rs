//! Proxy core: stateful forwarding (RFC 3261 section 16, RFC 5393).
//!
//! ```text
//!   endpoint::Output::Request --> prepare: validate (16.3), routes (16.4) --> Prepared { next }
//!                                                                               |  caller: location or DNS
//!                                                                               v
//!   Input::Request + targets --> response context: branches out, best answer back --> endpoint::Input
//! ```
//!
//! Stateless towards dialogs: a Record-Route carries a token only this proxy can make, bound to the Call-ID, and a
//! request within a dialog passes by that token alone. Who may start a request, and where an address-of-record is,
//! was decided by the caller. Deliberately absent: following 3xx, DNS, authentication.

mod context;
mod prepare;
mod token;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::endpoint::{self, ClientTx, ForwardRequest, ServerTx};
use crate::message::{HeaderName, Message, Method, OutgoingResponse};
use crate::transaction::timer::Deadlines;
use crate::transaction::{FailCause, Timer, Timers};
use crate::transport::Flow;
use context::{Context, Verdict};
pub use prepare::{Next, Prepared};
use token::Tokens;

/// Everything a proxy is told once.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// The host names and addresses that mean this proxy, with their ports (default port where none is written).
    pub own: Vec<(String, u16)>,
    /// What to write in Record-Route ("host" or "host:port") instead of [`Flow::local`], by local address.
    pub advertise: BTreeMap<SocketAddr, String>,
    /// Timer C is the one used here; M decides how long late 2xx are passed on.
    pub timers: Timers,
    /// Response contexts held at once; over it 503.
    pub max_contexts: usize,
    /// Branches of one request; more targets are left out, lowest preference first (they come last).
    pub max_branches: usize,
    /// The first [`ClientTx`] of the proxy's own range, which nobody else may use.
    pub first_client: u64,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            own: Vec::new(),
            advertise: BTreeMap::new(),
            timers: Timers::default(),
            max_contexts: 50_000,
            max_branches: 16,
            first_client: 1 << 63,
        }
    }
}

/// One element of the target set (16.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The new Request-URI; `None` keeps the one there is (a request within a dialog).
    pub uri: Option<String>,
    /// Route values to put in front: a binding's Path.
    pub path: Vec<String>,
    /// Where to.
    pub flow: Flow,
}

/// What the proxy is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// Forward this request to these targets at once, in parallel.
    Request {
        /// Its server transaction.
        tx: ServerTx,
        /// The request.
        message: Message,
        /// Where it came from.
        flow: Flow,
        /// What [`Proxy::prepare`] said of it.
        prepared: Prepared,
        /// Where it goes; empty answers 480.
        targets: Vec<Target>,
    },
    /// Pass on an ACK for a 2xx.
    Ack {
        /// The ACK.
        message: Message,
        /// Where it came from.
        flow: Flow,
        /// What [`Proxy::prepare`] said of it.
        prepared: Prepared,
        /// Where it goes.
        target: Target,
    },
    /// The caller gave up.
    Cancelled {
        /// The INVITE's server transaction.
        tx: ServerTx,
    },
    /// A branch answered.
    Response {
        /// The branch.
        tx: ClientTx,
        /// The response.
        message: Message,
    },
    /// A branch failed.
    Failed {
        /// The branch.
        tx: ClientTx,
        /// Why.
        cause: FailCause,
    },
    /// [`Proxy::next_timeout`] is due.
    Timeout,
}

/// The endpoint inputs that follow from one proxy input, in order.
#[must_use = "outputs are the endpoint's next inputs"]
#[derive(Debug)]
pub struct Outputs<'a> {
    queue: &'a mut VecDeque<endpoint::Input>,
}

impl Iterator for Outputs<'_> {
    type Item = endpoint::Input;

    fn next(&mut self) -> Option<endpoint::Input> {
        self.queue.pop_front()
    }
}

/// The machine.
#[derive(Debug)]
pub struct Proxy {
    config: ProxyConfig,
    tokens: Tokens,
    queue: VecDeque<endpoint::Input>,
    contexts: BTreeMap<ServerTx, Context>,
    branches: BTreeMap<ClientTx, ServerTx>,
    deadlines: Deadlines<ServerTx>,
    next_client: u64,
}

impl Proxy {
    /// An idle proxy. `secret` makes the Record-Route tokens and loop hashes: keep it over a restart, or dialogs set
    /// up before are refused 403.
    #[must_use]
    pub fn new(config: ProxyConfig, secret: [u8; 32]) -> Self {
        Self {
            tokens: Tokens::new(secret),
            queue: VecDeque::new(),
            contexts: BTreeMap::new(),
            branches: BTreeMap::new(),
            deadlines: Deadlines::default(),
            next_client: config.first_client,
            config,
        }
    }

    /// Validates a request and works off its routes (16.3, 16.4): what comes next, or the refusal to answer with.
    ///
    /// # Errors
    /// The response: 416, 420, 482, 483, 403 (a Route that is not ours to follow) or 481 (a dialog not ours).
    pub fn prepare(&self, message: &Message) -> Result<Prepared, Box<OutgoingResponse>> {
        prepare::prepare(&self.config, &self.tokens, message)
    }

    /// Takes one input; the outputs go to the endpoint, in order.
    pub fn handle(&mut self, now: Instant, input: Input) -> Outputs<'_> {
        match input {
            Input::Request {
                tx,
                message,
                flow,
                prepared,
                targets,
            } => {
                self.request(now, tx, &message, flow, &prepared, targets);
            }
            Input::Ack {
                message,
                flow,
                prepared,
                target,
            } => {
                let request = Box::new(self.forwarded(&message, flow, &prepared, &target, None));
                self.queue.push_back(endpoint::Input::ForwardAck {
                    request,
                    to: target.flow,
                });
            }
            Input::Cancelled { tx } => self.cancelled(now, tx),
            Input::Response { tx, message } => self.response(now, tx, message),
            Input::Failed { tx, cause } => {
                self.verdict(now, tx, Verdict::Failed(cause));
            }
            Input::Timeout => self.timeout(now),
        }
        let contexts = &self.contexts;
        let stands = |at, tx, _| {
            contexts
                .get(&tx)
                .is_some_and(|context| context.deadline == Some(at))
        };
        self.deadlines.purge(stands);
        self.deadlines.compact(contexts.len(), stands);
        Outputs {
            queue: &mut self.queue,
        }
    }

    /// When [`Input::Timeout`] is next due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Response contexts alive.
    #[must_use]
    pub fn contexts(&self) -> usize {
        self.contexts.len()
    }

    /// Whether a client transaction is one of ours: its outputs come here.
    #[must_use]
    pub fn owns(&self, tx: ClientTx) -> bool {
        self.branches.contains_key(&tx)
    }

    fn request(
        &mut self,
        now: Instant,
        tx: ServerTx,
        message: &Message,
        flow: Flow,
        prepared: &Prepared,
        mut targets: Vec<Target>,
    ) {
        targets.truncate(self.config.max_branches);
        let count = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        let refusal = if count == 0 {
            Some(OutgoingResponse::new(480))
        } else if self.contexts.len() >= self.config.max_contexts {
            Some(OutgoingResponse::new(503))
        } else if prepared.breadth < count {
            Some(OutgoingResponse::new(440).with_reason("Max-Breadth Exceeded"))
        } else {
            None
        };
        if let Some(response) = refusal {
            return self
                .queue
                .push_back(endpoint::Input::Respond { tx, response });
        }
        let mut clients = Vec::with_capacity(targets.len());
        for target in &targets {
            let client = ClientTx(self.next_client);
            self.next_client += 1;
            let breadth = Some(prepared.breadth / count);
            let request = Box::new(self.forwarded(message, flow, prepared, target, breadth));
            self.queue.push_back(endpoint::Input::Forward {
                tx: client,
                request,
                to: target.flow,
            });
            self.branches.insert(client, tx);
            clients.push(client);
        }
        let invite = *message.method() == Method::Invite;
        let mut context = Context::new(invite, clients);
        if invite {
            context.deadline = Some(now + self.config.timers.timer_c);
            self.deadlines
                .push(now + self.config.timers.timer_c, tx, Timer::C);
        }
        self.contexts.insert(tx, context);
    }

    /// 16.6: the copy for one target.
    fn forwarded(
        &self,
        message: &Message,
        flow: Flow,
        prepared: &Prepared,
        target: &Target,
        breadth: Option<u32>,
    ) -> ForwardRequest {
        let mut uri = target.uri.clone().or_else(|| prepared.uri.clone());
        let mut routes = prepared.routes.clone();
        let next = target
            .path
            .first()
            .cloned()
            .or_else(|| match &prepared.next {
                Next::Hop(_) => Self::remaining(message, prepared).into_iter().next(),
                Next::Location => None,
            });
        // Step 6: a strict router takes its own URI as Request-URI and finds ours last in the Route.
        if let Some(strict) = next.filter(|next| !crate::dialog::is_loose(next)) {
            let ours = uri.take().unwrap_or_else(|| message.uri().to_owned());
            let mut all = target.path.clone();
            all.extend(Self::remaining(message, prepared));
            all.remove(0);
            all.push(format!("<{ours}>"));
            routes = Some(all);
            uri = Some(crate::dialog::uri_of(&strict).to_owned());
        } else if let Some(kept) = &mut routes {
            kept.splice(0..0, target.path.iter().cloned());
        }
        ForwardRequest {
            from: flow,
            uri,
            max_forwards: message.max_forwards().unwrap_or(70).saturating_sub(1),
            pop_routes: prepared.pop_routes,
            push_routes: target.path.clone(),
            routes,
            record_routes: self.record_routes(message, flow, target.flow),
            max_breadth: breadth.filter(|_| *message.method() != Method::Ack),
            loop_hash: Some(prepared.loop_hash),
            message: message.clone(),
        }
    }

    /// The Route values left once ours are off.
    fn remaining(message: &Message, prepared: &Prepared) -> Vec<String> {
        prepared.routes.clone().unwrap_or_else(|| {
            message
                .values(&HeaderName::Route)
                .skip(prepared.pop_routes)
                .map(str::to_owned)
                .collect()
        })
    }

    /// Step 4: one Record-Route, or two where the sides differ in transport or address, so that each side finds the
    /// one it can reach. Also within a dialog: a peer that restarted may have lost its route set.
    fn record_routes(&self, message: &Message, from: Flow, to: Flow) -> Vec<String> {
        if !matches!(
            message.method(),
            Method::Invite | Method::Subscribe | Method::Refer | Method::Notify
        ) {
            return Vec::new();
        }
        let token = self.tokens.of(message.call_id());
        let write = |flow: Flow| {
            let host = self
                .config
                .advertise
                .get(&flow.local)
                .cloned()
                .unwrap_or_else(|| flow.local.to_string());
            let transport = match flow.transport {
                crate::transport::Transport::Udp => String::new(),
                other => format!(";transport={}", other.as_param()),
            };
            format!("<sip:{token}@{host}{transport};lr>")
        };
        if (from.transport, from.local) == (to.transport, to.local) {
            vec![write(to)]
        } else {
            vec![write(to), write(from)]
        }
    }

    fn response(&mut self, now: Instant, client: ClientTx, message: Message) {
        let Some(tx) = self.branches.get(&client).copied() else {
            return;
        };
        let Some(context) = self.contexts.get_mut(&tx) else {
            return;
        };
        let status = message.status().unwrap_or_default();
        if status >= 200 {
            return self.verdict(now, client, Verdict::Response(message));
        }
        if context.provisional(client, status) {
            // Step 2: every provisional but 100 restarts timer C.
            let at = now + self.config.timers.timer_c;
            if context.invite {
                context.deadline = Some(at);
                self.deadlines.push(at, tx, Timer::C);
            }
            self.queue.push_back(endpoint::Input::ForwardResponse {
                tx,
                response: message,
                add: Vec::new(),
            });
        }
    }

    fn verdict(&mut self, now: Instant, client: ClientTx, verdict: Verdict) {
        let Some(tx) = self.branches.get(&client).copied() else {
            return;
        };
        let Some(context) = self.contexts.get_mut(&tx) else {
            return;
        };
        let step = context.verdict(client, verdict);
        for client in step.cancel {
            self.queue.push_back(endpoint::Input::Cancel {
                tx: client,
                reason: step.reason.map(str::to_owned),
            });
        }
        if let Some(answer) = step.answer {
            self.queue.push_back(answer.into_input(tx));
        }
        self.settle(now, tx);
    }

    fn cancelled(&mut self, now: Instant, tx: ServerTx) {
        let Some(context) = self.contexts.get_mut(&tx) else {
            return;
        };
        for client in context.cancel() {
            self.queue.push_back(endpoint::Input::Cancel {
                tx: client,
                reason: None,
            });
        }
        self.settle(now, tx);
    }

    /// Ends a context all of whose branches have answered; after a 2xx to an INVITE it stays for 64·T1, for the 2xx of
    /// other branches and repeated ones are passed on too (16.7 step 5).
    fn settle(&mut self, now: Instant, tx: ServerTx) {
        let Some(context) = self.contexts.get_mut(&tx) else {
            return;
        };
        if !context.is_settled() {
            return;
        }
        if context.invite && context.was_accepted() {
            if !context.lingering {
                context.lingering = true;
                let at = now + self.config.timers.sixty_four_t1();
                context.deadline = Some(at);
                self.deadlines.push(at, tx, Timer::M);
            }
            return;
        }
        self.remove(tx);
    }

    fn remove(&mut self, tx: ServerTx) {
        if let Some(context) = self.contexts.remove(&tx) {
            for client in context.clients() {
                self.branches.remove(&client);
            }
        }
    }

    fn timeout(&mut self, now: Instant) {
        while let Some((at, tx, _)) = self.deadlines.pop_due(now) {
            let Some(context) = self
                .contexts
                .get_mut(&tx)
                .filter(|context| context.deadline == Some(at))
            else {
                continue;
            };
            context.deadline = None;
            if context.lingering {
                self.remove(tx);
                continue;
            }
            // 16.8: timer C cancels what rings; the endpoint ends a branch that does not even answer the CANCEL.
            for client in context.cancel() {
                self.queue.push_back(endpoint::Input::Cancel {
                    tx: client,
                    reason: None,
                });
            }
        }
    }
}

/// Challenges of other branches that go with a 401 or 407 (16.7 step 7).
fn challenges(message: &Message) -> impl Iterator<Item = (HeaderName, String)> + '_ {
    [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate]
        .into_iter()
        .flat_map(|name| {
            let values: Vec<String> = message.headers(&name).map(str::to_owned).collect();
            values.into_iter().map(move |value| (name.clone(), value))
        })
}
