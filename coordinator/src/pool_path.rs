//! Where the file of a published package lies, which its repodata say too: signing writes it there,
//! and publishing puts it there.

use rpmfarm_core::{Nevra, Sha256};

/// The link in a repository that leads to the pool.
pub(crate) const PACKAGES: &str = "Packages";

/// Where clients find a package, relative to the root of each repository that it is in. This is
/// what the `href` of its repodata must be.
#[must_use]
pub fn href(nevra: &Nevra) -> String {
    format!("{PACKAGES}/{}", in_pool(nevra))
}

/// The same of a package that is signed with another key than the first time, by the digest of the
/// signed file: the pool is append-only, and who reads older repodata finds the older file.
#[must_use]
pub fn href_of_signed(nevra: &Nevra, digest: Sha256) -> String {
    format!("{PACKAGES}/{}", anew_in_pool(nevra, digest))
}

/// `ARCH/x/DIGEST/FILE`, with enough of the digest that no two files of a name meet.
pub(crate) fn anew_in_pool(nevra: &Nevra, digest: Sha256) -> String {
    let first = nevra.name.chars().next().unwrap_or('_').to_ascii_lowercase();
    format!("{}/{first}/{}/{}", nevra.arch, &digest.hex()[..16], nevra.file_name())
}

/// `ARCH/x/FILE`: packages of a thousand names make no directory too long to be listed.
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
