//! The station's relay: a small HTTP server that wants digest credentials (RFC 7616) and remembers when it was driven.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use md5::{Digest as _, Md5};

/// Credentials the configuration gives the server for the relay: made up per run.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
}

/// One successful request.
#[derive(Clone, Debug)]
pub struct Driven {
    /// When.
    pub at: Instant,
    /// Its request line: path and query name the switch.
    pub line: String,
}

/// A relay on loopback.
#[derive(Debug)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it wants to see.
    pub credentials: Credentials,
    driven: Arc<Mutex<Vec<Driven>>>,
}

impl Relay {
    /// Starts one at a free port of 127.0.0.1.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("binding the relay stand-in")?;
        let address = listener.local_addr()?;
        let driven = Arc::new(Mutex::new(Vec::new()));
        let credentials = Credentials {
            user: "station".into(),
            password: format!("relay-{}", address.port()),
        };
        let log = Arc::clone(&driven);
        let known = credentials.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, known) = (Arc::clone(&log), known.clone());
                std::thread::spawn(move || serve(&stream, &log, &known));
            }
        });
        Ok(Self {
            address,
            credentials,
            driven,
        })
    }

    /// What it was asked so far.
    pub fn driven(&self) -> Vec<Driven> {
        self.driven
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Answers the requests of one connection until it closes.
fn serve(stream: &TcpStream, driven: &Mutex<Vec<Driven>>, known: &Credentials) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let (mut first, mut authorization) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(n) if n > 0 => {}
                _ => return,
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if first.is_empty() {
                line.clone_into(&mut first);
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("authorization")
            {
                value.trim().clone_into(&mut authorization);
            }
        }
        let trigger = first.contains("/api/switch/ctrl");
        let status = match (authorised(&first, &authorization, known), trigger) {
            (false, _) => CHALLENGE,
            (true, false) => "404 Not Found",
            (true, true) => {
                let hit = Driven {
                    at: Instant::now(),
                    line: first.clone(),
                };
                driven
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(hit);
                "200 OK"
            }
        };
        let body = "{\"success\":true}";
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Status line and challenge for those who have not proved the password.
const CHALLENGE: &str = "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"station\", nonce=\"c0ffee\", qop=\"auth\"";

/// Does the Authorization value prove the password for this request?
fn authorised(first: &str, authorization: &str, known: &Credentials) -> bool {
    let value = |name: &str| {
        let mut parts = authorization.split([' ', ',']);
        let rest = parts.find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))?;
        Some(rest.trim_matches('"').to_owned())
    };
    let proof = (
        value("uri"),
        value("nc"),
        value("cnonce"),
        value("response"),
    );
    let (Some(uri), Some(nc), Some(cnonce), Some(response)) = proof else {
        return false;
    };
    let mut words = first.split(' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let one = md5(&format!("{}:station:{}", known.user, known.password));
    let two = md5(&format!("{method}:{uri}"));
    uri == target && response == md5(&format!("{one}:c0ffee:{nc}:{cnonce}:auth:{two}"))
}

/// MD5 of a text in hexadecimal, as digest authentication uses it.
pub fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_of_rfc_1321() {
        assert_eq!(md5("abc"), "900150983cd24fb0d6963f7d28e17f72");
    }

    #[test]
    fn only_the_right_password_for_this_request_is_authorised() {
        let known = Credentials {
            user: "station".into(),
            password: "p".into(),
        };
        let (one, two) = (md5("station:station:p"), md5("GET:/api/switch/ctrl"));
        let response = md5(&format!("{one}:c0ffee:00000001:x:auth:{two}"));
        let value = format!(
            "Digest username=\"station\", uri=\"/api/switch/ctrl\", nc=00000001, cnonce=\"x\", response=\"{response}\""
        );
        assert!(authorised("GET /api/switch/ctrl HTTP/1.1", &value, &known));
        assert!(!authorised("GET /api/other HTTP/1.1", &value, &known));
        assert!(!authorised("GET /api/switch/ctrl HTTP/1.1", "", &known));
        let other = Credentials {
            password: "q".into(),
            ..known
        };
        assert!(!authorised("GET /api/switch/ctrl HTTP/1.1", &value, &other));
    }
}
