//! Text pages for people who open an address of the coordinator in a browser or with curl.
//!
//! Stands before the routes, because those of gRPC answer unknown paths in a way that only gRPC
//! clients understand. It must not know which calls exist.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// The first parts of the paths that are served to HTTP clients.
const SERVED: [&str; 5] = ["/repo", "/hooks", "/metrics", "/healthz", "/readyz"];

/// Answers requests that are neither a call nor a page with a text, and adds a text to pages that
/// are not found.
pub async fn pages(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if is_grpc(request.headers()) {
        return next.run(request).await;
    }
    let served = SERVED.iter().any(|root| is_below(&path, root));
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if path == "/" && reads {
        return text(StatusCode::OK, &front());
    }
    if !served && (reads || !is_call(&path)) {
        return text(StatusCode::NOT_FOUND, &missing(&path));
    }
    let response = next.run(request).await;
    let is_bare = response.status() == StatusCode::NOT_FOUND
        && !response.headers().contains_key(header::CONTENT_TYPE);
    if is_bare { text(StatusCode::NOT_FOUND, &missing(&path)) } else { response }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/grpc"))
}

fn is_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path has the form of a gRPC call, `/PACKAGE.SERVICE/METHOD`.
fn is_call(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    matches!((parts.next(), parts.next(), parts.next()), (Some(service), Some(_), None) if service.contains('.'))
}

fn front() -> String {
    format!(
        "This is the coordinator of an rpmfarm {}.

  /repo/      the repositories that it publishes (rpmfarm repo says how dnf uses them)
  /metrics    what it does, for Prometheus
  /healthz    whether it runs
  /readyz     whether it can work, and if not, why

Use the command rpmfarm to start, watch and explain builds; it reaches this address
with --server: see rpmfarm --help. Workers come here too (rpmfarm-worker --help).
",
        env!("CARGO_PKG_VERSION")
    )
}

fn missing(path: &str) -> String {
    let path = rpmfarm_core::name::shown(path);
    format!(
        "There is no page at {path}. This is the coordinator of an rpmfarm; / lists its pages.\n"
    )
}

fn text(status: StatusCode, text: &str) -> Response {
    let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
    (status, [kind], Body::from(text.to_owned())).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    /// A farm's routes in small: a page, a page that is not found, and what gRPC answers to all
    /// that it does not know.
    fn app() -> Router {
        let grpc = || async { ([(header::CONTENT_TYPE, "application/grpc")], "") };
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/repo/lab.repo", get(|| async { "[lab]\n" }))
            .route("/repo/gone", get(|| async { StatusCode::NOT_FOUND }))
            .fallback(grpc)
            .layer(from_fn(pages))
    }

    async fn ask(method: &str, path: &str, kind: Option<&str>) -> (u16, String, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let response = app().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let kind = response.headers().get(header::CONTENT_TYPE);
        let kind = kind.map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_browser_reads_text_and_a_client_speaks_grpc() {
        let (status, kind, body) = ask("GET", "/", None).await;
        assert_eq!((status, kind.as_str()), (200, "text/plain; charset=utf-8"));
        assert!(body.contains("/repo/") && body.contains("/metrics"), "{body}");
        for (method, path) in [
            ("GET", "/favicon.ico"),
            ("GET", "/rpmfarm.v1.Farm/GetInfo"),
            ("POST", "/"),
            ("GET", "/repo/gone"),
            ("GET", "/repository"),
        ] {
            let (status, kind, body) = ask(method, path, None).await;
            assert_eq!((status, kind.as_str()), (404, "text/plain; charset=utf-8"), "{path}");
            assert!(body.contains(path), "{body}");
        }
        for (path, body) in [("/healthz", "ok\n"), ("/repo/lab.repo", "[lab]\n")] {
            assert_eq!(ask("GET", path, None).await.2, body);
        }
        for path in ["/", "/rpmfarm.v1.Farm/GetInfo", "/nothing"] {
            let (_, kind, _) = ask("POST", path, Some("application/grpc")).await;
            assert_eq!(kind, "application/grpc", "{path}");
        }
    }
}
