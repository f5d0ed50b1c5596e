//! Thousands of hostile messages from many addresses while doors call: what the house notices of it.
//!
//! `sipp-tests flood` is the bar of 20,000 messages in ten seconds; what CI runs is shorter.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::Binary;
use crate::building::{Addresses, Building, DOMAIN};
use crate::load::cost;
use crate::load::percentile;
use crate::load::phone::{Codec, House};
use crate::relay::Relay;
use crate::scenario::Family;

/// Arguments of `flood`.
#[derive(Clone, Debug, Args)]
pub struct FloodArgs {
    #[command(flatten)]
    pub binary: Binary,
    /// Hostile messages.
    #[arg(long, default_value_t = 20_000)]
    pub messages: u32,
    /// Over so many seconds.
    #[arg(long, default_value_t = 10)]
    pub seconds: u32,
    /// 95 of 100 door calls must be set up within so many milliseconds.
    #[arg(long, default_value_t = 100)]
    pub set_up: u64,
}

impl FloodArgs {
    /// What CI runs: shorter, and on a machine that does other things too.
    pub fn smoke(binary: &Binary) -> Self {
        Self {
            binary: binary.clone(),
            messages: 6_000,
            seconds: 3,
            set_up: 250,
        }
    }
}

/// Addresses they come from.
const SOURCES: u8 = 100;
/// A door calls again so soon after its last call.
const PAUSE: Duration = Duration::from_millis(40);
/// Of a hundred door calls so many must succeed.
const SUCCEED: u32 = 95;
/// The server's memory may grow so much during the flood, KiB: what the calls themselves leave in its bounded rings.
const GROWTH: u64 = 12 * 1024;

/// Runs the flood; false when the house noticed too much of it.
pub fn flood(args: &FloodArgs) -> Result<bool> {
    let addresses = Addresses::of(Family::V4, 171);
    let relay = Relay::start()?;
    let building = Building::start_flooded(&args.binary, addresses, &relay)?;
    let mut house = House::register(&building, 3_000_000)?;
    // The first call warms up what is made once.
    let call = house.call(Codec::Pcmu, Codec::Pcmu)?;
    house.hang_up(&call)?;

    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU32::new(0));
    let attack = {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        let (server, messages, seconds) = (addresses.server(), args.messages, args.seconds);
        std::thread::spawn(move || attack(server, messages, seconds, &sent, &stop))
    };
    let begun = Instant::now();
    let length = Duration::from_secs(u64::from(args.seconds));
    let (mut tried, mut good, mut set_ups, mut first_memory) = (0_u32, 0_u32, Vec::new(), None);
    let mut why = String::new();
    while begun.elapsed() < length {
        tried += 1;
        match house.call(Codec::Pcmu, Codec::Pcmu) {
            Ok(call) => {
                good += 1;
                let set_up = call.invite_passed + call.answer_passed;
                set_ups.push(u64::try_from(set_up.as_micros()).unwrap_or(u64::MAX));
                if let Err(error) = house.hang_up(&call) {
                    why = format!("a call could not be ended: {error:#}");
                }
            }
            Err(error) => why = format!("{error:#}"),
        }
        if begun.elapsed() > length / 4 && first_memory.is_none() {
            first_memory = Some(cost::memory(building.pid()));
        }
        std::thread::park_timeout(PAUSE);
    }
    stop.store(true, Ordering::Release);
    attack
        .join()
        .map_err(|_| anyhow::anyhow!("the attacker died"))??;
    let grown = cost::memory(building.pid()).saturating_sub(first_memory.unwrap_or(0));
    let (half, most) = (
        percentile(&mut set_ups, 0.5),
        percentile(&mut set_ups, 0.95),
    );
    let sent = sent.load(Ordering::Acquire);
    println!(
        "flood: {sent} hostile messages in {:.1} s; door calls {good} of {tried}, set-up p50 {:.1} ms, p95 {:.1} ms; \
         memory grew by {grown} KiB",
        begun.elapsed().as_secs_f64(),
        half as f64 / 1_000.0,
        most as f64 / 1_000.0,
    );
    let mut passed = true;
    let mut must = |holds: bool, what: String| {
        if !holds {
            println!("flood: FAILED: {what}");
            passed = false;
        }
    };
    must(
        good * 100 >= tried * SUCCEED && tried > 0,
        format!(
            "{good} of {tried} door calls succeeded, {SUCCEED} % must; the last failure: {why}"
        ),
    );
    must(
        most <= args.set_up * 1_000,
        format!(
            "95 of 100 door calls must be set up within {} ms",
            args.set_up
        ),
    );
    must(grown <= GROWTH, format!("memory grew by {grown} KiB"));
    must(
        sent >= args.messages / 10 * 9,
        format!("only {sent} of {} messages could be sent", args.messages),
    );
    let log = std::fs::read_to_string(building.dir.join("server.log")).unwrap_or_default();
    must(!log.contains("panicked"), "the server panicked".to_owned());
    Ok(passed)
}

fn attack(
    server: SocketAddr,
    messages: u32,
    seconds: u32,
    sent: &AtomicU32,
    stop: &AtomicBool,
) -> Result<()> {
    let mut sockets = Vec::new();
    for n in 0..SOURCES {
        let source = IpAddr::V4(Ipv4Addr::new(127, 171, 7, n + 1));
        let socket = UdpSocket::bind((source, 0)).context("binding an attacker's address")?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    let mut random = Random(0x5eed);
    let begun = Instant::now();
    let rate = f64::from(messages) / f64::from(seconds.max(1));
    let mut n = 0;
    while n < messages && !stop.load(Ordering::Acquire) {
        let due = (begun.elapsed().as_secs_f64() * rate) as u32;
        while n < due.min(messages) {
            let socket = &sockets[n as usize % sockets.len()];
            let message = hostile(n, socket.local_addr()?, &mut random);
            if socket.send_to(&message, server).is_ok() {
                sent.fetch_add(1, Ordering::AcqRel);
            }
            n += 1;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    Ok(())
}

/// Message `n` of the flood: each kind in turn.
fn hostile(n: u32, from: SocketAddr, random: &mut Random) -> Vec<u8> {
    let request = |method: &str, caller: &str, more: &str, to_tag: &str| {
        format!(
            "{method} sip:101@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKf{n};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{caller}@{DOMAIN}>;tag=f{n}\r\nTo: <sip:101@{DOMAIN}>{to_tag}\r\nCall-ID: flood-{n}@{from}\r\n\
             CSeq: 1 {method}\r\nContact: <sip:{caller}@{from}>\r\n{more}Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
    };
    let credentials = format!(
        "Authorization: Digest username=\"app-101\", realm=\"{DOMAIN}\", nonce=\"{n:x}\", uri=\"sip:{DOMAIN}\", \
         response=\"{:032x}\"\r\n",
        random.next()
    );
    match n % 12 {
        0 => request("INVITE", "lobby", "", ""),
        1 => request("REGISTER", "app-101", "", ""),
        2 => request("REGISTER", "app-101", &credentials, ""),
        3 => request("INVITE", "420777123456", "", ""),
        4 => request(
            "INVITE",
            "lobby",
            &format!("Action: buzz\r\n{credentials}"),
            "",
        ),
        5 => request("SUBSCRIBE", "desk-1", "Event: dialog\r\n", ""),
        6 => request(
            "BYE",
            "lobby",
            "",
            &format!(";tag={:x}.0.{:016x}", n % 50, random.next()),
        ),
        7 => mutated(request("INVITE", "lobby", "", ""), random),
        8 => mutated(request("REGISTER", "app-101", &credentials, ""), random),
        9 => {
            let mut cut = request("INVITE", "lobby", "", "");
            cut.truncate(random.below(cut.len()));
            cut
        }
        10 => (0..random.below(600))
            .map(|_| random.next() as u8)
            .collect(),
        _ => {
            let long = format!("X: {}\r\n", "y".repeat(4_000));
            request("OPTIONS", "x", &long, "")
        }
    }
}

/// A few octets changed, taken out or doubled.
fn mutated(mut message: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(8) {
        let at = random.below(message.len());
        match random.below(3) {
            0 => message[at] = random.next() as u8,
            1 => {
                message.remove(at);
            }
            _ => message.insert(at, message[at]),
        }
    }
    message
}

/// The same flood every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}
