//! A caller and a callee in one thread, with just enough SIP to set calls up and see when each message passes the server.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::building::{Building, DOMAIN};
use crate::scenario::home;

/// What a side offers or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// G.711 µ-law, payload type 0.
    Pcmu,
    /// Opus, payload type 107.
    Opus,
}

impl Codec {
    /// Payload type in our SDPs.
    pub fn payload(self) -> u8 {
        match self {
            Self::Pcmu => 0,
            Self::Opus => 107,
        }
    }

    fn lines(self) -> &'static str {
        match self {
            Self::Pcmu => "a=rtpmap:0 PCMU/8000\r\n",
            Self::Opus => "a=rtpmap:107 opus/48000/2\r\n",
        }
    }
}

/// The two phones.
#[derive(Debug)]
pub struct House {
    server: SocketAddr,
    caller: UdpSocket,
    callee: UdpSocket,
    /// Number of the last call; goes on over all houses of a run, so that no call is taken for another one's repetition.
    number: u32,
}

/// A call that is up.
#[derive(Debug)]
pub struct Call {
    /// From the INVITE sent by the caller to the INVITE received by the callee.
    pub invite_passed: Duration,
    /// From the 200 sent by the callee to the 200 received by the caller.
    pub answer_passed: Duration,
    /// The caller's RTP socket, connected to the server.
    pub caller_rtp: UdpSocket,
    /// The callee's RTP socket, connected to the server.
    pub callee_rtp: UdpSocket,
    number: u32,
    to: String,
    target: String,
}

const SOON: Duration = Duration::from_secs(3);

impl House {
    /// Registers `app-101` as callee; the caller's address is trusted as the door. Calls are numbered from `first` on.
    pub fn register(building: &Building, first: u32) -> Result<Self> {
        let server = building.addresses.server();
        let (caller, callee) = (building.addresses.actor(2), building.addresses.actor(1));
        let password = building
            .passwords
            .get("app-101")
            .context("no account app-101")?;
        let status = Command::new("sipp")
            .arg(server.to_string())
            .arg("-sf")
            .arg(home().join("parts/register.xml"))
            .args([
                "-i",
                &callee.ip().to_string(),
                "-p",
                &callee.port().to_string(),
                "-m",
                "1",
                "-nostdin",
            ])
            .args([
                "-au", "app-101", "-ap", password, "-key", "user", "app-101", "-key", "domain",
                DOMAIN,
            ])
            .args([
                "-key",
                "dial",
                "app-101",
                "-key",
                "contact_port",
                &callee.port().to_string(),
            ])
            .current_dir(&building.dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("starting sipp")?;
        ensure!(status.success(), "app-101 could not register");
        let open = |address: SocketAddr| -> Result<UdpSocket> {
            let socket = UdpSocket::bind(address).with_context(|| format!("binding {address}"))?;
            socket.set_read_timeout(Some(SOON))?;
            Ok(socket)
        };
        Ok(Self {
            server,
            caller: open(caller)?,
            callee: open(callee)?,
            number: first,
        })
    }

    /// Sets one call up.
    pub fn call(&mut self, offered: Codec, answered: Codec) -> Result<Call> {
        self.number += 1;
        let number = self.number;
        let caller_rtp = UdpSocket::bind((self.caller.local_addr()?.ip(), 0))?;
        let callee_rtp = UdpSocket::bind((self.callee.local_addr()?.ip(), 0))?;
        let offer = sdp(caller_rtp.local_addr()?, offered);
        let sent = Instant::now();
        self.caller.send_to(
            self.request("INVITE", number, None, &offer)?.as_bytes(),
            self.server,
        )?;
        let invite = until(&self.callee, |text| text.starts_with("INVITE"))?;
        let invite_passed = sent.elapsed();
        callee_rtp.connect(media_address(&invite)?)?;
        let body = sdp(callee_rtp.local_addr()?, answered);
        let contact = format!("Contact: <sip:app-101@{}>\r\n", self.callee.local_addr()?);
        self.callee.send_to(
            response(&invite, "180 Ringing", number, &contact, "").as_bytes(),
            self.server,
        )?;
        until(&self.caller, |text| text.starts_with("SIP/2.0 180"))?;
        let sent = Instant::now();
        self.callee.send_to(
            response(&invite, "200 OK", number, &contact, &body).as_bytes(),
            self.server,
        )?;
        let answer = until(&self.caller, |text| text.starts_with("SIP/2.0 200"))?;
        let answer_passed = sent.elapsed();
        caller_rtp.connect(media_address(&answer)?)?;
        let to = header(&answer, "To")
            .context("a 200 without To")?
            .to_owned();
        let target = header(&answer, "Contact")
            .and_then(|c| c.split(['<', '>']).nth(1))
            .context("a 200 without Contact")?
            .to_owned();
        self.caller.send_to(
            self.request("ACK", number, Some((&to, &target)), "")?
                .as_bytes(),
            self.server,
        )?;
        until(&self.callee, |text| text.starts_with("ACK"))?;
        Ok(Call {
            invite_passed,
            answer_passed,
            caller_rtp,
            callee_rtp,
            number,
            to,
            target,
        })
    }

    /// Ends a call from the caller's side.
    pub fn hang_up(&mut self, call: &Call) -> Result<()> {
        let request = self.request("BYE", call.number, Some((&call.to, &call.target)), "")?;
        self.caller.send_to(request.as_bytes(), self.server)?;
        until(&self.caller, |text| {
            text.starts_with("SIP/2.0 200") && text.contains(" BYE")
        })?;
        let bye = until(&self.callee, |text| text.starts_with("BYE"))?;
        self.callee.send_to(
            response(&bye, "200 OK", call.number, "", "").as_bytes(),
            self.server,
        )?;
        Ok(())
    }

    fn request(
        &self,
        method: &str,
        number: u32,
        dialog: Option<(&str, &str)>,
        body: &str,
    ) -> Result<String> {
        let local = self.caller.local_addr()?;
        let plain = (format!("<sip:101@{DOMAIN}>"), format!("sip:101@{DOMAIN}"));
        let (to, uri) = dialog.unwrap_or((&plain.0, &plain.1));
        let sequence = if method == "BYE" { 2 } else { 1 };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        Ok(format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{method}{number};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:lobby@{DOMAIN}>;tag=l{number}\r\nTo: {to}\r\nCall-ID: load-{number}@{}\r\nCSeq: {sequence} {method}\r\n\
             Contact: <sip:lobby@{local}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            local.ip(),
            body.len()
        ))
    }
}

fn response(request: &str, status: &str, number: u32, extra: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().take_while(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "via" | "from" | "call-id" | "cseq" | "record-route" => {
                text.push_str(&format!("{line}\r\n"));
            }
            "to" if line.contains(";tag=") => text.push_str(&format!("{line}\r\n")),
            "to" => text.push_str(&format!("{line};tag=c{number}\r\n")),
            _ => {}
        }
    }
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    text.push_str(&format!(
        "{extra}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    text
}

fn sdp(address: SocketAddr, codec: Codec) -> String {
    let (ip, port, payload) = (address.ip(), address.port(), codec.payload());
    format!(
        "v=0\r\no=load 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {payload}\r\n{}a=ptime:20\r\n",
        codec.lines()
    )
}

/// Receives until a message is the wanted one; others (100, retransmissions) are passed over.
fn until(socket: &UdpSocket, wanted: impl Fn(&str) -> bool) -> Result<String> {
    let deadline = Instant::now() + SOON;
    let mut buffer = [0; 8_192];
    while Instant::now() < deadline {
        let n = socket
            .recv(&mut buffer)
            .context("the server said nothing")?;
        let text = String::from_utf8_lossy(&buffer[..n]);
        if wanted(&text) {
            return Ok(text.into_owned());
        }
        if text.starts_with("SIP/2.0 4") || text.starts_with("SIP/2.0 5") {
            bail!("refused: {}", text.lines().next().unwrap_or_default());
        }
    }
    bail!("the expected message did not come")
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Where the SDP of a message wants RTP.
fn media_address(message: &str) -> Result<SocketAddr> {
    let ip = message
        .lines()
        .find_map(|line| line.strip_prefix("c=IN IP4 "))
        .context("no c= line")?;
    let port = message
        .lines()
        .find_map(|line| line.strip_prefix("m=audio "))
        .and_then(|m| m.split(' ').next())
        .context("no m= line")?;
    Ok(SocketAddr::new(ip.trim().parse()?, port.parse()?))
}
