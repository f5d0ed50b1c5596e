//! The call's commands carried out by a real bridge: audio goes through, a key becomes an unlock, a stranger's packet
//! nothing.

use std::net::SocketAddr;
use std::time::Duration;

use intercom::Input;
use media_bridge::{
    Bridge, BridgeConfig, Command, Component, Event, Input as Packet, LegId, Output,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::building::Building;
use crate::talks::talking;

/// A bridge that follows a building's commands.
struct Worker {
    bridge: Bridge,
    seen: usize,
}

impl Worker {
    fn new() -> Self {
        Worker {
            bridge: Bridge::new(BridgeConfig::default(), Box::new(StdRng::seed_from_u64(1))),
            seen: 0,
        }
    }

    fn follow(&mut self, building: &Building) {
        let new: Vec<Command> = building.commands[self.seen..].to_vec();
        self.seen = building.commands.len();
        for command in new {
            self.bridge
                .handle(building.now, Packet::Command(command))
                .for_each(drop);
        }
    }

    /// Sends a packet in; tells what went out to whom, and feeds events back.
    fn packet(
        &mut self,
        building: &mut Building,
        leg: LegId,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Vec<(LegId, SocketAddr)> {
        let mut buffer = bytes.to_vec();
        let mut sent = Vec::new();
        let mut events: Vec<Event> = Vec::new();
        let input = Packet::Packet {
            leg,
            component: Component::Rtp,
            from,
            bytes: &mut buffer,
        };
        for output in self.bridge.handle(building.now, input) {
            match output {
                Output::Send {
                    leg,
                    component: Component::Rtp,
                    to,
                    ..
                } => sent.push((leg, to)),
                Output::Event(event) => events.push(event.clone()),
                Output::Send { .. } => {}
            }
        }
        for event in events {
            building.feed(Input::Media(event));
        }
        sent
    }
}

fn rtp(
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    marker: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type | if marker { 0x80 } else { 0 }];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

#[test]
fn audio_passes_both_ways_and_a_rfc4733_nine_opens_only_from_the_desk() {
    let mut building = Building::ready(80);
    let mut worker = Worker::new();
    talking(&mut building, "lobby", "desk", "desk-1");
    worker.follow(&building);
    let (door, desk) = building.joined();
    let from_door = SocketAddr::new(building.find("lobby").addr.ip(), 40_000);
    let from_desk = SocketAddr::new(building.find("desk-1").addr.ip(), 40_000);
    let mut heard = (0, 0);
    for n in 0..10u16 {
        let stamp = u32::from(n) * 160;
        for (leg, to) in worker.packet(
            &mut building,
            door,
            from_door,
            &rtp(8, n, stamp, 1, n == 0, &[0x55; 160]),
        ) {
            assert_eq!((leg, to), (desk, from_desk));
            heard.0 += 1;
        }
        for (leg, to) in worker.packet(
            &mut building,
            desk,
            from_desk,
            &rtp(8, n, stamp, 2, n == 0, &[0x55; 160]),
        ) {
            assert_eq!((leg, to), (door, from_door));
            heard.1 += 1;
        }
        building.run(Duration::from_millis(20));
    }
    assert!(heard.0 >= 9 && heard.1 >= 9, "{heard:?}");
    let nine = [9, 0x0a, 0, 160];
    let stranger: SocketAddr = "203.0.113.9:40000".parse().unwrap();
    worker.packet(
        &mut building,
        desk,
        stranger,
        &rtp(101, 10, 1_600, 2, true, &nine),
    );
    worker.packet(
        &mut building,
        door,
        from_door,
        &rtp(101, 10, 1_600, 1, true, &nine),
    );
    building.run(Duration::from_secs(1));
    assert!(
        building.drives.is_empty(),
        "neither a stranger nor the door's side opens"
    );
    for n in 0..3u16 {
        worker.packet(
            &mut building,
            desk,
            from_desk,
            &rtp(101, 10 + n, 1_600, 2, n == 0, &nine),
        );
    }
    building.run(Duration::from_secs(1));
    assert_eq!(building.drives.len(), 1, "one press, one unlock");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    worker.follow(&building);
    assert_eq!(worker.bridge.open_legs(), 0);
}
