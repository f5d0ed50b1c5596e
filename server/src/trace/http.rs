//! Messages over HTTP: `/trace` (server-sent events) and `/calls/ID/ladder`. They show who calls whom, so whoever asks
//! must show the token of `http.token-file`; where there is none, only this machine is answered, and only when it asks
//! for an address or `localhost`: a name would be that of a web page that had itself resolved to us.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::mpsc;

use super::{Filter, Hub, Kept, Line};

/// Whom messages are shown to.
#[derive(Clone)]
struct Door {
    hub: Arc<Hub>,
    token: Option<conf::Secret>,
}

pub(crate) fn router(hub: Arc<Hub>, token: Option<conf::Secret>) -> Router {
    Router::new()
        .route("/trace", get(trace))
        .route("/calls/{id}/ladder", get(ladder))
        .with_state(Door { hub, token })
}

impl Door {
    fn admits(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        admits(self.token.as_ref(), peer, headers)
    }
}

/// Whether whoever asks may be shown what happens in the house.
pub(crate) fn admits(
    token: Option<&conf::Secret>,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match token {
        Some(token) => {
            let shown = text(header::AUTHORIZATION)
                .and_then(|value| value.strip_prefix("Bearer "))
                .unwrap_or_default();
            let same = same(shown.as_bytes(), token.expose().as_bytes());
            same.then_some(()).ok_or((
                StatusCode::UNAUTHORIZED,
                "show the token of http.token-file: Authorization: Bearer …\n",
            ))
        }
        None => {
            let host = text(header::HOST).is_some_and(is_plain);
            (peer.ip().to_canonical().is_loopback() && host)
                    .then_some(())
                    .ok_or((
                        StatusCode::FORBIDDEN,
                        "messages are shown to this machine alone; set http.token-file to ask from elsewhere\n",
                    ))
        }
    }
}

pub(crate) type Refusal = (StatusCode, &'static str);

/// Every octet is looked at, whatever differs first.
fn same(shown: &[u8], token: &[u8]) -> bool {
    let differing = shown
        .iter()
        .zip(token)
        .fold(0, |sum, (one, other)| sum | (one ^ other));
    shown.len() == token.len() && differing == 0
}

/// An address or `localhost`, with or without port.
fn is_plain(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

async fn trace(
    State(door): State<Door>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    filter: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Response {
    if let Err(refused) = door.admits(peer, &headers) {
        return refused.into_response();
    }
    let filter = match filter {
        Ok(Query(filter)) => filter,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    };
    match door.hub.listen(filter).await {
        Some(lines) => Sse::new(Lines {
            lines,
            begun: false,
        })
        .keep_alive(KeepAlive::default())
        .into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "too many listen already\n").into_response(),
    }
}

async fn ladder(
    State(door): State<Door>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    if let Err(refused) = door.admits(peer, &headers) {
        return refused.into_response();
    }
    match door.hub.ladder(id).await {
        Some(told) => {
            let kept = Kept::of(&told.ladder);
            axum::Json(serde_json::json!({ "story": told.story, "ladder": kept })).into_response()
        }
        None => (
            StatusCode::NOT_FOUND,
            "no messages of this call in memory\n",
        )
            .into_response(),
    }
}

/// A listener's lines as events, after one that says that it listens.
struct Lines {
    lines: mpsc::Receiver<Line>,
    begun: bool,
}

impl futures_core::Stream for Lines {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.begun {
            self.begun = true;
            return Poll::Ready(Some(Ok(Event::default().event("listening").data("{}"))));
        }
        self.lines.poll_recv(context).map(|line| {
            let line = line?;
            // A line is plain data: it can always be written.
            let text = serde_json::to_string(&line).unwrap_or_default();
            Some(Ok(Event::default().data(text)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_plain() {
        for plain in [
            "127.0.0.1:9060",
            "127.0.0.1",
            "localhost:9060",
            "[::1]:9060",
            "[::1]",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for named in [
            "evil.example:9060",
            "evil.example",
            "",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_plain(named), "{named}");
        }
    }

    #[test]
    fn a_token_is_compared_whole() {
        assert!(same(b"0123456789abcdef", b"0123456789abcdef"));
        assert!(!same(b"", b"0123456789abcdef"));
        assert!(!same(b"0123456789abcdeX", b"0123456789abcdef"));
        assert!(!same(b"0123456789abcdef0", b"0123456789abcdef"));
    }
}
