//! RTP through held calls: CPU, latency, loss and memory, relayed and transcoded.

use std::net::UdpSocket;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use opus::{Application, Channels, Encoder};

use super::bare::Bare;
use super::phone::{Call, Codec, House};
use super::{LoadArgs, Row, cost, percentile};
use crate::building::Building;

/// One packet each 20 ms.
const TICK: Duration = Duration::from_millis(20);

pub fn measure(args: &LoadArgs, building: &Building, rows: &mut Vec<Row>) -> Result<()> {
    let mut house = House::register(building, 1_000_000)?;
    let pid = building.pid();
    let memory = cost::memory(pid);
    let calls = calls(&mut house, args.media_calls, Codec::Pcmu, Codec::Pcmu)?;
    let relayed = run(&calls, Codec::Pcmu, Codec::Pcmu, args.seconds, || {
        cost::cpu(pid)
    })?;
    let count = f64::from(args.media_calls);
    let each = cost::memory(pid).saturating_sub(memory) as f64 / count;
    let bare = bare(&calls, args.seconds)?;
    let scale = 100.0 / count;
    rows.push(Row {
        what: "Relay PCMU, CPU of one core for 100 calls (10,000 packets/s)",
        ours: format!(
            "{:.1} % = {:.2} × the bare loop's {:.1} %",
            relayed.cpu * scale,
            relayed.cpu / bare.cpu.max(0.001),
            bare.cpu * scale
        ),
        target: "≤ 1.2 × the bare loop",
    });
    let (half, most) = relayed.latency;
    rows.push(Row {
        what: "Relay latency p50 / p99, loss",
        ours: format!(
            "{half} / {most} µs, {} of {} lost",
            relayed.sent - relayed.received,
            relayed.sent
        ),
        target: "≤ 75 µs / 1.0 ms, no loss",
    });
    rows.push(Row {
        what: "Memory per relayed call",
        ours: format!("{each:.0} KiB"),
        target: "≤ 30 KiB",
    });
    calls.iter().try_for_each(|call| house.hang_up(call))?;

    let memory = cost::memory(pid);
    let calls = self::calls(&mut house, args.transcode_calls, Codec::Pcmu, Codec::Opus)?;
    let count = f64::from(args.transcode_calls);
    let coded = run(&calls, Codec::Pcmu, Codec::Opus, args.seconds, || {
        cost::cpu(pid)
    })?;
    let each = cost::memory(pid).saturating_sub(memory) as f64 / count;
    rows.push(Row {
        what: "Opus ↔ PCMU, CPU of one core for 100 calls",
        ours: format!(
            "{:.0} % ({} of {} packets lost)",
            coded.cpu * 100.0 / count,
            coded.sent.saturating_sub(coded.received),
            coded.sent
        ),
        target: "≤ 90 %",
    });
    rows.push(Row {
        what: "Memory per transcoded call",
        ours: format!("{each:.0} KiB"),
        target: "≤ 100 KiB",
    });
    calls.iter().try_for_each(|call| house.hang_up(call))
}

fn calls(house: &mut House, count: u16, offered: Codec, answered: Codec) -> Result<Vec<Call>> {
    (0..count).map(|_| house.call(offered, answered)).collect()
}

/// What a run of media showed.
struct Measured {
    /// CPU in % of one core.
    cpu: f64,
    /// µs, p50 and p99.
    latency: (u64, u64),
    sent: u64,
    received: u64,
}

/// The same packets through the bare loop.
fn bare(calls: &[Call], seconds: u64) -> Result<Measured> {
    let sides: Vec<_> = calls
        .iter()
        .map(|call| Ok((rebind(&call.caller_rtp)?, rebind(&call.callee_rtp)?)))
        .collect::<Result<_>>()?;
    let peers: Vec<_> = sides
        .iter()
        .map(|(a, b)| Ok((a.local_addr()?, b.local_addr()?)))
        .collect::<Result<_>>()?;
    let bare = Bare::start(&peers)?;
    for ((first, second), (a, b)) in sides.iter().zip(&bare.addresses) {
        first.connect(a)?;
        second.connect(b)?;
    }
    let legs: Vec<_> = sides.iter().map(|(a, b)| (a, b)).collect();
    let mut measured = pump(&legs, Codec::Pcmu, Codec::Pcmu, 0..seconds)?;
    measured.cpu = bare.finish()?.as_secs_f64() / seconds as f64 * 100.0;
    Ok(measured)
}

fn rebind(socket: &UdpSocket) -> Result<UdpSocket> {
    Ok(UdpSocket::bind((socket.local_addr()?.ip(), 0))?)
}

fn run(
    calls: &[Call],
    first: Codec,
    second: Codec,
    seconds: u64,
    cpu: impl Fn() -> Duration,
) -> Result<Measured> {
    let legs: Vec<_> = calls
        .iter()
        .map(|call| (&call.caller_rtp, &call.callee_rtp))
        .collect();
    // One second so that latching, codec set-up and first packets are over.
    pump(&legs, first, second, 0..1)?;
    let before = cpu();
    let mut measured = pump(&legs, first, second, 1..seconds + 1)?;
    measured.cpu = (cpu() - before).as_secs_f64() / seconds as f64 * 100.0;
    ensure!(
        measured.received * 10 >= measured.sent * 9,
        "{} of {} packets arrived",
        measured.received,
        measured.sent
    );
    Ok(measured)
}

/// Sends on both sides of every leg pair, the pairs spread over the 20 ms, and receives as it goes. `seconds` of the stream:
/// sequence numbers go on from one run to the next.
fn pump(
    legs: &[(&UdpSocket, &UdpSocket)],
    first: Codec,
    second: Codec,
    seconds: Range<u64>,
) -> Result<Measured> {
    for (a, b) in legs {
        a.set_nonblocking(true)?;
        b.set_nonblocking(true)?;
    }
    let sources = [Source::new(first)?, Source::new(second)?];
    let (begun, ticks) = (Instant::now(), seconds.start * 50..seconds.end * 50);
    let mut latencies = Vec::with_capacity(legs.len() * 2 * (ticks.end - ticks.start) as usize);
    let (mut sent, mut received, mut packet) = (0, 0, [0; 1_500]);
    let mut drain = |latencies: &mut Vec<u64>, received: &mut u64| {
        for socket in legs.iter().flat_map(|(a, b)| [a, b]) {
            while let Ok(n) = socket.recv(&mut packet) {
                // RTCP shares no payload type with media; reports are not counted.
                if n > 12 && !(200..=207).contains(&packet[1]) {
                    *received += 1;
                    if let Some(stamp) = stamp(&packet[..n]) {
                        latencies.push(
                            u64::try_from(begun.elapsed().as_micros())
                                .unwrap_or(0)
                                .saturating_sub(stamp),
                        );
                    }
                }
            }
        }
    };
    for tick in ticks.clone() {
        for (index, (a, b)) in legs.iter().enumerate() {
            let due = TICK * u32::try_from(tick - ticks.start).unwrap_or(0)
                + TICK * index as u32 / legs.len() as u32;
            while begun.elapsed() < due {
                drain(&mut latencies, &mut received);
                std::thread::yield_now();
            }
            for (socket, source, side) in [(a, &sources[0], 0), (b, &sources[1], 1)] {
                let now = u64::try_from(begun.elapsed().as_micros()).unwrap_or(0);
                // A full socket buffer is loss, and counted as such.
                sent += 1;
                let _ = socket.send(&source.packet(tick, (index * 2 + side) as u32, now));
            }
        }
    }
    let end = Instant::now() + Duration::from_millis(200);
    while Instant::now() < end {
        drain(&mut latencies, &mut received);
        std::thread::yield_now();
    }
    let latency = (
        percentile(&mut latencies, 0.5),
        percentile(&mut latencies, 0.99),
    );
    Ok(Measured {
        cpu: 0.0,
        latency,
        sent,
        received,
    })
}

/// Marks payloads that carry their send time.
const MARK: [u8; 4] = *b"dwrd";

fn stamp(packet: &[u8]) -> Option<u64> {
    let rest = packet.get(12..)?.strip_prefix(&MARK)?;
    Some(u64::from_be_bytes(rest.get(..8)?.try_into().ok()?))
}

/// Packets of one codec: a stamp for PCMU, one second of coded tone for Opus.
struct Source {
    codec: Codec,
    frames: Vec<Vec<u8>>,
}

impl Source {
    fn new(codec: Codec) -> Result<Self> {
        if codec == Codec::Pcmu {
            return Ok(Self {
                codec,
                frames: vec![vec![0xd5; 160]],
            });
        }
        let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip)?;
        encoder.set_bitrate(opus::Bitrate::Bits(24_000))?;
        let frame = |at: usize| -> Vec<i16> {
            let sample = |n: usize| {
                (std::f64::consts::TAU * 440.0 * (at * 960 + n) as f64 / 48_000.0).sin() * 8_000.0
            };
            (0..960).map(|n| sample(n) as i16).collect()
        };
        let frames = (0..50)
            .map(|at| encoder.encode_vec(&frame(at), 400))
            .collect::<Result<_, _>>()?;
        Ok(Self { codec, frames })
    }

    fn packet(&self, tick: u64, ssrc: u32, now: u64) -> Vec<u8> {
        let step = if self.codec == Codec::Opus { 960 } else { 160 };
        let mut packet = vec![0x80, self.codec.payload()];
        packet.extend_from_slice(&(tick as u16).to_be_bytes());
        packet.extend_from_slice(&(tick as u32).wrapping_mul(step).to_be_bytes());
        packet.extend_from_slice(&(0x1000 + ssrc).to_be_bytes());
        packet.extend_from_slice(&self.frames[tick as usize % self.frames.len()]);
        if self.codec == Codec::Pcmu {
            packet[12..16].copy_from_slice(&MARK);
            packet[16..24].copy_from_slice(&now.to_be_bytes());
        }
        packet
    }
}
