//! The pull-through cache: packages of external repositories come into the blob store when a
//! lock first names them, and stay.
//!
//! Owns what is checked on the way in: size and digest as the lock has them, and, where the
//! repository is to be signed, the header's signature, the payload's digest and the name. It must
//! not know why a package is wanted.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt as _;
use futures_util::stream;
use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::target::check_base;
use rpmfarm_core::{Lock, Sha256};
use rpmfarm_rpmfile::{inspect, verify_signature};
use url::Url;

use super::download::{DownloadError, Downloader, Sink, SinkError, Validator};
use super::external::ExternalRepo;
use super::farm::FARM;
use super::href::{self, LocationError};
use super::mirrors::MirrorLists;
use super::rejection::Rejection;
use crate::blobs::{BlobError, BlobWriter, Blobs};
use crate::work::KeyedSemaphore;

/// Downloads at once.
const PARALLEL: usize = 8;

/// Why a package cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{package} of repository `{repository}`: {source}")]
pub struct FetchError {
    /// The package.
    pub package: String,
    /// The repository.
    pub repository: String,
    /// Why.
    pub source: FetchProblem,
}

/// Why a package cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchProblem {
    /// The lock names a repository that the target does not have any more.
    #[error("the target has no such repository any more, and the package was not kept")]
    UnknownRepository,
    /// One of the farm's own packages is not in the store.
    #[error("blob {0} is missing: it was built here, so it cannot be fetched")]
    Missing(Sha256),
    /// Where it should lie is refused.
    #[error("location {0}")]
    Location(LocationError),
    /// The mirrors of its repository are not known.
    #[error(transparent)]
    Mirrors(#[from] Box<Rejection>),
    /// It cannot be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// What came is something else.
    #[error("{url}: expected {expected} bytes, found {found}")]
    Size {
        /// Where it came from.
        url: String,
        /// The size that the lock has.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// It is not signed as it must be, or not what its signature says.
    #[error("{url}: {source}")]
    Rpm {
        /// Where it came from.
        url: String,
        /// What is wrong.
        source: rpmfarm_rpmfile::Error,
    },
    /// It is another package.
    #[error("{url}: it is {found}")]
    OtherPackage {
        /// Where it came from.
        url: String,
        /// What its header says.
        found: String,
    },
    /// It cannot be kept, or its digest is another one.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Fetches packages into the blob store. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    blobs: Blobs,
    downloader: Downloader,
    mirrors: MirrorLists,
    /// What is being fetched, so that two builds do not fetch one package twice.
    turns: Arc<KeyedSemaphore<Sha256>>,
}

impl Fetcher {
    pub(super) fn new(blobs: Blobs, downloader: Downloader, mirrors: MirrorLists) -> Self {
        Self { blobs, downloader, mirrors, turns: Arc::new(KeyedSemaphore::new(1)) }
    }

    /// Fetches every package of a lock that is not there yet.
    ///
    /// # Errors
    /// The first that cannot be had; others may have come meanwhile, and stay.
    pub(super) async fn lock(
        &self,
        repos: &[ExternalRepo],
        lock: &Lock,
        now: SystemTime,
    ) -> Result<(), FetchError> {
        let missing: Vec<_> = lock
            .packages()
            .filter(|package| !self.blobs.contains(package.digest))
            .cloned()
            .collect();
        let mut fetches = stream::iter(missing)
            .map(|package| async move { self.package(repos, &package, now).await })
            .buffer_unordered(PARALLEL);
        while let Some(result) = fetches.next().await {
            result?;
        }
        Ok(())
    }

    /// Fetches one package, unless it is there.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) async fn package(
        &self,
        repos: &[ExternalRepo],
        package: &LockedPackage,
        now: SystemTime,
    ) -> Result<(), FetchError> {
        let _turn = self.turns.acquire(package.digest).await;
        if self.blobs.contains(package.digest) {
            return Ok(());
        }
        self.download(repos, package, now).await.map_err(|source| FetchError {
            package: package.nevra.to_string(),
            repository: package.origin.clone(),
            source,
        })
    }

    async fn download(
        &self,
        repos: &[ExternalRepo],
        package: &LockedPackage,
        now: SystemTime,
    ) -> Result<(), FetchProblem> {
        if package.origin == FARM {
            return Err(FetchProblem::Missing(package.digest));
        }
        let repo = repos
            .iter()
            .find(|repo| repo.id == package.origin)
            .ok_or(FetchProblem::UnknownRepository)?;
        let bases = if package.base.is_empty() {
            self.mirrors.of(repo, false).await.map_err(Box::new)?.urls
        } else {
            let base = check_base(&package.base, &repo.private_hosts);
            vec![base.map_err(|error| FetchProblem::Location(error.into()))?]
        };
        let mut first = None;
        for base in &bases {
            match self.download_from(repo, base, package, now).await {
                Ok(()) => return Ok(()),
                Err(error) if bases.len() == 1 => return Err(error),
                Err(error) => {
                    tracing::info!(repository = repo.id, %error, "asking the next mirror");
                    // What says more than that one mirror does not have it is told.
                    match &first {
                        Some(FetchProblem::Download(_)) | None => first = Some(error),
                        Some(_) => {}
                    }
                }
            }
        }
        Err(first.unwrap_or(FetchProblem::UnknownRepository))
    }

    async fn download_from(
        &self,
        repo: &ExternalRepo,
        base: &Url,
        package: &LockedPackage,
        now: SystemTime,
    ) -> Result<(), FetchProblem> {
        let url = href::join(base, &package.location).map_err(FetchProblem::Location)?;
        let sink = || -> Result<BlobSink, SinkError> {
            Ok(BlobSink { writer: self.blobs.writer(package.size)?, length: 0 })
        };
        let (sink, _) =
            self.downloader.file(repo, &url, package.size, &Validator::default(), sink).await?;
        let (repo, package, url) = (repo.clone(), package.clone(), url.to_string());
        tokio::task::spawn_blocking(move || sink.check(&repo, &package, &url, now))
            .await
            .expect("checking a package does not panic")
    }
}

/// A download that becomes a blob.
struct BlobSink {
    writer: BlobWriter,
    length: u64,
}

impl Sink for BlobSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        self.length += bytes.len() as u64;
        Ok(self.writer.append(bytes)?)
    }
}

impl BlobSink {
    /// Checks what came and makes it a blob.
    fn check(
        self,
        repo: &ExternalRepo,
        package: &LockedPackage,
        url: &str,
        now: SystemTime,
    ) -> Result<(), FetchProblem> {
        if self.length != package.size {
            let (expected, found) = (package.size, self.length);
            return Err(FetchProblem::Size { url: url.to_owned(), expected, found });
        }
        if repo.gpgcheck {
            check_rpm(self.writer.path(), repo, package, url, now)?;
        }
        self.writer.finish(url, Some(package.digest))?;
        Ok(())
    }
}

/// The signature covers the header, which has the payload's digest: together they cover the
/// file even where no one vouches for the repository's metadata.
fn check_rpm(
    path: &Path,
    repo: &ExternalRepo,
    package: &LockedPackage,
    url: &str,
    now: SystemTime,
) -> Result<(), FetchProblem> {
    let refused = |source| FetchProblem::Rpm { url: url.to_owned(), source };
    verify_signature(path, &repo.certs, now).map_err(refused)?;
    let inspected = inspect(path).map_err(refused)?;
    if inspected.nevra == package.nevra {
        Ok(())
    } else {
        Err(FetchProblem::OtherPackage { url: url.to_owned(), found: inspected.nevra.to_string() })
    }
}
