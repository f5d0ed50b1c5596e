//! RFC 8599: push parameters of a contact, kept, told, and never printed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where its own words are wrong"
)]

mod registration;

use registration::{Bench, INSTANCE};
use sip_proxy::{ConnectionId, Transport};

const PHONE: &str =
    "Contact: <sip:a@192.0.2.50;pn-provider=fcm;pn-param=acme;pn-prid=secret-token;pn-purr=77>\r\n";

#[test]
fn push_parameters_are_kept_with_the_binding_and_given_back() {
    let mut bench = Bench::new();
    let answer = bench.register(PHONE);
    assert!(
        answer
            .text
            .contains("pn-provider=fcm;pn-param=acme;pn-prid=secret-token;pn-purr=77>")
    );
    let push = bench.bindings()[0].push.clone().unwrap();
    assert_eq!((&*push.provider, &*push.prid), ("fcm", "secret-token"));
    assert_eq!(
        (push.param.as_deref(), push.purr.as_deref()),
        (Some("acme"), Some("77"))
    );
}

#[test]
fn no_push_secret_is_printed_with_a_binding_or_its_change() {
    let mut bench = Bench::new();
    let answer = bench.register(PHONE);
    let printed = format!("{:?} {:?}", answer.done.changes, bench.location);
    assert!(printed.contains("fcm"), "{printed}");
    for secret in ["secret-token", "acme", "77>", "sip:a@"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}

#[test]
fn a_registrar_that_asks_no_service_judges_none_and_promises_none() {
    let mut bench = Bench::new();
    let answer = bench.register(PHONE);
    assert_eq!(
        (answer.status, answer.text.contains("Feature-Caps")),
        (200, false)
    );
}

#[test]
fn the_service_of_a_contact_is_confirmed_and_an_unknown_one_is_555() {
    let mut bench = Bench::new();
    bench.registrar.config.push = vec!["apns".into(), "fcm".into()];
    let answer = bench.register(PHONE);
    assert!(
        answer.has("Feature-Caps: *;+sip.pns=\"fcm\""),
        "{}",
        answer.text
    );
    assert!(!answer.text.contains("apns"));
    let other = bench.register("Contact: <sip:b@192.0.2.50;pn-provider=webpush;pn-prid=1>\r\n");
    assert_eq!(other.status, 555);
    assert!(
        other
            .text
            .contains("555 Push Notification Service Not Supported")
    );
    let gone =
        bench.register("Contact: <sip:b@192.0.2.50;pn-provider=webpush;pn-prid=1>;expires=0\r\n");
    assert_eq!(gone.status, 200, "who leaves is not asked by which service");
}

#[test]
fn who_asks_for_the_services_is_told_all_of_them() {
    let mut bench = Bench::new();
    bench.registrar.config.push = vec!["apns".into(), "fcm".into()];
    let answer = bench.register("Contact: <sip:b@192.0.2.50;pn-provider>\r\n");
    assert!(answer.has("Feature-Caps: *;+sip.pns=\"apns\""));
    assert!(answer.has("Feature-Caps: *;+sip.pns=\"fcm\""));
    assert_eq!(bench.bindings()[0].push, None);
}

#[test]
fn a_device_that_push_can_wake_keeps_its_binding_when_its_connection_closes() {
    let mut bench = Bench::new();
    bench.flow.transport = Transport::Wss;
    bench.flow.connection = Some(ConnectionId(3));
    bench.register(&PHONE.replace('>', &format!(">;{INSTANCE}")));
    assert!(bench.bindings()[0].is_reachable());
    assert!(bench.location.connection_closed(ConnectionId(3)).is_empty());
    assert!(!bench.bindings()[0].is_reachable());
}
