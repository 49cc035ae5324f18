//! Architectures: those the farm builds for, and the words that RPM headers use.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An architecture that a target builds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// AMD64 / Intel 64.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit POWER, little endian.
    Ppc64le,
}

/// A word that is no architecture of the farm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture `{0}` (known: x86_64, aarch64, ppc64le)")]
pub struct UnknownArch(pub String);

impl Arch {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::X86_64, Self::Aarch64, Self::Ppc64le];

    /// The name as RPM and the kernel have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Ppc64le => "ppc64le",
        }
    }

    /// Whether a package with this architecture word can be installed here.
    #[must_use]
    pub fn accepts(self, package_arch: &str) -> bool {
        package_arch == self.as_str() || package_arch == "noarch"
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Arch {
    type Err = UnknownArch;

    fn from_str(text: &str) -> Result<Self, UnknownArch> {
        Self::ALL
            .into_iter()
            .find(|arch| arch.as_str() == text)
            .ok_or_else(|| UnknownArch(crate::name::shown(text)))
    }
}
