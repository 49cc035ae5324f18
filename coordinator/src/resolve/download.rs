//! Downloads from external repositories: streamed, bounded in size and time, repeated while a
//! failure may be temporary.

use std::io;
use std::time::Duration;

use reqwest::header::{ETAG, HeaderMap, IF_NONE_MATCH};
use reqwest::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use super::external::ExternalRepo;
use crate::blobs::BlobError;
use crate::http::{Http, HttpError, explain};

/// How much time a server is given.
#[derive(Debug, Clone, Copy)]
pub struct DownloadTimeouts {
    /// The longest wait for the next bytes.
    pub silence: Duration,
    /// The slowest average rate after the first minute, in bytes per second.
    pub rate: u64,
    /// How often a download is tried.
    pub tries: u32,
    /// The pause before the second try; it doubles before each further one.
    pub pause: Duration,
}

impl Default for DownloadTimeouts {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(60),
            rate: 8 * 1024,
            tries: 4,
            pause: Duration::from_millis(500),
        }
    }
}

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The URL must not be requested; trying again changes nothing.
    #[error("{0}")]
    Refused(String),
    /// The server failed; it may recover.
    #[error("{0}")]
    Server(String),
    /// The server has no such file.
    #[error("{url}: the server answered {status}")]
    Status { url: String, status: u16 },
    /// More bytes came than were announced or are allowed.
    #[error("{url}: longer than {limit} bytes")]
    TooLong {
        url: String,
        /// The announced length or the limit, in bytes.
        limit: u64,
    },
    /// The received bytes could not be written.
    #[error("{url}: {why}")]
    Sink {
        url: String,
        /// The reason. Boxed, because it is larger than all other variants.
        why: Box<SinkError>,
    },
}

/// Why received bytes could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// An error of the disk.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// The blob store refuses them.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

impl DownloadError {
    /// Whether another try may succeed.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Server(_) => true,
            Self::Status { status, .. } => *status >= 500 || [408, 425, 429].contains(status),
            Self::Refused(_) | Self::TooLong { .. } | Self::Sink { .. } => false,
        }
    }
}

impl From<HttpError> for DownloadError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Refused { .. } => Self::Refused(error.to_string()),
            HttpError::Server { .. } => Self::Server(error.to_string()),
        }
    }
}

/// The validator that a server sent with a file, to ask whether the file has changed. Only the
/// entity tag is used: times have whole seconds, so a change within the same second would be
/// missed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Validator(Option<String>);

impl Validator {
    fn from_headers(headers: &HeaderMap) -> Self {
        Self(headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned))
    }

    fn header(&self) -> HeaderMap {
        let value = self.0.as_ref().and_then(|tag| tag.parse().ok());
        value.map(|tag| (IF_NONE_MATCH, tag)).into_iter().collect()
    }
}

/// How a server answered.
#[derive(Debug)]
pub(super) enum DownloadOutcome {
    /// The bytes went to the sink.
    Fetched(Validator),
    /// The file has not changed.
    Unchanged,
}

/// Takes the bytes of a download. Each try gets a new sink.
pub(super) trait Sink {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError>;
}

impl Sink for Vec<u8> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Downloads files of repositories. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Downloader {
    http: Http,
    patience: DownloadTimeouts,
}

impl Downloader {
    pub(super) fn new(patience: DownloadTimeouts) -> Result<Self, reqwest::Error> {
        Ok(Self { http: Http::new()?, patience })
    }

    /// Downloads a small file into memory.
    pub(super) async fn small(
        &self,
        repo: &ExternalRepo,
        url: &Url,
        limit: u64,
    ) -> Result<Vec<u8>, DownloadError> {
        let (bytes, _) =
            self.file(repo, url, limit, &Validator::default(), || Ok(Vec::new())).await?;
        Ok(bytes)
    }

    /// Downloads a file of at most `limit` bytes, and tries again while a failure may be temporary.
    /// Each try gets a sink of its own; the last one is returned.
    pub(super) async fn file<S: Sink>(
        &self,
        repo: &ExternalRepo,
        url: &Url,
        limit: u64,
        known: &Validator,
        mut sink: impl FnMut() -> Result<S, SinkError>,
    ) -> Result<(S, DownloadOutcome), DownloadError> {
        let mut pause = self.patience.pause;
        for left in (0..self.patience.tries).rev() {
            let mut sink = sink().map_err(|why| not_kept(url, why))?;
            match self.once(repo, url, limit, known, &mut sink).await {
                Ok(answer) => return Ok((sink, answer)),
                Err(error) if left > 0 && error.may_pass() => {
                    tracing::info!(%error, ?pause, "trying again");
                    sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(error),
            }
        }
        Err(DownloadError::Server(format!("{url}: not tried")))
    }

    async fn once(
        &self,
        repo: &ExternalRepo,
        url: &Url,
        limit: u64,
        known: &Validator,
        sink: &mut impl Sink,
    ) -> Result<DownloadOutcome, DownloadError> {
        let headers = known.header();
        let request = self.http.get(url, &repo.private_hosts, |r| r.headers(headers.clone()));
        let response = self.in_time(url, request).await??;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if *known != Validator::default() => {
                return Ok(DownloadOutcome::Unchanged);
            }
            status => {
                return Err(DownloadError::Status {
                    url: url.to_string(),
                    status: status.as_u16(),
                });
            }
        }
        let validator = Validator::from_headers(response.headers());
        self.body(url, limit, response, sink).await?;
        Ok(DownloadOutcome::Fetched(validator))
    }

    async fn body(
        &self,
        url: &Url,
        limit: u64,
        mut response: Response,
        sink: &mut impl Sink,
    ) -> Result<(), DownloadError> {
        let too_long = || DownloadError::TooLong { url: url.to_string(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_long());
        }
        let began = Instant::now();
        let mut length = 0;
        loop {
            let chunk = self.in_time(url, response.chunk()).await?;
            let Some(bytes) = chunk.map_err(|error| explain(url, error))? else { return Ok(()) };
            length += bytes.len() as u64;
            if length > limit {
                return Err(too_long());
            }
            sink.write(&bytes).map_err(|why| not_kept(url, why))?;
            let seconds = began.elapsed().as_secs();
            if seconds > 60 && length / seconds < self.patience.rate {
                let why = format!("{url}: too slow ({} bytes/s)", length / seconds);
                return Err(DownloadError::Server(why));
            }
        }
    }

    async fn in_time<T>(
        &self,
        url: &Url,
        answer: impl Future<Output = T>,
    ) -> Result<T, DownloadError> {
        timeout(self.patience.silence, answer).await.map_err(|_| {
            let seconds = self.patience.silence.as_secs_f32();
            DownloadError::Server(format!("{url}: no answer for {seconds} s"))
        })
    }
}

fn not_kept(url: &Url, why: SinkError) -> DownloadError {
    DownloadError::Sink { url: url.to_string(), why: Box::new(why) }
}
