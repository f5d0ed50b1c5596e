//! An estate of phones behind one address, that all register: REGISTER, challenge, REGISTER with credentials, 200; lost
//! datagrams are repeated as phones do (timer E: 500 ms, 1 s, 2 s, then every 4 s).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use md5::{Digest as _, Md5};

/// Timer F: a request that nobody has answered by then has failed.
const GIVE_UP: Duration = Duration::from_secs(32);
/// After that a phone begins anew, so often.
const TRIES: u32 = 3;
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

/// When each device sends its first request.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    over: Duration,
}

impl Pace {
    /// All within this time, evenly.
    pub fn within(over: Duration) -> Self {
        Self { over }
    }

    /// So many a second.
    pub fn rate(devices: u32, rate: u32) -> Self {
        Self::within(Duration::from_secs_f64(
            f64::from(devices) / f64::from(rate.max(1)),
        ))
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    pub devices: u32,
    /// Never answered 200.
    pub lost: u32,
    /// From each device's first request to its 200, microseconds.
    pub times: Vec<u64>,
    /// Requests sent again.
    pub repeated: u64,
    /// From the first request to the last 200.
    pub took: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Asked,
    Answered,
    Registered,
    Lost,
}

#[derive(Debug)]
struct Phone {
    user: String,
    password: String,
    stage: Stage,
    cseq: u32,
    began: Instant,
    /// When the request now under way was first sent, and how often since.
    sent: Instant,
    copies: u32,
    tries: u32,
    request: Vec<u8>,
}

/// The phones and the one socket they share.
#[derive(Debug)]
pub struct Estate {
    socket: UdpSocket,
    server: SocketAddr,
    domain: String,
    run: u32,
    phones: Vec<Phone>,
    /// When a phone's request is to be repeated: phone, and the CSeq it was for.
    repeats: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    repeated: u64,
}

impl Estate {
    /// Phones `load-00000` … of these numbers, at the address `local`.
    pub fn new(
        server: SocketAddr,
        local: SocketAddr,
        domain: &str,
        devices: std::ops::Range<u32>,
        password: impl Fn(&str) -> String,
    ) -> Result<Self> {
        let socket = UdpSocket::bind(local).with_context(|| format!("binding {local}"))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBuf, &(4 << 20))?;
        let now = Instant::now();
        let phone = |n: u32| {
            let user = format!("load-{n:05}");
            Phone {
                password: password(&user),
                user,
                stage: Stage::Waiting,
                cseq: 0,
                began: now,
                sent: now,
                copies: 0,
                tries: 0,
                request: Vec::new(),
            }
        };
        Ok(Self {
            socket,
            server,
            domain: domain.to_owned(),
            run: std::process::id(),
            phones: devices.map(phone).collect(),
            repeats: BinaryHeap::new(),
            repeated: 0,
        })
    }

    /// Whether the server says anything at all within five seconds.
    pub fn is_answered(&mut self) -> bool {
        let text = format!(
            "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/UDP {1};branch=z9hG4bKup{2};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:up@{0}>;tag=1\r\nTo: <sip:up@{0}>\r\nCall-ID: up-{2}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
            self.domain,
            self.local(),
            self.run
        );
        let until = Instant::now() + Duration::from_secs(5);
        let mut buffer = [0; 4_096];
        while Instant::now() < until {
            // A port nobody listens on yet says so by an error.
            let _ = self.socket.send(text.as_bytes());
            std::thread::sleep(Duration::from_millis(50));
            if self.socket.recv(&mut buffer).is_ok() {
                while self.socket.recv(&mut buffer).is_ok() {}
                return true;
            }
        }
        false
    }

    /// Registers all of them once, each with a Call-ID of its own and of this run, as after a power cut.
    pub fn run(&mut self, pace: Pace) -> Result<Outcome> {
        self.run += 1;
        self.repeats.clear();
        self.repeated = 0;
        for phone in &mut self.phones {
            (phone.stage, phone.cseq, phone.tries) = (Stage::Waiting, 0, 0);
        }
        let start = Instant::now();
        let count = self.phones.len();
        let due = |n: usize| start + pace.over.mul_f64(n as f64 / count.max(1) as f64);
        let (mut begun, mut open) = (0, count);
        let mut last = start;
        let mut times = Vec::with_capacity(count);
        let mut buffer = [0; 8_192];
        while open > 0 {
            let now = Instant::now();
            let mut idle = true;
            while begun < count && due(begun) <= now {
                self.begin(begun, now, true)?;
                begun += 1;
                idle = false;
            }
            for _ in 0..64 {
                let read = match self.socket.recv(&mut buffer) {
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => break,
                    Err(error) => return Err(error).context("receiving"),
                };
                idle = false;
                let text = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default());
                if let Some(began) = self.answered(&text, now)? {
                    times.push(u64::try_from(began.as_micros()).unwrap_or(u64::MAX));
                    (open, last) = (open - 1, now);
                }
            }
            while let Some(Reverse((at, n, cseq))) = self.repeats.peek().copied()
                && at <= now
            {
                self.repeats.pop();
                open -= usize::from(self.repeat(n, cseq, now)?);
            }
            if idle {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        let lost = self.phones.iter().filter(|one| one.stage == Stage::Lost);
        Ok(Outcome {
            devices: u32::try_from(count).unwrap_or(u32::MAX),
            lost: u32::try_from(lost.count()).unwrap_or(u32::MAX),
            times,
            repeated: self.repeated,
            took: last - start,
        })
    }

    fn local(&self) -> SocketAddr {
        self.socket.local_addr().unwrap_or(self.server)
    }

    /// Sends a phone's first request, without credentials.
    fn begin(&mut self, n: usize, now: Instant, first: bool) -> Result<()> {
        if let Some(phone) = self.phones.get_mut(n) {
            phone.stage = Stage::Asked;
            phone.tries += 1;
            if first {
                phone.began = now;
            }
        }
        self.send(n, now, "")
    }

    fn send(&mut self, n: usize, now: Instant, credentials: &str) -> Result<()> {
        let (local, run, domain) = (self.local(), self.run, &self.domain);
        let Some(phone) = self.phones.get_mut(n) else {
            return Ok(());
        };
        phone.cseq += 1;
        let (user, cseq) = (&phone.user, phone.cseq);
        phone.request = format!(
            "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{run}.{n}.{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{domain}>;tag=t{n}\r\nTo: <sip:{user}@{domain}>\r\n\
             Call-ID: {run}-{n}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{user}@10.0.0.1:5060>\r\nExpires: 3600\r\n\
             User-Agent: estate\r\n{credentials}Content-Length: 0\r\n\r\n"
        )
        .into_bytes();
        (phone.sent, phone.copies) = (now, 1);
        self.repeats.push(Reverse((now + T1, n, cseq)));
        transmit(&self.socket, &phone.request)
    }

    /// Timer E or F of a request; `true` when the phone gives up for good.
    fn repeat(&mut self, n: usize, cseq: u32, now: Instant) -> Result<bool> {
        let Some(phone) = self.phones.get_mut(n) else {
            return Ok(false);
        };
        let waits = matches!(phone.stage, Stage::Asked | Stage::Answered);
        if phone.cseq != cseq || !waits {
            return Ok(false);
        }
        if now >= phone.sent + GIVE_UP {
            if phone.tries < TRIES {
                return self.begin(n, now, false).map(|()| false);
            }
            phone.stage = Stage::Lost;
            return Ok(true);
        }
        let wait = (T1 * (1 << phone.copies.min(8))).min(T2);
        phone.copies += 1;
        self.repeated += 1;
        self.repeats.push(Reverse((now + wait, n, cseq)));
        transmit(&self.socket, &phone.request)?;
        Ok(false)
    }

    /// A response; of a phone that is registered by it, how long that took.
    fn answered(&mut self, text: &str, now: Instant) -> Result<Option<Duration>> {
        let status: u16 = text
            .get(8..11)
            .and_then(|code| code.parse().ok())
            .unwrap_or(0);
        let number = |name: &str| header(text, name).map(str::to_owned);
        let Some(n) = number("Call-ID").and_then(|id| {
            id.strip_prefix(&format!("{}-", self.run))?
                .parse::<usize>()
                .ok()
        }) else {
            return Ok(None);
        };
        let cseq = number("CSeq").and_then(|cseq| cseq.split(' ').next()?.parse::<u32>().ok());
        let Some(phone) = self
            .phones
            .get_mut(n)
            .filter(|phone| Some(phone.cseq) == cseq)
        else {
            return Ok(None);
        };
        match (phone.stage, status) {
            (Stage::Asked | Stage::Answered, 200) => {
                phone.stage = Stage::Registered;
                Ok(Some(now - phone.began))
            }
            (Stage::Asked | Stage::Answered, 401) => {
                phone.stage = Stage::Answered;
                let credentials = credentials(text, phone, &self.domain);
                self.send(n, now, &credentials)?;
                Ok(None)
            }
            // Too busy: again when timer F would have said so, or a little later.
            _ => Ok(None),
        }
    }
}

/// A full socket buffer is a lost datagram, like any other.
fn transmit(socket: &UdpSocket, bytes: &[u8]) -> Result<()> {
    match socket.send(bytes) {
        Ok(_) => Ok(()),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error).context("sending"),
    }
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The Authorization line that answers the MD5 challenge.
fn credentials(challenged: &str, phone: &Phone, domain: &str) -> String {
    let challenge = challenged
        .lines()
        .filter(|line| line.starts_with("WWW-Authenticate:"))
        .find(|line| !line.contains("SHA-256"))
        .unwrap_or_default();
    let field = |name: &str| {
        let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
        rest.split('"').next()
    };
    let (realm, nonce) = (
        field("realm").unwrap_or_default(),
        field("nonce").unwrap_or_default(),
    );
    let (user, uri) = (&phone.user, format!("sip:{domain}"));
    let ha1 = md5(&format!("{user}:{realm}:{}", phone.password));
    let ha2 = md5(&format!("REGISTER:{uri}"));
    let proof = md5(&format!("{ha1}:{nonce}:00000001:c0ffee:auth:{ha2}"));
    format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{proof}\", \
         algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c0ffee\"\r\n"
    )
}

fn md5(text: &str) -> String {
    let hash = Md5::digest(text.as_bytes());
    hash.iter().map(|octet| format!("{octet:02x}")).collect()
}
