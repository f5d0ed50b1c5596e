//! The demo call: the visitor rings, the desk answers in another codec, they hear each other, the desk presses 9,
//! the relay is driven, the desk hangs up.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use media_bridge::{Codec, LegConfig, LegProfile, LegStats, Negotiation};
use sip_proxy::{Dialog, Method, OutgoingResponse};
use tokio::sync::mpsc;

use super::media::{Audio, Sockets};
use super::phone::{Phone, Progress};

/// The visitor's tone and the desk's, Hz.
const VISITOR: f32 = 440.0;
const DESK: f32 = 1_000.0;
/// Packets in which the other side must be heard: half a second.
const HEARD: u32 = 25;
/// The desk lets it ring so long, that a ring can be seen.
const RINGS: Duration = Duration::from_millis(300);

/// What the phones saw.
pub(super) struct Seen {
    pub(super) progress: Progress,
    /// The desk had the INVITE.
    pub(super) rung: Instant,
    pub(super) pressed: Instant,
    pub(super) driven: Instant,
    pub(super) visitor: Heard,
    pub(super) desk: Heard,
}

/// What one phone heard.
pub(super) struct Heard {
    pub(super) codec: Codec,
    pub(super) stats: LegStats,
    /// Packets in which the other's tone was heard.
    pub(super) packets: u32,
}

/// Makes the call.
pub(super) async fn make(
    visitor: &mut Phone,
    desk: &mut Phone,
    relay: &mut mpsc::Receiver<Instant>,
    ip: std::net::IpAddr,
) -> anyhow::Result<Seen> {
    let (visitor_rtp, desk_rtp) = (Sockets::bind(ip).await?, Sockets::bind(ip).await?);
    let (calling, called) = tokio::join!(ring(visitor, visitor_rtp), answer(desk, desk_rtp, relay));
    // The called side's fault is usually the cause of the other's.
    let called = called.context("the desk phone")?;
    let (progress, heard) = calling.context("the visitor")?;
    Ok(Seen {
        progress,
        rung: called.rung,
        pressed: called.pressed,
        driven: called.driven,
        visitor: heard,
        desk: called.heard,
    })
}

async fn ring(phone: &mut Phone, sockets: Sockets) -> anyhow::Result<(Progress, Heard)> {
    let mut negotiation = negotiation(Codec::Pcmu, &sockets);
    let offer = negotiation.offer(None);
    let (answer, _, progress) = phone.call("desk", offer).await?;
    phone.flush().await?;
    negotiation
        .receive_answer(answer.body())
        .context("the answer's SDP")?;
    let config = agreed(&negotiation)?;
    let codec = config.codec;
    let mut audio = Audio::start(sockets, config, VISITOR, DESK)?;
    let (heard, ended) = tokio::join!(audio.hear(HEARD), phone.hung_up());
    heard?;
    ended?;
    let (stats, packets) = audio.stop().await?;
    Ok((
        progress,
        Heard {
            codec,
            stats,
            packets,
        },
    ))
}

struct Called {
    rung: Instant,
    pressed: Instant,
    driven: Instant,
    heard: Heard,
}

async fn answer(
    phone: &mut Phone,
    sockets: Sockets,
    relay: &mut mpsc::Receiver<Instant>,
) -> anyhow::Result<Called> {
    let (tx, invite, flow) = phone.wait_for(Method::Invite).await?;
    let rung = Instant::now();
    let tag = "demo-desk";
    let mut dialog = Dialog::from_request(&invite, tag, flow)
        .map_err(|reject| anyhow!("no dialog: {}", reject.reason))?;
    phone.respond(
        tx,
        OutgoingResponse::new(180)
            .with_to_tag(tag)
            .with_contact(phone.contact()),
    );
    phone.flush().await?;
    let mut negotiation = negotiation(Codec::Opus, &sockets);
    negotiation
        .receive_offer(invite.body())
        .context("the offer's SDP")?;
    let body: Bytes = negotiation.answer(None).context("no codec in common")?;
    tokio::time::sleep(RINGS).await;
    let response = OutgoingResponse::new(200)
        .with_to_tag(tag)
        .with_contact(phone.contact());
    phone.respond(tx, response.with_body("application/sdp", body));
    phone.wait_for_ack(tx).await?;
    let config = agreed(&negotiation)?;
    let codec = config.codec;
    let mut audio = Audio::start(sockets, config, DESK, VISITOR)?;
    audio.hear(HEARD).await?;
    let pressed = Instant::now();
    audio.press('9').await?;
    let driven = tokio::time::timeout(Duration::from_secs(5), relay.recv())
        .await
        .context("the relay was not driven within 5 s of the key")?
        .context("the relay ended")?;
    // Half a second more, so that the visitor hears the desk too.
    tokio::time::sleep(Duration::from_millis(500)).await;
    phone.hang_up(&mut dialog).await?;
    let (stats, packets) = audio.stop().await?;
    Ok(Called {
        rung,
        pressed,
        driven,
        heard: Heard {
            codec,
            stats,
            packets,
        },
    })
}

fn negotiation(codec: Codec, sockets: &Sockets) -> Negotiation {
    let profile = LegProfile {
        codecs: vec![codec],
        ..LegProfile::default()
    };
    Negotiation::new(profile, sockets.lease, 1)
}

fn agreed(negotiation: &Negotiation) -> anyhow::Result<LegConfig> {
    negotiation
        .agreed()
        .cloned()
        .context("offer and answer agree on nothing")
}
