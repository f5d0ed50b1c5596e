//! The `http` driver: one request to the station's own interface, by template, with basic or digest authentication.
//!
//! ```text
//!   Drive ─▶ fill places ─▶ request ──401 digest──▶ request with answer ─▶ status (and body) ─▶ Outcome
//! ```
//!
//! Redirects are not followed: a station that sends us elsewhere with our password in hand is not obeyed.
//! A request that timed out is not repeated here, for the relay may have moved; one that never reached the
//! station is, within the same deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use conf::station::{HttpAuth, HttpRequest, HttpUnlock};
use conf::{Door, Secret};
use intercom::unlock::Outcome;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use sip_proxy::digest::client as digest;

use super::pin;

/// The most tries after the first, whatever a profile says.
pub(crate) const RETRIES: u8 = 2;
/// Of an answer's body so much is read and searched.
const BODY: usize = 64 * 1024;
/// The longest any request may take: the unlock's whole chain ends within ten seconds.
const LONGEST: Duration = Duration::from_secs(10);

/// HTTP connections to stations, pooled by station.
pub(crate) struct Http {
    plain: Client,
    /// One client per pinned certificate. Bounded by the doors.
    pinned: BTreeMap<[u8; 32], Client>,
}

impl Http {
    /// Clients for these doors' stations.
    pub(crate) fn new<'a>(doors: impl Iterator<Item = &'a Door>) -> Result<Self, HttpError> {
        let mut pinned = BTreeMap::new();
        for pin in doors.filter_map(|door| door.tls_pin) {
            let tls =
                pin::client_config(pin).map_err(|error| HttpError::Client(error.to_string()))?;
            pinned.insert(
                pin,
                build(Client::builder().tls_backend_preconfigured(tls))?,
            );
        }
        Ok(Self {
            plain: build(Client::builder())?,
            pinned,
        })
    }

    /// Tells the door's station to open and says what came of it, within `timeout`.
    pub(crate) async fn drive(
        &self,
        unlock: &HttpUnlock,
        door: &Door,
        values: BTreeMap<String, String>,
        timeout: Duration,
    ) -> Outcome {
        let attempt = self.attempts(unlock, door, values);
        match tokio::time::timeout(timeout.min(LONGEST), attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::TimedOut,
        }
    }

    async fn attempts(
        &self,
        unlock: &HttpUnlock,
        door: &Door,
        values: BTreeMap<String, String>,
    ) -> Outcome {
        let request = match Request::new(unlock, door, values) {
            Ok(request) => request,
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        let client = door
            .tls_pin
            .and_then(|pin| self.pinned.get(&pin))
            .unwrap_or(&self.plain);
        let mut left = unlock.retries.min(RETRIES);
        loop {
            match request.send(client, unlock, door).await {
                Err(error) if error.is_connect() && left > 0 => left -= 1,
                Err(error) if error.is_timeout() => return Outcome::TimedOut,
                // The error's own text may hold the URL, and the URL a password.
                Err(error) => return Outcome::Unreachable(root_cause(&error.without_url())),
                Ok(outcome) => return outcome,
            }
        }
    }
}

/// A driver that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The TLS or HTTP client could not be made.
    #[error("HTTP client: {0}")]
    Client(String),
}

/// A request that cannot be written.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("nothing gives the place {{{0}}} of the station's request a value")]
    Place(String),
    #[error("the door has no usable url in the configuration")]
    Url,
    #[error("the station's request has an unknown method")]
    Method,
}

fn build(builder: reqwest::ClientBuilder) -> Result<Client, HttpError> {
    builder
        .redirect(redirect::Policy::none())
        // A proxy from the environment has no business between us and a door.
        .no_proxy()
        .pool_max_idle_per_host(2)
        .connect_timeout(Duration::from_secs(3))
        .user_agent("doorward")
        .build()
        .map_err(|error| HttpError::Client(error.to_string()))
}

/// A filled template.
struct Request {
    method: Method,
    url: Url,
    body: Option<String>,
}

impl Request {
    fn new(
        unlock: &HttpUnlock,
        door: &Door,
        mut values: BTreeMap<String, String>,
    ) -> Result<Self, RequestError> {
        // What the plan wrote never stands in for the credentials of the configuration.
        for (place, value) in [
            ("user", door.user.as_deref()),
            ("password", door.password.as_ref().map(Secret::expose)),
        ] {
            match value {
                Some(value) => values.insert(place.to_owned(), value.to_owned()),
                None => values.remove(place),
            };
        }
        let HttpRequest { method, path, body } =
            unlock.fill(&values).map_err(RequestError::Place)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| RequestError::Method)?;
        let base = door
            .url
            .as_deref()
            .unwrap_or_default()
            .trim_end_matches('/');
        let mut url = Url::parse(base).map_err(|_| RequestError::Url)?;
        // Set apart, not joined: a path such as `//elsewhere/` must not become another host.
        let (path, query) = path
            .split_once('?')
            .map_or((path.as_str(), None), |(path, query)| (path, Some(query)));
        url.set_path(path);
        url.set_query(query);
        Ok(Self { method, url, body })
    }

    async fn send(
        &self,
        client: &Client,
        unlock: &HttpUnlock,
        door: &Door,
    ) -> reqwest::Result<Outcome> {
        let credentials = door
            .user
            .as_deref()
            .zip(door.password.as_ref().map(Secret::expose));
        let basic = credentials.filter(|_| unlock.auth == HttpAuth::Basic);
        let response = self.once(client, unlock, basic, None).await?;
        let digest = credentials.filter(|_| unlock.auth == HttpAuth::Digest);
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some((user, password)) = digest
            && let Some(answer) = self.answer(&response, user, password)
        {
            // One answer to one challenge: a second 401 means the password is wrong, and is the result.
            let response = self.once(client, unlock, None, Some(answer)).await?;
            return judge(response, unlock).await;
        }
        judge(response, unlock).await
    }

    async fn once(
        &self,
        client: &Client,
        unlock: &HttpUnlock,
        basic: Option<(&str, &str)>,
        authorization: Option<HeaderValue>,
    ) -> reqwest::Result<Response> {
        let mut request = client.request(self.method.clone(), self.url.clone());
        if let Some(body) = &self.body {
            let kind = unlock
                .content_type
                .as_deref()
                .unwrap_or("application/octet-stream");
            request = request.header(CONTENT_TYPE, kind).body(body.clone());
        }
        if let Some((user, password)) = basic {
            request = request.basic_auth(user, Some(password));
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await
    }

    /// The digest answer to the strongest challenge we can answer.
    fn answer(&self, response: &Response, user: &str, password: &str) -> Option<HeaderValue> {
        let uri = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let cnonce = cnonce();
        let request = digest::Request {
            method: self.method.as_str(),
            uri: &uri,
            cnonce: &cnonce,
            nc: 1,
        };
        let challenges: Vec<&str> = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let strongest_first = challenges
            .iter()
            .filter(|challenge| challenge.to_ascii_uppercase().contains("SHA-256"))
            .chain(challenges.iter());
        let answer = strongest_first
            .filter_map(|challenge| {
                digest::answer(
                    challenge,
                    user,
                    digest::Secret::Password(password),
                    &request,
                )
                .ok()
            })
            .next()?;
        let mut value = HeaderValue::from_str(&answer).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn cnonce() -> String {
    let mut rng = crate::shell::system_rng();
    format!("{:016x}", rng.next_u64())
}

async fn judge(mut response: Response, unlock: &HttpUnlock) -> reqwest::Result<Outcome> {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    if unlock.success_body.is_some() {
        while body.len() < BODY
            && let Some(chunk) = response.chunk().await?
        {
            body.extend_from_slice(
                chunk
                    .get(..chunk.len().min(BODY - body.len()))
                    .unwrap_or_default(),
            );
        }
    }
    Ok(
        if unlock.is_success(status, &String::from_utf8_lossy(&body)) {
            Outcome::Opened
        } else {
            Outcome::Refused(format!("HTTP {status}"))
        },
    )
}

/// The innermost cause in words: "connection refused" says more than "error sending request".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
