//! The torture messages of RFC 4475 and RFC 5118 on the wire, answered as `torture/answers.txt` says.
//!
//! Each message goes out as the RFC's archive has it (deviations: `sip-proxy/tests/vectors/adjustments.txt`), twice: from
//! an address that is trusted, so that what follows the login is seen too, and from a stranger's, who must get the same
//! refusal or a challenge. Behind each follows an OPTIONS on the same socket: its answer says that the server lives, and,
//! because the server takes what it reads in order, that a message not answered by then stays unanswered.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::Binary;
use crate::building::{Addresses, Building};
use crate::relay::Relay;
use crate::scenario::{Family, Transport, home};
use crate::wait;

/// The longest wait for an answer that is owed.
const SOON: Duration = Duration::from_secs(5);
/// A stream on which nothing is owed is listened to for so long.
const QUIET: Duration = Duration::from_millis(200);

/// What a message is to be met with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// These final answers, in this order; none: silence.
    Finals(Vec<u16>),
    /// The connection is closed, without or with an answer.
    Close(Option<u16>),
    /// The server waits for octets that never come; others are served.
    Waits,
}

/// One row of the table.
struct Row {
    file: String,
    udp: Answer,
    tcp: Answer,
}

/// Sends all of them over both transports and families; `false` when one is answered otherwise.
pub fn all(binary: &Binary) -> Result<bool> {
    let mut good = true;
    let mut run = 180;
    for family in Family::ALL {
        let rows = table(family)?;
        for transport in [Transport::Udp, Transport::Tcp] {
            for stranger in [false, true] {
                let addresses = Addresses::of(family, run);
                run += 1;
                good &= cell(binary, addresses, transport, stranger, &rows)?;
            }
        }
    }
    Ok(good)
}

/// Every message from one peer by one transport, to a server of its own: to the same one, the message from another peer
/// would be a repetition, for it has the same branch.
fn cell(
    binary: &Binary,
    addresses: Addresses,
    transport: Transport,
    stranger: bool,
    rows: &[Row],
) -> Result<bool> {
    let who = if stranger {
        "a stranger"
    } else {
        "a trusted peer"
    };
    let cell = format!("torture {transport} {} from {who}", addresses.family);
    // All of ::1 is one address: nobody is a stranger there.
    if stranger && addresses.family == Family::V6 {
        println!("skip  {cell}: ::1 is one address");
        return Ok(true);
    }
    let relay = Relay::start()?;
    let building =
        Building::start_for_strangers(binary, addresses, &relay, &cell.replace(' ', "-"))?;
    let mut faults = Vec::new();
    for row in rows {
        let wanted = if transport == Transport::Udp {
            &row.udp
        } else {
            &row.tcp
        };
        if let Err(error) = one(addresses, transport, stranger, &row.file, wanted) {
            faults.push(format!("{}: {error:#}", row.file));
        }
    }
    ensure!(
        relay.driven().is_empty(),
        "a torture message drove the relay"
    );
    building.doorward(&["audit", "verify"])?;
    if faults.is_empty() {
        println!("ok    {cell}: {} messages", rows.len());
    } else {
        println!("FAIL  {cell}:\n      {}", faults.join("\n      "));
    }
    Ok(faults.is_empty())
}

/// `file | udp | tcp | why`; every message has a row, and every row a message and a reason.
fn table(family: Family) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(home().join("torture/answers.txt"))?;
    let mut rows = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [file, udp, tcp, why] = fields[..] else {
            bail!("torture/answers.txt: {line}");
        };
        ensure!(!why.is_empty(), "torture/answers.txt: {file} has no reason");
        rows.push(Row {
            file: file.to_owned(),
            udp: answer(udp, family)?,
            tcp: answer(tcp, family)?,
        });
    }
    for folder in ["rfc4475", "rfc5118"] {
        for entry in std::fs::read_dir(vectors().join(folder))? {
            let file = format!("{folder}/{}", entry?.file_name().to_string_lossy());
            ensure!(
                rows.iter().filter(|row| row.file == file).count() == 1,
                "torture/answers.txt needs one row for {file}"
            );
        }
    }
    Ok(rows)
}

fn vectors() -> std::path::PathBuf {
    home().join("../sip-proxy/tests/vectors")
}

/// `silence`, `waits`, `close`, `400 close`, `200`, `403 404`, `404/488`.
fn answer(text: &str, family: Family) -> Result<Answer> {
    let text = match (text.split_once('/'), family) {
        (None, _) => text,
        (Some((v4, _)), Family::V4) => v4,
        (Some((_, v6)), Family::V6) => v6,
    };
    Ok(match text {
        "silence" => Answer::Finals(Vec::new()),
        "waits" => Answer::Waits,
        "close" => Answer::Close(None),
        _ => match text.strip_suffix(" close") {
            Some(status) => Answer::Close(Some(status.parse()?)),
            None => {
                let statuses = text.split(' ').map(str::parse);
                Answer::Finals(
                    statuses
                        .collect::<Result<_, _>>()
                        .with_context(|| text.to_owned())?,
                )
            }
        },
    })
}

/// The octets on the wire; see `adjustments.txt`.
fn octets(file: &str) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(vectors().join(file))?;
    if file.starts_with("rfc5118/") {
        let text = String::from_utf8(bytes)?.replace('\n', "\r\n");
        bytes = text
            .replace("Content-Length: 268\r\n", "Content-Length: 251\r\n")
            .into_bytes();
    }
    if !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    Ok(bytes)
}

fn one(
    addresses: Addresses,
    transport: Transport,
    stranger: bool,
    file: &str,
    wanted: &Answer,
) -> Result<()> {
    let message = octets(file)?;
    let from = addresses.actor(if stranger { 2 } else { 1 }).ip();
    let seen = meet(transport, from, addresses.server(), &message, wanted)?;
    let alike = match (&seen, wanted) {
        (Answer::Finals(seen), Answer::Finals(wanted)) if stranger => {
            let pairs = seen.iter().zip(wanted);
            seen.len() == wanted.len()
                && pairs
                    .into_iter()
                    .all(|(seen, wanted)| seen == wanted || *seen == 401)
        }
        _ => seen == *wanted,
    };
    ensure!(alike, "{seen:?} instead of {wanted:?}");
    Ok(())
}

fn meet(
    transport: Transport,
    from: IpAddr,
    server: SocketAddr,
    message: &[u8],
    wanted: &Answer,
) -> Result<Answer> {
    if transport == Transport::Udp {
        by_datagram(from, server, message, wanted)
    } else {
        by_stream(from, server, message, wanted)
    }
}

/// Without `rport` the answer goes to the port in the Via (RFC 3261 section 18.2.2), so that is the one to listen at.
fn by_datagram(
    from: IpAddr,
    server: SocketAddr,
    message: &[u8],
    wanted: &Answer,
) -> Result<Answer> {
    let local = SocketAddr::new(from, via_port(message));
    let mut socket = None;
    wait::until("a free port", SOON, || {
        socket = UdpSocket::bind(local).ok();
        socket.is_some()
    })
    .with_context(|| format!("binding {local}"))?;
    let socket = socket.context("no socket")?;
    socket.send_to(message, server)?;
    socket.send_to(probe(local, "UDP").as_bytes(), server)?;
    let deadline = Instant::now() + SOON;
    let (mut finals, mut lives) = (Vec::new(), false);
    let mut buffer = vec![0; 65_536];
    let owed = match wanted {
        Answer::Finals(statuses) => statuses.len(),
        _ => bail!("a datagram is answered or not"),
    };
    while !lives || finals.len() < owed {
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(
            !left.is_zero(),
            "{} in {SOON:?}",
            if lives {
                "no answer"
            } else {
                "the server does not live"
            }
        );
        socket.set_read_timeout(Some(left))?;
        let Ok(n) = socket.recv(&mut buffer) else {
            continue;
        };
        let response = &buffer[..n];
        if let Some(status) = judge(response, message, &mut lives)? {
            finals.push(status);
            if let Some(ack) = acknowledgement(response, message) {
                socket.send_to(ack.as_bytes(), server)?;
            }
        }
    }
    Ok(Answer::Finals(finals))
}

/// The OPTIONS goes by a connection of its own here: what a bad length says may swallow it.
fn by_stream(from: IpAddr, server: SocketAddr, message: &[u8], wanted: &Answer) -> Result<Answer> {
    let mut stream = connect(from, server)?;
    stream.write_all(message)?;
    let (owed, closes) = match wanted {
        Answer::Finals(statuses) => (statuses.len(), false),
        Answer::Close(status) => (usize::from(status.is_some()), true),
        Answer::Waits => (0, false),
    };
    let patience = if owed > 0 || closes { SOON } else { QUIET };
    let deadline = Instant::now() + patience;
    let (mut finals, mut closed) = (Vec::new(), false);
    let (mut buffer, mut chunk) = (Vec::new(), [0; 65_536]);
    while !closed && (closes || owed == 0 || finals.len() < owed) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => closed = true,
            Ok(n) => buffer.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => closed = true,
            Err(_) => {}
        }
        while let Some(response) = frame(&mut buffer) {
            if let Some(status) = judge(&response, message, &mut false)? {
                finals.push(status);
                if let Some(ack) = acknowledgement(&response, message) {
                    let _ = stream.write_all(ack.as_bytes());
                }
            }
        }
    }
    let mut other = connect(from, server)?;
    other.write_all(probe(other.local_addr()?, "TCP").as_bytes())?;
    other.set_read_timeout(Some(SOON))?;
    let n = other.read(&mut chunk).context("the server does not live")?;
    ensure!(
        n > 0 && chunk.starts_with(b"SIP/2.0 200"),
        "the server does not live"
    );
    Ok(match (closed, finals.as_slice()) {
        (true, [] | [_]) => Answer::Close(finals.first().copied()),
        (true, _) => bail!("{finals:?} and closed"),
        (false, []) if *wanted == Answer::Waits => Answer::Waits,
        (false, _) => Answer::Finals(finals),
    })
}

fn connect(from: IpAddr, server: SocketAddr) -> Result<TcpStream> {
    // The standard library binds no client; on loopback the kernel would take 127.0.0.1.
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket,
    };
    use std::os::fd::AsRawFd as _;
    let family = if from.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(
        fd.as_raw_fd(),
        &SockaddrStorage::from(SocketAddr::new(from, 0)),
    )?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(server))?;
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The status of a final answer to `message`; `None` for anything else. Whatever is answered is itself sound.
fn judge(response: &[u8], message: &[u8], lives: &mut bool) -> Result<Option<u16>> {
    let text = String::from_utf8_lossy(response);
    ensure!(text.starts_with("SIP/2.0 "), "no response: {text}");
    ensure!(!response.contains(&0), "a NUL in {text:?}");
    ensure!(
        !text.replace("\r\n", "").contains(['\r', '\n']),
        "a lone CR or LF in {text:?}"
    );
    let status: u16 = text.split(' ').nth(1).unwrap_or_default().parse()?;
    if header(&text, "Call-ID").is_some_and(|id| id.starts_with("probe-")) {
        *lives |= status == 200;
        return Ok(None);
    }
    let sent = String::from_utf8_lossy(message);
    // Of an earlier message, repeated.
    if header(&text, "Call-ID").is_some_and(|id| !sent.contains(id)) || status < 200 {
        return Ok(None);
    }
    ensure!(header(&text, "Via").is_some(), "no Via in {text}");
    ensure!(
        header(&text, "Content-Length").is_some(),
        "no Content-Length in {text}"
    );
    // A To that cannot be read cannot be given a tag.
    if status != 400
        && let Some(to) = header(&text, "To")
    {
        ensure!(
            to.to_ascii_lowercase().contains("tag"),
            "no tag in To: {to}"
        );
    }
    Ok(Some(status))
}

/// The ACK of a final answer to an INVITE (RFC 3261 section 17.1.1.3), so that it is not repeated.
fn acknowledgement(response: &[u8], message: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(response);
    let cseq = header(&text, "CSeq")?;
    if !message.starts_with(b"INVITE ") || !cseq.ends_with("INVITE") {
        return None;
    }
    let uri = String::from_utf8_lossy(message)
        .split(' ')
        .nth(1)?
        .to_owned();
    let mut ack = format!("ACK {uri} SIP/2.0\r\n");
    for name in ["Via", "From", "To", "Call-ID"] {
        let _ = write!(ack, "{name}: {}\r\n", header(&text, name)?);
    }
    let _ = write!(
        ack,
        "CSeq: {}ACK\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        cseq.strip_suffix("INVITE")?
    );
    Some(ack)
}

/// The first value of a header in a response of the server's, which folds nothing.
fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.split("\r\n").find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field
            .trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim())
    })
}

/// Takes one message off a stream of responses.
fn frame(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let head = buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let body: usize = header(&text, "Content-Length")
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    (buffer.len() >= head + body).then(|| buffer.drain(..head + body).collect())
}

fn probe(local: SocketAddr, transport: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!(
        "OPTIONS sip:test-house.example SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bKprobe{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:probe@test-house.example>;tag=p{number}\r\nTo: <sip:test-house.example>\r\n\
         Call-ID: probe-{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The port of the topmost Via's sent-by.
fn via_port(message: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(message)
        .replace("\r\n ", " ")
        .replace("\r\n\t", " ");
    let value = text
        .split("\r\n")
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            matches!(name.trim().to_ascii_lowercase().as_str(), "via" | "v")
                .then(|| value.to_owned())
        })
        .unwrap_or_default();
    let sent_by = value
        .split(';')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .next_back()
        .unwrap_or_default();
    let default = if value.contains("TLS") { 5061 } else { 5060 };
    let port = sent_by
        .rsplit_once(':')
        .filter(|(host, _)| !host.starts_with('[') || host.ends_with(']'));
    port.and_then(|(_, port)| port.parse().ok())
        .unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_torture_message_has_one_row_and_a_reason() {
        for family in Family::ALL {
            assert_eq!(table(family).unwrap().len(), 49 + 12);
        }
    }

    #[test]
    fn the_port_of_a_via_is_read_however_it_is_written() {
        for (line, port) in [
            ("Via: SIP/2.0/UDP a;branch=x", 5060),
            (
                "v:  SIP  / 2.0  / TCP     spindle.example.com:5062  ;\r\n  branch  =   z9",
                5062,
            ),
            ("Via: SIP/2.0/UDP [2001:db8::9:1];branch=x", 5060),
            ("Via: SIP/2.0/UDP [2001:db8::9:1]:6050", 6050),
        ] {
            let message = format!("INVITE sip:a SIP/2.0\r\n{line}\r\n\r\n");
            assert_eq!(via_port(message.as_bytes()), port, "{line}");
        }
    }
}
