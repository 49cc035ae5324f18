//! A checkout of the package's dist-git, for committing new releases.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::PACKAGE;
use crate::farm::World;
use crate::tool;

pub(super) struct Checkout {
    path: PathBuf,
    release: u32,
}

impl Checkout {
    /// Clones the package's repository.
    pub(super) fn clone(world: &World, path: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("git");
        command.args(["clone", "-q"]).arg(world.repository_of(PACKAGE)).arg(path);
        command.args(["--branch", world.target()?.upstream.git_ref.as_str()]);
        tool::output(&mut command)?;
        let spec = path.join("SPECS").join(format!("{PACKAGE}.spec"));
        let text = std::fs::read_to_string(&spec)?;
        let before = text.split("%{?dist}").next().and_then(|text| text.rsplit(' ').next());
        let release = before.and_then(|release| release.parse().ok());
        let release = release.with_context(|| format!("{} has no release", spec.display()))?;
        Ok(Self { path: path.into(), release })
    }

    /// Commits and pushes the next release; the commit's id.
    pub(super) fn release(&mut self) -> anyhow::Result<String> {
        let spec = self.path.join("SPECS").join(format!("{PACKAGE}.spec"));
        let text = std::fs::read_to_string(&spec)?;
        let now = |release: u32| format!(" {release}%{{?dist}}\n");
        let next = text.replacen(&now(self.release), &now(self.release + 1), 1);
        ensure!(next != text, "{} has no release {}", spec.display(), self.release);
        std::fs::write(&spec, next)?;
        self.release += 1;
        let message = format!("Release {}", self.release);
        self.git(&["commit", "-q", "-a", "-m", &message])?;
        self.git(&["push", "-q", "origin", "HEAD"])?;
        Ok(self.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Copies spec and sources into one directory, as rpmbuild expects them; returns the path of
    /// the spec.
    pub(super) fn flat(&self, into: &Path) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(into)?;
        for part in ["SPECS", "SOURCES"] {
            for entry in std::fs::read_dir(self.path.join(part))? {
                let entry = entry?;
                std::fs::copy(entry.path(), into.join(entry.file_name()))?;
            }
        }
        Ok(into.join(format!("{PACKAGE}.spec")))
    }

    fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.path);
        command.args(["-c", "user.name=The lab", "-c", "user.email=lab@rpmfarm.invalid"]);
        let output = tool::output(command.args(arguments))
            .with_context(|| format!("git {arguments:?} in {}", self.path.display()))?;
        Ok(String::from_utf8(output)?)
    }
}
