//! A git server with any number of repositories that never change. It answers only requests for
//! refs, so that a benchmark measures polling alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use tokio::runtime::Runtime;

use crate::distgit::BRANCH;

/// The server; it ends when this is dropped.
pub(super) struct RefServer {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicU64>,
    _runtime: Runtime,
}

impl RefServer {
    /// Serves at a free port, on one thread.
    pub(super) fn start() -> anyhow::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicU64::new(0));
        let router = Router::new().fallback(answer).with_state(asked.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, asked, _runtime: runtime })
    }

    /// How many requests were answered.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

fn packet(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

async fn answer(State(asked): State<Arc<AtomicU64>>, request: Request) -> Response {
    let typed = |kind: &str, body: String| {
        let kind = format!("application/x-git-upload-pack-{kind}");
        ([(header::CONTENT_TYPE, kind)], body).into_response()
    };
    let path = request.uri().path();
    if request.method() == Method::POST && path.ends_with("/git-upload-pack") {
        asked.fetch_add(1, Ordering::Relaxed);
        let line = packet(&format!("{} refs/heads/{BRANCH}\n", "a".repeat(40)));
        return typed("result", format!("{line}0000"));
    }
    if path.ends_with("/info/refs") {
        // The first line of git itself.
        let lines = ["version 2\n", "agent=git/lab\n", "ls-refs\n", "object-format=sha1\n"];
        let lines: String = lines.into_iter().map(packet).collect();
        let head = packet("# service=git-upload-pack\n");
        return typed("advertisement", format!("{head}0000{lines}0000"));
    }
    StatusCode::NOT_FOUND.into_response()
}
