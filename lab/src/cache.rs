//! The cache of the lab: downloads and finished work, outside of any checkout.
//!
//! Owns where files are kept, by content, and the lock for runs in parallel. Must not know how any
//! of them is made.

use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// A directory of downloads and finished work.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// The cache could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
pub struct CacheError {
    /// The file or directory.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

/// Locks a part of the cache for one run, until dropped.
#[derive(Debug)]
pub struct CacheLock {
    _file: File,
}

impl Cache {
    /// `$XDG_CACHE_HOME/rpmfarm-lab`, or the same below `~/.cache`.
    #[must_use]
    pub fn default_path() -> PathBuf {
        let base = env::var_os("XDG_CACHE_HOME").map_or_else(
            || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache"),
            PathBuf::from,
        );
        base.join("rpmfarm-lab")
    }

    /// Opens the cache at the path, or the default one, and makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: Option<&Path>) -> Result<Self, CacheError> {
        let root = path.map_or_else(Self::default_path, Path::to_path_buf);
        let root =
            std::path::absolute(&root).map_err(|source| CacheError { path: root, source })?;
        let cache = Self { root };
        cache.directory("work")?;
        Ok(cache)
    }

    /// A directory of the cache, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf, CacheError> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(|source| CacheError { path: path.clone(), source })?;
        Ok(path)
    }

    /// Waits until no other run uses the part `name`.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn lock(&self, name: &str) -> Result<CacheLock, CacheError> {
        let path = self.root.join(format!("{name}.lock"));
        let lock = || {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            file.lock()?;
            Ok(CacheLock { _file: file })
        };
        lock().map_err(|source| CacheError { path: path.clone(), source })
    }

    /// A fresh directory on the cache's file system; finished work is moved out of it by rename.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn work(&self) -> Result<tempfile::TempDir, CacheError> {
        let path = self.directory("work")?;
        tempfile::tempdir_in(&path).map_err(|source| CacheError { path, source })
    }
}

/// The digest over several texts, each with its length, in hexadecimal: a key of the cache.
#[must_use]
pub fn key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex::encode(hasher.finalize())
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}

/// Hard-links a file, or copies it where that cannot be done.
///
/// # Errors
/// When it cannot be copied either.
pub fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

/// Makes `to` a tree of the same files as `from`, by hard links where that can be done.
///
/// # Errors
/// When a directory or file cannot be read or written.
pub fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link_tree(&entry.path(), &target)?;
        } else {
            link_or_copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_the_borders_of_their_parts() {
        assert_ne!(key(["ab", "c"]), key(["a", "bc"]));
        assert_eq!(key(["ab", "c"]), key(["ab", "c"]));
    }

    #[test]
    fn trees_are_linked() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "text").unwrap();
        link_tree(&dir.path().join("a"), &dir.path().join("z")).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("z/b/c")).unwrap(), "text");
    }
}
