//! What operators see: metrics for Prometheus, health and readiness.
//!
//! Health and readiness are open. Metrics are where the listener says so, and need the farm's token
//! elsewhere: they name workers and tell how busy a farm is. Nothing secret is shown.

mod health;
mod pages;
mod scrape;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::Mutex;

pub use pages::pages;

use crate::blobs::Blobs;
use crate::fleet::Fleet;
use crate::identity::openness::Openness;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::sign::SignerClient;
use crate::store::Store;
use crate::targets::Targets;
use crate::token::Token;

/// Answers are kept for so long, so that several scrapers cost what one does.
const KEPT: Duration = Duration::from_secs(2);

/// What the OpenMetrics text is called.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is answered where metrics are not open.
const CLOSED: &str = "At this address the metrics need the farm's token, as `Authorization: Bearer TOKEN` \
(it is in DATA/token; Prometheus has `authorization: credentials_file:` for it). The operator may \
open them to everybody: --public-metrics.\n";

/// What the pages of operators need. Cheap to clone.
#[derive(Clone)]
pub struct Operations {
    /// Queues, builds and leases.
    pub store: Store,
    /// The disk that must be writable.
    pub blobs: Blobs,
    /// Whose keys the signer must have.
    pub targets: Targets,
    /// Workers.
    pub fleet: Fleet,
    /// The other coordinators, and whether the database answers.
    pub peers: Peers,
    /// Who must sign.
    pub signer: SignerClient,
    /// What is counted.
    pub metrics: Metrics,
    /// Who may read metrics where they are not open.
    pub token: Token,
    /// Where the published trees lie.
    pub repos: PathBuf,
}

/// The routes, with the last scrape.
#[derive(Clone)]
struct Observed {
    operations: Operations,
    last: Arc<Mutex<Option<(Instant, String)>>>,
    /// Held by whoever looks at readiness: that writes a file and asks the signer, and anybody may.
    looking: Arc<Mutex<()>>,
}

/// Serves `/metrics`, `/healthz` and `/readyz`.
pub fn router(operations: Operations) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready_page))
        .with_state(Observed { operations, last: Arc::default(), looking: Arc::default() })
}

async fn metrics_page(
    State(Observed { operations, last, .. }): State<Observed>,
    openness: Option<Extension<Openness>>,
    headers: HeaderMap,
) -> Response {
    let openness = openness.map_or(Openness::CLOSED, |Extension(openness)| openness);
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
            // What only the database knows is left out while it is away; the rest is shown.
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

fn has_token(token: &Token, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given.is_some_and(|given| token.admits(given))
}

async fn ready_page(State(Observed { operations, looking, .. }): State<Observed>) -> Response {
    let _one = looking.lock().await;
    let reasons = health::reasons(&operations).await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    (status, axum::Json(body)).into_response()
}
