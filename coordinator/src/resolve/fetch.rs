//! The pull-through cache: packages of external repositories are fetched into the blob store when a
//! lock first names them, and stay.
//!
//! Owns the checks of each download: size and digest as in the lock, and, where the repository must
//! be signed, the header's signature, the payload's digest and the name. It must not know why a
//! package is wanted.

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
use super::rejection::MetadataErrorKind;
use crate::blobs::{BlobError, BlobWriter, Blobs};
use crate::work::KeyedSemaphore;

/// How many packages of one lock are downloaded at once.
const PARALLEL: usize = 8;

/// Why a package cannot be fetched, and which.
#[derive(Debug, thiserror::Error)]
#[error("{package} of repository `{repository}`: {source}")]
pub struct FetchError {
    pub package: String,
    pub repository: String,
    pub source: FetchErrorKind,
}

/// Why a package cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchErrorKind {
    /// The target no longer has the repository that the lock names.
    #[error("the target no longer has this repository, and the package is not in the blob store")]
    UnknownRepository,
    /// The blob of one of the farm's own packages is missing.
    #[error("blob {0} is missing: it was built here, so it cannot be fetched")]
    Missing(Sha256),
    /// Its location in the metadata is refused.
    #[error("location {0}")]
    Location(LocationError),
    /// The mirrors of its repository cannot be determined.
    #[error(transparent)]
    Mirrors(#[from] Box<MetadataErrorKind>),
    /// It cannot be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The download has another size.
    #[error("{url}: expected {expected} bytes, found {found}")]
    Size {
        url: String,
        /// The size in the lock.
        expected: u64,
        found: u64,
    },
    /// Its signature is missing or invalid.
    #[error("{url}: {source}")]
    Rpm { url: String, source: rpmfarm_rpmfile::RpmError },
    /// It is another package.
    #[error("{url}: it is {found}")]
    OtherPackage {
        url: String,
        /// The NEVRA in its header.
        found: String,
    },
    /// It cannot be stored, or has another digest.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// Fetches packages into the blob store. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Fetcher {
    blobs: Blobs,
    downloader: Downloader,
    mirrors: MirrorLists,
    /// Packages that are being fetched, so that two builds do not fetch the same one at once.
    turns: Arc<KeyedSemaphore<Sha256>>,
}

impl Fetcher {
    pub(super) fn new(blobs: Blobs, downloader: Downloader, mirrors: MirrorLists) -> Self {
        Self { blobs, downloader, mirrors, turns: Arc::new(KeyedSemaphore::new(1)) }
    }

    /// Fetches every package of a lock that is not in the blob store.
    ///
    /// # Errors
    /// For the first package that cannot be fetched; others may have been fetched meanwhile, and
    /// stay.
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

    /// Fetches one package, unless it is in the blob store.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub(super) async fn package(
        &self,
        repos: &[ExternalRepo],
        package: &LockedPackage,
        now: SystemTime,
    ) -> Result<(), FetchError> {
        // Checked again under the permit: the holder before may have fetched it.
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
    ) -> Result<(), FetchErrorKind> {
        if package.origin == FARM {
            return Err(FetchErrorKind::Missing(package.digest));
        }
        let repo = repos
            .iter()
            .find(|repo| repo.id == package.origin)
            .ok_or(FetchErrorKind::UnknownRepository)?;
        let bases = if package.base.is_empty() {
            self.mirrors.fetch(repo, false).await.map_err(Box::new)?.urls
        } else {
            let base = check_base(&package.base, &repo.private_hosts);
            vec![base.map_err(|error| FetchErrorKind::Location(error.into()))?]
        };
        let mut first = None;
        for base in &bases {
            match self.download_from(repo, base, package, now).await {
                Ok(()) => return Ok(()),
                Err(error) if bases.len() == 1 => return Err(error),
                Err(error) => {
                    tracing::info!(repository = repo.id, %error, "asking the next mirror");
                    // The first error is reported, unless it only says that one mirror does not
                    // have the file.
                    match &first {
                        Some(FetchErrorKind::Download(_)) | None => first = Some(error),
                        Some(_) => {}
                    }
                }
            }
        }
        Err(first.unwrap_or(FetchErrorKind::UnknownRepository))
    }

    async fn download_from(
        &self,
        repo: &ExternalRepo,
        base: &Url,
        package: &LockedPackage,
        now: SystemTime,
    ) -> Result<(), FetchErrorKind> {
        let url = href::join(base, &package.location).map_err(FetchErrorKind::Location)?;
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
    /// Checks a download and makes it a blob.
    fn check(
        self,
        repo: &ExternalRepo,
        package: &LockedPackage,
        url: &str,
        now: SystemTime,
    ) -> Result<(), FetchErrorKind> {
        if self.length != package.size {
            let (expected, found) = (package.size, self.length);
            return Err(FetchErrorKind::Size { url: url.to_owned(), expected, found });
        }
        if repo.gpgcheck {
            check_rpm(self.writer.path(), repo, package, url, now)?;
        }
        self.writer.finish(url, Some(package.digest))?;
        Ok(())
    }
}

/// Checks the signature of the header, which contains the digest of the payload: together they
/// cover the file even where the repository's metadata are not signed.
fn check_rpm(
    path: &Path,
    repo: &ExternalRepo,
    package: &LockedPackage,
    url: &str,
    now: SystemTime,
) -> Result<(), FetchErrorKind> {
    let refused = |source| FetchErrorKind::Rpm { url: url.to_owned(), source };
    verify_signature(path, &repo.certs, now).map_err(refused)?;
    let inspected = inspect(path).map_err(refused)?;
    if inspected.nevra == package.nevra {
        Ok(())
    } else {
        Err(FetchErrorKind::OtherPackage {
            url: url.to_owned(),
            found: inspected.nevra.to_string(),
        })
    }
}
