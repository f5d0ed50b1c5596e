//! Stream connections that come and go, and IPv6.

use std::time::Duration;

use intercom::EndReason;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sip_proxy::Transport;

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::talks::talking;

const SECOND: Duration = Duration::from_secs(1);

fn wired(seed: u64, transport: Transport, ipv6: bool) -> Building {
    let mut building = Building::over(seed, Weather::FINE, transport, ipv6, |_| {});
    building.register_all();
    building
}

#[test]
fn a_door_call_opens_over_both_transports_and_families() {
    for transport in [Transport::Udp, Transport::Tcp] {
        for ipv6 in [false, true] {
            let mut building = wired(120, transport, ipv6);
            talking(&mut building, "lobby", "desk", "desk-1");
            building.act("lobby", |ua, now| ua.reinvite(now, "sendrecv"));
            building.run(SECOND);
            let (_, desk) = building.joined();
            building.press(desk, '9');
            building.run(2 * SECOND);
            assert_eq!(building.drives.len(), 1, "{transport:?} {ipv6}");
            let offered = building.find("desk-1").seen.first().unwrap();
            let sdp = String::from_utf8_lossy(offered.body()).into_owned();
            let ours = if ipv6 {
                "c=IN IP6 fd00::1\r\n"
            } else {
                "c=IN IP4 10.0.0.1\r\n"
            };
            assert!(sdp.contains(ours), "{sdp}");
            building.act("lobby", |ua, now| ua.hang_up(now));
            building.check_quiet();
        }
    }
}

#[test]
fn a_phone_whose_connection_is_gone_is_called_by_a_new_one() {
    for ipv6 in [false, true] {
        let mut building = wired(121, Transport::Tcp, ipv6);
        building.cut("desk-1");
        building.run(SECOND);
        assert_eq!(building.wires.dialled, 0);
        talking(&mut building, "lobby", "desk", "desk-1");
        assert_eq!(building.wires.dialled, 1, "at its Contact");
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.run(5 * SECOND);
        assert!(!building.find("desk-1").is_up());
        building.check_quiet();
    }
}

#[test]
fn a_caller_whose_connection_is_lost_while_it_rings_ends_the_ringing() {
    let mut building = wired(122, Transport::Tcp, false);
    building.ua("desk-1").policy = Policy::Ring;
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(2 * SECOND);
    assert_eq!(building.b2bua.live_calls(), 1);
    building.cut("lobby");
    building.run(2 * SECOND);
    assert_eq!(building.b2bua.live_calls(), 0);
    assert_eq!(
        building.cdrs.last().unwrap().end,
        EndReason::CallerCancelled
    );
    let desk = building.find("desk-1");
    assert!(desk.log.iter().any(|line| line.starts_with("cancelled")));
    building.forgive_lost_dialogs();
    building.check_quiet();
}

#[test]
fn a_talk_outlives_its_connections_and_is_hung_up_by_new_ones() {
    for who in ["lobby", "desk-1"] {
        let mut building = wired(123, Transport::Tcp, false);
        talking(&mut building, "lobby", "desk", "desk-1");
        building.cut(who);
        building.run(2 * SECOND);
        assert_eq!(building.b2bua.live_calls(), 1, "the sound goes on");
        let (_, desk) = building.joined();
        building.press(desk, '9');
        building.run(SECOND);
        assert_eq!(building.drives.len(), 1);
        // The other side ends it; the one whose connection was lost must hear of it.
        let other = if who == "lobby" { "desk-1" } else { "lobby" };
        building.act(other, |ua, now| ua.hang_up(now));
        building.run(5 * SECOND);
        assert!(!building.find(who).is_up(), "{who} was told");
        building.check_quiet();
    }
}

#[test]
fn a_phone_that_loses_its_connection_while_ringing_is_rung_no_more_and_others_are() {
    let mut building = wired(124, Transport::Tcp, false);
    building.ua("desk-1").policy = Policy::Ring;
    building.ua("desk-2").policy = Policy::Answer(4 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.run(2 * SECOND);
    building.cut("desk-1");
    building.run(5 * SECOND);
    assert!(building.find("desk-2").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.forgive_lost_dialogs();
    building.check_quiet();
}

#[test]
fn whatever_connections_do_nothing_dangles() {
    let devices = ["lobby", "garage", "desk-1", "desk-2", "anna-app"];
    for seed in 0..60 {
        let mut building = wired(6_000 + seed, Transport::Tcp, seed % 2 == 0);
        let mut rng = StdRng::seed_from_u64(seed);
        for device in devices {
            let after = Duration::from_millis(rng.random_range(1..2_000));
            building.ua(device).policy = Policy::Answer(after);
        }
        for _ in 0..40 {
            let device = devices[rng.random_range(0..devices.len())];
            let dial = ["desk", "101", "one", "lobby"][rng.random_range(0..4)];
            match rng.random_range(0..9) {
                0 | 1 => {
                    let offer = rng.random_bool(0.7);
                    building.act(device, |ua, now| ua.call(now, dial, offer, &[]));
                }
                2 => building.act(device, |ua, now| {
                    ua.call(now, "lobby", true, &[("Action", "buzz")]);
                }),
                3 => building.act(device, |ua, now| ua.cancel(now)),
                4 => building.act(device, |ua, now| ua.hang_up(now)),
                5 => building.act(device, |ua, now| ua.reinvite(now, "sendonly")),
                6 => building.act(device, |ua, now| ua.info_digit(now, '9')),
                7 => building.act(device, |ua, now| ua.register(now)),
                _ => building.cut(device),
            }
            building.run(Duration::from_millis(rng.random_range(0..1_500)));
        }
        for device in devices {
            building.act(device, |ua, now| ua.cancel(now));
        }
        building.run(60 * SECOND);
        building.feed(intercom::Input::Shutdown);
        building.run(100 * SECOND);
        building.forgive_lost_dialogs();
        eprintln!("seed {seed}");
        building.check_quiet();
    }
}
