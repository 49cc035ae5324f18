//! The tree of repositories over HTTP, for dnf, curl, mirrors and caches: ranges, validators, and
//! long caching for files whose content never changes.
//!
//! It only reads files. A path with a hidden part, or with a link that leads out of the tree, is
//! not found.

mod index;
mod validators;

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{OriginalUri, Path as UrlPath, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::stream;

use crate::listen::FileQueue;
use validators::{RequestConditions, ResponseRange, Validators};

/// How much of a file is read at once, in bytes: as much as fits a core's cache, since what was
/// read is copied once more when it is sent.
const CHUNK: u64 = 256 << 10;

/// Serves the tree below `repos`, to be nested where its base URL says:
/// `nest_service("/repo", …)`, which finds `/repo/`, too.
///
/// # Errors
/// When the directory can neither be found nor made.
pub fn router(repos: &Path) -> io::Result<Router> {
    super::disk::make_dir(repos).map_err(io::Error::other)?;
    let root: Arc<Path> = repos.canonicalize()?.into();
    Ok(Router::new()
        .route(
            "/",
            get(|state, method, uri, headers, files| {
                serve(state, None, method, uri, headers, files)
            }),
        )
        .route(
            "/{*path}",
            get(|state, path, method, uri, headers, files| {
                serve(state, Some(path), method, uri, headers, files)
            }),
        )
        .with_state(root))
}

/// The file or directory at a path.
enum PathTarget {
    File { file: File, metadata: Metadata },
    Directory { page: String },
}

async fn serve(
    State(root): State<Arc<Path>>,
    path: Option<UrlPath<String>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    files: Option<Extension<FileQueue>>,
) -> Response {
    let path = path.map(|UrlPath(path)| path).unwrap_or_default();
    let requested = path.clone();
    let found = tokio::task::spawn_blocking(move || find(&root, &requested)).await;
    match found.expect("finding a file does not panic") {
        Ok(PathTarget::File { file, metadata }) => {
            let files = files.map(|Extension(files)| files);
            send(&path, &method, &headers, (file, metadata), files).unwrap_or_else(|error| {
                tracing::warn!(%path, %error, "cannot serve a file");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            })
        }
        Ok(PathTarget::Directory { .. }) if !uri.path().ends_with('/') => slash(uri.path()),
        Ok(PathTarget::Directory { page }) => axum::response::Html(page).into_response(),
        Err(error) if not_found(&error) => (StatusCode::NOT_FOUND, "not found\n").into_response(),
        Err(error) => {
            tracing::warn!(%path, %error, "cannot find a file");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Redirects to the path with a slash at its end, because relative links in a directory's page need
/// it. The redirect is relative, as a proxy may serve the tree at another path.
fn slash(url_path: &str) -> Response {
    let name = url_path.rsplit('/').next().unwrap_or_default();
    let location = format!("./{name}/");
    (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, location)]).into_response()
}

fn not_found(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput)
}

/// Resolves the links of a path, and refuses those that lead out of the tree.
fn find(root: &Path, path: &str) -> io::Result<PathTarget> {
    let path = path.trim_end_matches('/');
    let hidden = |part: &str| part.is_empty() || part.starts_with('.') || part.contains('\0');
    if !path.is_empty() && path.split('/').any(hidden) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let place: PathBuf = root.join(path).canonicalize()?;
    if !place.starts_with(root) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let file = File::open(&place)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok(PathTarget::File { file, metadata })
    } else if metadata.is_dir() {
        Ok(PathTarget::Directory { page: index::page(path, &place)? })
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The answer with a file, or with the part of it that was asked for. With `files`, the connection
/// sends it itself.
fn send(
    path: &str,
    method: &Method,
    headers: &HeaderMap,
    (file, metadata): (File, Metadata),
    files: Option<FileQueue>,
) -> io::Result<Response> {
    let validators = Validators::from_metadata(&metadata);
    let size = metadata.len();
    let conditions = RequestConditions::from_headers(headers);
    let mut response = Response::builder()
        .header(header::ETAG, &validators.etag)
        .header(header::LAST_MODIFIED, &validators.modified)
        .header(header::CACHE_CONTROL, cache_control(path))
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    let selection = conditions.select(&validators, size);
    let (start, length) = match selection {
        ResponseRange::NotModified => {
            return done(response.status(StatusCode::NOT_MODIFIED).body(Body::empty()));
        }
        ResponseRange::Unsatisfiable => {
            let response = response
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{size}"));
            return done(response.body(Body::empty()));
        }
        ResponseRange::Whole => (0, size),
        ResponseRange::Part { start, end } => {
            let range = format!("bytes {start}-{end}/{size}");
            response =
                response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
            (start, end - start + 1)
        }
    };
    response = response
        .header(header::CONTENT_TYPE, content_type(path))
        .header(header::CONTENT_LENGTH, length);
    if method == Method::HEAD {
        return done(response.body(Body::empty()));
    }
    done(response.body(match files {
        Some(files) => files.body(file, start, length),
        None => read_body(file, start, length)?,
    }))
}

/// A body whose parts are read by a thread that may block, one after the other and each when the
/// one before it was taken.
fn read_body(mut file: File, start: u64, length: u64) -> io::Result<Body> {
    file.seek(SeekFrom::Start(start))?;
    let parts = stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let part = read_part(&mut file, left.min(CHUNK))?;
            io::Result::Ok((part, file))
        });
        let (part, file) = read.await.map_err(io::Error::other)??;
        let left = left - part.len() as u64;
        Ok::<_, io::Error>(Some((part, (file, left))))
    });
    Ok(Body::from_stream(parts))
}

/// The next bytes of a file. They are read where they stay: what tokio's own file reads is copied
/// once more.
fn read_part(file: &mut File, length: u64) -> io::Result<Bytes> {
    let mut part = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
    if file.take(length).read_to_end(&mut part)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file became shorter"));
    }
    Ok(part.into())
}

fn done(response: Result<Response, axum::http::Error>) -> io::Result<Response> {
    response.map_err(io::Error::other)
}

/// The files of packages and documents never change; all others may.
fn cache_control(path: &str) -> HeaderValue {
    let name = path.rsplit('/').next().unwrap_or_default();
    let by_checksum = name.split_once('-').is_some_and(|(sum, _)| {
        sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    HeaderValue::from_static(if by_checksum || name.ends_with(".rpm") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    })
}

fn content_type(path: &str) -> HeaderValue {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    HeaderValue::from_static(match extension {
        "rpm" => "application/x-rpm",
        "xml" => "text/xml; charset=utf-8",
        "gz" => "application/gzip",
        "zst" => "application/zstd",
        "asc" => "application/pgp-signature",
        _ => "text/plain; charset=utf-8",
    })
}

#[cfg(test)]
mod tests;
