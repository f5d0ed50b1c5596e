//! REGISTER with digest: CPU and memory of one, at ours and at a peer; and a whole estate at once after a power cut.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::estate::{Estate, Pace};
use super::{LoadArgs, Row, cost, peer, percentile};
use crate::building::{Addresses, Building, DOMAIN};
use crate::relay::Relay;
use crate::scenario::Family;

/// CPU and memory of one registration.
pub fn measure(args: &LoadArgs, building: &Building, rows: &mut Vec<Row>) -> Result<()> {
    let server = building.addresses.server();
    let local = building.addresses.actor(3);
    let password = |user: &str| building.passwords.get(user).cloned().unwrap_or_default();
    let mut estate = Estate::new(server, local, DOMAIN, 0..args.registrations, password)?;
    let (memory, cpu) = (cost::memory(building.pid()), cost::cpu(building.pid()));
    let result = estate.run(Pace::rate(args.registrations, args.register_rate))?;
    ensure!(
        result.lost == 0,
        "{} of {} registrations failed",
        result.lost,
        result.devices
    );
    let count = f64::from(args.registrations);
    let cpu = (cost::cpu(building.pid()) - cpu).as_secs_f64() * 1_000.0 / count;
    let memory = cost::memory(building.pid()).saturating_sub(memory) as f64 / count;
    rows.push(Row {
        what: "REGISTER + digest (4 messages), CPU",
        ours: format!("{cpu:.3} ms ({:.0} a CPU-second)", 1_000.0 / cpu),
        target: "≤ 0.035 ms",
    });
    if let Some(name) = args.peer {
        // Another net, so that no answer of the one is taken for the other's.
        let addresses = Addresses::of(Family::V4, 196);
        let theirs = peer::registration(name, args, addresses.server(), addresses.actor(3))?;
        rows.push(Row {
            what: "the same at Kamailio (same run, same generator)",
            ours: format!("{theirs:.3} ms: {:.1} × ours", theirs / cpu),
            target: "≥ 3 × ours",
        });
    }
    rows.push(Row {
        what: "Memory per registration, its transaction (kept 32 s) included",
        ours: format!("{memory:.2} KiB"),
        target: "≤ 1.0 KiB",
    });
    Ok(())
}

/// The power is back: everybody registers within seconds, all behind one address, on a server as it is configured by
/// default that has just started too. Twice: as strangers, and as those whose registrations are known.
pub fn storm(args: &LoadArgs, rows: &mut Vec<Row>) -> Result<()> {
    let relay = Relay::start()?;
    let addresses = Addresses::of(Family::V4, 197);
    let mut building =
        Building::start_estate(&args.binary, addresses, &relay, "storm", 2 * args.storm)?;
    let passwords = building.passwords.clone();
    let password = |user: &str| passwords.get(user).cloned().unwrap_or_default();
    let (server, local) = (addresses.server(), addresses.actor(3));
    let mut estate = Estate::new(server, local, DOMAIN, 0..args.storm, password)?;
    for (what, restart) in [
        ("Power back: all register for the first time", false),
        (
            "Power back: all come again to a killed and restarted server",
            true,
        ),
    ] {
        if restart {
            // The tables of transactions and nonces are full of the last ones: what is added now is bindings.
            let before = cost::memory(building.pid());
            let more = addresses.actor(4);
            let mut others =
                Estate::new(server, more, DOMAIN, args.storm..2 * args.storm, password)?;
            let result = others.run(Pace::within(Duration::from_secs(args.storm_seconds)))?;
            ensure!(result.lost == 0, "{} registrations were lost", result.lost);
            let memory = cost::memory(building.pid()).saturating_sub(before) as f64;
            rows.push(Row {
                what: "Memory per further registration",
                ours: format!("{:.2} KiB", memory / f64::from(args.storm)),
                target: "≤ 1.0 KiB",
            });
            // What is written behind is written within a moment.
            std::thread::sleep(Duration::from_secs(1));
            building.kill_and_restart()?;
        }
        let before = cost::cpu(building.pid());
        let mut result = estate.run(Pace::within(Duration::from_secs(args.storm_seconds)))?;
        let cpu = cost::cpu(building.pid()) - before;
        let (half, most) = (
            percentile(&mut result.times, 0.5),
            percentile(&mut result.times, 0.99),
        );
        rows.push(Row {
            what,
            ours: format!(
                "{} of {} within {:.1} s, {} lost; p50 {:.1} ms, p99 {:.1} ms; {} repeated; {:.2} s CPU",
                result.devices - result.lost,
                result.devices,
                result.took.as_secs_f64(),
                result.lost,
                half as f64 / 1_000.0,
                most as f64 / 1_000.0,
                result.repeated,
                cpu.as_secs_f64(),
            ),
            target: "20,000 within 10 s, none lost",
        });
        ensure!(result.lost == 0, "{} registrations were lost", result.lost);
    }
    let all = 2 * args.storm;
    // The third server must know all of them.
    std::thread::sleep(Duration::from_secs(1));
    building.kill_and_restart()?;
    let log = std::fs::read_to_string(building.dir.join("server.log"))?;
    let restored = log
        .lines()
        .rev()
        .find_map(|line| line.split_once("bindings=")?.1.split(' ').next())
        .context("the server did not say what it restored")?
        .trim_end_matches(|c: char| !c.is_ascii_digit())
        .to_owned();
    rows.push(Row {
        what: "Registrations there after `kill -9`, before it says that it is ready",
        ours: format!("{restored} of {all}"),
        target: "all",
    });
    ensure!(
        restored == all.to_string(),
        "{restored} of {all} registrations were restored"
    );
    Ok(())
}
