//! RTCP of each leg, counts, and silence noticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use std::time::Duration;

use media_bridge::rtcp::{self, Item, ReportBlock, SenderInfo};
use media_bridge::{BridgeConfig, Codec, Command, Component, Direction, Event};
use rig::{A, B, Phone, Rig, Sent, at, config, home};

fn items(sent: &Sent) -> Vec<Item> {
    let mut items = Vec::new();
    assert!(
        rtcp::read(&sent.bytes, |item| items.push(item)) >= 2,
        "report and CNAME at least"
    );
    items
}

#[test]
fn reports_come_about_every_five_seconds_and_not_in_step() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    rig.pass(60_000);
    for leg in [A, B] {
        let times: Vec<_> = rig.reports_to(leg).iter().map(|sent| sent.at).collect();
        assert!(
            (8..=24).contains(&times.len()),
            "{} in a minute",
            times.len()
        );
        let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let range = Duration::from_millis(2_500)..=Duration::from_millis(7_500);
        assert!(gaps.iter().all(|gap| range.contains(gap)), "{gaps:?}");
        assert!(gaps.windows(2).any(|pair| pair[0] != pair[1]));
    }
}

#[test]
fn a_receiver_reports_loss_and_a_sender_its_counts() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.talk(&mut rig, 90);
    phone.sequence += 10;
    phone.talk(&mut rig, 300);
    let to_a = rig.reports_to(A);
    assert_eq!(
        (to_a[0].component, to_a[0].to),
        (Component::Rtcp, at("192.0.2.1:40001"))
    );
    let blocks: Vec<ReportBlock> = to_a
        .iter()
        .flat_map(items)
        .filter_map(|item| {
            if let Item::Block(block) = item {
                Some(block)
            } else {
                None
            }
        })
        .collect();
    let last = blocks.last().unwrap();
    assert_eq!((last.ssrc, last.lost), (phone.ssrc, 10));
    assert!(
        (1_100..u32::from(phone.sequence)).contains(&last.highest),
        "{}",
        last.highest
    );
    let info = |sent: &Sent| {
        items(sent).into_iter().find_map(|item| match item {
            Item::Sender { info, .. } => Some(info),
            _ => None,
        })
    };
    let infos: Vec<SenderInfo> = rig.reports_to(B).iter().filter_map(info).collect();
    let last = infos.last().unwrap();
    assert!(last.packets > 100 && last.octets == last.packets * 160);
    let rtp_rate = infos.windows(2).all(|pair| {
        let ntp = (pair[1].ntp - pair[0].ntp) as f64 / f64::from(u32::MAX);
        let rtp = f64::from(pair[1].rtp.wrapping_sub(pair[0].rtp));
        (rtp / ntp - 8_000.0).abs() < 10.0
    });
    assert!(rtp_rate, "NTP and RTP time of the reports run together");
}

#[test]
fn muxed_reports_share_the_rtp_port() {
    let mut rig = Rig::new();
    let mut muxed = config(A, Codec::Pcmu);
    muxed.rtcp_mux = true;
    rig.open(muxed);
    rig.pass(10_000);
    let reports = rig.reports_to(A);
    assert!(!reports.is_empty());
    assert!(
        reports
            .iter()
            .all(|sent| (sent.component, sent.to) == (Component::Rtp, home(A)))
    );
}

#[test]
fn the_round_trip_is_read_from_the_peers_report() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    while rig.reports_to(B).is_empty() {
        phone.talk(&mut rig, 1);
    }
    let report = rig.reports_to(B).remove(0);
    let Item::Sender { ssrc, info } = items(&report)[0] else {
        panic!("no sender report")
    };
    let sent_at = report.at;
    rig.pass(150);
    let held = rtcp::ntp_middle(rtcp::ntp(rig.now - sent_at - Duration::from_millis(50)));
    let block = ReportBlock {
        ssrc,
        fraction_lost: 0,
        lost: 0,
        highest: 0,
        jitter: 0,
        last_sr: rtcp::ntp_middle(info.ntp),
        delay: held,
    };
    let mut packet = [0; rtcp::MAX_WRITTEN_BYTES];
    let length = rtcp::write(&mut packet, 5, None, Some(block), b"x", false);
    rig.receive(B, Component::Rtcp, at("192.0.2.2:40001"), &packet[..length]);
    let trip = rig.stats(B).rtt_ms.unwrap();
    assert!((trip - 50.0).abs() < 1.0, "{trip} ms");
}

#[test]
fn a_leg_says_goodbye_and_hands_in_its_counts() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    Phone::new(A, Codec::Pcmu).talk(&mut rig, 5);
    rig.events.clear();
    rig.command(Command::Close { leg: B });
    let report = rig.reports_to(B).pop().unwrap();
    assert!(matches!(items(&report).last(), Some(Item::Bye { .. })));
    assert!(matches!(rig.events[..], [Event::Closed { leg: B, stats }] if stats.packets_out == 5));
}

#[test]
fn silence_is_told_once_and_again_after_speech() {
    let mut rig = Rig::with(BridgeConfig {
        silent_after: Duration::from_secs(10),
        ..Default::default()
    });
    rig.open(config(A, Codec::Pcmu));
    let silences = |rig: &Rig| {
        rig.events
            .iter()
            .filter(|e| matches!(e, Event::Silent { .. }))
            .count()
    };
    rig.pass(9_999);
    assert_eq!(silences(&rig), 0);
    rig.pass(30_000);
    assert_eq!(silences(&rig), 1);
    Phone::new(A, Codec::Pcmu).talk(&mut rig, 1);
    rig.pass(9_900);
    assert_eq!(silences(&rig), 1);
    rig.pass(10_000);
    assert_eq!(silences(&rig), 2);
}

#[test]
fn a_leg_on_hold_may_be_silent() {
    let mut rig = Rig::with(BridgeConfig {
        silent_after: Duration::from_secs(1),
        ..Default::default()
    });
    let mut held = config(A, Codec::Pcmu);
    held.direction = Direction::Inactive;
    rig.open(held);
    rig.pass(60_000);
    assert!(rig.events.is_empty());
}

#[test]
fn jitter_of_a_late_packet_shows_in_the_counts() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.talk(&mut rig, 10);
    assert!(rig.stats(A).jitter_ms < 0.5);
    for _ in 0..50 {
        phone.speak(&mut rig, &[0; 160], 160);
        rig.pass(30);
        phone.speak(&mut rig, &[0; 160], 160);
        rig.pass(10);
    }
    assert!(
        (8.0..10.5).contains(&rig.stats(A).jitter_ms),
        "{}",
        rig.stats(A).jitter_ms
    );
}

#[test]
fn interim_counts_come_with_each_report_when_asked_for() {
    let mut rig = Rig::with(BridgeConfig {
        interim_stats: true,
        ..Default::default()
    });
    rig.open(config(A, Codec::Pcmu));
    rig.pass(20_000);
    let counts = rig
        .events
        .iter()
        .filter(|event| matches!(event, Event::Stats { .. }))
        .count();
    assert_eq!(counts, rig.reports_to(A).len());
}
