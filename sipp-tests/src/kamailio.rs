//! Debian's kamailio on both sides of the server: behind it as the trunk's provider, in front of it as the edge proxy that
//! phones register through. Its configurations are in `clients/kamailio/`.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Binary;
use crate::actor::Peer;
use crate::building::{Addresses, Building, DOMAIN};
use crate::linphone::installed;
use crate::relay::Relay;
use crate::scenario::{Family, Transport, home};

/// Longest wait for anything one of them should do.
const SOON: Duration = Duration::from_secs(20);

/// Both sides; `false` when one failed. Without kamailio one line says so.
pub fn both_sides(binary: &Binary) -> Result<bool> {
    if !installed("kamailio") {
        println!("skip  kamailio: it is not installed (Debian package kamailio)");
        return Ok(true);
    }
    let trunk = told("as trunk", &provider(binary));
    let edge = told("as edge proxy", &edge(binary));
    Ok(trunk && edge)
}

fn told(name: &str, outcome: &Result<&'static str>) -> bool {
    match outcome {
        Ok(report) => println!("ok    kamailio {name}: {report}"),
        Err(error) => println!("FAIL  kamailio {name}: {error:#}"),
    }
    outcome.is_ok()
}

/// A number rings through kamailio, which asks for credentials, to a telephone behind it.
fn provider(binary: &Binary) -> Result<&'static str> {
    let addresses = Addresses::of(Family::V4, 193);
    let (proxy, far) = (addresses.actor(4), addresses.actor(5));
    let relay = Relay::start()?;
    let trunk = format!(
        "\n[trunk.provider]\nuri = \"sip:{proxy}\"\nuser = \"elm\"\npassword = \"let-me-in\"\n\
         realm = \"provider.example\"\naddresses = [\"{}\"]\ncaller-id = \"+420222000111\"\n",
        proxy.ip()
    );
    let route = "\nroute \"out\" from=\"desk:desk\" dial=\"900\" \
                 { ring \"pstn:+420601234567\" via=\"provider\" for=\"20s\"; end \"hangup\" }\n";
    let building =
        Building::start_reaching_out(binary, addresses, &relay, "kamailio-trunk", route, trunk)?;
    let _kamailio = Kamailio::start(&building.dir, "provider", proxy, ("FAR", far))?;
    let phone = peer(&building, "telephone", addresses.server(), far);
    let mut answering = phone.start("answer_routed", None)?;
    let desk = peer(&building, "desk-1", addresses.server(), addresses.actor(1));
    let mut call = desk.start("call", Some("900"))?;
    call.finish(SOON).context("the desk's call")?;
    answering.finish(SOON).context("the telephone")?;
    let seen = std::fs::read_to_string(building.dir.join("telephone-answer_routed.msg"))?;
    for wanted in [
        "INVITE sip:+420601234567@",
        "P-Asserted-Identity: <sip:+420222000111@",
        "Record-Route: <sip:",
        "BYE sip:",
    ] {
        ensure!(seen.contains(wanted), "no `{wanted}` in\n{seen}");
    }
    Ok("a number rang through it with credentials, was answered and hung up")
}

/// The desk's phone registers through kamailio; the door's calls reach it there, and one is cancelled.
fn edge(binary: &Binary) -> Result<&'static str> {
    let addresses = Addresses::of(Family::V4, 194);
    let proxy = addresses.actor(4);
    let relay = Relay::start()?;
    let building = Building::start(binary, addresses, &relay, "kamailio-edge")?;
    let _kamailio = Kamailio::start(&building.dir, "edge", proxy, ("SERVER", addresses.server()))?;
    let desk = peer(&building, "desk-1", proxy, addresses.actor(1));
    let door = peer(&building, "lobby", addresses.server(), addresses.actor(2));
    desk.register().context("registering through the edge")?;

    let mut answering = desk.start("answer_routed", None)?;
    let mut call = door.start("call", Some("desk"))?;
    call.finish(SOON).context("the door's call")?;
    answering
        .finish(SOON)
        .context("the phone behind the edge")?;
    let seen = std::fs::read_to_string(building.dir.join("desk-1-answer_routed.msg"))?;
    let by = format!("Record-Route: <sip:{}", proxy.ip());
    ensure!(
        seen.contains(&by),
        "the call did not come by the edge:\n{seen}"
    );

    let mut ringing = desk.start("ring_only", None)?;
    let mut cancel = door.start("call_cancel", Some("desk"))?;
    cancel.finish(SOON).context("the visitor who gives up")?;
    ringing.finish(SOON).context("CANCEL behind the edge")?;
    Ok("a phone registered through it with Path; the door's calls reached it, and CANCEL did")
}

fn peer(building: &Building, account: &str, server: SocketAddr, local: SocketAddr) -> Peer {
    Peer {
        account: account.to_owned(),
        password: building.passwords.get(account).cloned().unwrap_or_default(),
        domain: DOMAIN.to_owned(),
        server,
        local,
        transport: Transport::Udp,
        dir: building.dir.clone(),
    }
}

/// A running kamailio; ends with the test.
struct Kamailio {
    child: Child,
}

impl Kamailio {
    fn start(dir: &Path, name: &str, at: SocketAddr, to: (&str, SocketAddr)) -> Result<Self> {
        let text = std::fs::read_to_string(home().join(format!("clients/kamailio/{name}.cfg")))?;
        let text = text
            .replace(&format!("\"{}\"", to.0), &format!("\"sip:{}\"", to.1))
            .replace(&format!("\"{}_IP\"", to.0), &format!("\"{}\"", to.1.ip()));
        let config = dir.join(format!("{name}.cfg"));
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(dir.join(format!("{name}.log")))?;
        let child = Command::new("kamailio")
            .arg("-f")
            .arg(&config)
            .args(["-DD", "-E", "-m", "32", "-M", "4"])
            .arg("-Y")
            .arg(dir)
            .arg("-w")
            .arg(dir)
            .args(["-l", &format!("udp:{at}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting kamailio")?;
        let started = Self { child };
        started.answers(at).with_context(|| {
            std::fs::read_to_string(dir.join(format!("{name}.log"))).unwrap_or_default()
        })?;
        Ok(started)
    }

    /// Waits until it answers an OPTIONS.
    fn answers(&self, at: SocketAddr) -> Result<()> {
        let socket = UdpSocket::bind((at.ip(), 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let local = socket.local_addr()?;
        let until = Instant::now() + SOON;
        let mut buffer = [0; 2048];
        let mut n = 0;
        while Instant::now() < until {
            n += 1;
            let text = format!(
                "OPTIONS sip:{at} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKup{n}\r\nFrom: <sip:up@{local}>;tag={n}\r\n\
                 To: <sip:{at}>\r\nCall-ID: up-{n}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 9\r\nContent-Length: 0\r\n\r\n"
            );
            // Nobody listens yet: then this or the read says so, and it is tried again.
            let _ = socket.send_to(text.as_bytes(), at);
            if socket.recv(&mut buffer).is_ok() {
                return Ok(());
            }
        }
        anyhow::bail!("kamailio does not answer at {at}")
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // TERM, so that it ends its children too.
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}
