//! A bridge under a virtual clock, and phones that speak RTP to it.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use media_bridge::codec::{self, Decode, Encode, Rate};
use media_bridge::rtp::{self, Header, Stamp};
use media_bridge::{
    Bridge, BridgeConfig, Codec, Command, Component, Direction, Event, Input, LeaseId, LegConfig,
    LegId, LegStats, OpusParams, Output, TelephoneEvent,
};
use rand::SeedableRng;

pub const A: LegId = LegId(1);
pub const B: LegId = LegId(2);

/// One origin for all: pure code sees only differences.
#[expect(clippy::disallowed_methods, reason = "the one origin of virtual time")]
pub fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Where a leg's phone sits by default: one address each.
pub fn home(leg: LegId) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(leg.0 % 250).unwrap()], 40_000))
}

pub fn config(leg: LegId, codec: Codec) -> LegConfig {
    let remote_rtp = home(leg);
    let payload = codec.static_payload().unwrap_or(96);
    LegConfig {
        lease: LeaseId(leg.0),
        remote_rtp,
        remote_rtcp: SocketAddr::new(remote_rtp.ip(), remote_rtp.port() + 1),
        rtcp_mux: false,
        signalling_from: None,
        codec,
        send_payload: payload,
        receive_payload: payload,
        alternates: [].into_iter().collect(),
        telephone_event: Some(TelephoneEvent {
            payload: 101,
            receive: 101,
            clock: codec.rtp_clock(),
        }),
        ptime_ms: 20,
        direction: Direction::SendRecv,
        opus: OpusParams::default(),
        clear: false,
    }
}

#[derive(Debug, Clone)]
pub struct Sent {
    pub leg: LegId,
    pub component: Component,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    pub at: Instant,
}

impl Sent {
    pub fn header(&self) -> Header {
        rtp::parse(&self.bytes).unwrap()
    }

    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.header().payload]
    }
}

pub struct Rig {
    pub bridge: Bridge,
    pub now: Instant,
    pub sent: Vec<Sent>,
    pub events: Vec<Event>,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(BridgeConfig::default())
    }

    pub fn with(config: BridgeConfig) -> Self {
        let rng = Box::new(rand::rngs::StdRng::seed_from_u64(7));
        Self {
            bridge: Bridge::new(config, rng),
            now: origin(),
            sent: vec![],
            events: vec![],
        }
    }

    /// Two joined legs.
    pub fn pair(a: Codec, b: Codec) -> Self {
        let mut rig = Self::new();
        rig.open(config(A, a));
        rig.open(config(B, b));
        rig.command(Command::Join { a: A, b: B });
        rig
    }

    pub fn open(&mut self, config: LegConfig) {
        let leg = LegId(config.lease.0);
        self.command(Command::Open {
            leg,
            config,
            feeds_keys: true,
        });
    }

    pub fn update(&mut self, config: LegConfig) {
        self.command(Command::Update {
            leg: LegId(config.lease.0),
            config,
        });
    }

    pub fn command(&mut self, command: Command) {
        let (now, sent, events) = (self.now, &mut self.sent, &mut self.events);
        collect(
            now,
            self.bridge.handle(now, Input::Command(command)),
            sent,
            events,
        );
    }

    pub fn receive(&mut self, leg: LegId, component: Component, from: SocketAddr, bytes: &[u8]) {
        let (now, sent, events) = (self.now, &mut self.sent, &mut self.events);
        let mut bytes = bytes.to_vec();
        let input = Input::Packet {
            leg,
            component,
            from,
            bytes: &mut bytes,
        };
        collect(now, self.bridge.handle(now, input), sent, events);
    }

    pub fn rtp(&mut self, leg: LegId, from: SocketAddr, bytes: &[u8]) {
        self.receive(leg, Component::Rtp, from, bytes);
    }

    /// Lets time pass; every timeout comes when it is due.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(due) = self.bridge.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let (now, sent, events) = (self.now, &mut self.sent, &mut self.events);
            collect(now, self.bridge.handle(now, Input::Timeout), sent, events);
        }
        self.now = end;
    }

    /// RTP sent to a leg since the last call.
    pub fn heard_by(&mut self, leg: LegId) -> Vec<Sent> {
        let (mine, rest) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|sent| sent.leg == leg && sent.component == Component::Rtp);
        self.sent = rest;
        mine
    }

    pub fn reports_to(&mut self, leg: LegId) -> Vec<Sent> {
        let wanted = |sent: &&Sent| sent.leg == leg && rtp::is_rtcp(&sent.bytes);
        self.sent.iter().filter(wanted).cloned().collect()
    }

    /// Keys reported so far, as text.
    pub fn digits(&self) -> String {
        let key = |event: &Event| match event {
            Event::Digit { digit, .. } => Some(digit.label()),
            _ => None,
        };
        self.events.iter().filter_map(key).collect()
    }

    pub fn stats(&self, leg: LegId) -> LegStats {
        self.bridge.stats(leg).unwrap()
    }
}

fn collect(
    now: Instant,
    outputs: media_bridge::Outputs<'_>,
    sent: &mut Vec<Sent>,
    events: &mut Vec<Event>,
) {
    for output in outputs {
        match output {
            Output::Send {
                leg,
                component,
                to,
                bytes,
            } => {
                sent.push(Sent {
                    leg,
                    component,
                    to,
                    bytes: bytes.to_vec(),
                    at: now,
                });
            }
            Output::Event(event) => events.push(event),
        }
    }
}

/// A phone's outgoing stream.
#[derive(Debug, Clone)]
pub struct Phone {
    pub leg: LegId,
    pub from: SocketAddr,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub marker: bool,
}

impl Phone {
    pub fn new(leg: LegId, codec: Codec) -> Self {
        Self {
            leg,
            from: home(leg),
            payload_type: codec.static_payload().unwrap_or(96),
            sequence: 1_000,
            timestamp: 50_000,
            ssrc: 0xaaaa_0000 + u32::try_from(leg.0).unwrap(),
            marker: false,
        }
    }

    pub fn packet(&mut self, payload_type: u8, payload: &[u8]) -> Vec<u8> {
        let (sequence, timestamp, ssrc) = (self.sequence, self.timestamp, self.ssrc);
        let marker = std::mem::take(&mut self.marker);
        let stamp = Stamp {
            marker,
            payload_type,
            sequence,
            timestamp,
            ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        [&stamp.header()[..], payload].concat()
    }

    /// One audio packet, `units` long; the clock of the rig is the caller's.
    pub fn speak(&mut self, rig: &mut Rig, payload: &[u8], units: u32) {
        let packet = self.packet(self.payload_type, payload);
        self.timestamp = self.timestamp.wrapping_add(units);
        rig.rtp(self.leg, self.from, &packet);
    }

    /// G.711-like talk for a while: 20 ms packets, each on time.
    pub fn talk(&mut self, rig: &mut Rig, packets: usize) {
        for nth in 0..packets {
            let octet = u8::try_from(nth % 100).unwrap();
            self.speak(rig, &[octet; 160], 160);
            rig.pass(20);
        }
    }
}

/// A 1 kHz tone at -10 dB of full scale, sample by sample.
pub struct Tone1k {
    encoder: Box<dyn Encode>,
    rate: Rate,
    at: usize,
}

pub const TONE_AMPLITUDE: f64 = 10_000.0;

impl Tone1k {
    pub fn new(codec: Codec) -> Self {
        let rate = codec.own_rate();
        Self {
            encoder: codec::encoder(codec, rate, &OpusParams::default()).unwrap(),
            rate,
            at: 0,
        }
    }

    /// One encoded packet.
    pub fn packet(&mut self, ms: usize) -> Vec<u8> {
        let samples = ms * self.rate.per_ms();
        let pcm: Vec<i16> = (self.at..self.at + samples)
            .map(|n| {
                let phase = std::f64::consts::TAU * 1_000.0 * n as f64 / f64::from(self.rate.hz());
                (phase.sin() * TONE_AMPLITUDE) as i16
            })
            .collect();
        self.at += samples;
        let mut out = vec![0; codec::MAX_PACKET_OCTETS];
        let octets = self.encoder.encode(&pcm, &mut out).unwrap();
        out.truncate(octets);
        out
    }
}

/// Decodes what a leg was sent.
pub fn decode(codec: Codec, sent: &[Sent]) -> Vec<i16> {
    let rate = codec.own_rate();
    let mut decoder: Box<dyn Decode> = codec::decoder(codec, rate).unwrap();
    let mut pcm = vec![0; codec::MAX_PACKET_SAMPLES];
    let mut all = Vec::new();
    for packet in sent {
        let samples = decoder.decode(packet.payload(), &mut pcm).unwrap();
        all.extend_from_slice(&pcm[..samples]);
    }
    all
}

/// Amplitude of one frequency in the samples (Goertzel's sum).
pub fn amplitude(pcm: &[i16], rate: Rate, hz: f64) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in pcm.iter().enumerate() {
        let phase = std::f64::consts::TAU * hz * n as f64 / f64::from(rate.hz());
        re += f64::from(*sample) * phase.cos();
        im += f64::from(*sample) * phase.sin();
    }
    2.0 * (re * re + im * im).sqrt() / pcm.len() as f64
}

/// Root of the mean square.
pub fn rms(pcm: &[i16]) -> f64 {
    let sum: f64 = pcm.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    (sum / pcm.len().max(1) as f64).sqrt()
}

/// Sequence numbers rise by one and timestamps by `units`, SSRC never changes.
#[track_caller]
pub fn assert_continuous(sent: &[Sent], units: u32) {
    for pair in sent.windows(2) {
        let (before, after) = (pair[0].header(), pair[1].header());
        assert_eq!(after.ssrc, before.ssrc);
        assert_eq!(after.sequence, before.sequence.wrapping_add(1));
        assert_eq!(after.timestamp.wrapping_sub(before.timestamp), units);
    }
}
