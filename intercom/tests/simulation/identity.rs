//! Whom a call is from, as its callees are told.

use std::sync::Arc;
use std::time::Duration;

use intercom::StationProfile;
use sip_proxy::{HeaderName, Message, Method};

use crate::building::Building;
use crate::building::link::Weather;

const SECOND: Duration = Duration::from_secs(1);

fn invite(building: &mut Building, from: &str, to: &str, extra: &[(&str, &str)]) -> Message {
    building.act(from, |ua, now| ua.call(now, to, true, extra));
    building.run(SECOND);
    let rung = building.find(if to == "desk" { "desk-1" } else { to });
    let invite = rung.got(&Method::Invite).last().copied().cloned().unwrap();
    building.act(from, |ua, now| ua.cancel(now));
    building.run(SECOND);
    invite
}

fn from(message: &Message) -> String {
    let from = message.header(&HeaderName::From).unwrap();
    from.split(";tag=").next().unwrap().to_owned()
}

#[test]
fn the_caller_is_named_by_us() {
    let mut building = Building::ready(750);
    let lies = [
        ("P-Asserted-Identity", "<sip:police@elm.example>"),
        ("P-Preferred-Identity", "<sip:police@elm.example>"),
    ];
    let door = invite(&mut building, "lobby", "desk", &lies);
    assert_eq!(from(&door), "\"lobby\" <sip:lobby@elm.example>");
    assert_eq!(door.header(&HeaderName::PAssertedIdentity), None);
    assert_eq!(door.header(&HeaderName::PPreferredIdentity), None);
    let unit = invite(&mut building, "anna-app", "desk-1", &[]);
    assert_eq!(from(&unit), "\"101\" <sip:anna-app@elm.example>");
    let desk = invite(&mut building, "desk-2", "desk-1", &[]);
    assert_eq!(from(&desk), "\"desk-2\" <sip:desk-2@elm.example>");
    building.check_quiet();
}

#[test]
fn privacy_is_kept_towards_phones_and_a_trusted_peer_is_told_who_it_is() {
    let mut building = Building::with(751, Weather::FINE, |config| {
        config.trusted.push(intercom::config::TrustedPeer {
            address: "10.0.1.4".parse().unwrap(),
            account: "desk-2".to_owned(),
            contact: None,
        });
    });
    building.register_all();
    let wish = [("Privacy", "header;id")];
    let phone = invite(&mut building, "anna-app", "desk-1", &wish);
    assert_eq!(
        from(&phone),
        "\"Anonymous\" <sip:anonymous@anonymous.invalid>"
    );
    assert_eq!(phone.header(&HeaderName::PAssertedIdentity), None);
    assert_eq!(phone.header(&HeaderName::Privacy), Some("id"));
    let text = String::from_utf8_lossy(phone.bytes()).into_owned();
    assert!(!text.contains("anna"), "{text}");
    let trusted = invite(&mut building, "anna-app", "desk-2", &wish);
    assert_eq!(
        trusted.header(&HeaderName::PAssertedIdentity),
        Some("\"101\" <sip:anna-app@elm.example>")
    );
    assert_eq!(trusted.header(&HeaderName::Privacy), Some("id"));
    let open = invite(&mut building, "anna-app", "desk-2", &[("Privacy", "none")]);
    assert_eq!(from(&open), "\"101\" <sip:anna-app@elm.example>");
    assert_eq!(open.header(&HeaderName::Privacy), None);
    building.check_quiet();
}

#[test]
fn a_door_is_never_anonymous() {
    let mut building = Building::ready(752);
    let door = invite(&mut building, "lobby", "desk", &[("Privacy", "id")]);
    assert_eq!(from(&door), "\"lobby\" <sip:lobby@elm.example>");
    building.check_quiet();
}

#[test]
fn a_door_call_rings_its_own_way_and_says_where_its_picture_is() {
    let mut building = Building::with(753, Weather::FINE, |config| {
        let phone = StationProfile {
            name: "phone".to_owned(),
            door_call: vec![("Alert-Info".to_owned(), "<http://x/>;info=door".to_owned())],
            ..StationProfile::default()
        };
        config.profiles.insert("phone".to_owned(), Arc::new(phone));
        let picture = "https://192.0.2.20/still.jpg".to_owned();
        config.pictures.insert("lobby".to_owned(), picture);
    });
    building.register_all();
    let door = invite(&mut building, "lobby", "desk", &[]);
    assert_eq!(
        door.header(&HeaderName::AlertInfo),
        Some("<http://x/>;info=door")
    );
    assert_eq!(
        door.header(&HeaderName::CallInfo),
        Some("<https://192.0.2.20/still.jpg>;purpose=icon")
    );
    let unit = invite(&mut building, "anna-app", "desk-1", &[]);
    assert_eq!(unit.header(&HeaderName::AlertInfo), None);
    assert_eq!(unit.header(&HeaderName::CallInfo), None);
    building.check_quiet();
}

#[test]
fn max_forwards_counts_on_across_us() {
    let mut building = Building::ready(754);
    building.act("lobby", |ua, now| {
        ua.call(now, "desk", true, &[]);
    });
    building.run(SECOND);
    let seen = building.find("desk-1").got(&Method::Invite)[0];
    assert_eq!(seen.header(&HeaderName::MaxForwards), Some("69"));
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}
