//! Scanners: sipvicious learns no account and no password and is met with silence, boofuzz's mutations leave the server
//! alive. Both are Python: `scripts/need-python.sh` puts them into `target/clients`; where it could not, one line says so.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Binary;
use crate::building::{Addresses, Building};
use crate::linphone::installed;
use crate::relay::Relay;
use crate::scenario::{Family, home};
use crate::wait;

/// One scanner may take so long; all of them stay below a minute.
const LIMIT: Duration = Duration::from_secs(25);
/// Mutations boofuzz sends.
const MUTATIONS: u32 = 240;

/// All of them; `false` when one learnt something or the server did not live through it.
pub fn all(binary: &Binary) -> Result<bool> {
    let Some(python) = environment() else {
        println!(
            "skip  scanners: no Python environment (scripts/need-python.sh makes target/clients)"
        );
        return Ok(true);
    };
    let mut good = true;
    for (n, name, scan) in [
        (193, "sipvicious", sipvicious as Scan),
        (194, "boofuzz", boofuzz as Scan),
    ] {
        let relay = Relay::start()?;
        let addresses = Addresses::of(Family::V4, n);
        let building = Building::start(binary, addresses, &relay, name)?;
        let outcome = scan(&python, &building).and_then(|report| {
            ensure!(
                alive(addresses.actor(9), addresses.server()),
                "the server does not live"
            );
            ensure!(relay.driven().is_empty(), "the relay was driven");
            building.doorward(&["audit", "verify"])?;
            Ok(report)
        });
        match outcome {
            Ok(report) => println!("ok    {name}: {report}"),
            Err(error) => {
                good = false;
                println!("FAIL  {name}: {error:#}");
            }
        }
    }
    Ok(good)
}

type Scan = fn(&Path, &Building) -> Result<String>;

/// Where the scanners are installed.
fn environment() -> Option<PathBuf> {
    let target = std::env::current_exe().ok()?;
    let target = target
        .ancestors()
        .find(|dir| dir.ends_with("target"))?
        .join("clients/bin");
    let whole = ["python3", "sipvicious_svmap"]
        .iter()
        .all(|program| target.join(program).is_file());
    whole.then_some(target)
}

/// What a scanner printed, on either stream.
fn run(program: &Path, dir: &Path, args: &[&str]) -> Result<(bool, String)> {
    // `timeout` is coreutils': a scanner that waits for ever must not hang the tests.
    ensure!(installed("timeout"), "no timeout command");
    let output = Command::new("timeout")
        .arg(LIMIT.as_secs().to_string())
        .arg(program)
        .args(args)
        .current_dir(dir)
        .env("HOME", dir)
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), text))
}

/// svmap finds a server, as anybody may; svwar finds no account that an unknown one is not too; svcrack finds no password
/// and ends in silence.
fn sipvicious(bin: &Path, building: &Building) -> Result<String> {
    let server = building.addresses.server();
    let (ip, port) = (server.ip().to_string(), server.port().to_string());
    let scanner = |name: &str, args: &[&str]| {
        let mut all = vec!["-p", port.as_str()];
        all.extend_from_slice(args);
        all.push(ip.as_str());
        run(&bin.join(name), &building.dir, &all)
    };
    let (_, map) = scanner("sipvicious_svmap", &[])?;
    ensure!(
        map.contains("Doorward"),
        "svmap did not even see the server: {map}"
    );
    // Real accounts among made-up ones: none must stand out.
    let names = building.dir.join("names.txt");
    std::fs::write(
        &names,
        "desk-1\nlobby\nconcierge\napp-101\n100\n101\nadmin\nnobody\n",
    )?;
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        let (_, war) = scanner(
            "sipvicious_svwar",
            &["--force", "-m", method, "-d", "names.txt"],
        )?;
        // What it believes to have found it prints as a table; answers that tell nothing make no row.
        let row = |name: &str| {
            war.lines()
                .any(|line| line.starts_with('|') && line.contains(name))
        };
        let found = ["desk-1", "lobby", "concierge", "app-101"].map(row);
        ensure!(
            found.iter().all(|found| *found == row("nobody")),
            "svwar by {method} tells accounts from others: {war}"
        );
    }
    let words: String = (0..24).map(|n| format!("word-{n}\n")).collect();
    std::fs::write(building.dir.join("words.txt"), words)?;
    let begun = Instant::now();
    let (_, crack) = scanner("sipvicious_svcrack", &["-u", "desk-1", "-d", "words.txt"])?;
    ensure!(
        building
            .passwords
            .values()
            .all(|password| !crack.contains(password)),
        "svcrack learnt a password"
    );
    let failures = building
        .audit()?
        .iter()
        .filter(|record| {
            record.get("kind").and_then(serde_json::Value::as_str) == Some("auth-failure")
        })
        .count();
    // The five free tries, then one for each silence that ended meanwhile.
    ensure!(
        (1..=12).contains(&failures),
        "{failures} guesses were judged in {:?}: {crack}",
        begun.elapsed()
    );
    Ok(format!(
        "nothing learnt; {failures} of 24 guesses were judged, the rest met silence"
    ))
}

/// Mutated INVITEs, SDP and REGISTERs, an OPTIONS answered after each.
fn boofuzz(bin: &Path, building: &Building) -> Result<String> {
    let server = building.addresses.server();
    let script = home().join("clients/mutate.py");
    let args = [
        script.to_string_lossy().into_owned(),
        server.ip().to_string(),
        server.port().to_string(),
        building.addresses.actor(1).ip().to_string(),
        MUTATIONS.to_string(),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (good, text) = run(&bin.join("python3"), &building.dir, &args)?;
    let last = text.lines().last().unwrap_or_default().to_owned();
    ensure!(good, "{text}");
    Ok(last)
}

/// Whether an OPTIONS is answered.
fn alive(from: SocketAddr, server: SocketAddr) -> bool {
    let Ok(socket) = UdpSocket::bind(from) else {
        return false;
    };
    let _ = socket.set_read_timeout(Some(Duration::from_millis(200)));
    let mut buffer = [0; 4_096];
    wait::until("an answer", Duration::from_secs(5), || {
        let request = format!(
            "OPTIONS sip:{server} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKalive;rport\r\nMax-Forwards: 70\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:{server}>\r\nCall-ID: alive\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        let _ = socket.send_to(request.as_bytes(), server);
        socket.recv(&mut buffer).is_ok_and(|n| buffer[..n].starts_with(b"SIP/2.0 200"))
    })
    .is_ok()
}
