//! What a target says of single packages.

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
    /// The name of its dist-git repository where that is another: a forge may not allow each
    /// character that a package's name can have (GitLab has no `+`).
    pub repository: Option<String>,

    /// The file name of the spec that is built, where the repository has several and none is
    /// named as the package or its repository: `x.spec`.
    pub spec: Option<String>,

    /// The branch or tag that is built when none is asked for, in place of the upstream's.
    #[serde(rename = "ref")]
    pub git_ref: Option<String>,

    /// Builds the package as upstream has it, whatever the modifications say.
    pub unmodified: bool,

    /// What happens with a push to it, in place of the target's `track.policy`.
    pub track: Option<Policy>,

    /// Limits that differ; those not named are the target's.
    pub limits: LimitOverrides,

    /// What its builds may do that is closed by default, beside what the target allows all.
    pub allow: Allowed,

    /// What it may make although packages of other sources have it, without a person: names of
    /// packages, what they provide and obsolete, paths; `*`, `?` and `[…]` as in a shell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub may_own: Vec<String>,

    /// How many of a hundred of its builds are repeated, in place of the target's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_percent: Option<u8>,

    /// Memory, disk and labels that its builds need of a worker.
    pub needs: NeedsSetting,
    /// Accepts `noarch` packages that differ between architectures in what Koji compares. Of each
    /// the one of the first architecture that makes it is published.
    pub noarch_may_differ: bool,

    /// Module streams of its build roots, as the target's `modules`.
    pub modules: Vec<StreamName>,

    /// Modules that its build roots use no stream of, as the target's `disabled_modules`.
    pub disabled_modules: Vec<ModuleName>,

    /// Macros in addition to the target's; one of the same name replaces it.
    pub macros: BTreeMap<String, String>,

    /// bconds that are switched on, as by `rpmbuild --with`.
    pub with: Vec<String>,

    /// bconds that are switched off, as by `rpmbuild --without`.
    pub without: Vec<String>,

    /// Leaves `%check` out.
    pub nocheck: bool,

    /// Requirements of its builds beside those of the spec. They are there when the SRPM is made as
    /// well.
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
    /// The limits that hold: these, and `base` for those not named.
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
