//! The built binary as a server: how it starts, refuses to start, reloads and ends.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that starts the built binary"
)]

mod calls;
mod datagrams;
mod names;
mod tls;
mod traces;
mod ua;
mod websocket;
mod wire;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PLAN: &str = include_str!("../../../conf/plan.kdl");
const HOLIDAYS: &str = include_str!("../../../conf/holidays/cz.ics");

/// A serving process; killed when the test ends early.
struct Server {
    child: Child,
    sip: String,
    http: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_house(dir: &Path, sip: &str, more: &str) {
    std::fs::create_dir_all(dir.join("holidays")).unwrap();
    std::fs::write(dir.join("plan.kdl"), PLAN).unwrap();
    std::fs::write(dir.join("holidays/cz.ics"), HOLIDAYS).unwrap();
    let conf = format!(
        "[site]\nname = \"elm-court\"\ndomains = [\"doorward.local\"]\n\
         [[listen]]\ntransport = \"udp\"\naddress = \"{sip}\"\n[[listen]]\ntransport = \"tcp\"\naddress = \"{sip}\"\n\
         [media]\nports = \"24000-27999\"\n[store]\npath = \"doorward.db\"\n[plan]\nfile = \"plan.kdl\"\n\
         [http]\nlisten = \"127.0.0.1:0\"\n{more}"
    );
    std::fs::write(dir.join("doorward.toml"), conf).unwrap();
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command
        .arg("serve")
        .arg("--config")
        .arg(dir.join("doorward.toml"))
        .env("DOORWARD_LOG", "info");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a server on a free port and waits for its `ready`.
fn serve(dir: &Path) -> Server {
    serve_with(dir, "")
}

/// The same with more in its configuration.
fn serve_with(dir: &Path, more: &str) -> Server {
    // A port that is free now may be taken the next moment: another is tried.
    for _ in 0..5 {
        let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sip = probe.local_addr().unwrap().to_string();
        drop(probe);
        write_house(dir, &sip, more);
        if let Some(server) = start(dir, &sip) {
            return server;
        }
    }
    panic!("the server did not get ready");
}

/// Starts a server of the house as it stands there; `None` when it ends before it is ready.
fn start(dir: &Path, sip: &str) -> Option<Server> {
    let mut child = command(dir).spawn().unwrap();
    let mut http = String::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(address) = line.strip_prefix("listening http ") {
            http = address.to_owned();
        }
        if line == "ready" {
            let sip = sip.to_owned();
            return Some(Server { child, sip, http });
        }
    }
    child.wait().unwrap();
    None
}

fn signal(server: &Server, signal: Signal) {
    kill(
        Pid::from_raw(i32::try_from(server.child.id()).unwrap()),
        signal,
    )
    .unwrap();
}

/// Reads the log until a line has `wanted`.
fn log_until(log: &mut impl BufRead, wanted: &str) -> String {
    let mut seen = String::new();
    loop {
        let mut line = String::new();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "the log ended without `{wanted}`:\n{seen}"
        );
        seen.push_str(&line);
        if line.contains(wanted) {
            return seen;
        }
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn options(transport: &str) -> String {
    format!(
        "OPTIONS sip:doorward.local SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:9;branch=z9hG4bKserve-{transport};rport\r\n\
         From: <sip:a@doorward.local>;tag=1\r\nTo: <sip:doorward.local>\r\nCall-ID: serve-{transport}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn it_answers_on_udp_and_tcp_tells_its_health_and_ends_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = serve(dir.path());
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    udp.send_to(options("UDP").as_bytes(), &server.sip).unwrap();
    let mut answer = [0; 4096];
    let length = udp.recv(&mut answer).unwrap();
    assert!(
        answer[..length].starts_with(b"SIP/2.0 "),
        "{}",
        String::from_utf8_lossy(&answer[..length])
    );

    let mut tcp = TcpStream::connect(&server.sip).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    tcp.write_all(options("TCP").as_bytes()).unwrap();
    let length = tcp.read(&mut answer).unwrap();
    assert!(answer[..length].starts_with(b"SIP/2.0 "));

    assert!(get(&server.http, "/healthz").ends_with("ok\n"));
    assert!(get(&server.http, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(&server.http, "/metrics").contains("doorward_route_decision_seconds_bucket"));

    signal(&server, Signal::SIGTERM);
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn a_plan_that_does_not_resolve_is_refused_with_its_line_and_the_server_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = serve(dir.path());
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    let wrong = PLAN.replacen("route \"unit\"", "rout \"unit\"", 1);
    let line = 1 + PLAN[..PLAN.find("route \"unit\"").unwrap()]
        .matches('\n')
        .count();
    std::fs::write(dir.path().join("plan.kdl"), wrong).unwrap();
    signal(&server, Signal::SIGHUP);
    log_until(&mut log, "reload refused");
    log_until(&mut log, &format!("plan.kdl:{line}"));
    std::fs::write(dir.path().join("plan.kdl"), PLAN).unwrap();
    signal(&server, Signal::SIGHUP);
    log_until(&mut log, "reloaded");
    assert!(get(&server.http, "/readyz").starts_with("HTTP/1.1 200"));
    signal(&server, Signal::SIGTERM);
    log_until(&mut log, "stopped");
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn a_second_server_on_the_same_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = serve(dir.path());
    let output = command(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("another server runs on the database"),
        "{said}"
    );
    assert!(get(&first.http, "/readyz").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_taken_address_is_named_and_nothing_is_left_running() {
    let dir = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    write_house(dir.path(), &address, "");
    let output = command(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains(&format!("cannot listen on udp {address}")),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}
