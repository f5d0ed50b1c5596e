//! `/devices`: what is known of each device that is asked whether it is there. Shown to whom messages are shown.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use intercom::Reading;
use serde_json::{Value, json};

use super::Published;

#[derive(Clone)]
struct Shown {
    published: Arc<Published>,
    token: Option<conf::Secret>,
}

/// The route.
pub(crate) fn router(published: Arc<Published>, token: Option<conf::Secret>) -> Router {
    Router::new()
        .route("/devices", get(devices))
        .with_state(Shown { published, token })
}

async fn devices(
    State(shown): State<Shown>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    match crate::trace::http::admits(shown.token.as_ref(), peer, &headers) {
        Ok(()) => {
            let readings = shown.published.readings.load();
            Json(readings.iter().map(value).collect::<Vec<_>>()).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn value(reading: &Reading) -> Value {
    let percent = |permille: Option<u16>| permille.map(|permille| f64::from(permille) / 10.0);
    let hours: Vec<Option<f64>> = reading.hours.iter().map(|hour| percent(*hour)).collect();
    json!({
        "device": reading.device,
        "door": reading.door,
        "state": reading.state.as_str(),
        "rtt-ms": reading.rtt.map(|rtt| rtt.as_micros() as f64 / 1_000.0),
        "day-percent": percent(reading.permille),
        "hours-percent": hours,
    })
}
