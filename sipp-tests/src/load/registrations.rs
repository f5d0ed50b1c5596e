//! REGISTER with digest: CPU and memory of one.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::{LoadArgs, Row, cost};
use crate::building::{Building, DOMAIN};
use crate::scenario::home;

pub fn measure(args: &LoadArgs, building: &Building, rows: &mut Vec<Row>) -> Result<()> {
    let users = building.dir.join("users.csv");
    let mut file = std::fs::File::create(&users)?;
    writeln!(file, "SEQUENTIAL")?;
    for (user, password) in building
        .passwords
        .iter()
        .filter(|(user, _)| user.starts_with("load-"))
    {
        writeln!(
            file,
            "{user};[authentication username={user} password={password}]"
        )?;
    }
    let (memory, cpu) = (cost::memory(building.pid()), cost::cpu(building.pid()));
    let server = building.addresses.server();
    let local = building.addresses.actor(3);
    let status = Command::new("sipp")
        .arg(server.to_string())
        .arg("-sf")
        .arg(home().join("parts/load_register.xml"))
        .arg("-inf")
        .arg(&users)
        .args([
            "-i",
            &local.ip().to_string(),
            "-p",
            &local.port().to_string(),
            "-key",
            "domain",
            DOMAIN,
        ])
        .args([
            "-m",
            &args.registrations.to_string(),
            "-r",
            &args.register_rate.to_string(),
            "-nostdin",
        ])
        .current_dir(&building.dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("starting sipp")?;
    ensure!(
        status.success(),
        "registrations failed: sipp ended with {status}"
    );
    let count = f64::from(args.registrations);
    let cpu = (cost::cpu(building.pid()) - cpu).as_secs_f64() * 1_000.0 / count;
    let memory = cost::memory(building.pid()).saturating_sub(memory) as f64 / count;
    rows.push(Row {
        what: "REGISTER + digest (4 messages), CPU",
        ours: format!("{cpu:.3} ms ({:.0} a CPU-second)", 1_000.0 / cpu),
        target: "≤ 0.035 ms",
    });
    rows.push(Row {
        what: "Memory per registration",
        ours: format!("{memory:.2} KiB"),
        target: "≤ 1.0 KiB",
    });
    Ok(())
}
