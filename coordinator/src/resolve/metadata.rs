//! Metadata of external repositories: fetched, checked, and cached on disk.
//!
//! Owns the checks: signature, digests, sizes, and that a repository is not rolled back. Cached
//! metadata were checked when they were fetched and are checked again when they are first used. It
//! must not know the packages.
//!
//! On disk each repository has `current.json`, which names the current state, and a directory for
//! each cached state, named by the digest of its `repomd.xml`.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::Sha256;
use rpmfarm_core::digest::{Checksum, DigestKind};
use rpmfarm_core::target::check_base;
use rpmfarm_rpmfile::verify_detached;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use tempfile::NamedTempFile;
use url::Url;

use super::checks::{FileSink, check_file, check_open, suffix};
use super::download::{DownloadError, DownloadOutcome, Downloader, Validator};
use super::external::ExternalRepo;
use super::href::{self, LocationError};
use super::mirrors::MirrorLists;
use super::rejection::{MetadataError, MetadataErrorKind, Result, io_at};
use super::repomd::{MetadataFile, Repomd};

const MAX_REPOMD: u64 = 4 << 20;
const MAX_SIGNATURE: u64 = 1 << 20;
/// The size of files that announce none, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// How many states of a repository are kept: an older one may still be read.
const KEPT: usize = 3;

/// The metadata of a repository, checked and on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepoMetadata {
    /// The digest of its `repomd.xml`, which changes with every change of the repository.
    pub digest: Sha256,
    /// The time of its newest file, in seconds since 1970, as `repomd.xml` says.
    pub timestamp: u64,
    /// `primary.xml`, compressed as its name says.
    pub primary: PathBuf,
    /// `filelists.xml`, if the repository has one.
    pub filelists: Option<PathBuf>,
    /// `modules.yaml`, if the repository has one.
    pub modules: Option<PathBuf>,
}

/// Whether metadata may be older than the cached ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgePolicy {
    /// No: a server may be withholding updates.
    Refuse,
    Accept,
}

/// The metadata of all external repositories. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct MetadataCache {
    dir: PathBuf,
    downloader: Downloader,
    mirrors: MirrorLists,
    /// The metadata that were checked since the start, by the name of the repository's cache.
    checked: Arc<Mutex<HashMap<String, RepoMetadata>>>,
}

impl MetadataCache {
    pub(super) fn new(dir: PathBuf, downloader: Downloader, mirrors: MirrorLists) -> Self {
        Self { dir, downloader, mirrors, checked: Arc::default() }
    }

    /// The cached metadata of a repository, without a request; `None` when there are none.
    ///
    /// # Errors
    /// When the cached files are damaged and cannot be removed.
    pub(super) async fn known(
        &self,
        repo: &ExternalRepo,
        now: SystemTime,
    ) -> Result<Option<RepoMetadata>, MetadataError> {
        if let Some(metadata) = self.checked().get(&repo.cache_name()) {
            return Ok(Some(metadata.clone()));
        }
        let home = self.home(repo);
        let of = repo.clone();
        let found = blocking(move || Ok(read_known(&home, &of, now))).await;
        let metadata = found.map_err(|source| failed(repo, source))?;
        if let Some(metadata) = &metadata {
            self.checked().insert(repo.cache_name(), metadata.clone());
        }
        Ok(metadata)
    }

    /// Asks a repository for its metadata and takes over new ones.
    ///
    /// # Errors
    /// When they cannot be downloaded, or a check fails; then the cached ones stay.
    pub(super) async fn refresh(
        &self,
        repo: &ExternalRepo,
        older: AgePolicy,
        now: SystemTime,
    ) -> Result<RepoMetadata, MetadataError> {
        let known = self.known(repo, now).await?;
        let metadata =
            self.update(repo, known, older, now).await.map_err(|source| failed(repo, source))?;
        if older == AgePolicy::Refuse {
            check_age(repo, &metadata, now)?;
        }
        self.checked().insert(repo.cache_name(), metadata.clone());
        Ok(metadata)
    }

    async fn update(
        &self,
        repo: &ExternalRepo,
        known: Option<RepoMetadata>,
        older: AgePolicy,
        now: SystemTime,
    ) -> Result<RepoMetadata> {
        let mirrors = self.mirrors.fetch(repo, true).await?;
        let mut first = None;
        for base in &mirrors.urls {
            for again in [true, false] {
                let pages = mirrors.pages.as_slice();
                match self.update_from(repo, base, pages, known.clone(), older, now).await {
                    Ok(metadata) => return Ok(metadata),
                    // The repository changed between its `repomd.xml` and a file that this names.
                    Err(error) if again && error.is_gone() => {}
                    Err(error) => {
                        if mirrors.urls.len() > 1 {
                            tracing::info!(repository = repo.id, %error, "asking the next mirror");
                        }
                        first.get_or_insert(error);
                        break;
                    }
                }
            }
        }
        let none = || DownloadError::Server(format!("{}: no mirror", repo.place.url()));
        Err(first.unwrap_or_else(|| none().into()))
    }

    async fn update_from(
        &self,
        repo: &ExternalRepo,
        base: &Url,
        pages: &[Checksum],
        known: Option<RepoMetadata>,
        older: AgePolicy,
        now: SystemTime,
    ) -> Result<RepoMetadata> {
        let home = self.home(repo);
        fs::create_dir_all(&home).map_err(io_at(&home))?;
        let url = at(base, "repodata/repomd.xml");
        // Without the cached files no answer "unchanged" is possible, but the last known state
        // still counts against a rollback.
        let current = read_current(&home);
        let validator = match (&known, &current) {
            (Some(_), Some(current)) if current.url == url.as_str() => current.validator.clone(),
            _ => Validator::default(),
        };
        let page =
            self.downloader.file(repo, &url, MAX_REPOMD, &validator, || Ok(Vec::new())).await?;
        let (xml, validator) = match (page, known) {
            ((_, DownloadOutcome::Unchanged), Some(known)) => return Ok(known),
            ((_, DownloadOutcome::Unchanged), None) => {
                let why = format!("{url}: unchanged, but nothing is known");
                return Err(DownloadError::Server(why).into());
            }
            ((xml, DownloadOutcome::Fetched(validator)), Some(known)) => {
                if Sha256::compute(&xml) == known.digest {
                    return Ok(known);
                }
                (xml, validator)
            }
            ((xml, DownloadOutcome::Fetched(validator)), None) => (xml, validator),
        };
        check_page(&url, &xml, pages)?;
        let signature = self.signature(repo, base, &xml, now).await?;
        let repomd = parse(&url, &xml)?;
        if let (Some(current), AgePolicy::Refuse) = (&current, older) {
            check_forward(&url, &home, current, &repomd)?;
        }
        let metadata =
            self.download_files(repo, base, &home, &xml, signature.as_deref(), &repomd).await?;
        let current = CurrentMetadata {
            repomd: metadata.digest,
            revision: repomd.revision,
            timestamp: repomd.timestamp,
            url: url.into(),
            validator,
        };
        write_current(&home, &current)?;
        prune(&home, metadata.digest);
        tracing::info!(repository = repo.id, repomd = %metadata.digest, "took new metadata");
        Ok(metadata)
    }

    /// The checked signature of `repomd.xml`, if the repository must have one.
    async fn signature(
        &self,
        repo: &ExternalRepo,
        base: &Url,
        xml: &[u8],
        now: SystemTime,
    ) -> Result<Option<Vec<u8>>> {
        if !repo.repo_gpgcheck {
            return Ok(None);
        }
        let url = at(base, "repodata/repomd.xml.asc");
        let signature = self.downloader.small(repo, &url, MAX_SIGNATURE).await?;
        check_signature(repo, &url, xml, &signature, now)?;
        Ok(Some(signature))
    }

    /// Downloads the files into a directory of their own, which is renamed into place when it is
    /// complete.
    async fn download_files(
        &self,
        repo: &ExternalRepo,
        base: &Url,
        home: &Path,
        xml: &[u8],
        signature: Option<&[u8]>,
        repomd: &Repomd,
    ) -> Result<RepoMetadata> {
        let digest = Sha256::compute(xml);
        let dir = home.join(digest.hex());
        let new = tempfile::Builder::new().prefix("new-").tempdir_in(home).map_err(io_at(home))?;
        for file in repomd.files() {
            self.take_file(repo, base, home, file, &new.path().join(file_name(file))).await?;
        }
        let write = |name: &str, bytes: &[u8]| {
            let path = new.path().join(name);
            fs::write(&path, bytes).map_err(io_at(&path))
        };
        write("repomd.xml", xml)?;
        signature.map_or(Ok(()), |signature| write("repomd.xml.asc", signature))?;
        // A directory of that name must be damaged, or its state would have been found.
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(io_at(&dir))?;
        }
        fs::rename(new.path(), &dir).map_err(io_at(&dir))?;
        Ok(located(&dir, digest, repomd))
    }

    async fn take_file(
        &self,
        repo: &ExternalRepo,
        base: &Url,
        home: &Path,
        file: &MetadataFile,
        path: &Path,
    ) -> Result<()> {
        let (of, from, to) = (file.clone(), home.to_owned(), path.to_owned());
        if blocking(move || Ok(link_known(&from, &of, &to))).await? {
            return Ok(());
        }
        let url = match &file.base {
            Some(base) => check_base(base, &repo.private_hosts)
                .map_err(LocationError::from)
                .and_then(|base| href::join(&base, &file.href)),
            None => href::join(base, &file.href),
        };
        let url = url.map_err(|reason| MetadataErrorKind::Location {
            url: base.to_string(),
            reason: reason.into(),
        })?;
        let limit = file.size.unwrap_or(MAX_FILE);
        let sink = || FileSink::new(home, file.checksum.kind);
        let (sink, _) =
            self.downloader.file(repo, &url, limit, &Validator::default(), sink).await?;
        let (file, path) = (file.clone(), path.to_owned());
        blocking(move || {
            let temporary = sink.check(&url, &file)?;
            check_open(&url, temporary.path(), &file)?;
            temporary.persist(&path).map_err(|error| io_at(&path)(error.error))?;
            Ok(())
        })
        .await
    }

    fn home(&self, repo: &ExternalRepo) -> PathBuf {
        self.dir.join(repo.cache_name())
    }

    fn checked(&self) -> MutexGuard<'_, HashMap<String, RepoMetadata>> {
        self.checked.lock()
    }
}

fn failed(repo: &ExternalRepo, source: MetadataErrorKind) -> MetadataError {
    MetadataError { repository: repo.id.clone(), source }
}

fn at(base: &Url, place: &str) -> Url {
    href::join(base, place).expect("a fixed place below the repository")
}

fn parse(url: &Url, xml: &[u8]) -> Result<Repomd> {
    Repomd::parse(xml)
        .map_err(|reason| MetadataErrorKind::Repomd { url: url.to_string(), reason: reason.into() })
}

/// Runs work that reads much on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.expect("checking metadata does not panic")
}

fn check_signature(
    repo: &ExternalRepo,
    url: &Url,
    xml: &[u8],
    signature: &[u8],
    now: SystemTime,
) -> Result<()> {
    verify_detached(xml, &String::from_utf8_lossy(signature), &repo.certs, now).map(|_| ()).map_err(
        |error| MetadataErrorKind::Signature {
            url: url.to_string(),
            expected: repo.certs.fingerprints().join(", "),
            reason: error.to_string(),
        },
    )
}

/// Refuses a `repomd.xml` whose digest is not in the metalink, if there is a metalink.
fn check_page(url: &Url, xml: &[u8], pages: &[Checksum]) -> Result<()> {
    if pages.is_empty() {
        return Ok(());
    }
    let found = [
        Checksum { kind: DigestKind::Sha256, hex: Sha256::compute(xml).hex() },
        Checksum { kind: DigestKind::Sha512, hex: hex::encode(sha2::Sha512::digest(xml)) },
    ];
    if pages.iter().any(|page| found.contains(page)) {
        return Ok(());
    }
    Err(MetadataErrorKind::Mismatch {
        url: url.to_string(),
        what: "digest by the metalink",
        expected: pages[0].to_string(),
        found: found[0].to_string(),
    })
}

/// Refuses metadata that are older than the current ones, by the revision or by the time in
/// `repomd.xml`.
fn check_forward(url: &Url, home: &Path, current: &CurrentMetadata, new: &Repomd) -> Result<()> {
    let check = |what, known, found| {
        if found >= known {
            return Ok(());
        }
        Err(MetadataErrorKind::RolledBack {
            url: url.to_string(),
            what,
            known,
            found,
            cache: home.into(),
        })
    };
    if let (Some(known), Some(found)) = (current.revision, new.revision) {
        check("revision", known, found)?;
    }
    check("timestamp", current.timestamp, new.timestamp)
}

/// Refuses metadata that are older than the target allows: an old state with valid signatures
/// withholds updates.
///
/// # Errors
/// [`MetadataErrorKind::TooOld`].
pub(super) fn check_age(
    repo: &ExternalRepo,
    metadata: &RepoMetadata,
    now: SystemTime,
) -> Result<(), MetadataError> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let days = now.saturating_sub(metadata.timestamp) / 86_400;
    let limit = repo.max_age_days;
    if limit == 0 || days <= limit.into() {
        return Ok(());
    }
    Err(failed(repo, MetadataErrorKind::TooOld { url: repo.place.url().to_string(), days, limit }))
}

/// The current metadata, if they are undamaged; `None` when there are none.
fn read_known(home: &Path, repo: &ExternalRepo, now: SystemTime) -> Option<RepoMetadata> {
    let current = read_current(home)?;
    let dir = home.join(current.repomd.hex());
    let read = || -> Result<RepoMetadata> {
        let path = dir.join("repomd.xml");
        let xml = fs::read(&path).map_err(io_at(&path))?;
        if repo.repo_gpgcheck {
            let path = dir.join("repomd.xml.asc");
            let signature = fs::read(&path).map_err(io_at(&path))?;
            check_signature(repo, repo.place.url(), &xml, &signature, now)?;
        }
        let repomd = parse(repo.place.url(), &xml)?;
        for file in repomd.files() {
            check_file(&dir.join(file_name(file)), file)?;
        }
        Ok(located(&dir, Sha256::compute(&xml), &repomd))
    };
    match read() {
        Ok(metadata) => Some(metadata),
        Err(error) => {
            tracing::warn!(repository = repo.id, %error, "cached metadata cannot be used");
            None
        }
    }
}

/// The content of `current.json`: which metadata are current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CurrentMetadata {
    repomd: Sha256,
    #[serde(default)]
    revision: Option<u64>,
    timestamp: u64,
    /// The URL of the state, to whose server `validator` belongs.
    #[serde(default)]
    url: String,
    #[serde(default)]
    validator: Validator,
}

/// The paths of the files of a state.
fn located(dir: &Path, digest: Sha256, repomd: &Repomd) -> RepoMetadata {
    RepoMetadata {
        digest,
        timestamp: repomd.timestamp,
        primary: dir.join(file_name(&repomd.primary)),
        filelists: repomd.filelists.as_ref().map(|file| dir.join(file_name(file))),
        modules: repomd.modules.as_ref().map(|file| dir.join(file_name(file))),
    }
}

/// A name that the farm chooses, with the suffix of the compression.
fn file_name(file: &MetadataFile) -> String {
    let suffix = suffix(file).map(|suffix| format!(".{suffix}")).unwrap_or_default();
    let form = if file.kind == "modules" { "yaml" } else { "xml" };
    format!("{}-{}.{form}{suffix}", &file.checksum.hex[..64], file.kind)
}

/// Links an unchanged file from a cached state.
fn link_known(home: &Path, file: &MetadataFile, path: &Path) -> bool {
    let Ok(states) = fs::read_dir(home) else { return false };
    states.filter_map(std::result::Result::ok).any(|state| {
        let old = state.path().join(file_name(file));
        old.is_file() && check_file(&old, file).is_ok() && fs::hard_link(&old, path).is_ok()
    })
}

fn current_path(home: &Path) -> PathBuf {
    home.join("current.json")
}

/// Reads `current.json`; `None` when it does not exist or cannot be read.
fn read_current(home: &Path) -> Option<CurrentMetadata> {
    let bytes = fs::read(current_path(home)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Replaces `current.json` atomically.
///
/// # Errors
/// When the disk fails.
fn write_current(home: &Path, current: &CurrentMetadata) -> Result<()> {
    let path = current_path(home);
    let json = serde_json::to_vec(current).expect("plain fields");
    let mut new = NamedTempFile::new_in(home).map_err(io_at(home))?;
    new.write_all(&json).map_err(io_at(&path))?;
    new.persist(&path).map_err(|error| io_at(&path)(error.error))?;
    Ok(())
}

/// Removes all states but the newest few. A state that cannot be removed is tried again the next
/// time.
fn prune(home: &Path, current: Sha256) {
    let Ok(entries) = fs::read_dir(home) else { return };
    let mut states: Vec<_> = entries
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.path().is_dir() && entry.file_name() != current.hex().as_str())
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    states.sort_unstable();
    let surplus = states.len().saturating_sub(KEPT - 1);
    for (_, path) in states.into_iter().take(surplus) {
        let _ = fs::remove_dir_all(path);
    }
}
