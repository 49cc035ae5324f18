//! The paths in the tree (see [`super`]).

use std::path::{Path, PathBuf};

use rpmfarm_core::snapshot::RepositoryKind;
use rpmfarm_core::{Arch, Nevra, Sha256, name};

use super::error::{PublishError, Result};
pub(super) use crate::pool_path::PACKAGES;
use crate::pool_path::{anew_in_pool, in_pool};

const POOL: &str = "pool";

/// A repository inside a generation: that of a channel, an architecture and a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RepositoryPlace<'a> {
    /// Its name, where a channel has several ([`rpmfarm_core::published_repositories`]).
    pub(super) name: Option<&'a str>,
    pub(super) arch: Arch,
    pub(super) kind: RepositoryKind,
}

impl RepositoryPlace<'_> {
    /// Its path below the generation, as clients and the signer name it below the channel:
    /// `ARCH/os`, or `NAME/ARCH/os`.
    pub(super) fn path(self) -> String {
        let (arch, dir) = (self.arch, self.kind.dir());
        match self.name {
            Some(name) => format!("{name}/{arch}/{dir}"),
            None => format!("{arch}/{dir}"),
        }
    }

    /// Its directory.
    pub(super) fn below(self, generation: &Path) -> PathBuf {
        generation.join(self.path())
    }

    /// The target of the link [`PACKAGES`] in it, relative to it.
    pub(super) fn packages_to_pool(self) -> PathBuf {
        let below_target = 3 + self.path().split('/').count();
        Path::new(&"../".repeat(below_target)).join(POOL)
    }
}

/// The directories of one channel.
#[derive(Debug, Clone)]
pub(super) struct ChannelLayout {
    pub(super) target: String,
    pub(super) channel: String,
    root: PathBuf,
}

impl ChannelLayout {
    /// The layout of a channel. Names become directories and URLs, so they are checked here once.
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

    /// The path in the pool of a package that was signed again after it was published.
    pub(super) fn pooled_anew(&self, nevra: &Nevra, digest: Sha256) -> PathBuf {
        self.pool().join(anew_in_pool(nevra, digest))
    }

    /// The path of a package that a channel shows.
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

pub(super) fn key_name(target: &str) -> String {
    format!("RPM-GPG-KEY-{target}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_lead_to_the_pool() {
        let place =
            |name| RepositoryPlace { name, arch: Arch::X86_64, kind: RepositoryKind::Binary };
        let (alone, named) = (place(None), place(Some("BaseOS")));
        assert_eq!(
            (alone.path().as_str(), named.path().as_str()),
            ("x86_64/os", "BaseOS/x86_64/os")
        );
        let generation = Path::new("/repos/lab/testing/.generations/7");
        for (place, up) in [(alone, 5), (named, 6)] {
            assert_eq!(place.packages_to_pool().components().count(), up + 1);
            let mut at = place.below(generation);
            assert!((0..up).all(|_| at.pop()));
            assert_eq!(at, Path::new("/repos/lab"));
        }
    }

    #[test]
    fn names_lead_nowhere_else() {
        let layout = |target, channel| ChannelLayout::new(Path::new("/repos"), target, channel);
        assert!(layout("lab", "testing").is_ok());
        for (target, channel) in
            [("..", "x"), ("a/b", "x"), ("", "x"), ("lab", ".generations"), ("lab", "pool")]
        {
            assert!(layout(target, channel).is_err(), "{target} {channel}");
        }
    }
}
