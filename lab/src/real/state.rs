//! The results for each branch, stored between runs.
//!
//! Owns the records and the verdict on each. Must not know how anything is built.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rpmfarm_core::Fault;
use rpmfarm_core::status::BuildState;
use serde::{Deserialize, Serialize};

use super::compare::Difference;

/// The results for a branch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    pub package: String,
    pub branch: String,
    pub commit: String,
    /// Look-aside files that were not found anywhere.
    pub lost: Vec<String>,
    /// The farm's result, if it has one.
    pub farm: Option<Farmed>,
    /// The result of plain rpmbuild, if it has one.
    pub plain: Option<Plain>,
    /// How many packages were compared, the source package among them.
    pub compared: usize,
    pub differences: Vec<Difference>,
}

/// The farm's result for a branch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Farmed {
    /// The state in which the build ended.
    pub state: String,
    /// The source package, if it was made: NAME-EPOCH:VERSION-RELEASE.src.
    pub srpm: Option<String>,
    /// Who was at fault for a failure: package, worker, farm.
    pub fault: String,
    /// In which stage it failed.
    pub stage: String,
    pub message: String,
    /// Seconds of rpmbuild in all tasks.
    pub rpmbuild: f64,
    /// Seconds that the worker needed besides: sources, root, results.
    pub around: f64,
    /// Whether there was a root for the build.
    pub locked: bool,
}

impl Farmed {
    /// Whether the farm has published its packages.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.state.parse::<BuildState>() == Ok(BuildState::Published)
    }

    /// Who was at fault; `None` when it did not fail.
    #[must_use]
    pub fn whose(&self) -> Option<Fault> {
        self.fault.parse().ok()
    }
}

/// The result of plain rpmbuild for a branch.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Plain {
    /// Whether there are packages.
    pub built: bool,
    /// The end of its output, when there are no packages.
    pub message: String,
    /// Seconds of rpmbuild, for source package and packages.
    pub rpmbuild: f64,
    /// Seconds that rpm took to make the root.
    pub root: f64,
}

/// The verdict on a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Lost,
    /// The farm could not import it.
    NotImported,
    /// No root could be made: the lab lacks a package.
    NoRoot,
    BothFail,
    /// The packages are the same.
    Same,
    /// Every difference has a reason.
    Explained,
    /// A difference has no reason, or only one of the two builds succeeded.
    Unexplained,
    /// The run was stopped before it was compared.
    Open,
}

impl Record {
    /// The verdict on this record.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.lost.is_empty() {
            return Verdict::Lost;
        }
        let Some(farm) = &self.farm else { return Verdict::Open };
        let published = farm.is_published();
        if !published && !farm.locked {
            return match (farm.whose(), &farm.srpm) {
                // A fault of the worker or the farm must always be investigated.
                (Some(Fault::Worker | Fault::Farm), _) => Verdict::Unexplained,
                (_, None) => Verdict::NotImported,
                _ => Verdict::NoRoot,
            };
        }
        let Some(plain) = &self.plain else { return Verdict::Open };
        match (published, plain.built) {
            (false, false) if farm.whose() == Some(Fault::Package) => Verdict::BothFail,
            (true, true) if self.differences.is_empty() => Verdict::Same,
            (true, true) if self.differences.iter().all(|one| one.reason.is_some()) => {
                Verdict::Explained
            }
            _ => Verdict::Unexplained,
        }
    }
}

/// The directory in which records and packages are kept.
#[derive(Debug, Clone)]
pub struct State {
    root: PathBuf,
}

impl State {
    /// Opens a directory, and creates it if it does not exist.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        let root = std::path::absolute(root)?;
        fs::create_dir_all(root.join("branches"))
            .with_context(|| format!("cannot keep results in {}", root.display()))?;
        Ok(Self { root })
    }

    /// A directory beside the branches', created if it does not exist.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// The directory of a branch.
    #[must_use]
    pub fn of(&self, name: &str) -> PathBuf {
        self.root.join("branches").join(name)
    }

    /// The record of a branch of this name and commit, or an empty one.
    #[must_use]
    pub fn load(&self, package: &str, branch: &str, commit: &str) -> Record {
        let path = self.of(&format!("{package}@{branch}")).join("record.json");
        let kept =
            fs::read(path).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
        kept.filter(|record| record.commit == commit).unwrap_or_else(|| Record {
            package: package.into(),
            branch: branch.into(),
            commit: commit.into(),
            ..Record::default()
        })
    }

    /// Stores a record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, record: &Record) -> anyhow::Result<()> {
        let directory = self.of(&format!("{}@{}", record.package, record.branch));
        fs::create_dir_all(&directory)?;
        let half = directory.join("record.part");
        fs::write(&half, serde_json::to_vec_pretty(record)?)?;
        fs::rename(half, directory.join("record.json"))?;
        Ok(())
    }

    /// Removes the record of a branch.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self, name: &str) -> anyhow::Result<()> {
        let directory = self.of(name);
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(state: &str, locked: bool, built: Option<bool>) -> Record {
        let fault = if state == "failed" { "package" } else { "" };
        Record {
            farm: Some(Farmed {
                state: state.into(),
                srpm: Some("a-1-1.src".into()),
                fault: fault.into(),
                locked,
                ..Farmed::default()
            }),
            plain: built.map(|built| Plain { built, ..Plain::default() }),
            ..Record::default()
        }
    }

    #[test]
    fn who_builds_it_decides() {
        assert_eq!(Record::default().verdict(), Verdict::Open);
        assert_eq!(record("published", true, None).verdict(), Verdict::Open);
        assert_eq!(record("published", true, Some(true)).verdict(), Verdict::Same);
        assert_eq!(record("published", true, Some(false)).verdict(), Verdict::Unexplained);
        assert_eq!(record("failed", true, Some(true)).verdict(), Verdict::Unexplained);
        assert_eq!(record("failed", true, Some(false)).verdict(), Verdict::BothFail);
        assert_eq!(record("failed", false, None).verdict(), Verdict::NoRoot);
        let lost = Record { lost: vec!["a.tar.gz".into()], ..Record::default() };
        assert_eq!(lost.verdict(), Verdict::Lost);
    }

    #[test]
    fn one_difference_without_reason_is_enough() {
        let mut found = record("published", true, Some(true));
        let one = |reason: Option<&str>| Difference {
            package: "a".into(),
            tag: "Size".into(),
            path: String::new(),
            farm: "1".into(),
            plain: "2".into(),
            reason: reason.map(str::to_owned),
        };
        found.differences = vec![one(Some("because"))];
        assert_eq!(found.verdict(), Verdict::Explained);
        found.differences.push(one(None));
        assert_eq!(found.verdict(), Verdict::Unexplained);
    }

    #[test]
    fn faults_of_the_farm_are_no_excuse() {
        let mut found = record("failed", false, None);
        found.farm.as_mut().unwrap().fault = "worker".into();
        assert_eq!(found.verdict(), Verdict::Unexplained);
        let mut found = record("failed", true, Some(false));
        found.farm.as_mut().unwrap().fault = "farm".into();
        assert_eq!(found.verdict(), Verdict::Unexplained);
    }

    #[test]
    fn records_are_kept_for_their_commit() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let mut record = state.load("a", "el9", "c1");
        record.compared = 3;
        state.save(&record).unwrap();
        assert_eq!(state.load("a", "el9", "c1").compared, 3);
        assert_eq!(state.load("a", "el9", "c2").compared, 0);
        state.forget("a@el9").unwrap();
        assert_eq!(state.load("a", "el9", "c1").compared, 0);
    }
}
