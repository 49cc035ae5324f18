//! The path of a published package, which signing writes into its repodata and where publishing
//! puts the file.

use rpmfarm_core::{Nevra, Sha256};

/// The name of the link from a repository to the pool.
pub(crate) const PACKAGES: &str = "Packages";

/// The path of a package relative to the root of each repository that it is in: the `href` of its
/// repodata.
#[must_use]
pub fn href(nevra: &Nevra) -> String {
    format!("{PACKAGES}/{}", in_pool(nevra))
}

/// The same for a package that was signed again with another key, with the digest of the signed
/// file: the pool is append-only, and clients with older repodata must find the older file.
#[must_use]
pub fn href_of_signed(nevra: &Nevra, digest: Sha256) -> String {
    format!("{PACKAGES}/{}", anew_in_pool(nevra, digest))
}

/// `ARCH/x/DIGEST/FILE`, with enough of the digest that two files of one name do not meet.
pub(crate) fn anew_in_pool(nevra: &Nevra, digest: Sha256) -> String {
    let first = nevra.name.chars().next().unwrap_or('_').to_ascii_lowercase();
    format!("{}/{first}/{}/{}", nevra.arch, &digest.hex()[..16], nevra.file_name())
}

/// `ARCH/x/FILE`, by the first letter of the name, so that no directory becomes too long to be
/// listed.
pub(crate) fn in_pool(nevra: &Nevra) -> String {
    let first = nevra.name.chars().next().unwrap_or('_').to_ascii_lowercase();
    format!("{}/{first}/{}", nevra.arch, nevra.file_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_lie_by_architecture_and_first_letter() {
        let nevra: Nevra = "ImageMagick-1:7.1-2.el9.x86_64".parse().unwrap();
        assert_eq!(href(&nevra), "Packages/x86_64/i/ImageMagick-7.1-2.el9.x86_64.rpm");
    }
}
