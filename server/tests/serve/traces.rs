//! What an integrator sees of messages: a call's ladder, a capture, the live trace, Homer.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::calls::{SOON, becomes, calls, move_in, phone, sample};
use super::{Server, get, serve, serve_with, signal};

fn doorward(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command
        .args(arguments)
        .env("DOORWARD_CONFIG", dir.join("doorward.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn house(dir: &Path, more: &str) -> Server {
    move_in(dir);
    let server = serve_with(dir, more);
    // The listener's port is the system's choice; commands read it from the file.
    let file = dir.join("doorward.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(
        "listen = \"127.0.0.1:0\"",
        &format!("listen = \"{}\"", server.http),
    );
    std::fs::write(file, text).unwrap();
    server
}

/// One answered call from the lobby to the desk, hung up by the desk.
fn one_call(server: &Server) {
    let mut desk = phone("desk-1", server);
    let mut lobby = phone("lobby", server);
    let call = lobby.call("desk");
    let mut dialog = desk.take(SOON).expect("it does not ring");
    assert_eq!(lobby.answered(&call).0, 200);
    assert_eq!(desk.hang_up(&mut dialog), 200);
    assert!(lobby.hung_up(SOON));
}

/// The call's id, once it is in the store.
fn recorded(dir: &Path) -> String {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        if let Some(call) = calls(dir).into_iter().next() {
            return call.call;
        }
        assert!(std::time::Instant::now() < deadline, "no call is recorded");
        std::thread::yield_now();
    }
}

#[test]
fn a_story_shows_the_ladder_of_an_answered_call_from_the_running_servers_memory() {
    let dir = tempfile::tempdir().unwrap();
    let server = house(dir.path(), "");
    one_call(&server);
    let id = recorded(dir.path());
    let (out, err) = said(
        &doorward(dir.path(), &["call", "story", &id])
            .output()
            .unwrap(),
    );
    for part in [
        "lobby                 doorward              desk-1",
        "|--- INVITE (SDP) --->|",
        "|<---- 401 INVITE ----|",
        "|<- 200 INVITE (SDP) -|",
        "|<------- BYE --------|",
        "route \"bell\"",
    ] {
        assert!(out.contains(part), "{part} not in\n{out}\n{err}");
    }
    let (out, _) = said(
        &doorward(dir.path(), &["call", "story", &id, "--messages"])
            .output()
            .unwrap(),
    );
    assert!(
        out.contains("Digest username=\"lobby\"") && out.contains("response=\"***\""),
        "{out}"
    );
    let (out, _) = said(
        &doorward(dir.path(), &["call", "story", &id, "--json"])
            .output()
            .unwrap(),
    );
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(told["messages"].as_array().unwrap().len() >= 12, "{out}");
    assert_eq!(told["messages"][0]["party"], "lobby");

    // Answered calls are not kept on disk unless asked for.
    signal(&server, Signal::SIGTERM);
    drop(server);
    let (out, _) = said(
        &doorward(dir.path(), &["call", "story", &id])
            .output()
            .unwrap(),
    );
    assert!(out.contains("[trace] keep = \"all\""), "{out}");
}

#[test]
fn metrics_tell_answers_by_door_hour_and_destination_and_messages_by_transport_and_peer() {
    let dir = tempfile::tempdir().unwrap();
    let server = house(dir.path(), "");
    one_call(&server);
    recorded(dir.path());
    let text = becomes(&server, "/metrics", |text| {
        text.contains("doorward_door_calls_total{door=\"lobby\",outcome=\"answered\"} 1")
            && sample(
                text,
                "doorward_sip_messages_in_total{transport=\"udp\",peer=\"known\"}",
            )
            .is_some_and(|count| count > 5)
    });
    for name in [
        "doorward_calls_by_destination_total{destination=\"desk\",outcome=\"answered\"} 1",
        "doorward_calls_by_hour_total{hour=\"",
        "doorward_sip_messages_in_total{transport=\"udp\",peer=\"stranger\"}",
        "doorward_sip_messages_out_total{transport=\"udp\",peer=\"known\"}",
        "doorward_sip_queue_delay_seconds_bucket{le=\"0.02\"}",
        "doorward_sip_queue_delay_seconds_count",
        "doorward_signalling_turn_seconds_bucket{le=\"+Inf\"}",
        "doorward_signalling_turns_over_100ms_total",
        "doorward_sip_refused_for_overload_total{class=\"precedence\"} 0",
        "doorward_udp_lost_total",
        "doorward_ladder_octets",
        "doorward_trace_dropped_total",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
}

#[test]
fn kept_ladders_outlive_the_server_and_open_in_wireshark() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = house(dir.path(), "[trace]\nkeep = \"all\"");
    one_call(&server);
    let id = recorded(dir.path());
    signal(&server, Signal::SIGTERM);
    assert!(server.child.wait().unwrap().success());
    let file = dir.path().join("call.pcap");
    let output = doorward(dir.path(), &["call", "story", &id, "--pcap"])
        .arg(&file)
        .output()
        .unwrap();
    let (out, err) = said(&output);
    assert!(
        output.status.success() && out.contains("|<------- BYE --------|"),
        "{out}{err}"
    );
    let Ok(seen) = Command::new("tshark")
        .args([
            "-n",
            "-o",
            "udp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
            "-T",
            "fields",
        ])
        .args([
            "-e",
            "sip.Method",
            "-e",
            "sip.Status-Code",
            "-e",
            "udp.srcport",
            "-e",
            "udp.checksum.status",
        ])
        .args(["-d"])
        .arg(format!(
            "udp.port=={},sip",
            server.sip.rsplit(':').next().unwrap()
        ))
        .arg("-r")
        .arg(&file)
        .output()
    else {
        eprintln!("tshark is not installed: the capture was not looked at");
        return;
    };
    let (lines, err) = said(&seen);
    let ours = server.sip.rsplit(':').next().unwrap();
    for wanted in [
        format!("\t401\t{ours}\t1"),
        format!("INVITE\t\t{ours}\t1"),
        format!("BYE\t\t{ours}\t1"),
    ] {
        assert!(
            lines.lines().any(|line| line == wanted),
            "{wanted:?} not in\n{lines}{err}"
        );
    }
    assert!(lines.lines().count() >= 12, "{lines}");
}

struct Trace {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A live trace that listens already.
fn trace(dir: &Path, arguments: &[&str]) -> Trace {
    let mut child = doorward(dir, &[&["trace"], arguments].concat())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.starts_with("listening"), "{line}");
    let lines = BufReader::new(child.stdout.take().unwrap());
    Trace { child, lines }
}

#[test]
fn the_live_trace_shows_what_its_filter_asks_for_and_ends_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let server = house(dir.path(), "");
    let mut byes = trace(dir.path(), &["--method", "BYE", "--count", "4", "--json"]);
    let mut lobby = trace(dir.path(), &["--from", "lobby", "-n", "3", "--messages"]);
    one_call(&server);
    let mut text = String::new();
    while byes.lines.read_line(&mut text).unwrap() > 0 {}
    assert!(byes.child.wait().unwrap().success());
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4);
    let call = lines[0]["message"]["call"].as_str().unwrap();
    assert_eq!(call, recorded(dir.path()));
    assert!(
        lines
            .iter()
            .all(|line| line["message"]["summary"].as_str().unwrap().contains("BYE"))
    );
    let mut text = String::new();
    while lobby.lines.read_line(&mut text).unwrap() > 0 {}
    assert!(
        text.contains("REGISTER") && text.contains("response=\"***\""),
        "{text}"
    );
    // The last listener has gone: signalling is told so with the next message.
    drop((byes, lobby));
    one_call(&server);
}

#[test]
fn messages_are_shown_to_this_machine_and_to_who_has_the_token() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("http.token"), "0123456789abcdef0123\n").unwrap();
    let plain = tempfile::tempdir().unwrap();
    let server = serve(plain.path());
    let answer = get(&server.http, "/calls/nothing/ladder");
    assert!(
        answer.starts_with("HTTP/1.1 403"),
        "asked by a name: {answer}"
    );
    move_in(dir.path());
    let server = serve_with(dir.path(), "token-file = \"http.token\"\n");
    let answer = get(&server.http, "/trace");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let answer = get(&server.http, "/metrics");
    assert!(
        answer.starts_with("HTTP/1.1 200"),
        "metrics need no token: {answer}"
    );
}

#[test]
fn homer_gets_every_message_redacted_and_a_dead_homer_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let homer = UdpSocket::bind("127.0.0.1:0").unwrap();
    homer
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let address = homer.local_addr().unwrap();
    let server = house(
        dir.path(),
        &format!("[trace]\nhep = \"{address}\"\nhep-id = 77\n"),
    );
    one_call(&server);
    let call = recorded(dir.path());
    let (mut buffer, mut all, mut correlated) = ([0; 65_536], String::new(), 0);
    while !all.contains("BYE sip:") {
        let length = homer.recv(&mut buffer).expect("Homer hears everything");
        assert_eq!(&buffer[..4], b"HEP3");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        correlated += usize::from(text.ends_with(&call));
        all.push_str(&text);
    }
    assert!(
        correlated >= 6,
        "the call's id ties its two sides together: {correlated}"
    );
    assert!(all.contains("REGISTER sip:") && all.contains("response=\"***\""));
    drop(homer);
    one_call(&server);
    becomes(&server, "/metrics", |text| {
        sample(text, "doorward_hep_sent_total").is_some_and(|sent| sent > 20)
    });
}
