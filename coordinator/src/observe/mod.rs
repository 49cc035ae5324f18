//! The pages for operators: metrics for Prometheus, health and readiness.
//!
//! Health and readiness are open. Metrics are open where the listener says so, and need the farm's
//! token elsewhere, because they name workers and show how busy the farm is. Nothing secret is
//! shown.

mod health;
mod operations;
mod pages;
mod scrape;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::Mutex;

pub use operations::Operations;
pub use pages::pages;

use crate::identity::public_access::PublicAccess;
use crate::token::FarmToken;

/// How long an answer is reused, so that several scrapers cost as much as one.
const KEPT: Duration = Duration::from_secs(2);

/// The media type of the OpenMetrics text.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The answer where metrics are not open.
const CLOSED: &str = "At this address the metrics need the farm's token, as `Authorization: Bearer TOKEN` \
(it is in DATA/token; Prometheus has `authorization: credentials_file:` for it). The operator may \
open them to everybody: --public-metrics.\n";

/// The routes, with the last scrape.
#[derive(Clone)]
struct MetricsRoutes {
    operations: Operations,
    last: Arc<Mutex<Option<(Instant, String)>>>,
    /// Held while readiness is checked: the check writes a file and asks the signer, and anybody
    /// may request it.
    checking: Arc<Mutex<()>>,
}

/// Serves `/metrics`, `/healthz` and `/readyz`.
pub fn router(operations: Operations) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready_page))
        .with_state(MetricsRoutes { operations, last: Arc::default(), checking: Arc::default() })
}

async fn metrics_page(
    State(MetricsRoutes { operations, last, .. }): State<MetricsRoutes>,
    openness: Option<Extension<PublicAccess>>,
    headers: HeaderMap,
) -> Response {
    let openness = openness.map_or(PublicAccess::CLOSED, |Extension(openness)| openness);
    if !openness.metrics && !has_token(&operations.token, &headers) {
        let asks = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, asks, CLOSED).into_response();
    }
    let mut last = last.lock().await;
    let now = Instant::now();
    let fresh = last.as_ref().filter(|(at, _)| now.duration_since(*at) < KEPT);
    let text = match fresh {
        Some((_, text)) => text.clone(),
        None => {
            // Metrics that come from the database are left out while it is down; the others are
            // shown.
            if let Err(error) = scrape::gather(&operations, now).await {
                tracing::warn!(%error, "metrics of the database are missing");
            }
            let text = operations.metrics.text();
            *last = Some((now, text.clone()));
            text
        }
    };
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

fn has_token(token: &FarmToken, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.is_some_and(|given| token.admits(given))
}

async fn ready_page(
    State(MetricsRoutes { operations, checking, .. }): State<MetricsRoutes>,
) -> Response {
    let _one = checking.lock().await;
    let reasons = health::reasons(&operations).await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status, axum::Json(body)).into_response()
}
