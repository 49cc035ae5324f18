//! The import of one commit, from the fetch to the stored bundle. Blocks; runs on a lane.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpmfarm_core::distgit::{Committed, Layout, LookasideFile, TreeEntry};
use rpmfarm_core::name::check_package;
use rpmfarm_core::source::{SourceBundle, SourceFile};
use rpmfarm_core::{Sha256, Target};

use super::Imported;
use super::failure::ImportError;
use super::git::{self, Checkout, Files, Session};
use super::index::Index;
use super::lookaside::Lookaside;
use super::watch::Watch;
use crate::blobs::Blobs;
use crate::http::Http;

/// What all imports share.
pub(super) struct Shared {
    pub(super) http: Arc<Http>,
    pub(super) blobs: Blobs,
    pub(super) index: Index,
    /// Holds a bare repository for each upstream one.
    pub(super) repositories: PathBuf,
}

/// What is imported.
pub(super) struct Job {
    pub(super) target: Target,
    pub(super) package: String,
    pub(super) git_ref: String,
}

impl Job {
    /// Checks what was asked for.
    ///
    /// # Errors
    /// [`ImportError::Name`].
    pub(super) fn new(
        target: &Target,
        package: &str,
        git_ref: Option<&str>,
    ) -> Result<Self, ImportError> {
        check_package(package)?;
        let git_ref = target.git_ref(package, git_ref)?;
        Ok(Self { target: target.clone(), package: package.to_owned(), git_ref })
    }

    /// Imports it.
    ///
    /// # Errors
    /// Why it cannot be imported.
    pub(super) fn run(&self, shared: &Shared, watch: &Watch) -> Result<Imported, ImportError> {
        let url = self.target.git_url(&self.package);
        let session = Session::new(
            Arc::clone(&shared.http),
            self.target.private_hosts.clone(),
            watch.clone(),
            self.package.clone(),
        );
        let cache = shared.repositories.join(cache_name(&self.package, &url));
        let checkout = git::fetch(&session, &cache, &url, &self.git_ref)?;
        Import { job: self, shared, watch, checkout }.bundle()
    }
}

/// A name for the cached repository that tells packages and servers apart.
fn cache_name(package: &str, url: &str) -> String {
    format!("{package}-{}.git", &Sha256::of(url.as_bytes()).hex()[..16])
}

/// An import whose commit is there.
struct Import<'a> {
    job: &'a Job,
    shared: &'a Shared,
    watch: &'a Watch,
    checkout: Checkout,
}

impl Import<'_> {
    fn bundle(&self) -> Result<Imported, ImportError> {
        let limits = self.watch.limits();
        let files = self.checkout.files()?;
        let layout = self.layout(&files)?;
        let lookaside = self.list(&layout, &files)?;
        layout.check_list(&lookaside, self.job.target.upstream.allow_md5)?;
        let count = layout.sources.len() + lookaside.len();
        if count > limits.files {
            return Err(self.too_much(
                format!("{count} source files"),
                limits.files as u64,
                "files",
            ));
        }

        let spec = self.commit_file(&layout.spec, &files, limits.spec)?;
        let mut total = spec.size;
        let mut sources = Vec::with_capacity(count);
        for file in &layout.sources {
            sources.push(self.commit_file(file, &files, limits.committed_file)?);
            total = self.add(total, &sources)?;
        }
        for file in &lookaside {
            sources.push(self.lookaside_file(file)?);
            total = self.add(total, &sources)?;
        }
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        self.store(SourceBundle {
            package: self.job.package.clone(),
            url: self.checkout.url.clone(),
            commit: self.checkout.commit.to_string(),
            spec,
            sources,
        })
    }

    fn layout(&self, files: &Files) -> Result<Layout, ImportError> {
        let entries: Vec<_> = files
            .iter()
            .map(|(path, (kind, _))| TreeEntry { path: path.clone(), kind: kind.clone() })
            .collect();
        Ok(Layout::detect(&self.job.package, &entries)?)
    }

    fn list(&self, layout: &Layout, files: &Files) -> Result<Vec<LookasideFile>, ImportError> {
        let Some((path, _)) = &layout.list else { return Ok(Vec::new()) };
        let text = self.checkout.text(path, files[path].1, self.watch.limits().list)?;
        Ok(LookasideFile::parse_list(path, &text)?)
    }

    /// Stores a file of the commit.
    fn commit_file(
        &self,
        file: &Committed,
        files: &Files,
        limit: u64,
    ) -> Result<SourceFile, ImportError> {
        self.watch.check()?;
        let content = self.checkout.content(&file.path, files[&file.path].1, limit)?;
        let digest = self.shared.blobs.put(&content)?;
        Ok(SourceFile { name: file.name.clone(), digest, size: content.len() as u64 })
    }

    /// Finds a look-aside file in the store, or fetches it.
    fn lookaside_file(&self, file: &LookasideFile) -> Result<SourceFile, ImportError> {
        let Shared { http, blobs, index, .. } = self.shared;
        let Job { target, package, .. } = self.job;
        let known = index.find(&file.checksum, blobs);
        let (digest, size) = match known {
            Some(known) => known,
            None => {
                let urls =
                    target.lookaside_urls(package, &self.branch(), &file.name, &file.checksum);
                if urls.is_empty() {
                    let (file, target) = (file.name.clone(), target.name.clone());
                    return Err(ImportError::NoLookaside { file, target });
                }
                let lookaside = Lookaside {
                    http,
                    allowed: &target.private_hosts,
                    blobs,
                    watch: self.watch,
                    limit: target.upstream.max_file_mib.saturating_mul(1024 * 1024),
                };
                let (digest, size) = lookaside.fetch(file, &urls)?;
                index.note(&file.checksum, digest, size)?;
                (digest, size)
            }
        };
        Ok(SourceFile { name: file.name.clone(), digest, size })
    }

    /// What `{branch}` stands for: a commit id is on some branch, most likely the usual one.
    fn branch(&self) -> String {
        let Job { target, package, git_ref } = self.job;
        if *git_ref != self.checkout.commit.to_string() {
            return git_ref.clone();
        }
        target.git_ref(package, None).unwrap_or_else(|_| git_ref.clone())
    }

    fn add(&self, total: u64, sources: &[SourceFile]) -> Result<u64, ImportError> {
        let total = total + sources.last().map_or(0, |file| file.size);
        let limit = self.watch.limits().bundle;
        if total > limit {
            return Err(self.too_much(format!("{total} bytes of sources"), limit, "bytes"));
        }
        Ok(total)
    }

    fn too_much(&self, found: String, limit: u64, unit: &'static str) -> ImportError {
        ImportError::TooMuch { what: self.job.package.clone(), found, limit, unit }
    }

    fn store(&self, bundle: SourceBundle) -> Result<Imported, ImportError> {
        let (subject, committed_at) = self.checkout.subject_and_time()?;
        let digest = self.shared.blobs.put(&bundle.to_bytes())?;
        Ok(Imported { bundle, digest, git_ref: self.job.git_ref.clone(), subject, committed_at })
    }
}

/// Makes a directory of the importer.
///
/// # Errors
/// What the disk says.
pub(super) fn make_dir(path: &Path) -> Result<(), ImportError> {
    std::fs::create_dir_all(path)
        .map_err(|source| ImportError::Disk { path: path.display().to_string(), source })
}
