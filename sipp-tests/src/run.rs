//! Running scenarios in every cell of transport × address family.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::RunArgs;
use crate::actor::{Peer, Run};
use crate::building::{self, Addresses, Building, DOMAIN};
use crate::relay::Relay;
use crate::scenario::{self, Family, Scenario, Transport};
use crate::wait;

/// Prints the scenarios.
pub fn list() -> Result<bool> {
    for (name, scenario) in scenario::all()? {
        println!("{name:28} {}", scenario.about);
    }
    Ok(true)
}

/// Runs those that are asked for; `false` when one failed.
pub fn run(args: &RunArgs) -> Result<bool> {
    let wanted = |name: &str| {
        args.names.is_empty() || args.names.iter().any(|part| name.contains(part.as_str()))
    };
    let scenarios: Vec<_> = scenario::all()?
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .collect();
    ensure!(
        !scenarios.is_empty(),
        "no scenario of that name; `sipp-tests list` lists them"
    );
    let (mut passed, mut failed, mut skipped, mut number) = (0, 0, 0, 0_u8);
    for (name, scenario) in &scenarios {
        for family in &args.family {
            for transport in &args.transport {
                number = number.wrapping_add(1);
                let cell = format!("{name} {transport} {family}");
                if let Some(why) = leave_out(args, scenario, *transport, *family) {
                    skipped += 1;
                    println!("skip  {cell}: {why}");
                    continue;
                }
                let begun = Instant::now();
                let addresses = Addresses::of(*family, number);
                match one(
                    args,
                    scenario,
                    *transport,
                    addresses,
                    &cell.replace(' ', "-"),
                ) {
                    Ok(()) => {
                        passed += 1;
                        println!("ok    {cell}  {:.1} s", begun.elapsed().as_secs_f32());
                    }
                    Err(error) => {
                        failed += 1;
                        println!("FAIL  {cell}: {error:#}");
                    }
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

/// Why a scenario does not run in a cell; every exclusion has its reason.
fn leave_out(
    args: &RunArgs,
    scenario: &Scenario,
    transport: Transport,
    family: Family,
) -> Option<&'static str> {
    if !scenario.transports.contains(&transport) {
        return Some("not made for this transport");
    }
    if scenario.raw_socket && family == Family::V6 {
        return Some("SIPp sends RFC 4733 events over IPv4 only");
    }
    let root = std::fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if scenario.raw_socket && !root {
        return Some("SIPp sends RFC 4733 events through a raw socket: root only");
    }
    if args
        .target
        .is_some_and(|target| target.is_ipv4() != (family == Family::V4))
    {
        return Some("the target has an address of the other family");
    }
    None
}

fn one(
    args: &RunArgs,
    scenario: &Scenario,
    transport: Transport,
    addresses: Addresses,
    name: &str,
) -> Result<()> {
    let Some(target) = args.target else {
        let relay = Relay::start()?;
        let building = Building::start(&args.binary, addresses, &relay, name)?;
        let stage = Stage {
            server: addresses.server(),
            domain: DOMAIN.to_owned(),
            dir: building.dir.clone(),
            addresses,
            transport,
            password: &|account| building.passwords.get(account).cloned(),
        };
        stage
            .play(scenario)
            .with_context(|| server_log(&building))?;
        return look(scenario, &building, &relay).with_context(|| server_log(&building));
    };
    let dir = tempfile::tempdir()?;
    let file = args
        .accounts
        .as_deref()
        .context("--target needs --accounts")?;
    let accounts = building::read_accounts(file)?;
    let stage = Stage {
        server: target,
        domain: args
            .domain
            .clone()
            .unwrap_or_else(|| target.ip().to_string()),
        dir: dir.path().to_owned(),
        addresses,
        transport,
        password: &|account| accounts.get(account).cloned(),
    };
    stage.play(scenario)
}

fn server_log(building: &Building) -> String {
    let log = std::fs::read_to_string(building.dir.join("server.log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    format!(
        "server log:\n{}\n",
        lines[lines.len().saturating_sub(15)..].join("\n")
    )
}

/// Where a scenario plays.
struct Stage<'a> {
    server: SocketAddr,
    domain: String,
    dir: PathBuf,
    addresses: Addresses,
    transport: Transport,
    password: &'a dyn Fn(&str) -> Option<String>,
}

impl Stage<'_> {
    fn play(&self, scenario: &Scenario) -> Result<()> {
        let mut called: Vec<Run> = Vec::new();
        for (n, actor) in (1..).zip(&scenario.actor) {
            let peer = Peer {
                account: actor.account.clone(),
                password: (self.password)(&actor.account)
                    .with_context(|| format!("no password for {}", actor.account))?,
                domain: self.domain.clone(),
                server: self.server,
                local: self.addresses.actor(n),
                transport: self.transport,
                dir: self.dir.clone(),
            };
            if actor.register {
                peer.register()?;
            }
            let mut run = peer.start(&actor.part, actor.dial.as_deref())?;
            if actor.beside {
                run.until_received("NOTIFY sip")?;
                called.push(run);
            } else if let Some(text) = &actor.until {
                run.until_received(text)?;
                called.push(run);
            } else if actor.dial.is_some() {
                run.finish(Duration::from_secs(30))?;
            } else {
                called.push(run);
            }
        }
        called
            .iter_mut()
            .try_for_each(|run| run.finish(Duration::from_secs(10)))
    }
}

/// Looks at the relay and the log.
fn look(scenario: &Scenario, building: &Building, relay: &Relay) -> Result<()> {
    let driven = relay.driven().len();
    if driven != scenario.expect.relay {
        bail!(
            "the relay was driven {driven} times, expected {}",
            scenario.expect.relay
        );
    }
    for (what, wanted) in &scenario.expect.audit {
        let mut seen = 0;
        // Records that nothing waits for are committed shortly after the call.
        let arrived = wait::until(what, Duration::from_secs(3), || {
            seen = building
                .audit()
                .unwrap_or_default()
                .iter()
                .filter(|record| is(record, what))
                .count();
            seen == *wanted
        });
        if arrived.is_err() {
            bail!("the log has {seen} records \"{what}\", expected {wanted}");
        }
    }
    building.doorward(&["audit", "verify"])?;
    silent_about_secrets(building, relay)
}

/// No password stands in what the server printed, nor in its stories and records.
fn silent_about_secrets(building: &Building, relay: &Relay) -> Result<()> {
    let mut printed = std::fs::read_to_string(building.dir.join("server.log"))?;
    printed.push_str(&building.doorward(&["audit", "export", "--jsonl"])?);
    // A server that had no call has no story.
    printed.push_str(
        &building
            .doorward(&["call", "story", "--last"])
            .unwrap_or_default(),
    );
    let secrets = building.passwords.values();
    match secrets
        .chain([&relay.credentials.password])
        .find(|secret| printed.contains(*secret))
    {
        Some(_) => bail!("a password stands in the log, the records or a story"),
        None => Ok(()),
    }
}

/// `kind`, `kind:decision` or `kind::result`.
fn is(record: &serde_json::Value, what: &str) -> bool {
    ["kind", "decision", "result"]
        .iter()
        .zip(what.split(':'))
        .all(|(field, wanted)| {
            wanted.is_empty()
                || record.get(field).and_then(serde_json::Value::as_str) == Some(wanted)
        })
}
