//! Servers that misbehave, for tests of those who download:
//!
//! - `/fault/endless/…` a body without end;
//! - `/fault/slow/…` one byte a second, for an hour;
//! - `/fault/truncated/…` a body that ends before its announced length;
//! - `/fault/redirect?to=URL` a redirect to anywhere, `/fault/loop/…` one to itself;
//! - `/fault/status/CODE/…` that status;
//! - `/fault/silent/…` a connection that never answers.
//!
//! What follows the first words of a path does not count, so a look-aside template can lead here.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Path, Query};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;

/// The length that a slow body announces, in bytes.
const SLOW: u64 = 3600;

/// The length that a truncated body announces, and what it holds, in bytes.
const ANNOUNCED: u64 = 4096;
const HELD: usize = 1024;

pub(super) fn router() -> Router {
    let faults = [
        ("/endless", get(endless)),
        ("/slow", get(slow)),
        ("/truncated", get(truncated)),
        ("/loop", get(loops)),
        ("/silent", get(silent)),
    ];
    let mut router = Router::new()
        .route("/redirect", get(redirect))
        .route("/status/{code}", get(|Path(code): Path<u16>| status(code)))
        .route("/status/{code}/{*rest}", get(|Path((code, _)): Path<(u16, String)>| status(code)));
    for (path, fault) in faults {
        router = router.route(path, fault.clone()).route(&format!("{path}/{{*rest}}"), fault);
    }
    router
}

async fn endless() -> Body {
    let block = Bytes::from_static(&[b'x'; 1 << 16]);
    Body::from_stream(stream::repeat_with(move || Ok::<_, Infallible>(block.clone())))
}

async fn slow() -> Response {
    let bytes = stream::repeat(()).then(|()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, Infallible>(Bytes::from_static(b"x"))
    });
    let bytes = bytes.take(SLOW as usize);
    ([(header::CONTENT_LENGTH, SLOW)], Body::from_stream(bytes)).into_response()
}

async fn truncated() -> Response {
    let pieces = [
        Ok(Bytes::from_static(&[b'x'; HELD])),
        Err(io::Error::other("this body is truncated on purpose")),
    ];
    ([(header::CONTENT_LENGTH, ANNOUNCED)], Body::from_stream(stream::iter(pieces))).into_response()
}

#[derive(Debug, Deserialize)]
struct To {
    to: String,
}

async fn redirect(Query(To { to }): Query<To>) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

async fn loops(OriginalUri(uri): OriginalUri) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, uri.to_string())]).into_response()
}

async fn silent() -> StatusCode {
    std::future::pending().await
}

async fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST)
}
