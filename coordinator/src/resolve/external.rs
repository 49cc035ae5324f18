//! External repositories with everything that is needed to read them: the URLs for one
//! architecture, and the keys.

use std::path::Path;

use pgp::composed::{ArmorOptions, Deserializable as _, SignedPublicKey};
use rpmfarm_core::target::{KeySource, PrivateHosts, Repository, Target};
use rpmfarm_core::{Arch, Sha256};
use rpmfarm_rpmfile::Certs;
use url::Url;

/// One external repository for one architecture.
#[derive(Debug, Clone)]
pub struct ExternalRepo {
    /// Its name in locks and messages.
    pub id: String,
    pub place: RepositoryLocation,
    /// Whether every package must be signed.
    pub gpgcheck: bool,
    /// Whether `repomd.xml` must be signed.
    pub repo_gpgcheck: bool,
    /// The accepted keys.
    pub certs: Certs,
    /// The lowest number wins, as in dnf.
    pub priority: u32,
    /// The repository with the lower cost is preferred for a package that both have.
    pub cost: u32,
    /// Packages that are hidden from the solver.
    pub excludes: Vec<String>,
    /// If there are any, only these packages are visible to the solver.
    pub includes: Vec<String>,
    /// Whether its packages are visible whatever modules are active.
    pub module_hotfixes: bool,
    /// The greatest age of its metadata in days; 0 for any age.
    pub max_age_days: u32,
    /// Servers that may have a private address.
    pub private_hosts: PrivateHosts,
}

/// The location of a repository, as its target says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepositoryLocation {
    /// The directories that hold `repodata/`; each URL ends in `/`.
    Urls(Vec<Url>),
    /// The URL of a mirror list.
    Mirrorlist(Url),
    /// The URL of a metalink.
    Metalink(Url),
}

impl RepositoryLocation {
    fn from_repository(repository: &Repository, arch: Arch) -> Result<Self, String> {
        let parse = |key: &str, url: &str| -> Result<Url, String> {
            url.parse().map_err(|error| format!("{key} `{url}`: {error}"))
        };
        let values = [("arch", arch.as_str())];
        if let Some(list) = &repository.mirrorlist {
            return Ok(Self::Mirrorlist(parse("mirrorlist", &list.expand(&values))?));
        }
        if let Some(list) = &repository.metalink {
            return Ok(Self::Metalink(parse("metalink", &list.expand(&values))?));
        }
        let urls = repository.urls(arch);
        if urls.is_empty() {
            return Err("it has neither baseurl, mirrorlist nor metalink".to_owned());
        }
        Ok(Self::Urls(urls.iter().map(|url| parse("baseurl", url)).collect::<Result<_, _>>()?))
    }

    /// The URL that stands for the whole repository in messages.
    pub(super) fn url(&self) -> &Url {
        match self {
            Self::Urls(urls) => &urls[0],
            Self::Mirrorlist(url) | Self::Metalink(url) => url,
        }
    }
}

/// An invalid definition of a repository.
#[derive(Debug, thiserror::Error)]
#[error("target {target}, repository `{repository}`: {reason}")]
pub struct ExternalRepoError {
    pub target: String,
    pub repository: String,
    /// The reason and the remedy.
    pub reason: String,
}

/// All external repositories of a target for one architecture. Reads the key files that the
/// target names; `targets` is the directory of the target file.
///
/// # Errors
/// When a key file cannot be read or holds no key.
pub fn load(
    target: &Target,
    arch: Arch,
    targets: &Path,
) -> Result<Vec<ExternalRepo>, ExternalRepoError> {
    let one = |repository: &Repository| {
        ExternalRepo::load(target, repository, arch, targets).map_err(|reason| ExternalRepoError {
            target: target.name.clone(),
            repository: repository.id.clone(),
            reason,
        })
    };
    target.repositories.iter().map(one).collect()
}

impl ExternalRepo {
    /// The repository's description for the solver.
    pub(super) fn for_solver(&self) -> rpmfarm_solv::Repository {
        rpmfarm_solv::Repository {
            id: self.id.clone(),
            priority: i32::try_from(self.priority).unwrap_or(i32::MAX),
            cost: i32::try_from(self.cost).unwrap_or(i32::MAX),
            excludes: self.excludes.clone(),
            includes: self.includes.clone(),
            module_hotfixes: self.module_hotfixes,
        }
    }

    fn load(
        target: &Target,
        repository: &Repository,
        arch: Arch,
        targets: &Path,
    ) -> Result<Self, String> {
        let place = RepositoryLocation::from_repository(repository, arch)?;
        let mut certs = Certs::default();
        if repository.gpgcheck || repository.repo_gpgcheck {
            for key in &repository.keys {
                let armored = armored(key, targets)?;
                certs = certs.and(Certs::from_armored(&armored).map_err(|e| e.to_string())?);
            }
        }
        Ok(Self {
            id: repository.id.clone(),
            place,
            gpgcheck: repository.gpgcheck,
            repo_gpgcheck: repository.repo_gpgcheck,
            certs,
            priority: repository.priority,
            cost: repository.cost,
            excludes: repository.excludes.clone(),
            includes: repository.includepkgs.clone(),
            module_hotfixes: repository.module_hotfixes,
            max_age_days: repository.max_age_days,
            private_hosts: target.private_hosts.clone(),
        })
    }

    /// The name of its cache. It changes whenever the keys or other conditions of trust change.
    pub(super) fn cache_name(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.id, self.place.url(), self.repo_gpgcheck);
        for fingerprint in self.certs.fingerprints() {
            text.push_str(&fingerprint);
            text.push('\n');
        }
        format!("{}-{}", self.id, &Sha256::compute(text.as_bytes()).hex()[..16])
    }
}

/// The armored text of a key; a file may hold it in binary form as well.
fn armored(key: &KeySource, targets: &Path) -> Result<String, String> {
    let path = match key {
        KeySource::Armored(text) => return Ok(text.clone()),
        KeySource::File(path) => targets.join(path),
    };
    let failed = |why: String| format!("key file {}: {why}", path.display());
    let bytes = std::fs::read(&path).map_err(|error| failed(error.to_string()))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(binary) => SignedPublicKey::from_bytes_many(binary.as_bytes())
            .and_then(|keys| {
                keys.map(|key| key?.to_armored_string(ArmorOptions::default())).collect()
            })
            .map_err(|error| failed(error.to_string())),
    }
}
