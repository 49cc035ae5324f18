//! The targets of a farm: the files of a directory, read again when they change.
//!
//! Owns reading the files and the keys that they name. What a target may say is `core`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use rpmfarm_core::target::Target;

/// A file that is there, with its target or with what is wrong with it.
pub type Loaded = Result<Arc<Target>, String>;

/// All targets by name. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Targets {
    dir: PathBuf,
    loaded: Arc<RwLock<BTreeMap<String, Loaded>>>,
}

/// Why a target cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No file of that name.
    #[error("unknown target `{name}` (known: {known})")]
    Unknown {
        /// The name.
        name: String,
        /// Those that are there.
        known: String,
    },
    /// Its file has a fault.
    #[error("target `{name}` cannot be used: {problem}")]
    Bad {
        /// The name.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

impl Targets {
    /// Reads all `*.toml` of a directory. A file with a fault is kept as such: it stops its own
    /// target only.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn open(dir: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let targets = Self { dir: dir.into(), loaded: Arc::default() };
        targets.reload()?;
        Ok(targets)
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn reload(&self) -> anyhow::Result<()> {
        use anyhow::Context as _;
        let read = || format!("cannot read the target directory {}", self.dir.display());
        let mut loaded = BTreeMap::new();
        for entry in std::fs::read_dir(&self.dir).with_context(read)? {
            let path = entry.with_context(read)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let (name, target) = load(&path);
                if let Err(problem) = &target {
                    tracing::warn!(target = name, problem, "target cannot be used");
                }
                loaded.insert(name, target);
            }
        }
        *self.loaded.write().expect("no one panics while loading") = loaded;
        Ok(())
    }

    /// A target by name.
    ///
    /// # Errors
    /// When there is none, or its file has a fault.
    pub fn get(&self, name: &str) -> Result<Arc<Target>, TargetError> {
        let loaded = self.loaded.read().expect("no one panics while loading");
        match loaded.get(name) {
            Some(Ok(target)) => Ok(target.clone()),
            Some(Err(problem)) => {
                Err(TargetError::Bad { name: name.into(), problem: problem.clone() })
            }
            None => Err(TargetError::Unknown {
                name: rpmfarm_core::name::shown(name),
                known: loaded.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Loaded> {
        self.loaded.read().expect("no one panics while loading").clone()
    }

    /// The directory that relative key files are relative to.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn load(path: &Path) -> (String, Loaded) {
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
