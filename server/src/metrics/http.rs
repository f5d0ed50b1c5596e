//! The loopback listener for health and metrics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::Metrics;

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: tokio::net::TcpListener, metrics: Arc<Metrics>, more: Router) {
    let served = router(metrics)
        .merge(more)
        .into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, served).await {
        tracing::error!(%error, "metrics are no longer served");
    }
}

fn router(metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(text))
        .with_state(metrics)
}

async fn ready(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    match metrics.readiness.state() {
        // Still ready: who is sent away from here would be too much elsewhere.
        Ok(()) if metrics.published.overloaded.load(Ordering::Acquire) => (
            StatusCode::OK,
            "ready\ndegraded: overloaded, new requests are refused, the least important first\n"
                .to_owned(),
        ),
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn text(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.text())
}
