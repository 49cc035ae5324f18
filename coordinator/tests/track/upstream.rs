//! A git server that answers queries for refs (protocol 2 and 0) from a table, with faults where
//! the test sets them.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;

/// How a repository is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Serve {
    /// Protocol 2.
    #[default]
    Well,
    /// Protocol 0 only.
    Old,
    /// A status, and for how many seconds to go away.
    Status(u16, Option<u32>),
    /// A redirect.
    Redirect(String),
    /// So many refs, by protocol 0.
    Refs(usize),
    /// Something that is no list.
    Rubbish,
}

#[derive(Default)]
struct Shared {
    /// Repository → branch → commit.
    refs: Mutex<HashMap<String, HashMap<String, String>>>,
    serve: Mutex<HashMap<String, Serve>>,
    log: Mutex<Vec<String>>,
}

pub(crate) struct Upstream {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, shared }
    }

    /// Points a branch of a repository to a commit; `tags/NAME` is a tag. The repository is a
    /// package, or `autopatch-PACKAGE`.
    pub(crate) fn push(&self, package: &str, branch: &str, commit: &str) {
        let mut refs = self.shared.refs.lock();
        refs.entry(package.into()).or_default().insert(branch.into(), commit.into());
    }

    /// Takes a branch or tag of a repository away.
    pub(crate) fn forget(&self, package: &str, branch: &str) {
        self.shared.refs.lock().get_mut(package).unwrap().remove(branch);
    }

    /// Serves a repository in this way from now on.
    pub(crate) fn serve(&self, package: &str, serve: Serve) {
        self.shared.serve.lock().insert(package.into(), serve);
    }

    /// Takes the requests that came so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.log.lock())
    }
}

/// A commit id of one digit.
pub(crate) fn id(digit: char) -> String {
    digit.to_string().repeat(40)
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    shared.log.lock().push(format!("{} {path}", parts.method));
    let Some((package, _)) = path.strip_prefix("/rpms/").and_then(|p| p.split_once(".git/")) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let serve = shared.serve.lock().get(package).cloned().unwrap_or_default();
    let refs = shared.refs.lock().get(package).cloned();
    let asks = parts.method == Method::POST;
    match serve {
        Serve::Status(code, after) => {
            let mut response = StatusCode::from_u16(code).unwrap().into_response();
            if let Some(after) = after {
                response.headers_mut().insert(header::RETRY_AFTER, after.into());
            }
            response
        }
        Serve::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Serve::Rubbish => typed(if asks { "result" } else { "advertisement" }, "<html>".into()),
        Serve::Old | Serve::Refs(_) if asks => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Serve::Refs(count) => {
            let lines = (0..count).map(|n| packet(&format!("{} refs/heads/b{n:09}\n", id('a'))));
            let list: String = lines.collect();
            let head = packet("# service=git-upload-pack\n");
            typed("advertisement", format!("{head}0000{list}0000").into())
        }
        Serve::Old => {
            let head = packet("# service=git-upload-pack\n");
            let lines: String = refs.unwrap_or_default().iter().map(|(b, c)| line(b, c)).collect();
            typed("advertisement", format!("{head}0000{lines}0000").into())
        }
        Serve::Well => {
            let Some(refs) = refs else { return StatusCode::NOT_FOUND.into_response() };
            if !asks || parts.headers.get("git-protocol").is_none_or(|v| v != "version=2") {
                return StatusCode::BAD_REQUEST.into_response();
            }
            let body = axum::body::to_bytes(body, 1 << 16).await.unwrap();
            let asked = String::from_utf8(body.to_vec()).unwrap();
            let wanted = |branch: &str| {
                asked.lines().any(|line| {
                    let prefix = line.split("ref-prefix ").nth(1);
                    prefix.is_some_and(|p| full(branch).starts_with(p))
                })
            };
            let lines = refs.iter().filter(|(branch, _)| wanted(branch)).map(|(b, c)| line(b, c));
            let list: String = lines.collect();
            typed("result", format!("{list}0000").into())
        }
    }
}

fn line(branch: &str, commit: &str) -> String {
    packet(&format!("{commit} {}\n", full(branch)))
}

fn full(branch: &str) -> String {
    if branch.starts_with("tags/") {
        format!("refs/{branch}")
    } else {
        format!("refs/heads/{branch}")
    }
}

fn packet(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

fn typed(kind: &str, body: Body) -> Response {
    let kind = format!("application/x-git-upload-pack-{kind}");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}
