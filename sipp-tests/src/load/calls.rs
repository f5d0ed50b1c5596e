//! Calls: CPU of set-up and teardown, and the latency the server adds.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::phone::{Codec, House};
use super::{LoadArgs, Row, cost, percentile};
use crate::building::{Building, DOMAIN};
use crate::scenario::home;

pub fn measure(args: &LoadArgs, building: &Building, rows: &mut Vec<Row>) -> Result<()> {
    latency(args, building, rows)?;
    throughput(args, building, rows)
}

fn throughput(args: &LoadArgs, building: &Building, rows: &mut Vec<Row>) -> Result<()> {
    let (server, callee, caller) = (
        building.addresses.server(),
        building.addresses.actor(1),
        building.addresses.actor(2),
    );
    let sipp = |part: &str, local: std::net::SocketAddr| {
        let mut command = Command::new("sipp");
        command
            .arg(server.to_string())
            .arg("-sf")
            .arg(home().join(format!("parts/{part}.xml")))
            .args([
                "-i",
                &local.ip().to_string(),
                "-p",
                &local.port().to_string(),
            ])
            .args([
                "-key", "domain", DOMAIN, "-key", "user", "app-101", "-key", "dial", "101",
            ])
            .args([
                "-key",
                "contact_port",
                &local.port().to_string(),
                "-nostdin",
            ])
            .current_dir(&building.dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    let password = building
        .passwords
        .get("app-101")
        .context("no account app-101")?;
    let registered = sipp("register", callee)
        .args(["-m", "1", "-au", "app-101", "-ap", password])
        .status()?;
    ensure!(registered.success(), "the callee could not register");
    let mut answering = sipp("load_uas", callee).spawn().context("starting sipp")?;
    let cpu = cost::cpu(building.pid());
    let status = sipp("load_uac", caller)
        .args([
            "-m",
            &args.calls.to_string(),
            "-r",
            &args.call_rate.to_string(),
        ])
        .status();
    let cpu = cost::cpu(building.pid()) - cpu;
    answering.kill()?;
    answering.wait()?;
    ensure!(
        status?.success(),
        "calls failed at {} a second",
        args.call_rate
    );
    let each = cpu.as_secs_f64() * 1_000.0 / f64::from(args.calls);
    rows.push(Row {
        what: "Call set-up + teardown as B2BUA (offer/answer, CDR, audit), CPU",
        ours: format!(
            "{each:.3} ms ({:.0} calls a CPU-second) at {}/s",
            1_000.0 / each,
            args.call_rate
        ),
        target: "≤ 0.30 ms",
    });
    Ok(())
}

fn latency(args: &LoadArgs, building: &Building, rows: &mut Vec<Row>) -> Result<()> {
    let mut house = House::register(building, 0)?;
    let (mut invite, mut answer) = (Vec::new(), Vec::new());
    for _ in 0..args.latency_calls {
        let call = house.call(Codec::Pcmu, Codec::Pcmu)?;
        invite.push(micros(call.invite_passed));
        answer.push(micros(call.answer_passed));
        house.hang_up(&call)?;
        // Twenty calls a second: what a call costs alone, not what a queue adds.
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let ms = |us: u64| us as f64 / 1_000.0;
    for (what, samples, target) in [
        (
            "Added latency INVITE in→out, p50 / p99",
            &mut invite,
            "≤ 0.30 / 2 ms",
        ),
        ("200 in→out, p50 / p99", &mut answer, "≤ 0.06 ms p50"),
    ] {
        let (half, most) = (percentile(samples, 0.5), percentile(samples, 0.99));
        rows.push(Row {
            what,
            ours: format!("{:.2} / {:.2} ms", ms(half), ms(most)),
            target,
        });
    }
    Ok(())
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
