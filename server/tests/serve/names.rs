//! Trunks with host names, against a DNS of the test's own; and one that says nothing.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use nix::sys::signal::Signal;
use sip_proxy::Method;

use super::calls::{SOON, move_in, phone};
use super::ua::Ua;
use super::{PLAN, Server, log_until, serve_with, signal};

const ROUTE: &str = "route \"out\" from=\"desk:desk\" dial=\"9\" \
    { ring \"pstn:+420601234567\" via=\"trunk-a\" for=\"20s\"; end \"hangup\" }\n";

/// A name server that knows what it is given; ends with the test.
struct Dns {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Dns {
    fn new(records: Vec<(&str, RData)>) -> Self {
        let mut zone: BTreeMap<(Name, RecordType), Vec<RData>> = BTreeMap::new();
        for (name, data) in records {
            let key = (Name::from_str(name).unwrap(), data.record_type());
            zone.entry(key).or_default().push(data);
        }
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let address = socket.local_addr().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            let mut buffer = [0; 2048];
            while !ends.load(Ordering::Acquire) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let Ok(question) = Message::from_vec(&buffer[..length]) else {
                    continue;
                };
                let answer = reply(&zone, &question, &mut asked);
                socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
            }
            asked
        });
        Self {
            address,
            over,
            thread: Some(thread),
        }
    }

    /// What it was asked.
    fn end(mut self) -> Vec<String> {
        self.over.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn reply(
    zone: &BTreeMap<(Name, RecordType), Vec<RData>>,
    question: &Message,
    asked: &mut Vec<String>,
) -> Message {
    let mut answer = Message::response(question.metadata.id, OpCode::Query);
    for query in &question.queries {
        answer.add_query(query.clone());
        asked.push(format!("{} {}", query.query_type(), query.name()));
        let mut name = query.name().clone();
        let alias = (name.clone(), RecordType::CNAME);
        if let Some([RData::CNAME(target)]) = zone.get(&alias).map(Vec::as_slice) {
            answer.add_answer(Record::from_rdata(name, 60, RData::CNAME(target.clone())));
            name = target.0.clone();
        }
        match zone.get(&(name.clone(), query.query_type())) {
            Some(found) => answer.add_answers(
                found
                    .iter()
                    .map(|data| Record::from_rdata(name.clone(), 60, data.clone())),
            ),
            None if answer.answers.is_empty() => {
                answer.metadata.response_code = ResponseCode::NXDomain;
                &mut answer
            }
            None => &mut answer,
        };
    }
    answer
}

/// A server whose plan reaches out by a trunk at `uri`, asking this name server.
fn serve_out(dir: &Path, uri: &str, dns: SocketAddr) -> Server {
    move_in(dir);
    let more = format!("[dns]\nservers = [\"{dns}\"]\n[trunk.trunk-a]\nuri = \"{uri}\"\n");
    let mut server = serve_with(dir, &more);
    std::fs::write(dir.join("plan.kdl"), format!("{PLAN}{ROUTE}")).unwrap();
    let mut log = BufReader::new(server.child.stderr.take().unwrap());
    signal(&server, Signal::SIGHUP);
    log_until(&mut log, "reloaded");
    server.child.stderr = Some(log.into_inner());
    server
}

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

#[test]
fn a_trunk_is_found_by_naptr_srv_and_an_alias() {
    let dir = tempfile::tempdir().unwrap();
    // The carrier is there first: its port is what the zone tells.
    let mut carrier = Ua::new("carrier", "127.0.0.1:9");
    let naptr = NAPTR::new(
        10,
        10,
        b"s".to_vec().into(),
        b"SIP+D2U".to_vec().into(),
        Vec::new().into(),
        name("_sip._udp.carrier.example."),
    );
    let srv = SRV::new(
        10,
        10,
        carrier.address().port(),
        name("edge.carrier.example."),
    );
    let dns = Dns::new(vec![
        ("carrier.example.", RData::NAPTR(naptr)),
        ("_sip._udp.carrier.example.", RData::SRV(srv)),
        (
            "edge.carrier.example.",
            RData::CNAME(CNAME(name("host.carrier.example."))),
        ),
        ("host.carrier.example.", RData::A(A(Ipv4Addr::LOCALHOST))),
    ]);
    let server = serve_out(dir.path(), "sip:carrier.example", dns.address);
    let mut desk = phone("desk-1", &server);
    let call = desk.call("9");
    let mut dialog = carrier.take(SOON).expect("the carrier is called");
    let (status, talk) = desk.answered(&call);
    assert_eq!(status, 200);
    assert_eq!(desk.hang_up(&mut talk.unwrap()), 200);
    assert!(carrier.hung_up(SOON), "{dialog:?}");
    let _ = dialog.request(Method::Bye);
    let asked = dns.end();
    assert_eq!(asked[0], "NAPTR carrier.example.", "{asked:?}");
}

#[test]
fn a_name_server_that_says_nothing_stops_no_local_call() {
    let dir = tempfile::tempdir().unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = serve_out(
        dir.path(),
        "sip:carrier.example",
        silent.local_addr().unwrap(),
    );
    let mut out = phone("desk-1", &server);
    let mut desk = phone("desk-2", &server);
    let mut lobby = phone("lobby", &server);
    let asked = Instant::now();
    let outside = out.call("9");
    // While the question hangs, a door calls, is answered and ends.
    let call = lobby.call("desk");
    let mut talk = desk.take(SOON).expect("the desk rings");
    let (status, _) = lobby.answered(&call);
    assert_eq!(status, 200);
    let local = asked.elapsed();
    assert_eq!(desk.hang_up(&mut talk), 200);
    assert!(lobby.hung_up(SOON));
    let (status, _) = out.answered(&outside);
    let given_up = asked.elapsed();
    assert_eq!(status, 480, "nobody is found");
    assert!(given_up < Duration::from_secs(10), "{given_up:?}");
    assert!(
        local < given_up,
        "the local call waited for the DNS: {local:?} of {given_up:?}"
    );
}
