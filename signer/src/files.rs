//! The packages themselves, where the signer is let to read them: the coordinator's blob store.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use rpmfarm_core::Sha256;
use rpmfarm_rpmfile::Unsigned;

use crate::request::Refusal;

/// A blob store: files `ab/abcdef…` named by their SHA-256.
#[derive(Debug, Clone)]
pub struct Files(PathBuf);

impl Files {
    /// The store in a directory.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// Reads a file, whole, and proves that it has this digest and this header.
    ///
    /// # Errors
    /// When it is not there, is another one, or has another header.
    pub fn prove(&self, artifact: Sha256, header: &[u8]) -> Result<(), Refusal> {
        let hex = artifact.hex();
        let path = self.0.join(&hex[..2]).join(&hex);
        let refused = |reason: String| Refusal::File { path: path.clone(), reason };
        // Whoever can write there must not lead it elsewhere, or hold it up with a pipe.
        let mut options = OpenOptions::new();
        let opened = options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(&path);
        let file = opened.map_err(|error| refused(error.to_string()))?;
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            return Err(refused("it is no regular file".to_owned()));
        }
        let package = Unsigned::of_proved(file, artifact);
        let package = package.map_err(|error| refused(error.to_string()))?;
        if package.header() != header {
            return Err(refused("its header is not the one that is to be signed".to_owned()));
        }
        Ok(())
    }
}
