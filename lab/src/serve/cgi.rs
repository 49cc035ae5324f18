//! Dist-git by smart HTTP: the real `git http-backend`, run as its manual page describes.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use futures_util::TryStreamExt as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio_util::io::{ReaderStream, StreamReader};

/// Answers one request of a git client below `rpms`.
pub(super) async fn git(
    State(rpms): State<PathBuf>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response<Body> {
    match run(rpms, &path, query.as_deref().unwrap_or_default(), request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::warn!(%error, path, "git http-backend failed");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

async fn run(
    rpms: PathBuf,
    path: &str,
    query: &str,
    request: Request,
) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", rpms)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("PATH_INFO", format!("/{path}"))
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", header("content-length"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("git http-backend has no pipes"));
    };
    tokio::spawn(feed(stdin, body));
    let mut stdout = BufReader::new(stdout);
    let mut response = Response::new(Body::empty());
    read_headers(&mut stdout, &mut response).await?;
    // The process lives as long as the answer is read, and is reaped with it.
    let stream = ReaderStream::new(stdout).inspect_ok(move |_| {
        let _ = &child;
    });
    *response.body_mut() = Body::from_stream(stream);
    Ok(response)
}

/// Passes the request's body on. A backend may close its input before the end.
async fn feed(mut stdin: ChildStdin, body: Body) {
    let stream = body.into_data_stream().map_err(io::Error::other);
    let mut reader = std::pin::pin!(StreamReader::new(stream));
    if let Err(error) = tokio::io::copy(&mut reader, &mut stdin).await {
        tracing::debug!(%error, "request body not passed on to git as a whole");
    }
    drop(stdin.shutdown().await);
}

/// The headers of the CGI answer: `Status: 404 Not Found` and others, up to an empty line.
async fn read_headers(
    from: &mut (impl tokio::io::AsyncBufRead + Unpin),
    response: &mut Response<Body>,
) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).await? == 0 {
            return Err(io::Error::other("git http-backend ended without an answer"));
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(());
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().unwrap_or_default();
            *response.status_mut() = code.parse().map_err(io::Error::other)?;
        } else {
            let name: HeaderName = name.parse().map_err(io::Error::other)?;
            let value = HeaderValue::from_str(value).map_err(io::Error::other)?;
            response.headers_mut().insert(name, value);
        }
    }
}
