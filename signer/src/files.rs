//! Access to the packages themselves, where the signer may read them: the coordinator's blob store.

use std::path::Path;

use rpmfarm_core::Sha256;
use rpmfarm_guarded::blobs::Blobs;
use rpmfarm_rpmfile::UnsignedPackage;

use crate::request::RequestError;

#[derive(Debug, Clone)]
pub struct PackageFiles(Blobs);

impl PackageFiles {
    /// The store in a directory.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self(Blobs::new(root))
    }

    /// Reads a whole file, and proves that it has this digest and this header.
    ///
    /// # Errors
    /// When it does not exist, has another digest, or has another header.
    pub fn prove(&self, artifact: Sha256, header: &[u8]) -> Result<(), RequestError> {
        let refused = |reason: String| RequestError::File { path: self.0.path(artifact), reason };
        let file = self.0.open(artifact).map_err(|error| refused(error.to_string()))?;
        let package = UnsignedPackage::of_proved(file, artifact);
        let package = package.map_err(|error| refused(error.to_string()))?;
        if package.header() != header {
            return Err(refused("its header is not the one that is to be signed".to_owned()));
        }
        Ok(())
    }
}
