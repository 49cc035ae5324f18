//! A git server (git's own http-backend) and a look-aside server on one loopback port.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use futures_util::stream;
use parking_lot::Mutex;
use rpmfarm_lab::fixtures::TargetFile;
use sha2::Digest as _;
use tokio::io::AsyncWriteExt as _;

/// How a look-aside file is served, by its digest.
#[derive(Clone)]
pub(crate) enum Serve {
    /// As it is.
    Whole(Vec<u8>),
    /// Breaks off after so many bytes, unless asked for a range.
    Broken(Vec<u8>, usize),
    /// 503 so many times, then as it is.
    Busy(Vec<u8>, u32),
    /// Zeros without end and without a length.
    Endless,
    /// A byte now and then.
    Trickle,
    /// Bytes, then nothing.
    Silent,
    /// A redirect.
    Redirect(String),
}

/// The state that the servers share with the test.
#[derive(Default)]
struct Shared {
    root: std::path::PathBuf,
    files: Mutex<HashMap<String, Serve>>,
    /// The status that modifications are answered with, when they are refused.
    refused: Mutex<Option<u16>>,
    /// Whether commits are given by their ids.
    by_id: AtomicBool,
    /// Every request, `GET /path` and its `Range`.
    log: Mutex<Vec<String>>,
}

pub(crate) struct Upstream {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    dir: tempfile::TempDir,
}

/// A target whose upstream is at a port, as [`Upstream`] serves it.
pub(crate) fn target_at(port: u16) -> TargetFile {
    let address = format!("127.0.0.1:{port}");
    TargetFile::small(&address).with(&format!(
        "[upstream]\nlookaside = [\"http://{address}/lookaside/{{hash}}/{{file}}\"]\nmax_file_mib = 1\n"
    ))
}

impl Upstream {
    /// Serves an empty repository `hello` with the branch `lab1`.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared { root: dir.path().join("git"), ..Shared::default() });
        let router = Router::new()
            .route("/git/{*path}", any(git))
            .route("/lookaside/{hash}/{file}", get(lookaside))
            .route("/moved/{*path}", any(moved))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let upstream = Self { port, shared, dir };
        std::fs::create_dir_all(upstream.work()).unwrap();
        upstream.git(&["init", "-q", "-b", "lab1"]);
        let bare = upstream.bare();
        upstream.git(&["init", "-q", "--bare", "-b", "lab1", bare.to_str().unwrap()]);
        upstream
    }

    /// The target that is built from it.
    pub(crate) fn target(&self) -> TargetFile {
        target_at(self.port)
    }

    /// The target with modifications from repositories at `/git/autopatch-NAME.git`, branch `a1`.
    pub(crate) fn modified_target(&self) -> TargetFile {
        let port = self.port;
        self.target().with(&format!(
            "[modifications]\nurl = \"http://127.0.0.1:{port}/git/autopatch-{{name}}.git\"\nref = \"a1\"\n"
        ))
    }

    /// Commits these files alone as the modifications of `hello` on a branch; returns the
    /// commit's id.
    pub(crate) fn modify(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let bare = self.shared.root.join("autopatch-hello.git");
        if !bare.exists() {
            self.git(&["init", "-q", "--bare", "-b", branch, bare.to_str().unwrap()]);
        }
        let work = tempfile::tempdir_in(self.dir.path()).unwrap();
        let git = |args: &[&str]| {
            let dir = work.path().to_str().unwrap();
            self.git(&[&["-C", dir], args].concat())
        };
        git(&["init", "-q", "-b", branch]);
        for (path, text) in files {
            write(&work.path().join(path), text);
        }
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "Debrand"]);
        git(&["push", "-q", "-f", bare.to_str().unwrap(), &format!("HEAD:refs/heads/{branch}")]);
        git(&["rev-parse", "HEAD"])
    }

    /// Answers requests for modifications with this status from now on.
    pub(crate) fn refuse_modifications(&self, status: Option<u16>) {
        *self.shared.refused.lock() = status;
    }

    pub(crate) fn work(&self) -> std::path::PathBuf {
        self.dir.path().join("work")
    }

    pub(crate) fn bare(&self) -> std::path::PathBuf {
        self.shared.root.join("hello.git")
    }

    /// Runs git in the work tree.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .args(args)
            .current_dir(self.work())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "Lab")))
            .envs(
                ["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "lab@example.org")),
            )
            .env("GIT_COMMITTER_DATE", "2024-02-03T04:05:06Z")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits these files alone and pushes them to `lab1`; returns the commit's id.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        for entry in std::fs::read_dir(self.work()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name != ".git") {
                let removed = if path.is_dir() {
                    std::fs::remove_dir_all(&path)
                } else {
                    std::fs::remove_file(&path)
                };
                removed.unwrap();
            }
        }
        for (path, text) in files {
            write(&self.work().join(path), text);
        }
        self.push("lab1")
    }

    /// Commits the work tree as it is and pushes it.
    pub(crate) fn push(&self, branch: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "Rebuild it\n\nfor a reason"]);
        let bare = self.bare();
        self.git(&["push", "-q", bare.to_str().unwrap(), &format!("HEAD:refs/heads/{branch}")]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Puts an object into the repository, be it one that git would not make, and returns its id.
    pub(crate) fn object(&self, kind: &str, bytes: &[u8]) -> String {
        let mut child = Command::new("git")
            .args(["hash-object", "-t", kind, "-w", "--literally", "--stdin"])
            .env("GIT_DIR", self.bare())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git hash-object: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Makes a tree of the repository the tree of `lab1`.
    pub(crate) fn plant(&self, tree: &str) {
        let bare = self.bare();
        let bare = ["--git-dir", bare.to_str().unwrap()];
        let commit = self.git(&[&bare[..], &["commit-tree", "-m", "Planted", tree]].concat());
        self.git(&[&bare[..], &["update-ref", "refs/heads/lab1", &commit]].concat());
    }

    /// Gives commits by their ids from now on, as forges do; git alone gives only what a branch or
    /// a tag points to.
    pub(crate) fn give_by_id(&self) {
        self.shared.by_id.store(true, Ordering::Relaxed);
    }

    /// Serves a look-aside file under a digest.
    pub(crate) fn serve(&self, hash: &str, serve: Serve) {
        self.shared.files.lock().insert(hash.to_owned(), serve);
    }

    /// Takes the requests that came so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.log.lock())
    }
}

pub(crate) fn sha512(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha512::digest(bytes))
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // `-> TARGET` makes a symlink, and what begins as a script is one.
    match text.strip_prefix("-> ") {
        Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
        None => std::fs::write(path, text).unwrap(),
    }
    if text.starts_with("#!") {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, mode).unwrap();
    }
}

/// git http-backend as a CGI program (RFC 3875).
async fn git(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_start_matches("/git").to_owned();
    shared.log.lock().push(format!("{} {path}", parts.method));
    let refused = *shared.refused.lock();
    let by_id = shared.by_id.load(Ordering::Relaxed);
    if let Some(status) = refused.filter(|_| path.starts_with("/autopatch-")) {
        return StatusCode::from_u16(status).unwrap().into_response();
    }
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let content_type = parts.headers.get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap());
    let protocol = parts.headers.get("git-protocol").map(|v| v.to_str().unwrap());
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_0", "uploadpack.allowReachableSHA1InWant")
        .env("GIT_CONFIG_VALUE_0", by_id.to_string())
        .env("GIT_CONFIG_KEY_1", "safe.directory")
        .env("GIT_CONFIG_VALUE_1", "*")
        .env("GIT_PROTOCOL", protocol.unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", &path)
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", content_type.unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&body).await.unwrap();
    let output = child.wait_with_output().await.unwrap().stdout;
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").expect("CGI headers");
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().unwrap()),
            name => response.header(name, value),
        };
    }
    response.body(Body::from(output[end + 4..].to_vec())).unwrap()
}

async fn moved(UrlPath(path): UrlPath<String>) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, format!("/git/{path}"))]).into_response()
}

async fn lookaside(
    State(shared): State<Arc<Shared>>,
    UrlPath((hash, file)): UrlPath<(String, String)>,
    request: Request,
) -> Response {
    let range = request.headers().get(header::RANGE).map(|v| v.to_str().unwrap().to_owned());
    let from = range
        .as_deref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    shared.log.lock().push(format!("GET {file} {}", range.unwrap_or_default()));
    let mut files = shared.files.lock();
    let Some(serve) = files.get_mut(&hash) else { return StatusCode::NOT_FOUND.into_response() };
    match serve {
        Serve::Whole(bytes) => bytes.clone().into_response(),
        Serve::Broken(bytes, at) => match from {
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                let rest = bytes[from..].to_vec();
                (StatusCode::PARTIAL_CONTENT, [(header::CONTENT_RANGE, range)], rest)
                    .into_response()
            }
            None => {
                let first = Ok(Bytes::copy_from_slice(&bytes[..*at]));
                let parts = [first, Err(std::io::Error::other("broken off"))];
                let length = [(header::CONTENT_LENGTH, bytes.len())];
                // A pause, so that what comes before the break is sent.
                let body = stream::unfold(parts.into_iter(), |mut parts| async {
                    let part = parts.next()?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Some((part, parts))
                });
                (length, Body::from_stream(body)).into_response()
            }
        },
        Serve::Busy(bytes, 0) => bytes.clone().into_response(),
        Serve::Busy(_, times) => {
            *times -= 1;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Serve::Endless => endless(Duration::ZERO, 64 * 1024),
        Serve::Trickle => endless(Duration::from_millis(100), 1),
        Serve::Silent => {
            let body = stream::unfold(0, |n| async move {
                if n > 0 {
                    std::future::pending::<()>().await;
                }
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b"x")), n + 1))
            });
            Body::from_stream(body).into_response()
        }
        Serve::Redirect(to) => {
            (StatusCode::FOUND, [(header::LOCATION, to.clone())]).into_response()
        }
    }
}

fn endless(pause: Duration, length: usize) -> Response {
    let body = stream::unfold((), move |()| async move {
        tokio::time::sleep(pause).await;
        Some((Ok::<_, std::io::Error>(Bytes::from(vec![0; length])), ()))
    });
    Body::from_stream(body).into_response()
}
