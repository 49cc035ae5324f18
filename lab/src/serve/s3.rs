//! A store of the S3 protocol over a directory, which can also behave as bad stores and bad networks
//! do: it answers so many requests and then none, and it ignores preconditions.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, IF_MATCH, IF_NONE_MATCH};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The key that the store asks for.
pub const ACCESS_KEY: &str = "farm";
pub const SECRET_KEY: &str = "0123456789abcdef";

/// What becomes of the request at which the store is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastRequest {
    /// It does not reach the store.
    Lost,
    /// The store does what it says, and the answer is lost.
    Done,
}

/// A running store; it ends when this is dropped. Each folder of its directory is a bucket, and each
/// file an object.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    requests: Arc<Mutex<Requests>>,
    task: JoinHandle<io::Result<()>>,
}

/// The requests that were made, and when the store is cut off.
#[derive(Debug, Default)]
struct Requests {
    made: usize,
    /// Requests that are answered still.
    left: Option<(usize, LastRequest)>,
}

#[derive(Clone)]
struct Served {
    service: S3Service,
    requests: Arc<Mutex<Requests>>,
    ignores_preconditions: bool,
}

impl S3Server {
    /// Serves a directory with these buckets. A store that ignores preconditions also takes requests
    /// that are not signed.
    ///
    /// # Errors
    /// When the directory or a port cannot be used.
    pub async fn start(
        directory: &Path,
        buckets: &[&str],
        ignores_preconditions: bool,
    ) -> io::Result<Self> {
        for bucket in buckets {
            std::fs::create_dir_all(directory.join(bucket))?;
        }
        let files =
            FileSystem::new(directory).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        if !ignores_preconditions {
            builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        }
        let requests = Arc::<Mutex<Requests>>::default();
        let served =
            Served { service: builder.build(), requests: requests.clone(), ignores_preconditions };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(answer).with_state(served);
        let task = tokio::spawn(axum::serve(listener, router).into_future());
        Ok(Self { address, requests, task })
    }

    /// `http://ADDRESS`, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes the key for the store as the coordinator reads it, and returns the file's path.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_key(&self, dir: &Path) -> io::Result<PathBuf> {
        let path = dir.join("s3.toml");
        let text =
            format!("access_key_id = \"{ACCESS_KEY}\"\nsecret_access_key = \"{SECRET_KEY}\"\n");
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(path)
    }

    /// The requests that were made since the start or the last call of this, which counts anew.
    #[must_use]
    pub fn take_count(&self) -> usize {
        std::mem::take(&mut self.requests.lock().made)
    }

    /// Answers so many requests more, and none after them.
    pub fn cut_after(&self, requests: usize, last: LastRequest) {
        self.requests.lock().left = Some((requests, last));
    }

    /// Answers all requests again.
    pub fn restore(&self) {
        self.requests.lock().left = None;
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(served): State<Served>, mut request: Request) -> Response {
    let fate = {
        let mut requests = served.requests.lock();
        requests.made += 1;
        match &mut requests.left {
            Some((0, last)) => {
                let fate = Some(*last);
                // The request at the cut is done at most once.
                *last = LastRequest::Lost;
                fate
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    };
    // A refusal that no client repeats, so that whoever is cut off fails at once.
    let cut = || (StatusCode::FORBIDDEN, "the store is cut off").into_response();
    if fate == Some(LastRequest::Lost) {
        return cut();
    }
    if served.ignores_preconditions {
        request.headers_mut().remove(IF_MATCH);
        request.headers_mut().remove(IF_NONE_MATCH);
        // It covered these two.
        request.headers_mut().remove(AUTHORIZATION);
    }
    let mut service = served.service;
    let answered = match tower::Service::call(&mut service, request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response(),
    };
    if fate.is_some() { cut() } else { answered }
}
