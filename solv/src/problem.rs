//! Why a request cannot be fulfilled, as data: the requirements that nothing provides, and the
//! conflicts.

use std::fmt;

use rpmfarm_core::Nevra;
use serde::{Deserialize, Serialize};

use crate::Pool;
use crate::ffi::{Id, Rule, RuleKind};

/// The origin of a requirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Requirer {
    /// The request itself.
    Request,
    /// A package that the request needs, directly or not.
    Package(Nevra),
}

impl fmt::Display for Requirer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("the build"),
            Self::Package(nevra) => nevra.fmt(f),
        }
    }
}

/// A requirement that nothing provides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingRequirement {
    /// As the spec or the package writes it.
    pub requirement: String,
    /// The package or request with the requirement.
    pub by: Requirer,
}

impl fmt::Display for MissingRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing provides `{}`, required by {}", self.requirement, self.by)
    }
}

/// A request that cannot be fulfilled. Its text is one line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.line())]
pub struct UnsolvableError {
    /// Every requirement that nothing provides.
    pub missing: Vec<MissingRequirement>,
    /// The conflicts, one sentence each.
    pub conflicts: Vec<String>,
    /// All rules involved, in libsolv's words: how the request leads to the above.
    pub details: Vec<String>,
}

impl UnsolvableError {
    fn line(&self) -> String {
        let mut parts: Vec<_> = self.missing.iter().map(MissingRequirement::to_string).collect();
        parts.extend(self.conflicts.iter().cloned());
        if parts.is_empty() {
            parts.clone_from(&self.details);
        }
        parts.join("; ")
    }

    /// Sorts the rules of all problems into the fields above.
    pub(crate) fn from_problems(pool: &mut Pool, problems: &[Vec<Rule>]) -> Self {
        let mut found = Self::default();
        for rule in problems.iter().flatten() {
            push_new(&mut found.details, rule.text.clone());
            match rule.kind {
                RuleKind::JobNothingProvides { dep } => {
                    let requirement = pool.raw.dependency_text(dep);
                    push_new(
                        &mut found.missing,
                        MissingRequirement { requirement, by: Requirer::Request },
                    );
                }
                RuleKind::NothingProvides { package, dep } => {
                    found.add_missing_of(pool, package, dep);
                }
                RuleKind::Conflict => push_new(&mut found.conflicts, rule.text.clone()),
                RuleKind::Requires | RuleKind::Job => {}
            }
        }
        found
    }

    /// The solver stops at the first requirement of a package that nothing provides; a maintainer
    /// wants to know all of them.
    fn add_missing_of(&mut self, pool: &mut Pool, package: Id, dep: Id) {
        let Some(nevra) = pool.nevra(package) else { return };
        let mut lacking = vec![dep];
        for dep in pool.raw.requires(package) {
            if !lacking.contains(&dep) && pool.is_missing(dep) {
                lacking.push(dep);
            }
        }
        for dep in lacking {
            let requirement = pool.raw.dependency_text(dep);
            let by = Requirer::Package(nevra.clone());
            push_new(&mut self.missing, MissingRequirement { requirement, by });
        }
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}
