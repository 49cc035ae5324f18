//! Where everything lies in the tree (see [`super`]).

use std::path::{Path, PathBuf};

use rpmfarm_core::snapshot::Kind;
use rpmfarm_core::{Arch, Nevra, Sha256, name};

use super::error::{PublishError, Result};

/// The link in a repository that leads to the pool, and its target seen from there.
pub(super) const PACKAGES: &str = "Packages";
pub(super) const PACKAGES_TO_POOL: &str = "../../../../../pool";

const POOL: &str = "pool";

/// The directories of one channel.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) target: String,
    pub(super) channel: String,
    root: PathBuf,
}

impl Layout {
    /// Names become directories and URLs, so they are checked here once.
    pub(super) fn new(repos: &Path, target: &str, channel: &str) -> Result<Self> {
        for word in [target, channel] {
            name::check_package(word).map_err(|_| PublishError::Name(name::shown(word)))?;
        }
        if channel == POOL {
            return Err(PublishError::Name(channel.into()));
        }
        Ok(Self { target: target.into(), channel: channel.into(), root: repos.join(target) })
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join(".lock")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.root.join(key_name(&self.target))
    }

    pub(super) fn repo_file(&self) -> PathBuf {
        self.root.join(format!("{}-{}.repo", self.target, self.channel))
    }

    pub(super) fn pool(&self) -> PathBuf {
        self.root.join(POOL)
    }

    pub(super) fn pooled(&self, nevra: &Nevra) -> PathBuf {
        self.pool().join(in_pool(nevra))
    }

    /// The same of a package that was there before under another signature.
    pub(super) fn pooled_anew(&self, nevra: &Nevra, digest: Sha256) -> PathBuf {
        self.pool().join(anew_in_pool(nevra, digest))
    }

    /// Where a package lies that a channel shows.
    pub(super) fn lies_at(&self, nevra: &Nevra, digest: Sha256) -> PathBuf {
        let anew = self.pooled_anew(nevra, digest);
        if anew.exists() { anew } else { self.pooled(nevra) }
    }

    pub(super) fn channel(&self) -> PathBuf {
        self.root.join(&self.channel)
    }

    pub(super) fn current(&self) -> PathBuf {
        self.channel().join("current")
    }

    pub(super) fn generations(&self) -> PathBuf {
        self.channel().join(".generations")
    }

    pub(super) fn generation(&self, number: u64) -> PathBuf {
        self.generations().join(number.to_string())
    }
}

/// A repository inside a generation.
pub(super) fn repository(generation: &Path, arch: Arch, kind: Kind) -> PathBuf {
    generation.join(arch.as_str()).join(kind.dir())
}

pub(super) fn key_name(target: &str) -> String {
    format!("RPM-GPG-KEY-{target}")
}

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
fn anew_in_pool(nevra: &Nevra, digest: Sha256) -> String {
    let first = nevra.name.chars().next().unwrap_or('_').to_ascii_lowercase();
    format!("{}/{first}/{}/{}", nevra.arch, &digest.hex()[..16], nevra.file_name())
}

/// `ARCH/x/FILE`: packages of a thousand names make no directory too long to be listed.
fn in_pool(nevra: &Nevra) -> String {
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

    #[test]
    fn names_lead_nowhere_else() {
        let layout = |target, channel| Layout::new(Path::new("/repos"), target, channel);
        assert!(layout("lab", "testing").is_ok());
        for (target, channel) in
            [("..", "x"), ("a/b", "x"), ("", "x"), ("lab", ".generations"), ("lab", "pool")]
        {
            assert!(layout(target, channel).is_err(), "{target} {channel}");
        }
    }
}
