//! `rpmfarm-worker run-once`: whole build tasks, without a farm around them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::farm::program;
use crate::tool;

/// A worker for single tasks.
pub(super) struct SingleTaskWorker {
    /// The lock of the root.
    pub(super) lock: PathBuf,
    /// Where the packages of the lock lie.
    pub(super) packages: PathBuf,
    pub(super) out: PathBuf,
}

/// The times of one task, in seconds.
#[derive(Debug, Deserialize)]
pub(super) struct Run {
    /// From the assignment to the results.
    pub(super) total: f64,
    /// rpmbuild alone, measured in the cage.
    pub(super) rpmbuild: f64,
    failure: Option<serde_json::Value>,
}

impl SingleTaskWorker {
    /// Builds the source package of a spec whose sources are beside it.
    pub(super) fn srpm(&self, spec: &Path, data: &Path) -> anyhow::Result<PathBuf> {
        self.run("--spec", spec, data, 1)?;
        let results = self.out.join("0/results");
        let mut found = std::fs::read_dir(&results)?.filter_map(|entry| Some(entry.ok()?.path()));
        let made = found.next().with_context(|| format!("nothing in {}", results.display()))?;
        // The next run empties that directory.
        let kept = self.out.join(made.file_name().context("a file has a name")?);
        std::fs::rename(&made, &kept)?;
        Ok(kept)
    }

    /// Builds a source package several times, with roots and caches in `data`.
    pub(super) fn rebuild(&self, srpm: &Path, data: &Path, times: u32) -> anyhow::Result<Vec<Run>> {
        self.run("--srpm", srpm, data, times)
    }

    fn run(&self, option: &str, input: &Path, data: &Path, times: u32) -> anyhow::Result<Vec<Run>> {
        let mut command = program("rpmfarm-worker");
        command.arg("run-once").arg(option).arg(input).arg("--data-dir").arg(data);
        command.arg("--lock").arg(&self.lock).arg("--packages").arg(&self.packages);
        command.arg("--out").arg(&self.out).args(["--times", &times.to_string()]);
        let runs: Vec<Run> = serde_json::from_slice(&tool::output(&mut command)?)?;
        for run in &runs {
            ensure!(run.failure.is_none(), "{} was not built: {:?}", input.display(), run.failure);
        }
        Ok(runs)
    }
}
