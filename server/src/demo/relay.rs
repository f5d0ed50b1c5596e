//! The demo's door station relay: a small HTTP server on loopback that opens to a digest login and nobody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use conf::Secret;
use sip_proxy::digest::client::{self, Secret as Proof};
use tokio::sync::mpsc;

pub(super) const PATH: &str = "/relay/main?turn=on";
pub(super) const USER: &str = "doorward";

/// A running relay.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    /// When the relay was driven.
    pub(super) driven: mpsc::Receiver<Instant>,
}

struct Station {
    password: Secret,
    challenge: String,
    driven: mpsc::Sender<Instant>,
}

/// Starts the relay; it ends with the runtime.
pub(super) async fn start(password: Secret) -> std::io::Result<Relay> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (sender, driven) = mpsc::channel(16);
    let nonce = format!("{:016x}", crate::shell::system_rng().next_u64());
    let challenge =
        format!("Digest realm=\"relay\", qop=\"auth\", algorithm=SHA-256, nonce=\"{nonce}\"");
    let station = Arc::new(Station {
        password,
        challenge,
        driven: sender,
    });
    let router = Router::new()
        .route("/relay/main", get(open))
        .with_state(station);
    drop(tokio::spawn(
        async move { axum::serve(listener, router).await },
    ));
    Ok(Relay { address, driven })
}

async fn open(State(station): State<Arc<Station>>, request: Request) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if !given.is_some_and(|given| {
        station.knows(
            given,
            request
                .uri()
                .path_and_query()
                .map_or("", |uri| uri.as_str()),
        )
    }) {
        let challenge = [(header::WWW_AUTHENTICATE, station.challenge.clone())];
        return (StatusCode::UNAUTHORIZED, challenge, "").into_response();
    }
    let _ = station.driven.try_send(Instant::now());
    "relay main: on\n".into_response()
}

impl Station {
    /// The client's answer computed again from what it says of itself, and compared.
    fn knows(&self, given: &str, uri: &str) -> bool {
        let (Some(cnonce), Some(nc)) = (parameter(given, "cnonce"), parameter(given, "nc")) else {
            return false;
        };
        let Ok(nc) = u32::from_str_radix(nc, 16) else {
            return false;
        };
        let request = client::Request {
            method: "GET",
            uri,
            cnonce,
            nc,
        };
        let proof = Proof::Password(self.password.expose());
        client::answer(&self.challenge, USER, proof, &request)
            .is_ok_and(|right| parameter(&right, "response") == parameter(given, "response"))
    }
}

/// The value of one parameter of an Authorization header.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let parameters = header.trim_start().strip_prefix("Digest")?;
    parameters.split(',').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        (key.trim() == name).then(|| value.trim().trim_matches('"'))
    })
}
