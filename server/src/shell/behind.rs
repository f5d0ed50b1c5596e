//! What is written behind the call path: registrations, call records and stories. Lost by a power cut, kept when
//! the process is killed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use intercom::{Cdr, Now};
use sip_proxy::location::{Binding, BindingChange};
use sip_proxy::{Flow, Push, Transport, Uri};
use tokio::sync::mpsc;

use super::ladders::Ladders;
use crate::metrics::Metrics;
use crate::signalling::Behind;
use crate::store::{BindingRow, BindingWrite, CallRow, Store};

/// What is written in one transaction at most.
const BATCH: usize = 512;
/// How long the first of a batch waits for others. A killed process loses this much; a transaction each would cost
/// more than the call it tells of.
const GATHER: Duration = Duration::from_millis(50);
/// Records whose story has not come yet. Overflow rule: the oldest is written without one.
const UNPAIRED: usize = 256;

/// A call that ended, for whoever watches (the demo).
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) story: Arc<Vec<String>>,
}

/// Writes until signalling ends and everything that waited is written.
pub(crate) async fn write(
    store: Store,
    mut items: mpsc::Receiver<Behind>,
    metrics: Arc<Metrics>,
    trace: conf::Trace,
    watcher: Option<mpsc::Sender<Ended>>,
) {
    let mut ladders = Ladders::new(trace);
    let mut unpaired: VecDeque<Box<Cdr>> = VecDeque::new();
    let mut bindings: Vec<BindingWrite> = Vec::new();
    let mut calls: Vec<(CallRow, String)> = Vec::new();
    let mut batch = Vec::with_capacity(BATCH);
    while gather(&mut items, &mut batch).await {
        for item in batch.drain(..) {
            match item {
                Behind::Bindings(now, changes) => {
                    bindings.extend(changes.iter().map(|change| binding_write(now, change)));
                }
                Behind::Unlocked(latency) => {
                    metrics.latencies.unlock.observe(latency.as_secs_f64());
                }
                Behind::Call(cdr) => {
                    observe(&metrics, &cdr);
                    unpaired.push_back(cdr);
                    if unpaired.len() > UNPAIRED
                        && let Some(cdr) = unpaired.pop_front()
                    {
                        calls.push((call_row(&cdr), String::new()));
                    }
                }
                Behind::Ladder(ladder) => ladders.push(&ladder),
                Behind::Story(story) => {
                    let place = unpaired.iter().position(|cdr| cdr.call == story.call);
                    let Some(cdr) = place.and_then(|place| unpaired.remove(place)) else {
                        continue;
                    };
                    calls.push((call_row(&cdr), story.to_string()));
                }
            }
        }
        save(&store, &mut bindings, &mut calls, watcher.as_ref()).await;
        ladders.save(&store).await;
    }
    calls.extend(unpaired.iter().map(|cdr| (call_row(cdr), String::new())));
    save(&store, &mut bindings, &mut calls, None).await;
}

/// Waits for the first item and then a moment for those that follow; `false` when nothing will come any more.
async fn gather(items: &mut mpsc::Receiver<Behind>, batch: &mut Vec<Behind>) -> bool {
    if items.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    if !items.is_closed() {
        // Slept, not waited for each: a wake-up for every item would cost more than writing it.
        tokio::time::sleep(GATHER).await;
    }
    while batch.len() < BATCH
        && let Ok(item) = items.try_recv()
    {
        batch.push(item);
    }
    true
}

async fn save(
    store: &Store,
    bindings: &mut Vec<BindingWrite>,
    calls: &mut Vec<(CallRow, String)>,
    watcher: Option<&mpsc::Sender<Ended>>,
) {
    if !bindings.is_empty()
        && let Err(error) = store.save_bindings(bindings).await
    {
        tracing::error!(%error, lost = bindings.len(), "registrations could not be written");
    }
    bindings.clear();
    if !calls.is_empty()
        && let Err(error) = store.save_calls(calls).await
    {
        tracing::error!(%error, lost = calls.len(), "call records could not be written");
    }
    for (_, story) in calls.drain(..) {
        if let Some(watcher) = watcher {
            let story = Arc::new(story.lines().map(str::to_owned).collect());
            // Whoever watches too slowly misses a call; the store has it.
            let _ = watcher.try_send(Ended { story });
        }
    }
}

fn observe(metrics: &Metrics, cdr: &Cdr) {
    metrics.answers.count(cdr);
    let seconds = |after: Option<Duration>| after.map(|after| after.as_secs_f64());
    for (histogram, value) in [
        (&metrics.latencies.route_decision, seconds(cdr.routed_after)),
        (&metrics.latencies.ringing, seconds(cdr.rang_after)),
        (&metrics.latencies.answer, seconds(cdr.answered_after)),
    ] {
        if let Some(value) = value {
            histogram.observe(value);
        }
    }
}

/// The row a call is found by, with the whole record in it.
fn call_row(cdr: &Cdr) -> CallRow {
    let ended = cdr
        .started
        .checked_add(cdr.ended_after)
        .unwrap_or(cdr.started);
    let caller = match &cdr.door {
        Some(door) => format!("door:{door}"),
        None => format!("device:{}", cdr.caller),
    };
    let outcome = serde_json::to_value(cdr.end)
        .ok()
        .and_then(|end| end.as_str().map(str::to_owned));
    CallRow {
        call: cdr.call.clone(),
        started: cdr.started,
        ended,
        caller,
        dialled: cdr.dialled.clone().unwrap_or_default(),
        outcome: match (&cdr.winner, outcome) {
            (Some(_), _) => "answered".to_owned(),
            (None, end) => end.unwrap_or_default(),
        },
        record: serde_json::to_string(cdr).unwrap_or_default(),
    }
}

fn binding_write(now: Now, change: &BindingChange) -> BindingWrite {
    match change {
        BindingChange::Added { aor, binding }
        | BindingChange::Refreshed { aor, binding, .. }
        | BindingChange::Moved { aor, binding, .. } => {
            BindingWrite::Put(Box::new(row(now, aor, binding)))
        }
        BindingChange::Removed { aor, binding, .. } => BindingWrite::Remove {
            aor: aor.to_string(),
            place: place(binding),
        },
    }
}

/// What tells a binding from the others of its address-of-record, as [`Binding::is_same_place`] does.
fn place(binding: &Binding) -> String {
    match binding.reg_id {
        None => binding.contact.to_string(),
        Some(reg_id) => format!(
            "{reg_id} {}",
            binding.instance.as_deref().unwrap_or_default()
        ),
    }
}

fn row(now: Now, aor: &str, binding: &Binding) -> BindingRow {
    let left = binding.expires.saturating_duration_since(now.mono);
    BindingRow {
        aor: aor.to_owned(),
        place: place(binding),
        contact: binding.contact.to_string(),
        transport: binding.flow.transport.as_param().to_owned(),
        local: binding.flow.local.to_string(),
        remote: binding.flow.remote.to_string(),
        path: binding.path.iter().map(|value| value.to_string()).collect(),
        call_id: binding.call_id.to_string(),
        cseq: binding.cseq,
        q: binding.q,
        outbound: binding.outbound,
        instance: binding.instance.as_deref().map(str::to_owned),
        reg_id: binding.reg_id,
        user_agent: binding.user_agent.as_deref().map(str::to_owned),
        gruu: binding.gruu,
        expires: now.civil.checked_add(left).unwrap_or(now.civil),
    }
}

/// A stored registration, for the location service. `None` for a row this version cannot read: the device
/// registers again. A stream's connection did not survive the restart: the next call dials the contact, or where that
/// cannot be, the binding waits, not reachable, for the device to come back.
pub(crate) fn restored(now: Now, row: BindingRow) -> Option<(String, Binding)> {
    let flow = Flow {
        transport: Transport::from_token(&row.transport)?,
        local: row.local.parse().ok()?,
        remote: row.remote.parse().ok()?,
        connection: None,
    };
    let left = Duration::try_from(row.expires.duration_since(now.civil)).ok()?;
    let mut binding = Binding {
        push: Uri::parse(&row.contact)
            .ok()
            .and_then(|uri| Push::of(&uri))
            .map(Box::new),
        contact: row.contact.into(),
        flow,
        source: flow.remote.ip(),
        path: row.path.into_iter().map(String::into_boxed_str).collect(),
        call_id: row.call_id.into(),
        cseq: row.cseq,
        q: row.q,
        outbound: row.outbound,
        instance: row.instance.map(String::into_boxed_str),
        reg_id: row.reg_id,
        user_agent: row.user_agent.map(Arc::from),
        gruu: row.gruu,
        expires: now.mono + left,
    };
    binding.lose_connection();
    Some((row.aor, binding))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_binding_survives_the_store_with_the_time_it_has_left() {
        let now = Now {
            mono: Instant::now(),
            civil: jiff::Timestamp::now(),
        };
        let binding = Binding {
            contact: "sip:desk@192.0.2.7:5070;pn-provider=apns;pn-prid=1".into(),
            flow: Flow {
                transport: Transport::Udp,
                local: "192.0.2.1:5060".parse().unwrap(),
                remote: "192.0.2.7:5070".parse().unwrap(),
                connection: None,
            },
            source: "192.0.2.7".parse().unwrap(),
            path: ["<sip:edge.example;lr;ob>".into()].into(),
            call_id: "reg-1".into(),
            cseq: 4,
            q: 700,
            outbound: true,
            gruu: Some(u64::MAX - 7),
            push: Push::of(
                &Uri::parse("sip:desk@192.0.2.7:5070;pn-provider=apns;pn-prid=1").unwrap(),
            )
            .map(Box::new),
            instance: Some("urn:uuid:1".into()),
            reg_id: Some(1),
            user_agent: Some("Phone/1".into()),
            expires: now.mono + Duration::from_secs(60),
        };
        let change = BindingChange::Added {
            aor: "sip:desk@example.org".into(),
            binding: Arc::new(binding.clone()),
        };
        let BindingWrite::Put(row) = binding_write(now, &change) else {
            panic!("an added binding is put")
        };
        assert_eq!(
            restored(now, *row),
            Some(("sip:desk@example.org".to_owned(), binding))
        );
    }

    #[test]
    fn a_row_of_an_unknown_transport_is_left_out() {
        let now = Now {
            mono: Instant::now(),
            civil: jiff::Timestamp::now(),
        };
        let row = BindingRow {
            aor: "sip:desk@example.org".into(),
            place: "sip:desk@192.0.2.7".into(),
            contact: "sip:desk@192.0.2.7".into(),
            transport: "carrier-pigeon".into(),
            local: "192.0.2.1:5060".into(),
            remote: "192.0.2.7:5060".into(),
            path: Vec::new(),
            call_id: "reg-1".into(),
            cseq: 1,
            q: 1000,
            instance: None,
            reg_id: None,
            user_agent: None,
            outbound: false,
            gruu: None,
            expires: now.civil,
        };
        assert_eq!(restored(now, row), None);
    }
}
