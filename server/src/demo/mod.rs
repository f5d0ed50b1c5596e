//! `doorward demo`: one real call over loopback sockets, then a server to register phones at.
//!
//! ```text
//!   visitor (G.711) ──SIP, RTP──▶ doorward ──SIP, RTP──▶ desk phone (Opus) ──9──▶ doorward ──HTTP digest──▶ relay
//! ```
//!
//! Nothing here reaches into the server: the phones and the relay are on the other side of real sockets, the
//! configuration is read from files, and the story is the one the store keeps.

mod call;
mod media;
mod phone;
mod relay;
mod site;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context;
use conf::Secret;
use tokio::sync::mpsc;

use crate::cli::DemoArgs;
use crate::files;
use crate::shell::behind::Ended;
use crate::shell::house::House;
use crate::shell::serve::{Signals, announce, run as serve};
use crate::store::Store;
use call::{Heard, Seen};
use phone::{Account, Phone};

/// Runs the demo. `false` when its call failed.
///
/// # Errors
/// When the server cannot start.
pub fn run(args: DemoArgs) -> anyhow::Result<bool> {
    let log = crate::shell::prepare("warn")?;
    let good = crate::shell::runtime()?.block_on(demo(args));
    log.close();
    good
}

async fn demo(args: DemoArgs) -> anyhow::Result<bool> {
    let mut signals = Signals::new()?;
    let listen =
        site::free(args.listen).with_context(|| format!("cannot listen on {}", args.listen))?;
    if listen.port() != args.listen.port() && args.listen.port() != 0 {
        say(&format!(
            "{} is taken; listening on {listen} instead.",
            args.listen
        ))?;
    }
    let home = site::Home::open(args.data)?;
    let relay_password = password()?;
    let mut relay = relay::start(relay_password.clone()).await?;
    let config = site::write(&home.path, listen, relay.address, &relay_password)?;
    let loaded = files::load(&config)?;
    let store = Store::open(
        &loaded.conf.store,
        &loaded.conf.site.name,
        &loaded.conf.site.realm,
    )
    .await?;
    let passwords = site::move_in(&store).await?;
    store.close().await;

    let (watcher, mut ended) = mpsc::channel(16);
    let house = House::open(loaded, Some(watcher)).await?;
    let server = SocketAddr::new(reachable(listen.ip()), listen.port());
    let account = |user: &str| Account {
        user: user.to_owned(),
        password: passwords
            .get(user)
            .cloned()
            .unwrap_or_else(|| Secret::new("")),
        domain: site::DOMAIN.to_owned(),
    };
    let outcome = tokio::select! {
        outcome = make_call(account("lobby"), account("desk-1"), server, &mut relay) => outcome,
        () = signals.end() => Err(anyhow::anyhow!("interrupted")),
    };
    let good = tell(outcome, &mut ended, &house.store).await?;
    if args.exit_after_call {
        house.close(&mut signals).await;
        return Ok(good);
    }
    announce(&house)?;
    accounts(server, &passwords)?;
    serve(house, &mut signals, Some(&config)).await;
    Ok(good)
}

async fn make_call(
    lobby: Account,
    desk: Account,
    server: SocketAddr,
    relay: &mut relay::Relay,
) -> anyhow::Result<Seen> {
    let mut visitor = Phone::new(lobby, server).await?;
    let mut desk = Phone::new(desk, server).await?;
    visitor
        .register(300)
        .await
        .context("the visitor's door station")?;
    desk.register(300).await.context("the desk phone")?;
    let seen = call::make(&mut visitor, &mut desk, &mut relay.driven, server.ip()).await?;
    // From here on the door and the desk are the user's own phones.
    visitor.register(0).await?;
    desk.register(0).await?;
    Ok(seen)
}

/// Prints what happened. `false` when the call failed or the log does not verify.
async fn tell(
    outcome: anyhow::Result<Seen>,
    ended: &mut mpsc::Receiver<Ended>,
    store: &Store,
) -> anyhow::Result<bool> {
    let story = tokio::time::timeout(Duration::from_secs(3), ended.recv())
        .await
        .ok()
        .flatten();
    match &story {
        Some(ended) => say(&ended.story.join("\n"))?,
        None => say("The server told no story of the call.")?,
    }
    let good = match &outcome {
        Ok(seen) => {
            latencies(seen)?;
            true
        }
        Err(error) => {
            say(&format!("The demo call failed: {error:#}"))?;
            false
        }
    };
    let chain = store.verify(None).await?;
    match &chain {
        Ok(summary) => say(&format!(
            "Audit chain verified: {} records.",
            summary.records
        ))?,
        Err(fault) => say(&format!("The audit chain is broken: {fault}"))?,
    }
    Ok(good && chain.is_ok() && story.is_some())
}

fn latencies(seen: &Seen) -> std::io::Result<()> {
    let after = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
        (Some(from), Some(to)) => format!(
            "{:.1} ms",
            to.saturating_duration_since(from).as_secs_f64() * 1_000.0
        ),
        _ => "-".to_owned(),
    };
    let sent = seen.progress.sent;
    say("")?;
    say(&format!(
        "INVITE → desk has it    {}",
        after(sent, Some(seen.rung))
    ))?;
    say(&format!(
        "INVITE → visitor rings  {}",
        after(sent, seen.progress.ringing)
    ))?;
    say(&format!(
        "INVITE → answer         {} (the desk lets it ring for 300 ms)",
        after(sent, seen.progress.answered)
    ))?;
    say(&format!(
        "digit 9 → relay         {}",
        after(Some(seen.pressed), Some(seen.driven))
    ))?;
    for (who, heard) in [("visitor", &seen.visitor), ("desk", &seen.desk)] {
        say(&hearing(who, heard))?;
    }
    Ok(())
}

fn hearing(who: &str, heard: &Heard) -> String {
    format!(
        "{who:<8} {:<5} sent {} packets, got {}, the other side's tone in {}",
        heard.codec.name(),
        heard.stats.packets_out,
        heard.stats.packets_in,
        heard.packets
    )
}

/// Lines to type into a SIP phone.
fn accounts(
    server: SocketAddr,
    passwords: &std::collections::BTreeMap<String, Secret>,
) -> std::io::Result<()> {
    say("")?;
    say("Register phones here (the domain is the server; UDP or TCP):")?;
    say(&format!(
        "{:<12}{:<24}{:<12}{:<20}transport",
        "what", "server", "user", "password"
    ))?;
    for (user, what) in [
        ("desk-1", "desk"),
        ("desk-2", "desk"),
        ("anna-app", "unit 101"),
        ("lobby", "door"),
    ] {
        if let Some(password) = passwords.get(user) {
            say(&format!(
                "{what:<12}{:<24}{user:<12}{:<20}udp",
                server.to_string(),
                password.expose()
            ))?;
        }
    }
    say(
        "From the door dial `desk` or `101`; whoever answers presses 9 to open. From a desk phone dial `101`.",
    )?;
    say("Ctrl-C ends.")
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn password() -> anyhow::Result<Secret> {
    crate::directory::generate().map_err(|error| anyhow::anyhow!("no randomness: {error}"))
}

/// Where a server bound to `ip` is reached on this machine.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
