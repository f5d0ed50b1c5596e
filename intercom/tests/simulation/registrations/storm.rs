//! The power is back: twenty thousand devices register within ten seconds.

use std::sync::Arc;

use dialplan::{Device, Directory, Owner, Unit};
use intercom::{Account, Accounts};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sip_proxy::digest::Ha1;

use super::*;

const DEVICES: u32 = 20_000;

fn building() -> Yard {
    let device = |n: u32| Device {
        id: format!("d{n}"),
        owner: Owner::Unit("101".to_owned()),
        label: None,
        revoked: false,
    };
    let unit = Unit {
        id: "101".to_owned(),
        flags: Default::default(),
    };
    let directory = Directory::new([unit], [], (0..DEVICES).map(device));
    let mut accounts = Accounts::new();
    for n in 0..DEVICES {
        let user = format!("d{n}");
        let account = Account {
            ha1: Ha1::of(&user, "elm", "secret", false),
            device: user.clone(),
            profile: "phone".to_owned(),
        };
        accounts.insert(&user, account);
    }
    let small = Building::new(1, Weather::FINE);
    let config = Config {
        domains: vec!["elm.example".to_owned()],
        realm: "elm".to_owned(),
        ..Config::default()
    };
    let b2bua = B2bua::new(
        config,
        Arc::clone(&small.plan),
        Arc::new(directory),
        Arc::new(accounts),
        Box::new(StdRng::seed_from_u64(7)),
    );
    Yard::of(b2bua, small.now)
}

#[test]
fn twenty_thousand_devices_come_back_within_ten_seconds_and_none_is_lost() {
    let mut yard = building();
    // All behind one address, as after the NAT of a whole estate.
    let flow = |n: u32| udp(&format!("203.0.113.1:{}", 20_000 + n % 40_000));
    let contact = |n: u32| format!("Contact: <sip:d{n}@10.1.1.1:5060>\r\n");
    let ask = |yard: &mut Yard, n: u32| {
        let user = format!("d{n}");
        let status = yard.ask(flow(n), "REGISTER", &user, "secret", &contact(n));
        yard.sent.clear();
        status
    };
    for n in 0..DEVICES {
        assert_eq!(ask(&mut yard, n), 200, "{n}");
        yard.pass(MILLI / 2);
    }
    assert_eq!(yard.b2bua.bindings(), DEVICES as usize);
    // An hour's rest less a little, then the cut: all of them again, with other Call-IDs and all at once.
    yard.pass(3_000 * SECOND);
    yard.serial += 1_000_000;
    yard.changes.clear();
    for n in 0..DEVICES {
        assert_eq!(ask(&mut yard, n), 200, "{n}");
        yard.pass(MILLI / 2);
    }
    assert_eq!(
        yard.b2bua.bindings(),
        DEVICES as usize,
        "none twice, none gone"
    );
    assert!(yard.changes.iter().all(BindingChange::is_live));
    yard.pass(1_000 * SECOND);
    assert_eq!(
        yard.b2bua.bindings(),
        DEVICES as usize,
        "the refresh counts"
    );
    yard.pass(3_600 * SECOND);
    assert_eq!(yard.b2bua.bindings(), 0);
}
