//! Before the answer: early dialogs, reliable provisional responses (RFC 3262), UPDATE (RFC 3311), early media.

use std::sync::Arc;
use std::time::Duration;

use intercom::{EndReason, StationProfile};
use media_bridge::{Codec, Command, Tone};
use sip_proxy::{Body, HeaderName, Method};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::{Policy, sdp};
use crate::calls::ladder;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const REL: (&str, &str) = ("Supported", "100rel");

/// A building whose doors play early media, and whose plan previews the door to the desk.
pub(crate) fn previewing(seed: u64) -> Building {
    let mut building = Building::with(seed, Weather::FINE, |config| {
        let door = StationProfile {
            name: "door".to_owned(),
            codecs: vec![Codec::Pcma, Codec::Pcmu],
            early_media: true,
            ..StationProfile::default()
        };
        config.profiles.insert("door".to_owned(), Arc::new(door));
    });
    building.replan(&[(
        r#"ring "desk" for="20s"; end "log""#,
        r#"ring "desk" for="20s" preview="audio"; end "log""#,
    )]);
    building.register_all();
    building
}

fn body_of(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn plays_ringback(building: &Building) -> bool {
    let rings = |command: &Command| {
        matches!(
            command,
            Command::Play {
                tone: Tone::Ringback { .. },
                repeat: true,
                ..
            }
        )
    };
    building.commands.iter().any(rings)
}

fn joins(building: &Building) -> usize {
    let joined = |command: &&Command| matches!(command, Command::Join { .. });
    building.commands.iter().filter(joined).count()
}

#[test]
fn a_preview_gives_the_door_a_183_with_sdp_and_ringback_and_the_200_repeats_that_sdp() {
    let mut building = previewing(700);
    building.ua("desk-1").policy = Policy::Answer(3 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.run(SECOND);
    let door = building.find("lobby");
    assert_eq!(door.provisionals, [183, 180]);
    let first = body_of(door.rel.heard[0].body());
    assert!(first.contains("m=audio"));
    assert_eq!(body_of(door.rel.heard[1].body()), first, "one SDP");
    assert!(plays_ringback(&building));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    let door = building.find("lobby");
    let answer = door.responses.last().unwrap();
    assert_eq!(
        body_of(answer.body()),
        first,
        "the 200 repeats it unchanged"
    );
    assert_eq!(answer.to_tag(), door.rel.heard[0].to_tag(), "one To tag");
    building.run(SECOND);
    assert_eq!(joins(&building), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    insta::assert_snapshot!("preview", ladder(&building));
}

#[test]
fn without_a_preview_the_door_hears_180_and_rings_by_itself() {
    let mut building = Building::ready(701);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.run(SECOND);
    let door = building.find("lobby");
    assert_eq!(door.provisionals, [180]);
    assert!(door.rel.heard[0].body().is_empty());
    assert!(!plays_ringback(&building));
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn a_caller_that_takes_reliable_responses_gets_one_at_a_time_and_no_sdp_in_the_200() {
    let mut building = previewing(702);
    building.ua("lobby").rel.prack = true;
    building.ua("desk-1").policy = Policy::Answer(3 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[REL]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    let door = building.find("lobby");
    let rseq = |at: usize| -> u32 {
        let value = door.rel.heard[at].header(&HeaderName::RSeq).unwrap();
        value.parse().unwrap()
    };
    assert_eq!(door.provisionals, [183, 180]);
    assert_eq!(rseq(1), rseq(0) + 1, "the 180 after the PRACK of the 183");
    assert!(door.rel.heard[1].body().is_empty());
    let pracks = |answers: &[(String, u16)]| {
        let prack = |(method, status): &&(String, u16)| method == "PRACK" && *status == 200;
        answers.iter().filter(prack).count()
    };
    assert_eq!(pracks(&door.answers), 2);
    assert!(door.responses.last().unwrap().body().is_empty());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    insta::assert_snapshot!("preview_reliable", ladder(&building));
}

#[test]
fn a_reliable_response_without_a_prack_is_repeated_and_ends_the_call_with_a_5xx() {
    let mut building = previewing(703);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[REL]));
    building.run(20 * SECOND);
    // T1, 2 T1, 4 T1 …: 0.5, 1.5, 3.5, 7.5, 15.5 s.
    assert_eq!(building.find("lobby").provisionals, [183; 6]);
    building.replan(&[]);
    building.run(20 * SECOND);
    assert_eq!(
        building.find("lobby").finals,
        [480],
        "its ring step is over first"
    );
    building.check_quiet();

    let mut building = Building::ready(704);
    building.ua("desk-1").policy = Policy::Ring;
    building.act("lobby", |ua, now| ua.call(now, "long", true, &[REL]));
    building.run(40 * SECOND);
    assert_eq!(building.find("lobby").finals, [504]);
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::PeerGone);
    building.check_quiet();
}

#[test]
fn a_prack_for_nothing_is_481() {
    let mut building = Building::ready(705);
    building.act("lobby", |ua, now| ua.call(now, "long", true, &[REL]));
    building.run(200 * MS);
    building.act("lobby", |ua, now| {
        ua.early_within(now, Method::Prack, |request| {
            let headers = &mut request.headers;
            headers.push((HeaderName::RAck, "1 1 INVITE".to_owned()));
        });
    });
    building.run(200 * MS);
    assert_eq!(
        building.find("lobby").answers.last().unwrap(),
        &("PRACK".to_owned(), 481)
    );
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn the_200_waits_for_the_prack_of_a_183_with_sdp() {
    let mut building = previewing(706);
    building.ua("desk-1").policy = Policy::Answer(100 * MS);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[REL]));
    building.run(SECOND);
    assert!(building.find("desk-1").is_up());
    assert!(building.find("lobby").finals.is_empty(), "no 200 yet");
    building.ua("lobby").rel.prack = true;
    building.until("answered", 2 * SECOND, |b| b.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_late_offer_goes_in_the_reliable_183_and_its_answer_comes_in_the_prack() {
    let mut building = previewing(707);
    building.ua("desk-1").policy = Policy::Answer(2 * SECOND);
    let answer = sdp(building.find("lobby").addr, 8, "sendrecv");
    let door = building.ua("lobby");
    door.rel.prack = true;
    door.rel.prack_body = Some(answer);
    building.act("lobby", |ua, now| ua.call(now, "desk", false, &[REL]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    let door = building.find("lobby");
    assert!(body_of(door.rel.heard[0].body()).contains("m=audio"));
    assert!(door.responses.last().unwrap().body().is_empty());
    assert!(plays_ringback(&building));
    assert_eq!(joins(&building), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_late_offer_without_100rel_has_no_early_media() {
    let mut building = previewing(708);
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", false, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    let door = building.find("lobby");
    assert_eq!(door.provisionals, [180]);
    assert!(body_of(door.responses.last().unwrap().body()).contains("m=audio"));
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_reliable_ringing_of_a_phone_is_acknowledged_and_its_dialog_counts_on() {
    let mut building = Building::ready(709);
    let desk = building.ua("desk-1");
    desk.policy = Policy::Answer(SECOND);
    desk.rel.rseq = Some(77);
    desk.early = Some(true);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.until("answered", 3 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    let desk = building.find("desk-1");
    let pracks = desk.got(&Method::Prack);
    assert_eq!(pracks.len(), 1);
    assert_eq!(pracks[0].header(&HeaderName::RAck), Some("77 1 INVITE"));
    let bye = desk.got(&Method::Bye);
    assert_eq!((pracks[0].cseq(), bye[0].cseq()), (2, 3));
    assert_eq!(joins(&building), 1, "the answer of the 183 stands");
}

#[test]
fn each_early_dialog_behind_a_contact_keeps_its_own_tag_rseq_and_answer() {
    let mut building = Building::ready(710);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(200 * MS);
    // A proxy behind the contact forks: two devices ring, each with numbers of its own.
    building.act("desk-1", |ua, now| {
        ua.fork(now, "kitchen", 183, true, Some(10));
        ua.fork(now, "garden", 180, false, Some(90));
        ua.fork(now, "garden", 183, true, Some(92));
        ua.fork(now, "garden", 183, true, Some(91));
        ua.fork(now, "kitchen", 183, true, Some(10));
    });
    building.run(200 * MS);
    let racks: Vec<(String, String)> = building
        .find("desk-1")
        .got(&Method::Prack)
        .iter()
        .map(|prack| {
            let tag = prack.to_tag().unwrap_or_default().to_owned();
            (tag, prack.header(&HeaderName::RAck).unwrap().to_owned())
        })
        .collect();
    let prack = |tag: &str, rack: &str| (tag.to_owned(), rack.to_owned());
    assert_eq!(
        racks,
        [
            prack("kitchen", "10 1 INVITE"),
            prack("garden", "90 1 INVITE"),
            prack("garden", "91 1 INVITE"),
        ],
        "in order of RSeq, each once, each in its dialog"
    );
    assert_eq!(
        building.find("lobby").provisionals,
        [180],
        "the door sees one dialog"
    );
    assert_eq!(joins(&building), 0, "nobody's early media is played");
    building.act("lobby", |ua, now| ua.cancel(now));
    building.run(SECOND);
    building.check_quiet();
}

#[test]
fn an_update_in_an_early_dialog_moves_a_phone_s_media_before_it_answers() {
    let mut building = Building::ready(711);
    let desk = building.ua("desk-1");
    desk.rel.rseq = Some(5);
    desk.early = Some(true);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(SECOND);
    building.act("desk-1", |ua, now| {
        let offer = String::from_utf8(sdp(ua.addr, 8, "sendrecv").to_vec()).unwrap();
        let moved = offer.replace("40000", "41000");
        let call = ua.calls.last_mut().unwrap();
        let mut request = call.dialog.as_mut().unwrap().request(Method::Update);
        request.contact = Some("<sip:desk-1@10.0.1.3:5060>".to_owned());
        request.body = Some(Body {
            content_type: "application/sdp".to_owned(),
            bytes: moved.into(),
        });
        ua.raw(now, |raw| *raw = request);
    });
    building.run(SECOND);
    let answered = ("UPDATE".to_owned(), 200);
    assert!(building.find("desk-1").answers.contains(&answered));
    building.act("desk-1", |ua, now| {
        let tx = ua.rung_by();
        ua.answer(now, tx);
    });
    building.until("answered", SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    let port = building.commands.iter().rev().find_map(|command| {
        let (Command::Open { config, .. } | Command::Update { config, .. }) = command else {
            return None;
        };
        (config.remote_rtp.ip() == building.find("desk-1").addr.ip())
            .then(|| config.remote_rtp.port())
    });
    assert_eq!(port, Some(41_000));
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn an_update_before_our_offer_is_answered_is_491_and_before_the_callers_is_500() {
    let mut building = Building::ready(712);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[REL]));
    building.run(SECOND);
    let offer = Body {
        content_type: "application/sdp".to_owned(),
        bytes: sdp(building.find("lobby").addr, 8, "sendrecv"),
    };
    let update = offer.clone();
    building.act("lobby", |ua, now| {
        ua.early_within(now, Method::Update, |request| request.body = Some(update));
        ua.early_within(now, Method::Update, |_| {});
    });
    building.act("desk-1", |ua, now| {
        let call = ua.calls.last_mut().unwrap();
        let mut request = call.dialog.as_mut().unwrap().request(Method::Update);
        request.body = Some(offer);
        ua.raw(now, |raw| *raw = request);
    });
    building.run(SECOND);
    let statuses = |device: &str| -> Vec<u16> {
        let answers = building.find(device).answers.iter();
        answers
            .filter(|(method, _)| method == "UPDATE")
            .map(|(_, status)| *status)
            .collect()
    };
    assert_eq!(statuses("lobby"), [500, 200]);
    assert_eq!(statuses("desk-1"), [491]);
    let refused = building.find("lobby").responses.iter();
    let mut refused = refused.filter(|response| response.status() == Some(500));
    assert!(
        refused
            .next()
            .unwrap()
            .header(&HeaderName::RetryAfter)
            .is_some()
    );
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn an_unanswered_call_hears_a_provisional_each_minute() {
    let mut building = Building::ready(713);
    building.act("lobby", |ua, now| ua.call(now, "long", true, &[]));
    building.run(170 * SECOND);
    assert_eq!(building.find("lobby").provisionals, [180, 180, 180]);
    building.check_quiet();
}

#[test]
fn a_visitor_hears_ringback_within_a_second_although_no_phone_rings_yet() {
    let mut building = Building::ready(714);
    building.ua("desk-1").policy = Policy::Dead;
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(990 * MS);
    assert!(building.find("lobby").provisionals.is_empty());
    building.run(20 * MS);
    assert_eq!(building.find("lobby").provisionals, [180]);
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}
