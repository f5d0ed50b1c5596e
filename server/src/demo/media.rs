//! A demo phone's audio: a bridge of `media-bridge` with one leg that plays a tone, on real sockets, and an ear
//! that listens for the other phone's tone.

use std::collections::BTreeMap;
use std::f32::consts::TAU;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use media_bridge::codec::{Decode, Rate, decoder};
use media_bridge::{
    Bridge, BridgeConfig, Command, Component, Event, Input, Lease, LeaseId, LegConfig, LegId,
    LegStats, Output, Pacing, Prompt, Tone,
};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

const LEG: LegId = LegId(1);
/// Tries to find an even port with a free one above.
const TRIES: usize = 64;

/// A phone's bound RTP sockets.
pub(super) struct Sockets {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    pub(super) lease: Lease,
}

impl Sockets {
    pub(super) async fn bind(ip: IpAddr) -> anyhow::Result<Self> {
        for _ in 0..TRIES {
            let rtp = UdpSocket::bind(SocketAddr::new(ip, 0)).await?;
            let address = rtp.local_addr()?;
            if address.port() % 2 == 0
                && let Ok(rtcp) = UdpSocket::bind(SocketAddr::new(ip, address.port() + 1)).await
            {
                let lease = Lease {
                    id: LeaseId(1),
                    worker: 0,
                    rtp: address,
                    advertise: ip,
                };
                return Ok(Self { rtp, rtcp, lease });
            }
        }
        bail!("no pair of free ports for the demo's RTP")
    }
}

/// Audio under way.
pub(super) struct Audio {
    commands: mpsc::Sender<Command>,
    heard: watch::Receiver<u32>,
    done: mpsc::Receiver<LegStats>,
}

impl Audio {
    /// Plays a tone of `play` Hz and listens for one of `listen` Hz.
    pub(super) fn start(
        sockets: Sockets,
        config: LegConfig,
        play: f32,
        listen: f32,
    ) -> anyhow::Result<Self> {
        let (commands, orders) = mpsc::channel(16);
        let (loudness, heard) = watch::channel(0);
        let (finished, done) = mpsc::channel(1);
        let ear = Ear::new(&config, listen)?;
        let name: Arc<str> = Arc::from("tone");
        let prompts = BTreeMap::from([(
            Arc::clone(&name),
            Prompt {
                rate: Rate::Hz8000,
                pcm: tone(play).into(),
            },
        )]);
        let bridge = Bridge::new(
            BridgeConfig {
                prompts: Arc::new(prompts),
                ..BridgeConfig::default()
            },
            crate::shell::system_rng(),
        );
        let mut set = Set {
            sockets,
            bridge,
            ear,
            loudness,
            finished,
        };
        tokio::spawn(async move {
            set.feed(Input::Command(Command::Open {
                leg: LEG,
                config,
                feeds_keys: false,
            }))
            .await;
            set.feed(Input::Command(Command::Play {
                leg: LEG,
                tone: Tone::Prompt(name),
                repeat: true,
            }))
            .await;
            set.run(orders).await;
        });
        Ok(Self {
            commands,
            heard,
            done,
        })
    }

    /// Waits until the other phone's tone was heard in `packets` packets.
    pub(super) async fn hear(&mut self, packets: u32) -> anyhow::Result<()> {
        let heard = self.heard.wait_for(|heard| *heard >= packets);
        tokio::time::timeout(Duration::from_secs(5), heard)
            .await
            .context("the other side's tone was not heard within 5 s")??;
        Ok(())
    }

    /// Presses a key.
    pub(super) async fn press(&self, digit: char) -> anyhow::Result<()> {
        let digits = digit.to_string().into();
        Ok(self
            .commands
            .send(Command::SendDigits {
                leg: LEG,
                order: 1,
                digits,
                pacing: Pacing::default(),
            })
            .await?)
    }

    /// Ends the audio and tells what was sent and heard.
    pub(super) async fn stop(mut self) -> anyhow::Result<(LegStats, u32)> {
        self.commands.send(Command::Close { leg: LEG }).await?;
        let stats = self
            .done
            .recv()
            .await
            .context("the audio ended without its counts")?;
        let heard = *self.heard.borrow();
        Ok((stats, heard))
    }
}

/// What the audio task owns.
struct Set {
    sockets: Sockets,
    bridge: Bridge,
    ear: Ear,
    loudness: watch::Sender<u32>,
    finished: mpsc::Sender<LegStats>,
}

impl Set {
    async fn run(mut self, mut orders: mpsc::Receiver<Command>) {
        let (mut rtp, mut rtcp) = (vec![0; 2048], vec![0; 2048]);
        loop {
            let due = self
                .bridge
                .next_timeout()
                .unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
            tokio::select! {
                Ok((length, from)) = self.sockets.rtp.recv_from(&mut rtp) => {
                    let Some(bytes) = rtp.get_mut(..length) else { continue };
                    if self.ear.listen(bytes) {
                        self.loudness.send_modify(|heard| *heard += 1);
                    }
                    self.feed(Input::Packet { leg: LEG, component: Component::Rtp, from, bytes }).await;
                }
                Ok((length, from)) = self.sockets.rtcp.recv_from(&mut rtcp) => {
                    let Some(bytes) = rtcp.get_mut(..length) else { continue };
                    self.feed(Input::Packet { leg: LEG, component: Component::Rtcp, from, bytes }).await;
                }
                order = orders.recv() => {
                    let Some(order) = order else { return };
                    self.feed(Input::Command(order)).await;
                }
                () = tokio::time::sleep_until(due.into()) => self.feed(Input::Timeout).await,
            }
        }
    }

    async fn feed(&mut self, input: Input<'_>) {
        for output in self.bridge.handle(Instant::now(), input) {
            match output {
                Output::Send {
                    component,
                    to,
                    bytes,
                    ..
                } => {
                    let socket = match component {
                        Component::Rtp => &self.sockets.rtp,
                        Component::Rtcp => &self.sockets.rtcp,
                    };
                    // Loopback: a packet that cannot be sent is one packet less.
                    let _ = socket.try_send_to(bytes, to);
                }
                Output::Event(Event::Closed { stats, .. }) => {
                    let _ = self.finished.try_send(stats);
                }
                Output::Event(_) => {}
            }
        }
    }
}

/// One second of a tone.
fn tone(hz: f32) -> Vec<i16> {
    (0..8_000_u16)
        .map(|n| ((TAU * hz * f32::from(n) / 8_000.0).sin() * 8_000.0) as i16)
        .collect()
}

/// Hears one tone in the packets of one codec.
struct Ear {
    decoder: Box<dyn Decode>,
    payload: u8,
    hz: f32,
    pcm: Vec<i16>,
}

impl Ear {
    fn new(config: &LegConfig, hz: f32) -> anyhow::Result<Self> {
        // Every codec decodes to 8 kHz, where both tones are.
        let decoder = decoder(config.codec, Rate::Hz8000)?;
        Ok(Self {
            decoder,
            payload: config.receive_payload,
            hz,
            pcm: vec![0; 8 * 120],
        })
    }

    /// Whether most of a packet's energy is the tone.
    fn listen(&mut self, packet: &[u8]) -> bool {
        let (Some(second), Some(payload)) = (packet.get(1), packet.get(12..)) else {
            return false;
        };
        if second & 0x7f != self.payload {
            return false;
        }
        let Ok(samples) = self.decoder.decode(payload, &mut self.pcm) else {
            return false;
        };
        let pcm = self.pcm.get(..samples).unwrap_or_default();
        share_of_tone(pcm, self.hz) > 0.5
    }
}

/// Goertzel: the part of the energy that lies at one frequency, 0 to about 1.
fn share_of_tone(pcm: &[i16], hz: f32) -> f32 {
    let step = 2.0 * (TAU * hz / 8_000.0).cos();
    let (mut one, mut two, mut energy) = (0.0_f32, 0.0_f32, 1.0_f32);
    for sample in pcm {
        let sample = f32::from(*sample);
        energy += sample * sample;
        (one, two) = (sample + step * one - two, one);
    }
    let power = one * one + two * two - step * one * two;
    2.0 * power / (energy * pcm.len().max(1) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ear_tells_its_tone_from_another() {
        let pcm = tone(440.0);
        assert!(share_of_tone(&pcm[..160], 440.0) > 0.8);
        assert!(share_of_tone(&pcm[..160], 1_000.0) < 0.1);
        assert!(share_of_tone(&[0; 160], 440.0) < 0.1);
    }
}
