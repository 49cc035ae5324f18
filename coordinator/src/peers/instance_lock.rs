//! The lock and the id in a coordinator's cache directory. One process holds the lock at a time;
//! the id makes it the same coordinator after a restart.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context as _, bail};

/// The held lock. It is released when this is dropped, or when the process ends in any way.
#[derive(Debug)]
pub struct InstanceLock {
    id: String,
    _lock: File,
}

impl InstanceLock {
    /// Locks a directory, and reads or makes its id.
    ///
    /// # Errors
    /// When another coordinator holds the lock, or an error of the disk.
    pub fn acquire(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let path = dir.join("coordinator.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another coordinator uses {}; give each of them a --cache directory of its own",
                dir.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        let id = id(&dir.join("coordinator.id"))?;
        Ok(Self { id, _lock: lock })
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

fn id(path: &Path) -> anyhow::Result<String> {
    if let Ok(text) = fs::read_to_string(path)
        && !text.trim().is_empty()
    {
        return Ok(text.trim().to_owned());
    }
    let id = uuid::Uuid::now_v7().to_string();
    let beside = path.with_extension("new");
    fs::write(&beside, format!("{id}\n"))
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_it_and_it_keeps_its_id() {
        let dir = tempfile::tempdir().unwrap();
        let instance_lock = InstanceLock::acquire(dir.path()).unwrap();
        let error = InstanceLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(error.contains("--cache"), "{error}");
        let id = instance_lock.id().to_owned();
        drop(instance_lock);
        assert_eq!(InstanceLock::acquire(dir.path()).unwrap().id(), id);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(InstanceLock::acquire(other.path()).unwrap().id(), id);
    }
}
