//! Names of packages: EVR and NEVRA, parsing, printing and RPM's order.
//!
//! The order is that of `rpmvercmp` (rpm.org, "Version comparison"), by the `rpm-version` crate.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Epoch, version and release. Ordered as RPM orders them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evr {
    /// Epoch; an absent one is 0.
    pub epoch: u32,
    pub version: String,
    pub release: String,
}

/// Name, epoch, version, release and architecture of a package. The architecture of a
/// source package is `src`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Nevra {
    pub name: String,
    pub evr: Evr,
    /// Architecture word of the header: `x86_64`, `noarch`, `src`, …
    pub arch: String,
}

/// A text that is not a NEVRA.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a NEVRA (expected NAME-[EPOCH:]VERSION-RELEASE.ARCH)")]
pub struct NevraError(String);

impl Evr {
    /// From its three parts.
    pub fn new(epoch: u32, version: impl Into<String>, release: impl Into<String>) -> Self {
        Self { epoch, version: version.into(), release: release.into() }
    }
}

impl Ord for Evr {
    fn cmp(&self, other: &Self) -> Ordering {
        let rpm = |evr: &Self| {
            rpm_version::Evr::new(evr.epoch.to_string(), evr.version.clone(), evr.release.clone())
        };
        rpm(self).cmp(&rpm(other))
    }
}

impl PartialOrd for Evr {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Evr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != 0 {
            write!(f, "{}:", self.epoch)?;
        }
        write!(f, "{}-{}", self.version, self.release)
    }
}

impl Nevra {
    pub fn new(name: impl Into<String>, evr: Evr, arch: impl Into<String>) -> Self {
        Self { name: name.into(), evr, arch: arch.into() }
    }

    /// Whether this is a source package.
    #[must_use]
    pub fn is_source(&self) -> bool {
        self.arch == "src" || self.arch == "nosrc"
    }

    /// `NAME-VERSION-RELEASE`, as people and tags write it (no epoch).
    #[must_use]
    pub fn nvr(&self) -> String {
        format!("{}-{}-{}", self.name, self.evr.version, self.evr.release)
    }

    /// The file name that rpmbuild gives it: `NAME-VERSION-RELEASE.ARCH.rpm` (no epoch).
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.{}.rpm", self.nvr(), self.arch)
    }
}

impl fmt::Display for Nevra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}.{}", self.name, self.evr, self.arch)
    }
}

impl std::str::FromStr for Nevra {
    type Err = NevraError;

    fn from_str(text: &str) -> Result<Self, NevraError> {
        let error = || NevraError(crate::name::shown(text));
        let (rest, arch) = text.rsplit_once('.').ok_or_else(error)?;
        let (rest, release) = rest.rsplit_once('-').ok_or_else(error)?;
        let (name, version) = rest.rsplit_once('-').ok_or_else(error)?;
        let (epoch, version) = match version.split_once(':') {
            Some((epoch, version)) => (epoch.parse().map_err(|_| error())?, version),
            None => (0, version),
        };
        // Of two colons the first would be lost with an epoch of 0, which is not written.
        if version.contains(':') {
            return Err(error());
        }
        if [name, version, release, arch].iter().any(|part| part.is_empty()) {
            return Err(error());
        }
        Ok(Self::new(name, Evr::new(epoch, version, release), arch))
    }
}

impl TryFrom<String> for Nevra {
    type Error = NevraError;

    fn try_from(text: String) -> Result<Self, NevraError> {
        text.parse()
    }
}

impl From<Nevra> for String {
    fn from(nevra: Nevra) -> Self {
        nevra.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_rpm_does() {
        let evr = |v: &str| Evr::new(0, v, "1");
        assert!(evr("1.0~rc1") < evr("1.0"));
        assert!(evr("1.0") < evr("1.0^git1"));
        assert!(evr("1.9") < evr("1.10"));
        assert!(Evr::new(1, "1", "1") > Evr::new(0, "9", "1"));
        assert!(Evr::new(0, "1", "1.el9") < Evr::new(0, "1", "1.el9_2"));
    }

    #[test]
    fn prints_what_it_parses() {
        for text in ["hello-2.12.1-1.el9.x86_64", "a-b-c-1:2.0~rc1-3.noarch"] {
            assert_eq!(text.parse::<Nevra>().expect("a NEVRA").to_string(), text);
        }
        let nevra: Nevra = "a-b-1:2-3.src".parse().expect("a NEVRA");
        assert_eq!((nevra.evr.epoch, nevra.file_name().as_str()), (1, "a-b-2-3.src.rpm"));
        assert!(nevra.is_source());
        for bad in
            ["", "hello", "hello-1.x86_64", "-1-1.x86_64", "a-x:1-1.noarch", "a-0:2:1-1.noarch"]
        {
            assert!(bad.parse::<Nevra>().is_err(), "{bad}");
        }
    }
}
