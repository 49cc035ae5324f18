//! The settings of single packages in a target file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::NeedsSetting;
use crate::Allowed;
use crate::limits::Limits;
use crate::modules::{ModuleName, StreamName};
use crate::track::policy::Policy;

/// The settings of one package: `[packages.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackageOverrides {
    /// The name of its dist-git repository if it differs: a forge may not allow every character of
    /// a package's name (GitLab has no `+`).
    pub repository: Option<String>,

    /// The file name of the spec that is built, if the repository has several and none is named
    /// like the package or its repository: `x.spec`.
    pub spec: Option<String>,

    /// The default branch or tag, in place of the upstream's.
    #[serde(rename = "ref")]
    pub git_ref: Option<String>,

    /// Builds the package without modifications.
    pub unmodified: bool,

    /// The policy for pushes to it, in place of the target's `track.policy`.
    pub track: Option<Policy>,

    /// Limits of its own; those left out are the target's.
    pub limits: LimitOverrides,

    /// What its builds may do beyond the defaults, in addition to what the target allows all.
    pub allow: Allowed,

    /// Names that it may make without approval although packages of other sources own them: names
    /// of packages, capabilities that it provides or obsoletes, paths; `*`, `?` and `[…]` as in a
    /// shell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub may_own: Vec<String>,

    /// The percentage of its builds that are repeated, in place of the target's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_percent: Option<u8>,

    /// Memory, disk and labels that its builds need.
    pub needs: NeedsSetting,
    /// Accepts `noarch` packages that differ between architectures in what Koji compares. The one
    /// of the first architecture that makes it is published.
    pub noarch_may_differ: bool,

    /// Module streams of its build roots, as the target's `modules`.
    pub modules: Vec<StreamName>,

    /// Modules of which its build roots use no stream, as the target's `disabled_modules`.
    pub disabled_modules: Vec<ModuleName>,

    /// Macros in addition to the target's; one of the same name replaces it.
    pub macros: BTreeMap<String, String>,

    /// bconds that are switched on, as by `rpmbuild --with`.
    pub with: Vec<String>,

    /// bconds that are switched off, as by `rpmbuild --without`.
    pub without: Vec<String>,

    /// Leaves `%check` out.
    pub nocheck: bool,

    /// Requirements of its builds in addition to those of the spec. They are also in the root that
    /// the SRPM is made in.
    pub additional_packages: Vec<String>,
}

/// Single limits in place of the target's. The fields are those of [`Limits`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitOverrides {
    pub seconds: Option<u64>,
    pub srpm_seconds: Option<u64>,
    pub silence_seconds: Option<u64>,
    pub memory_mib: Option<u64>,
    pub processes: Option<u64>,
    pub disk_mib: Option<u64>,
    pub log_mib: Option<u64>,
    pub results_mib: Option<u64>,
    pub results_unpacked_mib: Option<u64>,
    pub results_files: Option<u64>,
}

impl LimitOverrides {
    /// The effective limits: these, and those of `base` where these are left out.
    #[must_use]
    pub fn over(&self, base: &Limits) -> Limits {
        Limits {
            seconds: self.seconds.unwrap_or(base.seconds),
            srpm_seconds: self.srpm_seconds.unwrap_or(base.srpm_seconds),
            silence_seconds: self.silence_seconds.unwrap_or(base.silence_seconds),
            memory_mib: self.memory_mib.unwrap_or(base.memory_mib),
            processes: self.processes.unwrap_or(base.processes),
            disk_mib: self.disk_mib.unwrap_or(base.disk_mib),
            log_mib: self.log_mib.unwrap_or(base.log_mib),
            results_mib: self.results_mib.unwrap_or(base.results_mib),
            results_unpacked_mib: self.results_unpacked_mib.unwrap_or(base.results_unpacked_mib),
            results_files: self.results_files.unwrap_or(base.results_files),
        }
    }
}
