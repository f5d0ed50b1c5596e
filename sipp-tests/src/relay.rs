//! The station's relay: a small HTTP server that wants basic credentials and remembers when it was driven.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};

/// Credentials the configuration gives the server for the relay: made up per run, in base64 for comparison.
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
        let wanted = format!(
            "basic {}",
            base64(format!("{}:{}", credentials.user, credentials.password).as_bytes())
        );
        let log = Arc::clone(&driven);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, wanted) = (Arc::clone(&log), wanted.clone());
                std::thread::spawn(move || serve(&stream, &log, &wanted));
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
fn serve(stream: &TcpStream, driven: &Mutex<Vec<Driven>>, wanted: &str) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut authorised) = (String::new(), false);
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
            if let Some((name, value)) = line.split_once(':') {
                let scheme = value
                    .trim()
                    .get(..6)
                    .map(str::to_ascii_lowercase)
                    .unwrap_or_default();
                let value = format!("{scheme}{}", value.trim().get(6..).unwrap_or_default());
                authorised |= name.eq_ignore_ascii_case("authorization") && value == wanted;
            }
        }
        let trigger = first.contains("/api/switch/ctrl") || first.contains("/relay");
        let status = match (authorised, trigger) {
            (false, _) => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"station\"",
            (true, false) => "404 Not Found",
            (true, true) => {
                driven
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Driven {
                        at: Instant::now(),
                        line: first.clone(),
                    });
                "200 OK"
            }
        };
        let body = "{\"success\":true}";
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let mut writer = stream;
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = (word >> (18 - 6 * place) & 63) as usize;
            text.push(if place <= chunk.len() {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_of_rfc_4648_section_10() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(super::base64(plain.as_bytes()), coded);
        }
    }
}
