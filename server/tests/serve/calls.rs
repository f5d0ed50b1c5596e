//! Calls and registrations through the built binary: floods, reload, restart, the end, and a disk that is away.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use dialplan::{Device, Owner};
use nix::sys::signal::Signal;
use server::store::{AccountRow, AuditFilter, CallRow, Change, Store};
use sip_proxy::Method;
use sip_proxy::digest::Ha1;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::ua::{DOMAIN, Ua, password};
use super::{PLAN, Server, get, log_until, options, serve, serve_with, signal, start};

pub(crate) const SOON: Duration = Duration::from_secs(20);

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn store(dir: &Path) -> Store {
    Store::open(&dir.join("doorward.db"), "elm-court", DOMAIN)
        .await
        .unwrap()
}

/// The lobby and both desk phones, before the server starts.
pub(crate) fn move_in(dir: &Path) {
    let owners = [
        ("lobby", Owner::Door("lobby".to_owned())),
        ("desk-1", Owner::Desk("desk".to_owned())),
        ("desk-2", Owner::Desk("desk".to_owned())),
    ];
    let device = |(user, owner): (&str, Owner)| {
        let ha1 = Ha1::of(user, DOMAIN, &password(user), true);
        let account = AccountRow {
            user: user.to_owned(),
            profile: "generic".to_owned(),
            ha1_sha256: ha1.sha256.unwrap(),
            ha1_md5: ha1.md5,
            revoked: false,
        };
        let device = Device {
            id: user.to_owned(),
            owner,
            label: None,
            revoked: false,
        };
        (device, account)
    };
    let change = Change {
        devices: owners.into_iter().map(device).collect(),
        ..Change::default()
    };
    wait(async {
        let store = store(dir).await;
        store.apply(&change, jiff::Timestamp::now()).await.unwrap();
        store.close().await;
    });
}

pub(crate) fn phone(user: &str, server: &Server) -> Ua {
    let mut phone = Ua::new(user, &server.sip);
    assert_eq!(phone.register(), 200, "{user} registers");
    phone
}

/// The calls in the store, newest first.
pub(crate) fn calls(dir: &Path) -> Vec<CallRow> {
    wait(async {
        store(dir)
            .await
            .calls(&server::store::CallFilter::default(), 100)
            .await
            .unwrap()
    })
}

/// Asks until the text at `path` is as wanted.
pub(crate) fn becomes(server: &Server, path: &str, wanted: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + SOON;
    loop {
        let text = get(&server.http, path);
        if wanted(&text) {
            return text;
        }
        assert!(Instant::now() < deadline, "{path} stays\n{text}");
        std::thread::yield_now();
    }
}

pub(crate) fn sample(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_flood_from_one_address_is_shed_while_another_registers() {
    let dir = tempfile::tempdir().unwrap();
    move_in(dir.path());
    let server = serve(dir.path());
    let shed = |at_least: u64| {
        becomes(&server, "/metrics", |text| {
            sample(text, "doorward_sip_shed_total").is_some_and(|shed| shed >= at_least)
        })
    };
    let flood = UdpSocket::bind("127.0.0.2:0").unwrap();
    for n in 0..2_000 {
        let text = options("UDP").replace("serve-UDP", &format!("flood-{n}"));
        let _ = flood.send_to(text.as_bytes(), &server.sip);
    }
    let mut desk = phone("desk-1", &server);
    shed(1_000);

    let address: SocketAddr = server.sip.parse().unwrap();
    let stream = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let source: SocketAddr = "127.0.0.3:0".parse().unwrap();
    stream.bind(&source.into()).unwrap();
    stream.connect(&address.into()).unwrap();
    let many: String = (0..1_000)
        .map(|n| options("TCP").replace("serve-TCP", &format!("flood-{n}")))
        .collect();
    (&stream).write_all(many.as_bytes()).unwrap();
    let before = sample(&get(&server.http, "/metrics"), "doorward_sip_shed_total").unwrap();
    shed(before.max(1_950) + 500);
    assert_eq!(desk.register(), 200);
}

#[test]
fn what_an_operator_watches_is_there() {
    let dir = tempfile::tempdir().unwrap();
    move_in(dir.path());
    let server = serve(dir.path());
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let broken = options("UDP").replace("CSeq: 1 OPTIONS", "CSeq: one");
    stranger.send_to(broken.as_bytes(), &server.sip).unwrap();
    let mut desk = phone("desk-1", &server);
    let denied = phone("lobby", &server).buzz("lobby");
    assert_eq!(denied, 403, "a door opens nothing");
    assert_eq!(desk.register(), 200);
    let text = becomes(&server, "/metrics", |text| {
        text.contains("doorward_sip_parse_errors_total{")
            && text.contains("doorward_unlock_decisions_total{decision=\"denied\"} 1")
    });
    for name in [
        "doorward_sip_shed_total",
        "doorward_sip_strangers",
        "doorward_wrong_credentials_total",
        "doorward_udp_dropped_total",
        "doorward_connections_bad_frames_total{transport=\"tcp\"}",
        "doorward_behind_dropped_total",
        "doorward_signalling_stalls_total",
        "doorward_audit_failed_total",
        "doorward_audit_under_way",
        "doorward_media_not_open_total{worker=\"0\"}",
        "doorward_media_oversize_total{worker=\"0\"}",
        "doorward_media_send_dropped_total{worker=\"0\"}",
        "doorward_media_reports_dropped_total{worker=\"0\"}",
        "doorward_unlock_seconds_bucket",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
}

#[test]
fn a_call_after_a_reload_goes_by_the_new_plan_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    move_in(dir.path());
    let mut server = serve(dir.path());
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let (mut one, mut two) = (phone("desk-1", &server), phone("desk-2", &server));
    let mut lobby = phone("lobby", &server);
    let plan = |text: &str| {
        std::fs::write(dir.path().join("plan.kdl"), text).unwrap();
        signal(&server, Signal::SIGHUP);
    };
    let mut rings = |phone: &mut Ua| {
        let call = lobby.call("desk");
        let mut dialog = phone.take(SOON).expect("it does not ring");
        let (status, there) = lobby.answered(&call);
        assert!(status == 200 && there.is_some());
        assert_eq!(phone.hang_up(&mut dialog), 200);
        assert!(lobby.hung_up(SOON));
    };
    let desk = "device \"desk-1\"; device \"desk-2\"";
    plan(&PLAN.replacen(desk, "device \"desk-1\"", 1));
    log_until(&mut log, "reloaded");
    rings(&mut one);
    plan(&PLAN.replacen("route \"unit\"", "rout \"unit\"", 1));
    log_until(&mut log, "reload refused");
    log_until(&mut log, "plan.kdl:");
    rings(&mut one);
    plan(&PLAN.replacen(desk, "device \"desk-2\"", 1));
    log_until(&mut log, "reloaded");
    rings(&mut two);
    let within = Duration::from_millis(1);
    assert!(one.wait_for(&Method::Invite, within).is_none());

    signal(&server, Signal::SIGTERM);
    assert!(server.child.wait().unwrap().success());
    let versions: Vec<String> = calls(dir.path())
        .iter()
        .map(|call| {
            let record: serde_json::Value = serde_json::from_str(&call.record).unwrap();
            record["plan"].as_str().unwrap().to_owned()
        })
        .collect();
    let [new, kept, old] = versions.as_slice() else {
        panic!("{versions:?}")
    };
    assert!(kept == old && new != old, "{versions:?}");
}

#[test]
fn what_the_command_line_changes_a_running_server_follows() {
    let dir = tempfile::tempdir().unwrap();
    move_in(dir.path());
    let mut server = serve(dir.path());
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let mut desk = phone("desk-1", &server);
    let revoke = std::process::Command::new(env!("CARGO_BIN_EXE_doorward"))
        .args(["account", "revoke", "desk-1", "--config"])
        .arg(dir.path().join("doorward.toml"))
        .output()
        .unwrap();
    assert!(revoke.status.success(), "{revoke:?}");
    log_until(&mut log, "directory changed");
    assert_ne!(desk.register(), 200, "a revoked phone registers");
}

/// A call between the lobby and the desk.
fn talk(lobby: &mut Ua, desk: &mut Ua) -> (sip_proxy::Dialog, sip_proxy::Dialog) {
    let call = lobby.call("desk");
    let there = desk.take(SOON).expect("it does not ring");
    let here = lobby.answered(&call).1.expect("not answered");
    (here, there)
}

#[test]
fn a_server_told_to_end_waits_for_the_call_and_takes_no_new_one() {
    let dir = tempfile::tempdir().unwrap();
    move_in(dir.path());
    let mut server = serve(dir.path());
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let (mut desk, mut lobby) = (phone("desk-1", &server), phone("lobby", &server));
    let (mut here, _) = talk(&mut lobby, &mut desk);
    signal(&server, Signal::SIGTERM);
    log_until(&mut log, "draining");
    becomes(&server, "/readyz", |text| text.contains("draining"));
    let mut other = Ua::new("desk-2", &server.sip);
    let call = other.call("lobby");
    assert_eq!(other.answered(&call).0, 503);
    assert_eq!(lobby.hang_up(&mut here), 200);
    assert!(desk.hung_up(SOON));
    assert!(server.child.wait().unwrap().success());
    let answered = |call: &&CallRow| call.outcome == "answered";
    assert_eq!(calls(dir.path()).iter().filter(answered).count(), 1);
}

#[test]
fn a_second_signal_says_goodbye_to_both_sides_at_once() {
    let dir = tempfile::tempdir().unwrap();
    move_in(dir.path());
    let mut server = serve(dir.path());
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let (mut desk, mut lobby) = (phone("desk-1", &server), phone("lobby", &server));
    talk(&mut lobby, &mut desk);
    signal(&server, Signal::SIGTERM);
    log_until(&mut log, "draining");
    signal(&server, Signal::SIGTERM);
    assert!(lobby.hung_up(SOON) && desk.hung_up(SOON));
    assert!(server.child.wait().unwrap().success());
    let calls = calls(dir.path());
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].outcome, "answered");
}

#[test]
fn a_phone_that_registered_before_a_restart_is_called_after_it() {
    let dir = tempfile::tempdir().unwrap();
    move_in(dir.path());
    let mut server = serve(dir.path());
    let mut desk = phone("desk-1", &server);
    signal(&server, Signal::SIGTERM);
    assert!(server.child.wait().unwrap().success());
    let server = start(dir.path(), &server.sip).expect("it does not start again");
    let mut lobby = Ua::new("lobby", &server.sip);
    let call = lobby.call("desk");
    let mut dialog = desk.take(SOON).expect("the registration is lost");
    assert_eq!(lobby.answered(&call).0, 200);
    assert_eq!(desk.hang_up(&mut dialog), 200);
}

/// A station's HTTP relay that answers every request and counts them.
fn relay() -> (SocketAddr, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (driven, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = driven.send(());
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, receiver)
}

#[test]
fn while_the_log_cannot_be_written_no_door_opens_and_the_refusal_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    move_in(dir.path());
    let (address, driven) = relay();
    let server = serve_with(
        dir.path(),
        &format!("[door.lobby]\nurl = \"http://{address}\"\n[audit]\ncommit-within = \"300ms\"\n"),
    );
    let output = "output \"main\" driver=\"action-buzz\" pulse=\"5s\"";
    assert!(PLAN.contains(output));
    let plan = PLAN.replacen(
        output,
        "output \"main\" driver=\"http\" path=\"/open\" pulse=\"5s\"",
        1,
    );
    std::fs::write(dir.path().join("plan.kdl"), plan).unwrap();
    let mut server = restart(dir.path(), server);
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let (mut desk, mut lobby) = (phone("desk-1", &server), phone("lobby", &server));
    let (_, mut there) = talk(&mut lobby, &mut desk);

    let refused = wait(async {
        let mut other = SqliteConnectOptions::new()
            .filename(dir.path().join("doorward.db"))
            .connect()
            .await
            .unwrap();
        let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let until = Instant::now() + Duration::from_secs(3);
        let refused = desk.buzz_in(&mut there);
        becomes(&server, "/readyz", |text| {
            text.starts_with("HTTP/1.1 503") && text.contains("degraded")
        });
        // Another process at work on the database for three seconds.
        while Instant::now() < until {
            assert!(driven.try_recv().is_err(), "driven without a record");
            std::thread::yield_now();
        }
        lock.rollback().await.unwrap();
        refused
    });
    assert_eq!(refused, 500);
    becomes(&server, "/readyz", |text| text.starts_with("HTTP/1.1 200"));
    becomes(&server, "/metrics", |text| {
        sample(text, "doorward_audit_failed_total") == Some(1)
    });
    assert_eq!(desk.buzz_in(&mut there), 200, "and opens then");
    driven.recv_timeout(SOON).expect("the relay is driven");
    assert_eq!(desk.hang_up(&mut there), 200);
    signal(&server, Signal::SIGTERM);
    log_until(&mut log, "stopped");
    assert!(server.child.wait().unwrap().success());
    assert!(driven.try_recv().is_err(), "the refused unlock was driven");

    let entries: Vec<String> = wait(async {
        let store = store(dir.path()).await;
        let all = store.matching(&AuditFilter::default()).await.unwrap();
        assert!(store.verify(None).await.unwrap().is_ok());
        let proven = store.proven(&all).await.unwrap();
        proven
            .into_iter()
            .map(|proven| proven.link.canonical)
            .collect()
    });
    let count = |part: &str| entries.iter().filter(|entry| entry.contains(part)).count();
    assert_eq!(count("\"decision\":\"granted\""), 1, "{entries:#?}");
    assert_eq!(count("\"result\":\"not-recorded\""), 1, "{entries:#?}");
    assert_eq!(count("\"kind\":\"unlock-result\""), 2, "{entries:#?}");
}

/// Ends a server and starts it again on the same address.
fn restart(dir: &Path, mut server: Server) -> Server {
    signal(&server, Signal::SIGTERM);
    assert!(server.child.wait().unwrap().success());
    start(dir, &server.sip).expect("it does not start again")
}
