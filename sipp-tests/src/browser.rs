//! Headless Chromium with JsSIP over WebSocket and SIP.js over secure WebSocket (`clients/browser/`): registration and
//! the signalling of calls. Browser media comes with the WebRTC gateway.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::Binary;
use crate::baresip::{Phone, Setting, Way};
use crate::building::{Addresses, Building, DOMAIN};
use crate::relay::Relay;
use crate::scenario::Family;
use crate::secure::Doors;

const FILES: [(&str, &str); 4] = [
    (
        "package.json",
        include_str!("../clients/browser/package.json"),
    ),
    (
        "package-lock.json",
        include_str!("../clients/browser/package-lock.json"),
    ),
    ("page.js", include_str!("../clients/browser/page.js")),
    ("run.mjs", include_str!("../clients/browser/run.mjs")),
];
/// Longest wait for one answer of the page: a cold browser on a busy machine.
const ANSWER: Duration = Duration::from_secs(30);

/// Registers both and tries calls both ways; one line, `skip` where there is no browser.
pub fn browsers(binary: &Binary) -> Result<bool> {
    if let Err(missing) = install() {
        println!("skip  browser phones: {missing:#}");
        return Ok(true);
    }
    match phones(binary) {
        Ok(report) => {
            println!("ok    browser phones: {report}");
            Ok(true)
        }
        Err(error) => {
            println!("FAIL  browser phones: {error:#}");
            Ok(false)
        }
    }
}

/// Where the npm packages live: beside the built binaries, so that they are fetched once.
fn place() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let beside = program.parent().context("no directory")?;
    Ok(beside.join("browser-clients"))
}

fn chromium() -> String {
    std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned())
}

/// Puts scripts and packages in place.
fn install() -> Result<()> {
    for (program, package) in [("node", "nodejs"), ("npm", "npm")] {
        Command::new(program)
            .arg("--version")
            .output()
            .ok()
            .with_context(|| format!("{program} is not installed (Debian package {package})"))?;
    }
    ensure!(
        Path::new(&chromium()).is_file(),
        "{} is not installed (Debian package chromium; CHROMIUM names another)",
        chromium()
    );
    let dir = place()?;
    std::fs::create_dir_all(&dir)?;
    for (name, text) in FILES {
        std::fs::write(dir.join(name), text)?;
    }
    if dir.join("node_modules/.package-lock.json").is_file() {
        return Ok(());
    }
    // No network, no packages: npm gives up after its own time-outs.
    let output = Command::new("timeout")
        .args([
            "50",
            "npm",
            "ci",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--fetch-retries=0",
        ])
        .current_dir(&dir)
        .output()?;
    ensure!(
        output.status.success(),
        "npm cannot fetch its packages (`npm ci` in {}): {}",
        dir.display(),
        String::from_utf8_lossy(&output.stderr)
            .lines()
            .next()
            .unwrap_or("no network?")
    );
    Ok(())
}

/// The browser and its page.
struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
}

impl Browser {
    fn start(doors: Doors, dir: &Path) -> Result<Self> {
        let log = std::fs::File::create(dir.join("browser.log"))?;
        let mut child = Command::new("node")
            .args(["run.mjs", &doors.page.port().to_string()])
            .current_dir(place()?)
            .env("CHROMIUM", chromium())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let commands = child.stdin.take().context("no standard input")?;
        let output = child.stdout.take().context("no standard output")?;
        let (sender, answers) = sync_channel(16);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let browser = Self {
            child,
            commands,
            answers,
        };
        browser.answer().context("starting the browser")?;
        Ok(browser)
    }

    fn answer(&self) -> Result<Value> {
        let line = self
            .answers
            .recv_timeout(ANSWER)
            .context("the browser says nothing (browser.log)")?;
        let mut answer: Value = serde_json::from_str(&line)?;
        if let Some(error) = answer.get("error") {
            bail!("{error}");
        }
        Ok(answer.get_mut("ok").map(Value::take).unwrap_or_default())
    }

    /// Runs a function of the page, loaded from this host name.
    fn run(&mut self, name: &str, argument: &Value, host: &str) -> Result<Value> {
        writeln!(self.commands, "{}", json!([name, argument, host]))?;
        self.answer().with_context(|| name.to_owned())
    }

    fn ask(&mut self, name: &str, argument: &Value) -> Result<Value> {
        self.run(name, argument, "127.0.0.1")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its browser goes with it; already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn phones(binary: &Binary) -> Result<String> {
    let addresses = Addresses {
        one_host: true,
        ..Addresses::of(Family::V4, 152)
    };
    let relay = Relay::start()?;
    let doors = Doors::of(addresses);
    let building = Building::start_secure(binary, addresses, &relay, "browsers", doors)?;
    let password = |account: &str| building.password(account);
    let mut browser = Browser::start(doors, &building.dir)?;
    let (ws, wss) = (format!("ws://{}", doors.ws), format!("wss://{}", doors.wss));
    // The same page under another name is another origin.
    let stranger = browser.run("opens", &json!(ws), "localhost")?;
    ensure!(
        stranger == json!(false),
        "a page of another origin could connect"
    );
    ensure!(
        browser.ask("opens", &json!(wss))? == json!(true),
        "{wss} does not open"
    );
    browser.ask(
        "jssipRegister",
        &json!({ "ws": ws, "user": "app-101", "domain": DOMAIN, "password": password("app-101")? }),
    )?;
    browser.ask(
        "sipjsRegister",
        &json!({ "ws": wss, "user": "desk-1", "domain": DOMAIN, "password": password("desk-1")? }),
    )?;
    // A door's call reaches the page by the connection it registered on; the page declines, and the door is told.
    let lobby = password("lobby")?;
    let mut door = Phone::start(
        &building.dir,
        &Setting {
            control: 14_473,
            ..Setting::door(addresses, Way::udp(addresses), &lobby)
        },
    )?;
    door.registered()?;
    door.command("dial", &format!("sip:101@{DOMAIN}"))?;
    let call = browser.ask("jssipCalled", &Value::Null)?;
    let text = |field: &str| {
        call.get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    ensure!(
        text("from") == "lobby",
        "the page was not called by the door: {call}"
    );
    ensure!(
        text("via").starts_with("SIP/2.0/WS "),
        "Via: {}",
        text("via")
    );
    ensure!(
        text("contact").contains(";transport=ws"),
        "Contact: {}",
        text("contact")
    );
    door.event("CALL_CLOSED")?;
    // The page calls the door: its offer is DTLS-SRTP with ICE, which has no media here yet, so it is refused aloud.
    let refused = browser.ask("sipjsCall", &json!(format!("sip:lobby@{DOMAIN}")))?;
    let status = refused
        .get("status")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    ensure!(
        (400..500).contains(&status),
        "the page's call ended with {refused}"
    );
    browser.ask("jssipStop", &Value::Null)?;
    Ok(format!(
        "JsSIP over WS and SIP.js over WSS registered; the door's call reached the page; the page's call got {status}"
    ))
}
