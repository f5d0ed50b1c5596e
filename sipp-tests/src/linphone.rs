//! linphone-daemon (Debian package linphone-cli), driven over its UNIX socket: it registers as the desk, answers the door
//! and opens it by a digit, and calls the door.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Binary;
use crate::actor::Peer;
use crate::building::{Addresses, Building, DOMAIN};
use crate::relay::Relay;
use crate::scenario::{Family, Transport};
use crate::wait;

/// Longest wait for anything the daemon should do.
const SOON: Duration = Duration::from_secs(15);

/// Both calls; `false` when one failed. Without linphone-daemon one line says so.
pub fn calls(binary: &Binary) -> Result<bool> {
    if !installed("linphone-daemon") {
        println!("skip  linphone: linphone-daemon is not installed (Debian package linphone-cli)");
        return Ok(true);
    }
    match play(binary) {
        Ok(report) => {
            println!("ok    linphone: {report}");
            Ok(true)
        }
        Err(error) => {
            println!("FAIL  linphone: {error:#}");
            Ok(false)
        }
    }
}

/// Whether a program is on the PATH.
pub fn installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

fn play(binary: &Binary) -> Result<String> {
    // The daemon's sockets are bound to every address, so its packets come from 127.0.0.1.
    let addresses = Addresses {
        one_host: true,
        ..Addresses::of(Family::V4, 192)
    };
    let relay = Relay::start()?;
    let building = Building::start(binary, addresses, &relay, "linphone")?;
    let password = |account: &str| {
        building
            .passwords
            .get(account)
            .cloned()
            .context("no account")
    };
    let door = Peer {
        account: "lobby".to_owned(),
        password: password("lobby")?,
        domain: DOMAIN.to_owned(),
        server: addresses.server(),
        local: addresses.actor(2),
        transport: Transport::Udp,
        dir: building.dir.clone(),
    };
    let account = account("desk-1", addresses.server(), &password("desk-1")?);
    let daemon = Daemon::start(&building.dir, addresses.actor(1), &account)?;
    daemon.wait_for("register-status ALL", "LinphoneRegistrationOk")?;

    // The door calls, the desk answers by itself and presses 9.
    let mut call = door.start("call", Some("desk"))?;
    daemon.wait_for("call-status", "StreamsRunning")?;
    daemon.command("dtmf 9")?;
    wait::until("the relay", SOON, || !relay.driven().is_empty())?;
    call.finish(SOON)?;
    daemon.wait_for("call-status", "No current call")?;
    ensure!(
        relay.driven().len() == 1,
        "one digit drove the relay {} times",
        relay.driven().len()
    );

    // The desk calls the door.
    door.register()?;
    let mut answering = door.start("answer", None)?;
    daemon.command(&format!("call sip:lobby@{DOMAIN}"))?;
    daemon.wait_for("call-status", "StreamsRunning")?;
    daemon.command("terminate")?;
    answering.finish(SOON)?;
    building.doorward(&["audit", "verify"])?;
    Ok("registered by UDP, answered the door and opened it by a digit, called the door".to_owned())
}

struct Daemon {
    child: Child,
    pipe: PathBuf,
}

impl Daemon {
    fn start(dir: &Path, sip: SocketAddr, account: &str) -> Result<Self> {
        let home = dir.join("linphone");
        // Its database lives there; the daemon does not make the folders and then stays half dead.
        std::fs::create_dir_all(home.join(".local/share/linphone"))?;
        std::fs::create_dir_all(home.join(".config/linphone"))?;
        let rc = home.join("linphonerc");
        std::fs::write(&rc, settings(sip.port()) + account)?;
        let name = format!("lp-{}", std::process::id());
        let child = Command::new("linphone-daemon")
            .args(["--config", &rc.to_string_lossy(), "--pipe", &name])
            .args(["--log", &home.join("log.txt").to_string_lossy()])
            .args(["--disable-stats-events", "--auto-answer"])
            .env("HOME", &home)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("starting linphone-daemon")?;
        let pipe = std::env::temp_dir().join(name);
        let daemon = Self { child, pipe };
        daemon.command("version")?;
        Ok(daemon)
    }

    /// One command on a connection of its own. The daemon resets one that comes while it still closes the last: then the
    /// command was not read, and is given again.
    fn command(&self, line: &str) -> Result<String> {
        let mut answer = String::new();
        wait::until("linphone-daemon's answer", SOON, || {
            answer = self.ask(line).unwrap_or_default();
            !answer.is_empty()
        })?;
        Ok(answer)
    }

    /// The daemon leaves a connection open after its answer, so a pause ends it.
    fn ask(&self, line: &str) -> Result<String> {
        let mut stream = UnixStream::connect(&self.pipe)?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        stream.set_read_timeout(Some(SOON))?;
        let (mut answer, mut chunk) = (Vec::new(), [0; 4_096]);
        while let Ok(n) = stream.read(&mut chunk) {
            if n == 0 {
                break;
            }
            answer.extend_from_slice(&chunk[..n]);
            stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn wait_for(&self, command: &str, wanted: &str) -> Result<()> {
        let mut last = String::new();
        wait::until(wanted, SOON, || {
            last = self.command(command).unwrap_or_default();
            last.contains(wanted)
        })
        .with_context(|| format!("linphone says: {last}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.ask("quit");
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.pipe);
    }
}

fn settings(port: u16) -> String {
    format!(
        "[sip]\nsip_port={port}\nsip_tcp_port=0\nsip_tls_port=0\nguess_hostname=1\ninc_timeout=30\nuse_rfc2833=1\nuse_info=0\n\
         default_proxy=0\n[rtp]\naudio_rtp_port={}\n[sound]\nechocancellation=0\nuse_files=1\n[net]\nmtu=1300\n\
         [video]\ncapture=0\ndisplay=0\n[misc]\nhide_chat_rooms_from_removed_proxies=0\n[lime]\nlime_update_threshold=-1\n",
        port + 2
    )
}

/// The account as it stands in linphone's own file: the default one, whose registrar is also the way out.
fn account(user: &str, server: SocketAddr, password: &str) -> String {
    format!(
        "[auth_info_0]\nusername={user}\npasswd={password}\nrealm={DOMAIN}\ndomain={DOMAIN}\n\
         [proxy_0]\nreg_proxy=<sip:{server};transport=udp>\nreg_route=<sip:{server};transport=udp;lr>\n\
         reg_identity=sip:{user}@{DOMAIN}\nreg_expires=600\nreg_sendregister=1\npublish=0\n"
    )
}
