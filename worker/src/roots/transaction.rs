//! One rpm transaction: the target's own rpm, in the bootstrap root, installs packages into the
//! root that is bound at [`TARGET`].

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rpmfarm_core::transaction::is_error;

use super::bootstrap::{PACKAGES, TARGET};
use super::bounds::{LOG_MIB, LayerBounds, MINUTES};
use super::error::RootError;
use crate::cages::cage::{Bind, BindSource};
use crate::cages::{
    Cage, CageExit, CageLimits, CageRoot, CageRunner, CageUser, CancelFlag, StopReason,
};
use crate::trees;

/// A transaction that is to be run.
pub(super) struct RpmTransaction<'a> {
    /// Unique name of the cage.
    pub(super) name: String,
    /// Which layer, in words.
    pub(super) layer: &'static str,
    pub(super) bootstrap: &'a Path,
    /// The tree that is bound at the target: an empty one, or layers with an empty one on top.
    pub(super) target: BindSource,
    /// A directory with the packages.
    pub(super) packages: &'a Path,
    /// Their file names in it.
    pub(super) names: Vec<String>,
    /// The directory that is filled, and what it may have.
    pub(super) fills: (&'a Path, trees::TreeBounds),
}

const CAPS: CageLimits =
    CageLimits { memory_mib: 4096, processes: 4096, cpus: None, file_mib: None };

/// How many packages of a layer a message names.
const NAMED: usize = 5;

/// How many lines of rpm's output the report has.
const SAID: usize = 10;

impl RpmTransaction<'_> {
    /// Runs it; rpm's output goes to `log`. Returns the errors that did not stop rpm, as a failed
    /// `%post`: rpm, dnf and mock continue then, and so does the farm, but they are reported.
    pub(super) fn run(
        &self,
        sandbox: &CageRunner,
        log: &mut dyn Write,
        cancel: &CancelFlag,
    ) -> Result<Vec<String>, RootError> {
        let mut tee = Tee { log, output: RpmOutput::default() };
        let (tree, bounds) = self.fills;
        let mut watcher = LayerBounds::new(&mut tee, tree, bounds, cancel);
        let ended = sandbox.run(&self.cage(), &mut watcher)?;
        let layer = self.layer;
        if let Some(wrong) = watcher.wrong.take() {
            return Err(RootError::tree(layer, about(&self.names), wrong));
        }
        match ended.exit {
            CageExit::Code(0) => Ok(tee.output.warnings()),
            CageExit::Stopped(StopReason::Time) => Err(RootError::Time { layer, minutes: MINUTES }),
            CageExit::Stopped(StopReason::Log) => Err(RootError::Log { layer, mib: LOG_MIB }),
            CageExit::Stopped(_) => Err(RootError::Cancelled(
                cancel.raised().unwrap_or(crate::cages::CancelReason::Unwanted),
            )),
            CageExit::Code(_) if ended.events.oom_kills > 0 && ended.victims.outside => {
                Err(RootError::HostMemory { layer })
            }
            CageExit::Code(_) if ended.events.oom_kills > 0 => {
                Err(RootError::Memory { layer, mib: CAPS.memory_mib })
            }
            CageExit::Code(_) if tee.output.has("No space left on device") => {
                Err(RootError::Local {
                    what: "install packages into the root",
                    source: io::Error::from(io::ErrorKind::StorageFull),
                })
            }
            CageExit::Code(code) => {
                Err(RootError::Transaction { layer, code, output: tee.output.lines() })
            }
        }
    }

    fn cage(&self) -> Cage {
        let bind =
            |source, target: &str, writable| Bind { source, target: target.into(), writable };
        let packages = BindSource::Directory(self.packages.to_path_buf());
        Cage {
            name: self.name.clone(),
            root: CageRoot::ReadOnly(self.bootstrap.to_path_buf()),
            binds: vec![bind(self.target.clone(), TARGET, true), bind(packages, PACKAGES, false)],
            system_at: vec![PathBuf::from("/"), PathBuf::from(TARGET)],
            tmpfs: ["/tmp", "/var/tmp", "/run"].map(PathBuf::from).to_vec(),
            user: CageUser::Root,
            command: self.command(),
            directory: PathBuf::from(PACKAGES),
            environment: Vec::new(),
            caps: CAPS,
            allow: rpmfarm_core::Allowed::new(),
        }
    }

    /// Digests and signatures are not checked again: each file was fetched by its digest, and the
    /// coordinator checked the signature before it put the digest into a lock.
    fn command(&self) -> Vec<String> {
        let options = [
            "rpm",
            "--root",
            TARGET,
            "-Uv",
            "--oldpackage",
            "--replacepkgs",
            "--nosignature",
            "--nodigest",
            "--noplugins",
            "--define",
            "_pkgverify_level none",
            "--define",
            // Mounted there for the scriptlets; a package that owns these directories leaves them
            // alone.
            "_netsharedpath /proc:/sys:/dev",
            "--",
        ];
        options.into_iter().map(str::to_owned).chain(self.names.iter().cloned()).collect()
    }
}

/// Packages for a message, by their file names: all of a few, else the first of many.
pub(super) fn about(names: &[String]) -> String {
    let named = names.iter().take(NAMED).map(|name| name.trim_end_matches(".rpm"));
    let named = named.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

struct Tee<'a> {
    log: &'a mut dyn Write,
    output: RpmOutput,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.log.write_all(bytes)?;
        self.output.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.log.flush()
    }
}

/// rpm's output beside its progress: the first error lines, and the last lines.
#[derive(Default)]
struct RpmOutput {
    errors: Vec<String>,
    lines: VecDeque<String>,
    warnings: Vec<String>,
    partial: Vec<u8>,
}

/// No more warnings of one transaction are kept.
const MOST_WARNINGS: usize = 20;

/// Whether rpm reports that it continued with a package that is not fully configured.
fn is_warning(line: &str) -> bool {
    let by_rpm = line.starts_with("warning: ") || line.starts_with("error: ");
    let what = ["scriptlet failed", "does not exist - using root", "lua script failed"];
    by_rpm && what.iter().any(|what| line.contains(what))
}

impl RpmOutput {
    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.line();
            } else if self.partial.len() < 400 {
                self.partial.push(*byte);
            }
        }
    }

    fn line(&mut self) {
        let line = rpmfarm_core::name::shown(&String::from_utf8_lossy(&self.partial));
        self.partial.clear();
        // A progress line is a NEVRA only.
        if !line.trim().contains(' ') {
            return;
        }
        if is_warning(&line) && self.warnings.len() < MOST_WARNINGS {
            self.warnings.push(line.clone());
        }
        if is_error(&line) && self.errors.len() < SAID / 2 {
            self.errors.push(line);
            return;
        }
        if self.lines.len() == SAID / 2 {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    fn has(&self, text: &str) -> bool {
        self.errors.iter().chain(&self.lines).any(|line| line.contains(text))
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn lines(&self) -> Vec<String> {
        self.errors.iter().chain(&self.lines).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rpm_goes_on_after_is_kept() {
        let mut tail = RpmOutput::default();
        tail.push(b"hello-1-1.x86_64\nPreparing packages...\n");
        tail.push(b"warning: %post(bad-1-1.noarch) scriptlet failed, exit status 3\n");
        tail.push(b"warning: user nagios does not exist - using root\n");
        tail.push(b"a scriptlet's own words: scriptlet failed\n");
        let output = tail.warnings();
        assert_eq!(output.len(), 2, "{output:?}");
        assert!(output[0].starts_with("warning: %post(bad-1-1.noarch)"));
    }
}
