//! All subscriptions of one notifier: found by resource, by watcher and by the tag of their dialog.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::subscription::{Act, End, Input, Pace, State, Subscription};
use super::{Event, accepts};
use crate::dialog::Dialog;
use crate::endpoint::ClientTx;
use crate::message::{HeaderName, Message, Method, OutgoingRequest, OutgoingResponse};
use crate::transport::{ConnectionId, Flow};

/// A subscription's number; not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u64);

impl SubscriptionId {
    /// The tag of its dialog: names it, so that a refresh finds it without a search, and cannot be guessed.
    fn tag(self, random: u64) -> String {
        format!("e{:x}-{random:016x}", self.0)
    }

    /// The subscription a tag of ours names.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        let (number, random) = tag.strip_prefix('e')?.split_once('-')?;
        (random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| u64::from_str_radix(number, 16).ok().map(Self))
            .flatten()
    }
}

/// Bounds and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotifierConfig {
    /// Subscriptions in all; one more is refused 503 and counted.
    pub max: usize,
    /// Subscriptions of one watcher. One more takes the place of an older one of the same Contact to the same resource,
    /// which a restarted phone has forgotten; where there is none it is refused 403 and counted.
    pub max_per_watcher: usize,
    /// Shorter is refused with 423, seconds.
    pub min_expires: u32,
    /// Longer is shortened, seconds.
    pub max_expires: u32,
    /// How often one subscriber is told.
    pub pace: Pace,
}

impl Default for NotifierConfig {
    fn default() -> Self {
        Self {
            max: 10_000,
            max_per_watcher: 128,
            min_expires: 60,
            max_expires: 3_600,
            pace: Pace::default(),
        }
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotifierCounters {
    /// Subscriptions begun.
    pub begun: u64,
    /// Refused because the table, or the watcher's share of it, was full.
    pub overflow: u64,
    /// Ended because no NOTIFY reached the subscriber.
    pub unreachable: u64,
    /// Ended because they were not refreshed, or were given up.
    pub timed_out: u64,
    /// NOTIFYs asked for.
    pub notified: u64,
}

/// A new SUBSCRIBE, authorised by the owner.
#[derive(Debug)]
pub struct Request<'a, R, D> {
    /// The request.
    pub message: &'a Message,
    /// Where it came from: NOTIFYs go back this way.
    pub flow: Flow,
    /// Who subscribes.
    pub watcher: &'a str,
    /// To what.
    pub resource: R,
    /// The owner's own notes.
    pub data: D,
    /// Body type of the package.
    pub content_type: &'static str,
    /// When the request names no time, seconds.
    pub default_expires: u32,
    /// Whether it may see the resource already.
    pub state: State,
    /// For the dialog's tag.
    pub random: u64,
    /// Our Contact.
    pub contact: String,
}

/// A NOTIFY to send: the owner adds the body, gives it a transaction and says so with [`Notifier::sent`].
#[derive(Debug)]
pub struct Notification<R, D> {
    /// Whose.
    pub id: SubscriptionId,
    /// Who is told.
    pub watcher: Arc<str>,
    /// Of what.
    pub resource: R,
    /// Body type.
    pub content_type: &'static str,
    /// The request but for its body.
    pub request: OutgoingRequest,
    /// Where to.
    pub to: Flow,
    /// The last one: the owner's notes, given back.
    pub last: Option<D>,
}

#[derive(Debug)]
struct Entry<R, D> {
    sub: Subscription,
    dialog: Dialog,
    /// The Event field as repeated in each NOTIFY.
    event: String,
    watcher: Arc<str>,
    resource: R,
    data: D,
    content_type: &'static str,
    contact: String,
    wake: Option<Instant>,
}

/// The table.
#[derive(Debug)]
pub struct Notifier<R, D> {
    config: NotifierConfig,
    next: u64,
    entries: BTreeMap<SubscriptionId, Entry<R, D>>,
    by_resource: BTreeMap<R, BTreeSet<SubscriptionId>>,
    by_watcher: BTreeMap<Arc<str>, BTreeSet<SubscriptionId>>,
    wakes: BTreeSet<(Instant, SubscriptionId)>,
    /// NOTIFYs under way; at most one of each subscription.
    under_way: BTreeMap<ClientTx, SubscriptionId>,
    queue: VecDeque<Notification<R, D>>,
    counters: NotifierCounters,
}

impl<R: Ord + Clone, D> Notifier<R, D> {
    /// An empty table.
    #[must_use]
    pub fn new(config: NotifierConfig) -> Self {
        Self {
            config,
            next: 1,
            entries: BTreeMap::new(),
            by_resource: BTreeMap::new(),
            by_watcher: BTreeMap::new(),
            wakes: BTreeSet::new(),
            under_way: BTreeMap::new(),
            queue: VecDeque::new(),
            counters: NotifierCounters::default(),
        }
    }

    /// Subscriptions held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody watches anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &NotifierCounters {
        &self.counters
    }

    /// Whether anybody watches a resource.
    #[must_use]
    pub fn is_watched(&self, resource: &R) -> bool {
        self.by_resource.contains_key(resource)
    }

    /// The resources watched, in order.
    pub fn resources(&self) -> impl Iterator<Item = &R> {
        self.by_resource.keys()
    }

    /// The owner's notes on a subscription.
    pub fn data_mut(&mut self, id: SubscriptionId) -> Option<&mut D> {
        self.entries.get_mut(&id).map(|entry| &mut entry.data)
    }

    /// Who watches what.
    pub fn watchers(&self) -> impl Iterator<Item = (SubscriptionId, &str, &R)> {
        self.entries
            .iter()
            .map(|(id, entry)| (*id, &*entry.watcher, &entry.resource))
    }

    /// When [`Self::timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// The next NOTIFY to send. The queue is bounded by the subscriptions: each asks for one at a time.
    pub fn next_notification(&mut self) -> Option<Notification<R, D>> {
        self.queue.pop_front()
    }

    /// A SUBSCRIBE outside any dialog (RFC 6665 section 4.2.1). The response is complete; the NOTIFY follows.
    pub fn subscribe(&mut self, now: Instant, request: Request<'_, R, D>) -> OutgoingResponse {
        let Some(event) = Event::of(request.message) else {
            return OutgoingResponse::new(400).with_reason("Bad Event");
        };
        if !accepts(request.message, request.content_type) {
            return OutgoingResponse::new(406)
                .with_header(HeaderName::Accept, request.content_type);
        }
        let asked = request.message.expires().unwrap_or(request.default_expires);
        let expires = match self.granted(asked) {
            Ok(expires) => expires,
            Err(refusal) => return *refusal,
        };
        let id = SubscriptionId(self.next);
        let tag = id.tag(request.random);
        let dialog = match Dialog::from_request(request.message, &tag, request.flow) {
            Ok(dialog) => dialog,
            Err(reject) => return OutgoingResponse::new(reject.status).with_reason(reject.reason),
        };
        if let Err(refusal) = self.make_room(request.watcher, &request.resource, &dialog) {
            self.counters.overflow += 1;
            return *refusal;
        }
        self.next += 1;
        self.counters.begun += 1;
        let watcher = self
            .by_watcher
            .get_key_value(request.watcher)
            .map_or_else(|| Arc::from(request.watcher), |(name, _)| name.clone());
        let response = accepted(expires, &request.contact).with_to_tag(tag);
        let event = match event.id {
            Some(event_id) => format!("{};id={event_id}", event.package),
            None => event.package.to_owned(),
        };
        self.by_watcher
            .entry(watcher.clone())
            .or_default()
            .insert(id);
        self.by_resource
            .entry(request.resource.clone())
            .or_default()
            .insert(id);
        let entry = Entry {
            sub: Subscription::new(now, request.state, self.config.pace),
            dialog,
            event,
            watcher,
            resource: request.resource,
            data: request.data,
            content_type: request.content_type,
            contact: request.contact,
            wake: None,
        };
        self.entries.insert(id, entry);
        self.feed(now, id, Input::Subscribed { expires });
        response
    }

    /// The watcher of the dialog a SUBSCRIBE belongs to and where it is; `None` where we hold no such dialog (481).
    #[must_use]
    pub fn dialog_of(&self, message: &Message) -> Option<(SubscriptionId, &str, Flow, &R)> {
        let id = message.to_tag().and_then(SubscriptionId::of_tag)?;
        let entry = self.entries.get(&id)?;
        entry.dialog.matches(message).then_some((
            id,
            &*entry.watcher,
            entry.dialog.flow,
            &entry.resource,
        ))
    }

    /// A SUBSCRIBE within its dialog: refreshes or ends it (section 4.2.1.2).
    pub fn refresh(
        &mut self,
        now: Instant,
        id: SubscriptionId,
        message: &Message,
        flow: Flow,
    ) -> OutgoingResponse {
        let asked = message.expires().unwrap_or(self.config.max_expires);
        let expires = self.granted(asked);
        let Some(entry) = self.entries.get_mut(&id) else {
            return OutgoingResponse::new(481);
        };
        if let Err(reject) = entry.dialog.receive(message) {
            return OutgoingResponse::new(reject.status).with_reason(reject.reason);
        }
        let same = Event::of(message).is_some_and(|event| {
            let (package, id) = entry
                .event
                .split_once(";id=")
                .map_or((entry.event.as_str(), None), |(package, id)| {
                    (package, Some(id))
                });
            event.package == package && event.id == id
        });
        if !same {
            // One dialog, one subscription (section 4.4.1): another event is none of ours.
            return OutgoingResponse::new(481);
        }
        let expires = match expires {
            Ok(expires) => expires,
            Err(refusal) => return *refusal,
        };
        entry.dialog.refresh_target(message);
        entry.dialog.flow = flow;
        let response = accepted(expires, &entry.contact);
        self.feed(now, id, Input::Subscribed { expires });
        response
    }

    /// A resource changed: everybody who watches it is told, each at its pace.
    pub fn changed(&mut self, now: Instant, resource: &R) {
        let Some(ids) = self.by_resource.get(resource) else {
            return;
        };
        for id in ids.iter().copied().collect::<Vec<_>>() {
            self.feed(now, id, Input::Changed);
        }
    }

    /// Ends one with a last NOTIFY.
    pub fn end(&mut self, now: Instant, id: SubscriptionId, end: End) {
        self.feed(now, id, Input::Ended(end));
    }

    /// Ends them all, politely: the server stops.
    pub fn end_all(&mut self, now: Instant, end: End) {
        for id in self.entries.keys().copied().collect::<Vec<_>>() {
            self.feed(now, id, Input::Ended(end));
        }
    }

    /// A NOTIFY went out.
    pub fn sent(&mut self, now: Instant, id: SubscriptionId, tx: ClientTx) {
        if self.entries.contains_key(&id) {
            self.under_way.insert(tx, id);
            self.feed(now, id, Input::Sent(tx));
        }
    }

    /// The response to a NOTIFY.
    pub fn answered(&mut self, now: Instant, tx: ClientTx, response: &Message) {
        let status = response.status().unwrap_or(0);
        if status < 200 {
            return;
        }
        let retry_after = response
            .header(&HeaderName::RetryAfter)
            .and_then(|value| value.trim().split([' ', ';', '(']).next()?.parse().ok())
            .map(Duration::from_secs);
        if let Some(id) = self.under_way.remove(&tx) {
            let input = Input::Answered {
                tx,
                status,
                retry_after,
            };
            self.feed(now, id, input);
        }
    }

    /// A NOTIFY that nobody answered.
    pub fn failed(&mut self, now: Instant, tx: ClientTx) {
        if let Some(id) = self.under_way.remove(&tx) {
            self.feed(now, id, Input::Failed(tx));
        }
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Instant) {
        while let Some((at, id)) = self.wakes.first().copied() {
            if at > now {
                break;
            }
            self.feed(now, id, Input::Timeout);
        }
    }

    /// A connection is gone: what goes to the subscriber from now on needs another, see [`Self::rehome`].
    pub fn connection_closed(&mut self, connection: ConnectionId) {
        for entry in self.entries.values_mut() {
            if entry.dialog.flow.connection == Some(connection) {
                entry.dialog.flow.connection = None;
            }
        }
    }

    /// A watcher registered: subscriptions of that Contact, and those from that address whose connection was lost, are
    /// told by the new flow (RFC 5626 section 5.3: the flow, not the address, is where a device is).
    pub fn rehome(&mut self, watcher: &str, contact: &str, flow: Flow) {
        let Some(ids) = self.by_watcher.get(watcher) else {
            return;
        };
        for id in ids {
            let Some(entry) = self.entries.get_mut(id) else {
                continue;
            };
            let old = &mut entry.dialog.flow;
            let lost = old.transport.is_stream() && old.connection.is_none();
            let same = entry.dialog.remote_target == contact
                || (lost && old.remote.ip() == flow.remote.ip());
            if same && old.transport == flow.transport && entry.dialog.route_set.is_empty() {
                *old = flow;
            }
        }
    }

    /// Seconds granted, or the refusal (section 4.2.1.1).
    fn granted(&self, asked: u32) -> Result<Duration, Box<OutgoingResponse>> {
        const HOUR: u32 = 3_600;
        if asked != 0 && asked < self.config.min_expires && asked < HOUR {
            let least = self.config.min_expires.to_string();
            let refusal = OutgoingResponse::new(423).with_header(HeaderName::MinExpires, least);
            return Err(Box::new(refusal));
        }
        let granted = asked.min(self.config.max_expires);
        Ok(Duration::from_secs(u64::from(granted)))
    }

    fn make_room(
        &mut self,
        watcher: &str,
        resource: &R,
        dialog: &Dialog,
    ) -> Result<(), Box<OutgoingResponse>> {
        let mine = self.by_watcher.get(watcher);
        if mine.is_some_and(|mine| mine.len() >= self.config.max_per_watcher) {
            let forgotten = mine.into_iter().flatten().copied().find(|id| {
                self.entries.get(id).is_some_and(|entry| {
                    entry.resource == *resource
                        && entry.dialog.remote_target == dialog.remote_target
                })
            });
            let Some(forgotten) = forgotten else {
                let refusal = OutgoingResponse::new(403).with_reason("Too Many Subscriptions");
                return Err(Box::new(refusal));
            };
            self.remove(forgotten);
        } else if self.entries.len() >= self.config.max {
            let refusal = OutgoingResponse::new(503).with_header(HeaderName::RetryAfter, "60");
            return Err(Box::new(refusal));
        }
        Ok(())
    }

    fn feed(&mut self, now: Instant, id: SubscriptionId, input: Input) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let act = entry.sub.handle(now, input);
        let wake = entry.sub.next_timeout();
        if wake != entry.wake {
            if let Some(at) = std::mem::replace(&mut entry.wake, wake) {
                self.wakes.remove(&(at, id));
            }
            if let Some(at) = wake {
                self.wakes.insert((at, id));
            }
        }
        match act {
            None => {}
            Some(Act::Notify) => {
                self.counters.notified += 1;
                let notification = entry.notification(now, id);
                self.queue.push_back(notification);
            }
            Some(Act::Last(end)) => {
                self.counters.notified += 1;
                self.counters.timed_out += u64::from(end == End::Timeout);
                let mut notification = entry.notification(now, id);
                notification.last = self.remove(id);
                self.queue.push_back(notification);
            }
            Some(Act::Gone(_)) => {
                self.counters.unreachable += 1;
                self.remove(id);
            }
        }
    }

    fn remove(&mut self, id: SubscriptionId) -> Option<D> {
        let entry = self.entries.remove(&id)?;
        if let Some(at) = entry.wake {
            self.wakes.remove(&(at, id));
        }
        if let Some(tx) = entry.sub.under_way() {
            self.under_way.remove(&tx);
        }
        if let Some(ids) = self.by_resource.get_mut(&entry.resource) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_resource.remove(&entry.resource);
            }
        }
        if let Some(ids) = self.by_watcher.get_mut(&entry.watcher) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_watcher.remove(&entry.watcher);
            }
        }
        // What it was still to be told is told by its last NOTIFY, if there is one.
        self.queue.retain(|waiting| waiting.id != id);
        Some(entry.data)
    }
}

impl<R: Ord + Clone, D> Entry<R, D> {
    fn notification(&mut self, now: Instant, id: SubscriptionId) -> Notification<R, D> {
        let mut request = self.dialog.request(Method::Notify);
        request.contact = Some(self.contact.clone());
        request
            .headers
            .push((HeaderName::Event, self.event.clone()));
        request
            .headers
            .push((HeaderName::SubscriptionState, self.sub.header(now)));
        Notification {
            id,
            watcher: self.watcher.clone(),
            resource: self.resource.clone(),
            content_type: self.content_type,
            request,
            to: self.dialog.flow,
            last: None,
        }
    }
}

fn accepted(expires: Duration, contact: &str) -> OutgoingResponse {
    OutgoingResponse::new(200)
        .with_contact(contact)
        .with_header(HeaderName::Expires, expires.as_secs().to_string())
}
