//! What operators see: metrics for Prometheus, health, readiness, and the form of the log.
//!
//! Reading is open, as it is everywhere in the API; nothing secret is shown.

mod health;
pub mod logging;
mod metrics;
mod pages;
mod scrape;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::Mutex;

pub use metrics::Metrics;
pub use pages::pages;

use crate::farm::Farm;

/// Answers are kept for so long, so that several scrapers cost what one does.
const KEPT: Duration = Duration::from_secs(2);

/// What the OpenMetrics text is called.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The routes, with the last scrape.
#[derive(Clone)]
struct Observed {
    farm: Farm,
    last: Arc<Mutex<Option<(Instant, String)>>>,
}

/// Serves `/metrics`, `/healthz` and `/readyz`.
pub fn router(farm: &Farm) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready_page))
        .with_state(Observed { farm: farm.clone(), last: Arc::default() })
}

async fn metrics_page(State(Observed { farm, last }): State<Observed>) -> Response {
    let mut last = last.lock().await;
    let now = Instant::now();
    let fresh = last.as_ref().filter(|(at, _)| now.duration_since(*at) < KEPT);
    let text = match fresh {
        Some((_, text)) => text.clone(),
        None => {
            // What only the database knows is left out while it is away; the rest is shown.
            if let Err(error) = scrape::gather(&farm, now).await {
                tracing::warn!(%error, "metrics of the database are missing");
            }
            let text = farm.metrics.text();
            *last = Some((now, text.clone()));
            text
        }
    };
    ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response()
}

async fn ready_page(State(Observed { farm, .. }): State<Observed>) -> Response {
    let reasons = health::reasons(&farm).await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status, axum::Json(body)).into_response()
}
