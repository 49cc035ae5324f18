//! Upstream: bare git repositories and a look-aside cache, from specs of our own over real tarballs
//! of Debian's pool.
//!
//! Owns their content, good and bad, and that the same folder gives the same commit anywhere. Must
//! not know how they are served.

mod folder;
mod git;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rpmfarm_core::digest::{Checksum, DigestKind};
use rpmfarm_sources::distgit::LookasideFile;
use sha2::Digest as _;

use crate::apt::{Apt, AptError};
use crate::cache::{self, Cache, CacheError};
use crate::tool::ToolError;
use folder::Folder;
pub use git::{Commit, Entry, append, create, head};

/// The branch of every repository; the dist tag is `.lab9`.
pub const BRANCH: &str = "lab9";

/// The branch of every repository with modifications.
pub const MODIFIED_BRANCH: &str = "a9";

/// Why the repositories could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DistgitError {
    /// A tool of the host is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Debian's pool cannot be used.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// A file operation failed.
    #[error("cannot write the repositories")]
    Io(#[from] io::Error),
    /// A folder's settings cannot be read.
    #[error("a lab.toml is wrong")]
    Settings(#[from] toml::de::Error),
    /// A tarball is not in the list of its package.
    #[error("{package}: {file} is not in the list of sources")]
    Unlisted { package: String, file: String },
    /// Debian's source package has no such file.
    #[error("{package}: Debian's source package {source_package} has no file {file}")]
    NotInPool {
        package: String,
        source_package: String,
        /// The name of the file.
        file: String,
    },
    /// A tarball does not match its list.
    #[error("{package}: {file} has the digest {found}, and the list says {expected}")]
    Digest {
        package: String,
        file: String,
        /// The digest in the list.
        expected: String,
        found: String,
    },
}

/// The finished repositories.
#[derive(Debug, Clone)]
pub struct Distgit {
    /// Where they are: `rpms/NAME.git`, `autopatch/NAME.git` and `lookaside/` below it.
    pub path: PathBuf,
    /// Package → commit of [`BRANCH`].
    pub commits: BTreeMap<String, String>,
}

impl Distgit {
    /// The bare repository of a package.
    #[must_use]
    pub fn repository(&self, package: &str) -> PathBuf {
        repository(&self.path, package)
    }

    /// The bare repository of a package's modifications.
    #[must_use]
    pub fn modifications(&self, package: &str) -> PathBuf {
        modifications(&self.path, package)
    }
}

fn modifications(out: &Path, package: &str) -> PathBuf {
    out.join("autopatch").join(format!("{package}.git"))
}

fn repository(out: &Path, package: &str) -> PathBuf {
    out.join("rpms").join(format!("{package}.git"))
}

/// Makes every repository and the look-aside cache below `out`; what is there is replaced.
///
/// # Errors
/// When a tool is missing, the pool cannot be reached, or a tarball is not what was promised.
pub fn make(out: &Path, cache: Option<&Path>) -> Result<Distgit, DistgitError> {
    let folders = folder::all()?;
    let lookaside = out.join("lookaside");
    if lookaside.exists() {
        fs::remove_dir_all(&lookaside)?;
    }
    fs::create_dir_all(&lookaside)?;
    let cache = Cache::open(cache)?;
    let mut pool = PoolFiles { cache: &cache, apt: None };
    let mut commits = BTreeMap::new();
    for folder in &folders {
        let listed = listed(folder);
        for tarball in &folder.settings.pool {
            let checksum = find(folder, &listed, &tarball.file)?;
            let path = pool.get(folder, tarball, checksum)?;
            place(&lookaside, folder.name, &tarball.file, checksum, |to| {
                cache::link_or_copy(&path, to)
            })?;
        }
        for planted in &folder.settings.planted {
            let checksum = find(folder, &listed, &planted.file)?;
            place(&lookaside, folder.name, &planted.file, checksum, |to| {
                fs::write(to, &planted.text)
            })?;
        }
        let path = repository(out, folder.name);
        git::create(&path, BRANCH, &history(folder))?;
        if !folder.modifications.is_empty() {
            let path = modifications(out, folder.name);
            let tree =
                folder.modifications.iter().map(|(path, content)| (*path, Entry::File(content)));
            let commit = Commit { message: "Modify the package", tree: tree.collect() };
            git::create(&path, MODIFIED_BRANCH, &[commit])?;
        }
        commits.insert(folder.name.to_owned(), git::head(&path, BRANCH)?);
    }
    Ok(Distgit { path: out.to_path_buf(), commits })
}

/// Two commits, so that a fetch of depth one leaves one out.
fn history(folder: &Folder) -> [Commit<'_>; 2] {
    let ignore = Entry::File(b"*.src.rpm\n");
    let mut tree: BTreeMap<&str, Entry<'_>> =
        folder.files.iter().map(|(path, content)| (*path, Entry::File(content))).collect();
    let links = folder.settings.symlinks.iter();
    tree.extend(links.map(|(path, target)| (path.as_str(), Entry::Symlink(target))));
    tree.insert(".gitignore", ignore);
    [
        Commit { message: "Begin the package", tree: BTreeMap::from([(".gitignore", ignore)]) },
        Commit { message: "Import the package", tree },
    ]
}

/// The look-aside files that the repository lists. A list that cannot be read (some are bad on
/// purpose) lists none.
fn listed(folder: &Folder) -> Vec<LookasideFile> {
    let metadata = format!(".{}.metadata", folder.name);
    ["sources", metadata.as_str()]
        .into_iter()
        .filter_map(|name| {
            let text = str::from_utf8(folder.files.get(name)?).ok()?;
            LookasideFile::parse_list(name, text).ok()
        })
        .flatten()
        .collect()
}

fn find<'a>(
    folder: &Folder,
    listed: &'a [LookasideFile],
    file: &str,
) -> Result<&'a Checksum, DistgitError> {
    listed.iter().find(|entry| entry.name == file).map(|entry| &entry.checksum).ok_or_else(|| {
        DistgitError::Unlisted { package: folder.name.to_owned(), file: file.to_owned() }
    })
}

/// Stores a file where both forms of look-aside URLs find it.
fn place(
    lookaside: &Path,
    package: &str,
    file: &str,
    checksum: &Checksum,
    put: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let hash = &checksum.hex;
    let flat =
        lookaside.join("rpms").join(package).join(file).join(checksum.kind.as_str()).join(hash);
    fs::create_dir_all(&flat)?;
    put(&flat.join(file))?;
    let exploded = lookaside.join(hash);
    if exploded.exists() { Ok(()) } else { put(&exploded) }
}

/// Tarballs of Debian's pool, by digest; the index is opened when one is not in the cache.
struct PoolFiles<'a> {
    cache: &'a Cache,
    apt: Option<Apt>,
}

impl PoolFiles<'_> {
    fn get(
        &mut self,
        folder: &Folder,
        wanted: &folder::Pool,
        checksum: &Checksum,
    ) -> Result<PathBuf, DistgitError> {
        let kept = self.cache.directory("sources")?.join(&checksum.hex);
        if kept.exists() {
            return Ok(kept);
        }
        let _lock = self.cache.lock("sources")?;
        let apt = match self.apt.take() {
            Some(apt) => apt,
            // Sources are the same for all architectures.
            None => Apt::open(self.cache, "amd64", false)?,
        };
        let apt = self.apt.insert(apt);
        let mut files = apt.source(&wanted.source)?;
        files.retain(|file| file.name == wanted.name);
        let paths = apt.fetch_source(&wanted.source, &files)?;
        let path = paths.first().ok_or_else(|| DistgitError::NotInPool {
            package: folder.name.to_owned(),
            source_package: wanted.source.clone(),
            file: wanted.name.clone(),
        })?;
        let found = digest(checksum.kind, path)?;
        if found != checksum.hex {
            return Err(DistgitError::Digest {
                package: folder.name.to_owned(),
                file: wanted.file.clone(),
                expected: checksum.hex.clone(),
                found,
            });
        }
        cache::link_or_copy(path, &kept)?;
        Ok(kept)
    }
}

/// The file's digest of one kind. Our own lists use none but these two.
fn digest(kind: DigestKind, path: &Path) -> Result<String, DistgitError> {
    let mut file = fs::File::open(path)?;
    Ok(match kind {
        DigestKind::Sha512 => {
            let mut hasher = sha2::Sha512::new();
            io::copy(&mut file, &mut hasher)?;
            hex::encode(hasher.finalize())
        }
        _ => cache::sha256_of(path)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tarball_is_listed() {
        for folder in folder::all().unwrap() {
            let listed = listed(&folder);
            for tarball in &folder.settings.pool {
                find(&folder, &listed, &tarball.file).unwrap();
            }
        }
    }
}
