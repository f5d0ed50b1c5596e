//! The signalling thread's counts as samples, once a second.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use intercom::reach::Reachability;
use intercom::{B2bua, Reading};

use super::gate::Gate;
use super::world::World;
use crate::metrics::{Published, Sample};
use crate::transport::stream::Counts;

/// Readings of devices are taken every so many times only: their history is the dearest of all.
const READINGS_EVERY: u64 = 5;

pub(super) fn publish(
    published: &Published,
    b2bua: &B2bua,
    world: &World,
    gate: &Gate,
    now: Instant,
    turn: u64,
) {
    if turn.is_multiple_of(READINGS_EVERY) {
        let readings = b2bua.reachability(now).collect();
        published.readings.store(Arc::new(readings));
    }
    let mut samples = Vec::with_capacity(192);
    calls(&mut samples, b2bua, world);
    events(&mut samples, b2bua, world);
    transactions(&mut samples, b2bua.sip_counters());
    transports(&mut samples, world);
    devices(&mut samples, &published.readings.load());
    overload(&mut samples, gate);
    world.traffic.samples(&mut samples);
    let delays = gate.delays.sample(
        "sip_queue_delay_seconds",
        "How long messages waited before they were looked at",
    );
    published.replace_histograms(vec![delays, world.traffic.turns()]);
    published
        .live_calls
        .store(b2bua.live_calls(), Ordering::Release);
    published
        .held_calls
        .store(b2bua.held_calls(), Ordering::Release);
    published.replace(samples);
}

fn overload(samples: &mut Vec<Sample>, gate: &Gate) {
    let overload = &gate.overload;
    let delay = usize::try_from(overload.delay().as_micros()).unwrap_or(usize::MAX);
    samples.push(Sample::gauge(
        "sip_queue_delay_microseconds",
        "How long messages wait before they are looked at, smoothed",
        delay,
    ));
    samples.extend(overload.refused().map(|(class, count)| {
        Sample::count(
            "sip_refused_for_overload",
            "New requests refused because messages waited too long",
            count,
        )
        .label("class", &class.as_str())
    }));
    samples.extend([
        Sample::count(
            "sip_refused_silently",
            "Of these, strangers' that were not even answered",
            overload.dropped(),
        ),
        Sample::count(
            "udp_lost",
            "Datagrams the kernel had no room for",
            gate.lost,
        ),
    ]);
}

fn calls(samples: &mut Vec<Sample>, b2bua: &B2bua, world: &World) {
    let counters = b2bua.counters();
    samples.extend([
        Sample::gauge("calls_live", "Calls in progress", b2bua.live_calls()),
        Sample::gauge("bindings", "Registered contacts", b2bua.bindings()),
        Sample::gauge(
            "ladder_octets",
            "Octets of SIP messages kept for ladders of calls",
            b2bua.ladders().0,
        ),
        Sample::count(
            "ladders_pushed_out",
            "Calls whose messages made room for others",
            b2bua.ladders().1,
        ),
        Sample::gauge("unlock_intents", "Unlocks under way", b2bua.intents()),
        Sample::gauge(
            "media_leases_free",
            "Media ports leased in advance",
            b2bua.free_leases(),
        ),
        Sample::gauge(
            "audit_under_way",
            "Records on the way to the disk",
            world.under_way,
        ),
        Sample::count("calls_begun", "Calls begun", counters.calls),
        Sample::count("calls_answered", "Calls answered", counters.answered),
        Sample::count(
            "calls_refused",
            "Calls refused for a limit or drain",
            counters.refused,
        ),
        Sample::count("challenges", "Challenges sent", counters.challenged),
        Sample::count(
            "wrong_credentials",
            "Requests with wrong credentials",
            counters.wrong_credentials,
        ),
        Sample::count(
            "door_contacts_moved",
            "Stations of doors that registered from a new address",
            counters.doors_moved,
        ),
        Sample::count(
            "penalties",
            "Sources that began a silence for wrong credentials",
            counters.penalties,
        ),
        Sample::count(
            "silenced",
            "Messages met with that silence",
            counters.silenced,
        ),
        Sample::count(
            "unknown_dialogs",
            "Requests in dialogs that are not held",
            counters.unknown_dialog,
        ),
        Sample::count(
            "methods_not_served",
            "Requests with a method that is not served",
            counters.not_served,
        ),
        Sample::count(
            "stuck_deadlines",
            "Deadlines of calls that stayed in the past and were put off; zero, or a mistake of the server",
            counters.stuck_deadlines,
        ),
        Sample::count(
            "foreign_domains",
            "Requests for foreign domains",
            counters.foreign,
        ),
        Sample::count("unlocks_asked", "Unlocks asked for", counters.unlocks),
        Sample::count(
            "unlocks_opened",
            "Relays opened, or stations told",
            counters.opened,
        ),
    ]);
    samples.extend(world.unlocks.decisions.iter().map(|(decision, count)| {
        Sample::count("unlock_decisions", "Unlocks by decision", *count)
            .label("decision", &decision)
    }));
    samples.extend(world.unlocks.results.iter().map(|(result, count)| {
        Sample::count("unlock_results", "Granted unlocks by result", *count)
            .label("result", &result)
    }));
}

/// Subscriptions, site events, and who answers.
fn events(samples: &mut Vec<Sample>, b2bua: &B2bua, world: &World) {
    let counters = b2bua.event_counters();
    let notifier = counters.notifier;
    samples.extend([
        Sample::gauge(
            "subscriptions",
            "Event subscriptions held",
            counters.subscriptions,
        ),
        Sample::gauge("publications", "Publications held", counters.publications),
        Sample::count(
            "subscriptions_begun",
            "Event subscriptions begun",
            notifier.begun,
        ),
        Sample::count(
            "subscriptions_refused",
            "SUBSCRIBEs refused: package, right or name",
            counters.refused,
        ),
        Sample::count(
            "subscriptions_overflow",
            "SUBSCRIBEs refused, table or account full",
            notifier.overflow,
        ),
        Sample::count(
            "subscriptions_unreachable",
            "Subscriptions ended, no NOTIFY reached the subscriber",
            notifier.unreachable,
        ),
        Sample::count(
            "subscriptions_timed_out",
            "Subscriptions ended, not refreshed or given up",
            notifier.timed_out,
        ),
        Sample::count("notifies", "NOTIFYs sent", notifier.notified),
    ]);
    samples.extend(world.events.iter().map(|(kind, count)| {
        Sample::count("site_events", "Events of the site", *count).label("kind", kind)
    }));
    samples.extend(b2bua.reachability_counts().map(|(state, count)| {
        Sample::gauge("devices_asked", "Devices asked by OPTIONS, by state", count)
            .label("state", &state)
    }));
}

/// What is known of devices, and of the doors among them as samples: there are few of those.
fn devices(samples: &mut Vec<Sample>, readings: &[Reading]) {
    let doors = || readings.iter().filter(|reading| reading.door.is_some());
    let gauge = |name, help, reading: &Reading, value: usize| {
        Sample::gauge(name, help, value).label("device", &reading.device)
    };
    samples.extend(doors().map(|reading| {
        let up = matches!(
            reading.state,
            Reachability::Reachable | Reachability::Lagging
        );
        let help = "Whether the door's station answers OPTIONS";
        gauge("door_reachable", help, reading, usize::from(up))
    }));
    samples.extend(doors().filter_map(|reading| {
        let rtt = usize::try_from(reading.rtt?.as_micros()).unwrap_or(usize::MAX);
        let help = "Round trip of the door's latest answer, microseconds";
        Some(gauge("door_rtt_microseconds", help, reading, rtt))
    }));
    samples.extend(doors().filter_map(|reading| {
        let help = "Thousandths of the last 24 hours in which the door's station answered";
        let permille = usize::from(reading.permille?);
        Some(gauge("door_reachable_permille", help, reading, permille))
    }));
}

fn transactions(samples: &mut Vec<Sample>, sip: &sip_proxy::Counters) {
    for (name, help, counts) in [
        ("sip_requests_in", "New requests received", &sip.requests_in),
        ("sip_requests_out", "New requests sent", &sip.requests_out),
    ] {
        samples.extend(
            counts
                .iter()
                .map(|(method, count)| Sample::count(name, help, count).label("method", &method)),
        );
    }
    for (name, help, counts) in [
        ("sip_responses_in", "Responses received", &sip.responses_in),
        (
            "sip_responses_out",
            "New responses sent",
            &sip.responses_out,
        ),
    ] {
        samples.extend(
            counts
                .iter()
                .map(|(status, count)| Sample::count(name, help, count).label("status", &status)),
        );
    }
    samples.extend(sip.parse_errors.iter().map(|(reason, count)| {
        Sample::count("sip_parse_errors", "Messages refused by the parser", *count)
            .label("reason", &reason)
    }));
    samples.extend([
        Sample::count(
            "sip_retransmissions_in",
            "Messages received again",
            sip.retransmissions_in,
        ),
        Sample::count(
            "sip_retransmissions_out",
            "Messages sent again",
            sip.retransmissions_out,
        ),
        Sample::count(
            "sip_stray_responses",
            "Responses without a transaction",
            sip.stray_responses,
        ),
        Sample::count("sip_merged", "Merged requests", sip.merged),
        Sample::count(
            "sip_large_datagrams",
            "Requests too long for one datagram",
            sip.large_datagrams,
        ),
        Sample::count(
            "sip_large_by_tcp",
            "Of these, requests sent by TCP",
            sip.large_by_tcp,
        ),
        Sample::count(
            "sip_large_back_to_udp",
            "Of these, requests sent by UDP after all, TCP refused",
            sip.large_back_to_udp,
        ),
        Sample::count(
            "sip_server_overflow",
            "Requests refused, table full",
            sip.server_overflow,
        ),
        Sample::count(
            "sip_client_overflow",
            "Requests not sent, table full",
            sip.client_overflow,
        ),
        Sample::count("sip_timeouts", "Transactions that timed out", sip.timeouts),
        Sample::count(
            "sip_transport_failures",
            "Transactions whose transport failed",
            sip.transport_failures,
        ),
    ]);
}

fn transports(samples: &mut Vec<Sample>, world: &World) {
    let counters = &world.counters;
    samples.extend([
        Sample::count("udp_received", "Datagrams received", counters.udp_received),
        Sample::count("udp_sent", "Datagrams sent", counters.udp_sent),
        Sample::count(
            "stun_answered",
            "STUN keep-alives answered",
            counters.stun_answered,
        ),
        Sample::count(
            "sip_shed",
            "Messages dropped unread, unregistered address sent too many",
            world.sources.shed,
        ),
        Sample::gauge(
            "sip_strangers",
            "Unregistered addresses with a bucket of their own",
            world.sources.strangers(),
        ),
        Sample::count(
            "udp_dropped",
            "Datagrams the kernel did not take",
            counters.udp_dropped,
        ),
        Sample::count(
            "send_failed",
            "Messages that could not be sent",
            counters.send_failed,
        ),
        Sample::count(
            "behind_dropped",
            "Registrations and calls not written behind, queue full",
            counters.behind_dropped,
        ),
        Sample::count(
            "audit_failed",
            "Records not on disk in time; their unlocks were refused",
            counters.records_failed,
        ),
        Sample::count(
            "drives_refused",
            "Relay requests refused, queue full",
            counters.drives_refused,
        ),
        Sample::count(
            "trace_dropped",
            "Messages not told to those who listen, queue full",
            counters.trace_dropped,
        ),
        Sample::count(
            "signalling_stalls",
            "Turns in which no SIP was read for back-pressure",
            counters.stalls,
        ),
    ]);
    streams(samples, world);
}

/// Reads one count.
type Count = fn(&Counts) -> u64;

fn streams(samples: &mut Vec<Sample>, world: &World) {
    let counters = &world.streams.counters;
    let by_transport = |name, help, count: Count| {
        let each = counters.by_transport.iter();
        each.map(move |(transport, counts)| {
            Sample::count(name, help, count(counts)).label("transport", &transport.as_str())
        })
    };
    let open = counters.by_transport.iter().map(|(transport, counts)| {
        Sample::gauge("connections_open", "Stream connections", counts.open)
            .label("transport", &transport.as_str())
    });
    samples.extend(open);
    let counts: [(_, _, Count); 7] = [
        ("connections_accepted", "Connections accepted", |c| {
            c.accepted
        }),
        ("connections_opened", "Connections opened by us", |c| {
            c.opened
        }),
        (
            "connections_refused_limit",
            "Connections refused, all taken",
            |c| c.refused_limit,
        ),
        (
            "connections_refused_source",
            "Connections refused, source has or makes too many",
            |c| c.refused_source,
        ),
        (
            "connections_reaped",
            "Connections closed for silence or slowness",
            |c| c.reaped,
        ),
        (
            "connections_bad_frames",
            "Connections closed for what they sent",
            |c| c.bad_frames,
        ),
        (
            "connections_write_overflow",
            "Connections closed for reading too slowly",
            |c| c.write_overflow,
        ),
    ];
    for (name, help, count) in counts {
        samples.extend(by_transport(name, help, count));
    }
    samples.extend(counters.failed.iter().map(|((transport, reason), count)| {
        Sample::count(
            "handshakes_failed",
            "TLS handshakes and WebSocket upgrades that failed",
            *count,
        )
        .label("transport", &transport.as_str())
        .label("reason", reason)
    }));
    samples.extend(counters.sessions.iter().map(|(session, count)| {
        Sample::count("tls_sessions", "TLS sessions begun", *count)
            .label("version", &session.version)
            .label("group", &session.group)
    }));
    let now = jiff::Timestamp::now();
    samples.extend(world.expiries.iter().map(|expiry| {
        Sample::gauge(
            "certificate_days_left",
            "Days until a certificate ends; 0 when it has",
            usize::try_from(expiry.days_left(now)).unwrap_or(0),
        )
        .label("listener", &expiry.listener)
        .label("file", &expiry.file)
    }));
}
