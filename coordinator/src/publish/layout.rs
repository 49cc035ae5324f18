//! The paths in the tree (see [`super`]).

use std::path::{Path, PathBuf};

use rpmfarm_core::snapshot::RepositoryKind;
use rpmfarm_core::{Arch, Nevra, Sha256, name};

use super::error::{PublishError, Result};
pub(super) use crate::pool_path::PACKAGES;
use crate::pool_path::{anew_in_pool, in_pool};

/// The target of the link [`PACKAGES`] in a repository, relative to it.
pub(super) const PACKAGES_TO_POOL: &str = "../../../../../pool";

const POOL: &str = "pool";

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

/// A repository inside a generation.
pub(super) fn repository(generation: &Path, arch: Arch, kind: RepositoryKind) -> PathBuf {
    generation.join(arch.as_str()).join(kind.dir())
}

pub(super) fn key_name(target: &str) -> String {
    format!("RPM-GPG-KEY-{target}")
}

#[cfg(test)]
mod tests {
    use super::*;

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
