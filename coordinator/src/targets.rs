//! The targets of a farm: the files of a directory, read again when they change.
//!
//! Owns reading the files and the keys that they name. What a target may contain is decided in
//! `core`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use parking_lot::{Mutex, RwLock};
use rpmfarm_core::suggestions::did_you_mean;
use rpmfarm_core::target::Target;

use crate::store::{Build, Store};

/// A target file that exists, with its target or with its error.
pub type LoadedTarget = Result<Arc<Target>, String>;

/// All targets by name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Targets {
    dir: PathBuf,
    loaded: Arc<RwLock<BTreeMap<String, LoadedTarget>>>,
    /// The state of the files when they were read.
    read: Arc<Mutex<FileStamps>>,
}

/// Modification time and length of each file.
type FileStamps = BTreeMap<PathBuf, (SystemTime, u64)>;

/// How often it is checked whether the files have changed.
const PERIOD: Duration = Duration::from_secs(2);

/// Checks periodically whether the files have changed, until the task is dropped.
pub async fn run(targets: Targets) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let these = targets.clone();
        match tokio::task::spawn_blocking(move || these.pass()).await {
            Ok(Ok(true)) => tracing::info!(dir = %targets.dir.display(), "targets read again"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::error!(
                error = format!("{error:#}"),
                "cannot read the targets; the loaded ones are kept"
            ),
            Err(error) => tracing::error!(%error, "reading the targets was interrupted"),
        }
    }
}

/// Why a target cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No file of that name.
    #[error("unknown target `{name}` (known: {known}){meant}")]
    Unknown {
        name: String,
        /// The names of the known targets.
        known: String,
        /// A similar name that may have been meant, as the end of the message.
        meant: String,
    },
    /// The target's file is not valid.
    #[error("target `{name}` cannot be used: {}", one_line(.problem))]
    Bad {
        name: String,
        /// The errors, one on each line.
        problem: String,
    },
}

/// An error of a target as one line, for the log and for wait reasons.
#[must_use]
pub fn one_line(problem: &str) -> String {
    problem.lines().collect::<Vec<_>>().join("; ")
}

impl Targets {
    /// Reads all `*.toml` of a directory. An invalid file is kept with its error: it affects its
    /// own target only.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(dir: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let targets = Self { dir: dir.into(), loaded: Arc::default(), read: Arc::default() };
        targets.pass()?;
        Ok(targets)
    }

    /// One check: reads the files again if one of them has changed, and returns whether one had.
    ///
    /// # Errors
    /// When the directory cannot be read; then the loaded targets stay.
    pub fn pass(&self) -> anyhow::Result<bool> {
        let dir = || format!("cannot read the target directory {}", self.dir.display());
        // Their state is taken before they are read, so that a change in between is found by the
        // next check.
        let stamps = self.stamps().with_context(dir)?;
        let mut read = self.read.lock();
        if !read.is_empty() && *read == stamps {
            return Ok(false);
        }
        let mut loaded = BTreeMap::new();
        for path in stamps.keys() {
            let (name, target) = load(path);
            if let Err(problem) = &target {
                let problem = one_line(problem);
                tracing::warn!(target = name, problem, "target cannot be used");
            }
            loaded.insert(name, target);
        }
        *self.loaded.write() = loaded;
        *read = stamps;
        Ok(true)
    }

    fn stamps(&self) -> io::Result<FileStamps> {
        let mut stamps = FileStamps::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                // A symlink counts as the file that it leads to; a dangling one is reported when it
                // is read.
                let about = std::fs::metadata(&path);
                let stamp = about.and_then(|about| Ok((about.modified()?, about.len())));
                stamps.insert(path, stamp.unwrap_or((SystemTime::UNIX_EPOCH, 0)));
            }
        }
        Ok(stamps)
    }

    /// A target by name.
    ///
    /// # Errors
    /// When there is no such target, or its file is not valid.
    pub fn get(&self, name: &str) -> Result<Arc<Target>, TargetError> {
        let loaded = self.loaded.read();
        match loaded.get(name) {
            Some(Ok(target)) => Ok(target.clone()),
            Some(Err(problem)) => {
                Err(TargetError::Bad { name: name.into(), problem: problem.clone() })
            }
            None => Err(TargetError::Unknown {
                name: rpmfarm_core::name::shown(name),
                known: match loaded.len() {
                    0 => format!("none; put NAME.toml into {}", self.dir.display()),
                    _ => loaded.keys().cloned().collect::<Vec<_>>().join(", "),
                },
                meant: did_you_mean(name, loaded.keys().map(String::as_str)),
            }),
        }
    }

    /// The target of a build, with the options of the build's request.
    ///
    /// # Errors
    /// When the target cannot be used; database errors.
    pub async fn of_build(&self, store: &Store, build: &Build) -> anyhow::Result<Arc<Target>> {
        let target = self.get(&build.target)?;
        let options = store.build_fetch_options(build.id).await?;
        if options.is_nothing() {
            return Ok(target);
        }
        Ok(Arc::new(target.for_build(&build.package, &options)))
    }

    /// All targets, by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, LoadedTarget> {
        self.loaded.read().clone()
    }

    /// The directory to which the paths of key files are relative.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn load(path: &Path) -> (String, LoadedTarget) {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let target = std::fs::read_to_string(path)
        .map_err(|error| error.to_string())
        .and_then(|text| Target::parse(&file, &text).map_err(|error| error.to_string()))
        .and_then(|target| {
            if target.name == stem {
                Ok(Arc::new(target))
            } else {
                Err(format!(
                    "{file} says name = \"{}\"; rename the file or the target",
                    target.name
                ))
            }
        });
    (stem, target)
}

#[cfg(test)]
mod tests {
    use rpmfarm_lab::fixtures::{NOWHERE, TargetFile};

    use super::*;

    #[test]
    fn files_that_change_come_and_go_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("broken.toml");
        std::fs::write(&file, "name = 1\n").unwrap();
        let targets = Targets::open(dir.path()).unwrap();
        assert!(matches!(targets.get("broken"), Err(TargetError::Bad { .. })));
        assert!(!targets.pass().unwrap(), "nothing has changed");

        TargetFile::small(NOWHERE).named("broken").write(dir.path());
        assert!(targets.pass().unwrap());
        targets.get("broken").unwrap();

        std::fs::remove_file(&file).unwrap();
        assert!(targets.pass().unwrap());
        assert!(matches!(targets.get("broken"), Err(TargetError::Unknown { .. })));
    }
}
