//! The coordinator's blob store, read by a process that does not trust the coordinator.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use rpmfarm_core::Sha256;

/// A blob store: files `ab/abcdef…` named by their SHA-256.
#[derive(Debug, Clone)]
pub struct Blobs(PathBuf);

impl Blobs {
    /// The store in a directory.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The path of the file with a digest.
    #[must_use]
    pub fn path(&self, digest: Sha256) -> PathBuf {
        let hex = digest.hex();
        self.0.join(&hex[..2]).join(&hex)
    }

    /// Opens a file. The caller checks its digest.
    ///
    /// # Errors
    /// When it does not exist, or is not a regular file.
    pub fn open(&self, digest: Sha256) -> io::Result<File> {
        // A process that can write there must not redirect the reader with a link, or block it with
        // a pipe.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK);
        let file = options.open(self.path(digest))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_regular_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path());
        let [one, link, folder] = [b"1", b"2", b"3"].map(|bytes| Sha256::compute(bytes));
        for digest in [one, link, folder] {
            std::fs::create_dir_all(blobs.path(digest).parent().unwrap()).unwrap();
        }
        std::fs::write(blobs.path(one), "1").unwrap();
        std::os::unix::fs::symlink(blobs.path(one), blobs.path(link)).unwrap();
        std::fs::create_dir(blobs.path(folder)).unwrap();
        assert!(blobs.open(one).is_ok());
        assert!(blobs.open(link).is_err());
        let error = blobs.open(folder).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
        assert!(blobs.open(Sha256::compute(b"4")).is_err());
    }
}
