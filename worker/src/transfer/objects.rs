//! Files at addresses of an object store, which the coordinator gives out for one transfer each.
//!
//! Nothing depends on the store: when it cannot be reached, the coordinator transfers the file
//! itself, and is not asked for addresses for some time. An address is a secret and is never logged.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::header::{CONTENT_LENGTH, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Body, Client, StatusCode};
use tokio_util::io::ReaderStream;

/// How long no addresses are asked for after one failed.
const AVOIDED: Duration = Duration::from_secs(5 * 60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A transfer may take so long, and a second more for each `SLOWEST` bytes.
const PATIENCE: Duration = Duration::from_secs(30);
const SLOWEST: u64 = 256 << 10;

/// Why a transfer at an address broke off.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The store, or the way to it.
    #[error("object store: {0}")]
    Store(String),
    /// The worker's own disk.
    #[error(transparent)]
    Local(#[from] io::Error),
}

impl From<reqwest::Error> for ObjectError {
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        Self::Store(format!("{error}{}", source.unwrap_or_default()))
    }
}

/// Transfers files at addresses. Cheap to clone; clones share what failed.
#[derive(Debug, Clone)]
pub struct ObjectClient {
    client: Client,
    failed: Arc<Mutex<Option<Instant>>>,
}

impl ObjectClient {
    /// A client with the system's certificates.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn new() -> Result<Self, ObjectError> {
        // Another part of the process may have installed a provider already; any will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Self { client, failed: Arc::default() })
    }

    /// Whether addresses are asked for.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.failed.lock().is_none_or(|at| at.elapsed() >= AVOIDED)
    }

    /// Avoids addresses for some time.
    pub fn avoid(&self) {
        *self.failed.lock() = Some(Instant::now());
    }

    /// Appends an object from an offset on to a file, at most `room` bytes.
    pub(super) async fn get(
        &self,
        address: &str,
        offset: u64,
        mut room: u64,
        file: &mut File,
    ) -> Result<(), ObjectError> {
        let mut request = self.client.get(address).timeout(patience(room));
        let mut expected = StatusCode::OK;
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
            expected = StatusCode::PARTIAL_CONTENT;
        }
        let mut answer = request.send().await?;
        if answer.status() != expected {
            return Err(ObjectError::Store(format!("it answered {}", answer.status())));
        }
        while let Some(piece) = answer.chunk().await? {
            let length = piece.len() as u64;
            if length > room {
                return Err(ObjectError::Store("it sends more than there is".into()));
            }
            room -= length;
            file.write_all(&piece)?;
        }
        Ok(())
    }

    /// Puts a file of this size at an address.
    pub(super) async fn put(
        &self,
        address: &str,
        path: &Path,
        size: u64,
    ) -> Result<(), ObjectError> {
        let file = tokio::fs::File::open(path).await?;
        let request = self
            .client
            .put(address)
            .timeout(patience(size))
            // With a length that is known it is sent as it is, which S3 asks for.
            .header(CONTENT_LENGTH, size)
            .body(Body::wrap_stream(ReaderStream::new(file)));
        let answer = request.send().await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(ObjectError::Store(format!("it answered {}", answer.status())))
    }
}

fn patience(size: u64) -> Duration {
    PATIENCE + Duration::from_secs(size / SLOWEST)
}
