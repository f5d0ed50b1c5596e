//! RFC 3327 Path and RFC 3608 Service-Route.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where its own words are wrong"
)]

mod registration;

use registration::Bench;

const PATH: &str = "Path: <sip:p1.example.com;lr>\r\nPath: <sip:p2.example.com;lr>\r\n";
const CONTACT: &str = "Contact: <sip:a@192.0.2.50>\r\n";

#[test]
fn path_is_kept_in_order_for_requests_to_come() {
    let mut bench = Bench::new();
    bench.register(&format!("Supported: path\r\n{PATH}{CONTACT}"));
    let path: Vec<&str> = bench.bindings()[0].path.iter().map(|one| &**one).collect();
    assert_eq!(path, ["<sip:p1.example.com;lr>", "<sip:p2.example.com;lr>"]);
}

#[test]
fn a_refresh_by_another_way_changes_the_path() {
    let mut bench = Bench::new();
    bench.register(&format!("Supported: path\r\n{PATH}{CONTACT}"));
    bench.register(CONTACT);
    assert!(bench.bindings()[0].path.is_empty());
}

#[test]
fn path_is_told_to_who_supports_it() {
    let mut bench = Bench::new();
    let told = bench.register(&format!("Supported: path\r\n{PATH}{CONTACT}"));
    assert!(told.has("Path: <sip:p1.example.com;lr>") && told.has("Path: <sip:p2.example.com;lr>"));
    let silent = bench.register(&format!("{PATH}{CONTACT}"));
    assert_eq!((silent.status, silent.text.contains("Path:")), (200, false));
}

#[test]
fn a_strict_registrar_refuses_a_path_the_device_knows_nothing_of() {
    let mut bench = Bench::new();
    bench.registrar.config.strict_path = true;
    let refused = bench.register(&format!("{PATH}{CONTACT}"));
    assert_eq!(refused.status, 420);
    assert!(refused.has("Unsupported: path") && bench.bindings().is_empty());
    let taken = bench.register(&format!("Supported: path\r\n{PATH}{CONTACT}"));
    assert_eq!(taken.status, 200);
    assert_eq!(bench.register(CONTACT).status, 200, "no Path, no question");
}

#[test]
fn more_paths_than_any_network_has_are_refused() {
    let mut bench = Bench::new();
    let many = "Path: <sip:p.example.com;lr>\r\n".repeat(9);
    assert_eq!(bench.register(&format!("{many}{CONTACT}")).status, 400);
}

#[test]
fn service_route_is_given_in_order_on_success_alone() {
    let mut bench = Bench::new();
    bench.registrar.config.service_route = vec![
        "<sip:one.example.com;lr>".into(),
        "<sip:two.example.com;lr>".into(),
    ];
    let answer = bench.register(CONTACT);
    let at = |line: &str| answer.text.find(line).unwrap();
    assert!(at("Service-Route: <sip:one") < at("Service-Route: <sip:two"));
    let refused = bench.register("Contact: <sip:a@192.0.2.50>;expires=1\r\n");
    assert_eq!(refused.status, 423);
    assert!(!refused.text.contains("Service-Route"));
}
