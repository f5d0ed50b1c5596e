//! `kill -9` during unlocks: what was acknowledged is in the log, the chain holds, nothing is driven that was not recorded
//! and nothing is driven again after the restart.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Binary;
use crate::building::{Addresses, Building, DOMAIN};
use crate::relay::{Relay, md5};
use crate::scenario::Family;

/// Outputs of the kiosk in `building/plan.kdl`.
const OUTPUTS: u32 = 40;

/// Kills the server `rounds` times; `false` when an acknowledged unlock is missing from the log.
pub fn rounds(binary: &Binary, rounds: u32) -> Result<bool> {
    match play(binary, rounds) {
        Ok(report) => {
            println!("ok    kill -9 during unlocks: {report}");
            Ok(true)
        }
        Err(error) => {
            println!("FAIL  kill -9 during unlocks: {error:#}");
            Ok(false)
        }
    }
}

/// Counts by output, over all rounds.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: BTreeMap<String, usize>,
    granted: BTreeMap<String, usize>,
    driven: BTreeMap<String, usize>,
}

fn play(binary: &Binary, rounds: u32) -> Result<String> {
    let addresses = Addresses::of(Family::V4, 191);
    let relay = Relay::start()?;
    let mut building = Building::start(binary, addresses, &relay, "kill")?;
    let password = building
        .passwords
        .get("concierge")
        .cloned()
        .context("no account concierge")?;
    let mut seen = Seen::default();
    for round in 0..rounds {
        // Spread over the life of a few dozen unlocks; the same in every run.
        let after = Duration::from_millis(u64::from((round * 37) % 180));
        let (stop, first) = (AtomicBool::new(false), AtomicBool::new(false));
        let acknowledged = std::thread::scope(|scope| -> Result<Vec<String>> {
            let presser = scope
                .spawn(|| Presser::new(addresses, &password, round)?.press_until(&stop, &first));
            // The time counts from the first acknowledged unlock, so that each kill meets a server at work.
            let pressing = crate::wait::until("the first unlock", Duration::from_secs(10), || {
                first.load(Ordering::Relaxed) || presser.is_finished()
            });
            std::thread::park_timeout(after);
            building.kill_and_restart()?;
            stop.store(true, Ordering::Relaxed);
            pressing?;
            presser
                .join()
                .map_err(|_| anyhow::anyhow!("the presser died"))?
        })?;
        for output in acknowledged {
            *seen.acknowledged.entry(output).or_default() += 1;
        }
        building
            .doorward(&["audit", "verify"])
            .with_context(|| format!("after kill {}", round + 1))?;
        check(&building, &relay, &mut seen).with_context(|| format!("after kill {}", round + 1))?;
    }
    let unknown = building
        .audit()?
        .iter()
        .filter(|record| field(record, "result") == Some("unknown"))
        .count();
    let sum = |map: &BTreeMap<String, usize>| map.values().sum::<usize>();
    ensure!(
        sum(&seen.acknowledged) > 0,
        "no unlock was acknowledged: nothing was tested"
    );
    Ok(format!(
        "{rounds} kills, {} unlocks acknowledged, {} granted in the log, relay driven {} times, {unknown} with result unknown",
        sum(&seen.acknowledged),
        sum(&seen.granted),
        sum(&seen.driven)
    ))
}

fn field<'a>(record: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    record.get(name).and_then(serde_json::Value::as_str)
}

fn check(building: &Building, relay: &Relay, seen: &mut Seen) -> Result<()> {
    let log = building.audit()?;
    seen.granted.clear();
    for record in &log {
        if field(record, "kind") == Some("unlock") && record.get("intent").is_some() {
            *seen
                .granted
                .entry(field(record, "output").unwrap_or_default().to_owned())
                .or_default() += 1;
        }
    }
    seen.driven.clear();
    for driven in relay.driven() {
        let switch = driven.line.split("switch=").nth(1).map(|rest| {
            rest.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
        });
        let switch: u32 = switch
            .and_then(|digits| digits.parse().ok())
            .context("a relay request without a switch")?;
        *seen.driven.entry(format!("o{}", switch - 10)).or_default() += 1;
    }
    for (output, count) in &seen.acknowledged {
        let granted = seen.granted.get(output).copied().unwrap_or(0);
        ensure!(
            granted >= *count,
            "{output}: {count} acknowledged, only {granted} in the log"
        );
    }
    for (output, count) in &seen.driven {
        let granted = seen.granted.get(output).copied().unwrap_or(0);
        ensure!(
            granted >= *count,
            "{output}: driven {count} times, only {granted} in the log"
        );
    }
    // A result follows its grant a moment later: those of the presses after the restart may still be on their way.
    let mut dangling = 0;
    let settled = crate::wait::until("results", Duration::from_secs(3), || {
        dangling = building
            .audit()
            .map_or(usize::MAX, |log| without_result(&log));
        dangling == 0
    });
    ensure!(
        settled.is_ok(),
        "{dangling} granted unlocks have no result in the log after the restart"
    );
    Ok(())
}

/// Granted unlocks of which the log does not say what became of them.
fn without_result(log: &[serde_json::Value]) -> usize {
    let intents = |kind: &'static str| {
        log.iter()
            .filter(move |record| field(record, "kind") == Some(kind))
            .filter_map(|record| field(record, "intent"))
    };
    let results: std::collections::BTreeSet<&str> = intents("unlock-result").collect();
    intents("unlock")
        .filter(|intent| !results.contains(intent))
        .count()
}

/// A concierge who presses one output after the other with `Action: buzz` by MESSAGE.
struct Presser {
    socket: UdpSocket,
    password: String,
    round: u32,
    number: u32,
    challenge: Option<Challenge>,
}

struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    count: u32,
}

impl Presser {
    fn new(addresses: Addresses, password: &str, round: u32) -> Result<Self> {
        let socket = UdpSocket::bind((addresses.actor(1).ip(), 0))?;
        socket.connect(addresses.server())?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(Self {
            socket,
            password: password.to_owned(),
            round,
            number: 0,
            challenge: None,
        })
    }

    /// Presses until told to stop; gives the outputs whose opening was acknowledged.
    fn press_until(mut self, stop: &AtomicBool, first: &AtomicBool) -> Result<Vec<String>> {
        let mut acknowledged = Vec::new();
        while !stop.load(Ordering::Relaxed) && self.number < 10 * OUTPUTS {
            let output = format!("o{}", self.number % OUTPUTS + 1);
            self.number += 1;
            for _ in 0..2 {
                let Some(answer) = self.ask(&output, stop) else {
                    break;
                };
                if answer.starts_with("SIP/2.0 401") {
                    self.challenge = challenge(&answer);
                    continue;
                }
                if answer.starts_with("SIP/2.0 200")
                    && answer
                        .to_ascii_lowercase()
                        .contains("action-result: opened")
                {
                    acknowledged.push(output.clone());
                    first.store(true, Ordering::Relaxed);
                }
                break;
            }
        }
        Ok(acknowledged)
    }

    /// Sends one request and waits for its final answer, unless the server is gone.
    fn ask(&mut self, output: &str, stop: &AtomicBool) -> Option<String> {
        let uri = format!("sip:kiosk@{DOMAIN}");
        let (round, number) = (self.round, self.number);
        let authorization = self.authorization(&uri);
        let tries = u8::from(!authorization.is_empty());
        let local = self.socket.local_addr().ok()?;
        let request = format!(
            "MESSAGE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKk{round}x{number}x{tries};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:concierge@{DOMAIN}>;tag=k{round}x{number}\r\nTo: <{uri}>\r\nCall-ID: kill-{round}-{number}\r\n\
             CSeq: {} MESSAGE\r\nAction: buzz;output={output}\r\n{authorization}Content-Length: 0\r\n\r\n",
            tries + 1
        );
        let mut buffer = [0; 4_096];
        let marker = format!("CSeq: {} MESSAGE", tries + 1);
        while !stop.load(Ordering::Relaxed) {
            // A refused datagram means the server has just been killed: it is sent again until we are told to stop.
            let _ = self.socket.send(request.as_bytes());
            for _ in 0..8 {
                let Ok(n) = self.socket.recv(&mut buffer) else {
                    break;
                };
                let answer = String::from_utf8_lossy(&buffer[..n]).into_owned();
                if answer.contains(&format!("kill-{round}-{number}\r"))
                    && answer.contains(&marker)
                    && !answer.starts_with("SIP/2.0 1")
                {
                    return Some(answer);
                }
            }
        }
        None
    }

    fn authorization(&mut self, uri: &str) -> String {
        let Some(challenge) = &mut self.challenge else {
            return String::new();
        };
        challenge.count += 1;
        let (realm, nonce, count) = (
            &challenge.realm,
            &challenge.nonce,
            format!("{:08x}", challenge.count),
        );
        let first = md5(&format!("concierge:{realm}:{}", self.password));
        let second = md5(&format!("MESSAGE:{uri}"));
        let response = md5(&format!("{first}:{nonce}:{count}:c0ffee:auth:{second}"));
        let opaque = challenge
            .opaque
            .as_ref()
            .map(|opaque| format!(",opaque=\"{opaque}\""))
            .unwrap_or_default();
        format!(
            "Authorization: Digest username=\"concierge\",realm=\"{realm}\",nonce=\"{nonce}\",uri=\"{uri}\",response=\"{response}\",\
             algorithm=MD5,qop=auth,nc={count},cnonce=\"c0ffee\"{opaque}\r\n"
        )
    }
}

/// The MD5 challenge of a 401.
fn challenge(answer: &str) -> Option<Challenge> {
    let line = answer
        .lines()
        .find(|line| line.starts_with("WWW-Authenticate:") && line.contains("MD5"))?;
    let value = |name: &str| {
        Some(
            line.split(&format!("{name}=\""))
                .nth(1)?
                .split('"')
                .next()?
                .to_owned(),
        )
    };
    Some(Challenge {
        realm: value("realm")?,
        nonce: value("nonce")?,
        opaque: value("opaque"),
        count: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_among_others() {
        let answer = "SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"r\", algorithm=SHA-256, nonce=\"a\"\r\n\
                      WWW-Authenticate: Digest realm=\"r\", algorithm=MD5, nonce=\"b\", opaque=\"o\"\r\n\r\n";
        let read = challenge(answer).unwrap();
        assert_eq!(
            (read.nonce.as_str(), read.opaque.as_deref()),
            ("b", Some("o"))
        );
    }
}
