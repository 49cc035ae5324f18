//! Look-aside files: streamed from the servers of the target into the blob store, and compared with
//! the digest in git before they become blobs.

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use rpmfarm_core::Sha256;
use rpmfarm_core::digest::{Checksum, DigestKind};
use rpmfarm_core::target::PrivateHosts;
use rpmfarm_sources::distgit::{CommittedFile, DistgitError, LookasideFile};
use sha2::digest::DynDigest;
use tokio::time::Instant;
use url::Url;

use super::failure::ImportError;
use super::watch::{ImportTimer, TransferRate};
use crate::blobs::{BlobError, BlobWriter, Blobs};
use crate::http::{Http, explain, redirected, shown};

/// The parts that a download needs.
pub(super) struct LookasideClient<'a> {
    pub(super) http: &'a Http,
    pub(super) allowed: &'a PrivateHosts,
    pub(super) blobs: &'a Blobs,
    pub(super) watch: &'a ImportTimer,
    /// The largest file, in bytes.
    pub(super) limit: u64,
}

/// How one URL answered.
enum LookasideResponse {
    Found(Sha256, u64),
    /// The server has no such file.
    Nothing(StatusCode),
}

impl LookasideClient<'_> {
    /// Fetches a file from the first URL that has it, and returns that URL.
    ///
    /// # Errors
    /// When no server has the file, its content has another digest, or the servers fail.
    pub(super) fn fetch(
        &self,
        file: &LookasideFile,
        urls: &[String],
    ) -> Result<(Sha256, u64, String), ImportError> {
        let mut answers = Vec::new();
        let mut failure = None;
        for url in urls {
            match self.fetch_from(file, url) {
                Ok(LookasideResponse::Found(digest, size)) => {
                    return Ok((digest, size, url.clone()));
                }
                Ok(LookasideResponse::Nothing(status)) => {
                    answers.push(format!("{url} ({})", status.as_u16()))
                }
                // Another server may work and have the right file.
                Err(error @ (ImportError::Server { .. } | ImportError::Mismatch { .. })) => {
                    failure.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(failure.unwrap_or_else(|| ImportError::NotInLookaside {
            file: file.name.clone(),
            checksum: file.checksum.clone(),
            urls: answers,
        }))
    }

    fn fetch_from(
        &self,
        file: &LookasideFile,
        url: &str,
    ) -> Result<LookasideResponse, ImportError> {
        let url: Url = url.parse().map_err(|error: url::ParseError| ImportError::Refused {
            url: url.to_owned(),
            why: error.to_string(),
        })?;
        let mut partial = self.begin(&file.checksum)?;
        let status = self.watch.retry(|| self.download(&url, file, &mut partial))?;
        if !status.is_success() {
            return Ok(LookasideResponse::Nothing(status));
        }
        let (digest, size) = partial.finish(file, &url)?;
        Ok(LookasideResponse::Found(digest, size))
    }

    fn begin(&self, checksum: &Checksum) -> Result<PartialDownload, ImportError> {
        Ok(PartialDownload {
            writer: self.blobs.writer(self.limit)?,
            hasher: hasher(checksum.kind),
            written: 0,
        })
    }

    /// Downloads the rest of the file.
    fn download(
        &self,
        url: &Url,
        file: &LookasideFile,
        partial: &mut PartialDownload,
    ) -> Result<StatusCode, ImportError> {
        let (url, mut response) = self.open(url, partial.written)?;
        match response.status() {
            StatusCode::OK if partial.written > 0 => *partial = self.begin(&file.checksum)?,
            StatusCode::PARTIAL_CONTENT if continues(&response, partial.written) => {}
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::GONE) => return Ok(status),
            status => {
                if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                    // The server cannot continue the download: the next try begins from the start.
                    *partial = self.begin(&file.checksum)?;
                }
                return Err(server(&url, format!("the server answered {status}")));
            }
        }
        let announced = response.content_length().unwrap_or(0).saturating_add(partial.written);
        if announced > self.limit {
            return Err(self.too_long(&file.name, format!("{announced} bytes from {url}")));
        }
        let mut pace = TransferRate::new(Instant::now());
        while let Some(bytes) = self.next(&url, &mut response)? {
            partial.append(&bytes).map_err(|error| match error {
                BlobError::TooLong { .. } => {
                    self.too_long(&file.name, format!("more than that came from {url}"))
                }
                error => error.into(),
            })?;
            if let Some(speed) = pace.add(bytes.len(), Instant::now(), self.watch.limits()) {
                return Err(server(&url, format!("too slow ({speed} bytes/s)")));
            }
        }
        Ok(StatusCode::OK)
    }

    /// Sends the request and follows redirects, each checked like the first URL.
    fn open(&self, url: &Url, from: u64) -> Result<(Url, Response), ImportError> {
        let mut url = url.clone();
        for _ in 0..=self.watch.limits().redirects {
            let mut request = self.http.request(Method::GET, &url, self.allowed)?;
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = self
                .watch
                .wait(url.as_str(), request.send())?
                .map_err(|error| explain(&url, error))?;
            if !response.status().is_redirection() {
                return Ok((url, response));
            }
            url = redirected(&url, &response)?;
        }
        Err(server(&url, "too many redirects".to_owned()))
    }

    fn next(&self, url: &Url, response: &mut Response) -> Result<Option<Bytes>, ImportError> {
        Ok(self.watch.wait(url.as_str(), response.chunk())?.map_err(|error| explain(url, error))?)
    }

    fn too_long(&self, file: &str, found: String) -> ImportError {
        ImportError::TooMuch { what: file.to_owned(), found, limit: self.limit, unit: "bytes" }
    }
}

fn server(url: &Url, why: String) -> ImportError {
    ImportError::Server { url: shown(url), why }
}

/// Whether a partial answer begins where the last one ended.
fn continues(response: &Response, at: u64) -> bool {
    response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("bytes "))
        .and_then(|range| range.split_once('-'))
        .is_some_and(|(from, _)| from.parse() == Ok(at))
}

/// A file being downloaded. The blob store computes its SHA-256; `hasher` computes a checksum of
/// another kind.
struct PartialDownload {
    writer: BlobWriter,
    hasher: Option<Box<dyn DynDigest>>,
    written: u64,
}

impl PartialDownload {
    fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.writer.append(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn finish(self, file: &LookasideFile, url: &Url) -> Result<(Sha256, u64), ImportError> {
        let expected = &file.checksum;
        let mismatch = |hex: String| ImportError::Mismatch {
            file: file.name.clone(),
            url: url.to_string(),
            expected: expected.clone(),
            found: Checksum { kind: expected.kind, hex },
        };
        if let Some(hasher) = self.hasher {
            let found = hex::encode(hasher.finalize());
            if found != expected.hex {
                return Err(mismatch(found));
            }
            return Ok(self.writer.finish(&file.name, None)?);
        }
        let digest = expected.hex.parse().expect("a SHA-256 checksum has 64 hex digits");
        self.writer.finish(&file.name, Some(digest)).map_err(|error| match error {
            BlobError::Mismatch { found, .. } => mismatch(found.hex()),
            error => error.into(),
        })
    }
}

/// Compares a committed file with its entry in the look-aside list.
///
/// # Errors
/// When they differ.
pub(super) fn check_same(
    content: &[u8],
    committed: &CommittedFile,
    list: &str,
    listed: &LookasideFile,
) -> Result<(), DistgitError> {
    let kind = listed.checksum.kind;
    let hex = match hasher(kind) {
        Some(mut hasher) => {
            hasher.update(content);
            hex::encode(hasher.finalize())
        }
        None => Sha256::compute(content).hex(),
    };
    let found = Checksum { kind, hex };
    if found == listed.checksum {
        return Ok(());
    }
    Err(DistgitError::Differs {
        name: committed.name.clone(),
        path: committed.path.clone(),
        found: Box::new(found),
        list: list.to_owned(),
        expected: Box::new(listed.checksum.clone()),
    })
}

fn hasher(kind: DigestKind) -> Option<Box<dyn DynDigest>> {
    match kind {
        DigestKind::Md5 => Some(Box::new(md5::Md5::default())),
        DigestKind::Sha1 => Some(Box::new(sha1::Sha1::default())),
        DigestKind::Sha256 => None,
        DigestKind::Sha512 => Some(Box::new(sha2::Sha512::default())),
    }
}
