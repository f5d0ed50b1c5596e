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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::extract::Request as Incoming;
    use axum::http::{StatusCode as Status, header};
    use axum::response::{IntoResponse, Response as Answer};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A station that answers every request by `answer`, and counts them.
    async fn station(
        answer: impl Fn(&Incoming) -> Answer + Clone + Send + Sync + 'static,
    ) -> (String, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let router = Router::new().fallback(move |request: Incoming| {
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = answer(&request);
            async move { answer }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (url, count)
    }

    fn unlock(auth: HttpAuth) -> HttpUnlock {
        let mut unlock = conf::station::built_in()
            .remove("2n")
            .unwrap()
            .unlock
            .http
            .unwrap();
        unlock.auth = auth;
        unlock.success_body = None;
        unlock.success_status = vec![200];
        unlock.retries = 1;
        unlock
    }

    fn door(url: String) -> Door {
        Door {
            url: Some(url),
            user: Some("doorward".into()),
            password: Some(Secret::new("swordfish")),
            tls_pin: None,
            picture: None,
        }
    }

    async fn drive(unlock: &HttpUnlock, door: &Door, timeout: Duration) -> Outcome {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let values = BTreeMap::from([("switch".to_owned(), "1".to_owned())]);
        Http::new(std::iter::once(door))
            .unwrap()
            .drive(unlock, door, values, timeout)
            .await
    }

    const SOON: Duration = Duration::from_secs(5);

    fn authorization(request: &Incoming) -> Option<String> {
        request
            .headers()
            .get(header::AUTHORIZATION)
            .map(|value| value.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn basic_credentials_are_sent_unasked_with_the_filled_request() {
        let (url, count) = station(|request| {
            let right = authorization(request).as_deref() == Some("Basic ZG9vcndhcmQ6c3dvcmRmaXNo")
                && request.uri() == "/api/switch/ctrl?switch=1&action=trigger";
            if right { Status::OK } else { Status::FORBIDDEN }.into_response()
        })
        .await;
        assert_eq!(
            drive(&unlock(HttpAuth::Basic), &door(url), SOON).await,
            Outcome::Opened
        );
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_digest_challenge_is_answered_once_and_the_answer_is_right() {
        const CHALLENGE: &str = "Digest realm=\"2N\", qop=\"auth\", algorithm=MD5, nonce=\"n1\"";
        let (url, count) = station(|request| {
            let given = authorization(request).unwrap_or_default();
            let part = |name: &str| {
                let value = given
                    .split(name)
                    .nth(1)?
                    .trim_start_matches('=')
                    .trim_start_matches('"');
                Some(value.split([',', '"']).next()?.to_owned())
            };
            let right = part("cnonce").is_some_and(|cnonce| {
                let uri = request.uri().path_and_query().unwrap().as_str();
                let what = digest::Request {
                    method: "GET",
                    uri,
                    cnonce: &cnonce,
                    nc: 1,
                };
                let right = digest::answer(
                    CHALLENGE,
                    "doorward",
                    digest::Secret::Password("swordfish"),
                    &what,
                );
                right
                    .unwrap()
                    .contains(&format!("response=\"{}\"", part("response").unwrap()))
            });
            if right {
                Status::OK.into_response()
            } else {
                (
                    Status::UNAUTHORIZED,
                    [(header::WWW_AUTHENTICATE, CHALLENGE)],
                )
                    .into_response()
            }
        })
        .await;
        assert_eq!(
            drive(&unlock(HttpAuth::Digest), &door(url.clone()), SOON).await,
            Outcome::Opened
        );
        assert_eq!(count.load(Ordering::SeqCst), 2);
        let wrong = Door {
            password: Some(Secret::new("wrong")),
            ..door(url)
        };
        assert_eq!(
            drive(&unlock(HttpAuth::Digest), &wrong, SOON).await,
            Outcome::Refused("HTTP 401".into())
        );
        assert_eq!(
            count.load(Ordering::SeqCst),
            4,
            "a wrong password is not tried again"
        );
    }

    #[tokio::test]
    async fn a_redirect_is_refused_and_its_target_never_asked() {
        let (elsewhere, asked) = station(|_| Status::OK.into_response()).await;
        let (url, _) = station(move |_| {
            (
                Status::FOUND,
                [(header::LOCATION, format!("{elsewhere}/open"))],
            )
                .into_response()
        })
        .await;
        assert_eq!(
            drive(&unlock(HttpAuth::Basic), &door(url), SOON).await,
            Outcome::Refused("HTTP 302".into())
        );
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_wrong_status_or_body_is_a_refusal() {
        let (url, _) = station(|_| (Status::OK, "{\"success\" : false}").into_response()).await;
        let mut wants_body = unlock(HttpAuth::None);
        wants_body.success_body = Some("\"success\":true".into());
        assert_eq!(
            drive(&wants_body, &door(url), SOON).await,
            Outcome::Refused("HTTP 200".into())
        );
        let (url, _) = station(|_| Status::SERVICE_UNAVAILABLE.into_response()).await;
        assert_eq!(
            drive(&unlock(HttpAuth::None), &door(url), SOON).await,
            Outcome::Refused("HTTP 503".into())
        );
    }

    #[tokio::test]
    async fn a_station_that_says_nothing_times_out_and_is_not_asked_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let outcome = drive(
            &unlock(HttpAuth::None),
            &door(url),
            Duration::from_millis(200),
        )
        .await;
        assert_eq!(outcome, Outcome::TimedOut);
    }

    #[tokio::test]
    async fn a_station_that_is_gone_is_unreachable_and_the_reason_shows_no_password() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let mut secret_in_path = unlock(HttpAuth::None);
        secret_in_path.path = "/open?password={password}".into();
        let Outcome::Unreachable(why) = drive(&secret_in_path, &door(url), SOON).await else {
            panic!("nobody listens there")
        };
        assert!(!why.contains("swordfish"), "{why}");
        assert!(why.to_lowercase().contains("refused"), "{why}");
    }

    #[tokio::test]
    async fn a_missing_place_is_named() {
        let mut incomplete = unlock(HttpAuth::None);
        incomplete.defaults.clear();
        incomplete.path = "/open?relay={relay}".into();
        let Outcome::Refused(why) =
            drive(&incomplete, &door("http://127.0.0.1:9".into()), SOON).await
        else {
            panic!("nothing gives a relay")
        };
        assert!(why.contains("{relay}"), "{why}");
    }
}
