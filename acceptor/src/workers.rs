//! The trusted key of each worker: a file for each name, so that an operator can change it while
//! the acceptor runs.
//!
//! The first key of a name is trusted, unless only known workers are: whoever controls the
//! coordinator can invent workers, but each leaves a line in the log, and nobody can sign for an
//! existing one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rpmfarm_core::name;
use rpmfarm_core::statement::PublicKey;
use rpmfarm_guarded::path::{PathError, io_at};

/// Why a worker's signature is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// Another key of the worker is trusted.
    #[error(
        "worker {worker} signs with the key {key}, and its trusted key is {known}: if it was set up again, run `rpmfarm-acceptor worker trust {worker}`; if not, somebody else signs in its name"
    )]
    Other {
        worker: String,
        /// The key of the signature.
        key: PublicKey,
        known: PublicKey,
    },
    /// The worker is unknown, and the first key of a name is not trusted.
    #[error(
        "worker {worker} (key {key}) is not known: if it is one of the farm's, run `rpmfarm-acceptor worker trust {worker}`"
    )]
    New {
        worker: String,
        /// The key of the signature.
        key: PublicKey,
    },
    /// The files cannot be read.
    #[error("the keys of workers in {0}")]
    Io(#[from] PathError),
}

/// The keys of all workers.
#[derive(Debug, Clone)]
pub struct Workers {
    known: PathBuf,
    waiting: PathBuf,
    only_known: bool,
}

impl Workers {
    /// The keys in a state directory, which is made when it is missing.
    pub fn open(state: &Path, only_known: bool) -> Result<Self, Untrusted> {
        let (known, waiting) = (state.join("workers"), state.join("waiting"));
        for dir in [&known, &waiting] {
            io_at(dir, fs::DirBuilder::new().recursive(true).mode(0o700).create(dir))?;
        }
        Ok(Self { known, waiting, only_known })
    }

    /// Whether only keys that an operator has confirmed are trusted.
    #[must_use]
    pub fn are_all_known(&self) -> bool {
        self.only_known
    }

    /// Whether a key is the trusted one of a worker. False when it would be the first of its name.
    ///
    /// # Errors
    /// When it is not trusted; then it waits for an operator.
    pub fn check(&self, worker: &str, key: PublicKey) -> Result<bool, Untrusted> {
        let owned = || worker.to_owned();
        let untrusted = match read(&self.known, worker)? {
            Some(known) if known == key => return Ok(true),
            Some(known) => Untrusted::Other { worker: owned(), key, known },
            None if !self.only_known => return Ok(false),
            None => Untrusted::New { worker: owned(), key },
        };
        if read(&self.waiting, worker)? != Some(key) {
            write(&self.waiting, worker, key)?;
        }
        Err(untrusted)
    }

    /// Trusts a worker's key from now on.
    pub fn learn(&self, worker: &str, key: PublicKey) -> Result<(), Untrusted> {
        write(&self.known, worker, key)?;
        remove(&self.waiting, worker).map(drop)
    }

    /// Trusts the waiting key of a worker. `None` when none waits.
    pub fn trust(&self, worker: &str) -> Result<Option<PublicKey>, Untrusted> {
        let Some(key) = read(&self.waiting, worker)? else { return Ok(None) };
        self.learn(worker, key)?;
        Ok(Some(key))
    }

    /// Forgets a worker's keys. Returns whether there were any.
    pub fn forget(&self, worker: &str) -> Result<bool, Untrusted> {
        Ok(remove(&self.waiting, worker)? | remove(&self.known, worker)?)
    }

    /// Names and keys of the trusted workers, sorted.
    pub fn known(&self) -> Result<Vec<(String, PublicKey)>, Untrusted> {
        list(&self.known)
    }

    /// Workers that wait for an operator.
    pub fn waiting(&self) -> Result<Vec<(String, PublicKey)>, Untrusted> {
        list(&self.waiting)
    }
}

fn list(dir: &Path) -> Result<Vec<(String, PublicKey)>, Untrusted> {
    let mut all = Vec::new();
    for entry in io_at(dir, fs::read_dir(dir))? {
        let name = io_at(dir, entry)?.file_name().to_string_lossy().into_owned();
        if name::check_worker(&name).is_ok()
            && let Some(key) = read(dir, &name)?
        {
            all.push((name, key));
        }
    }
    all.sort();
    Ok(all)
}

fn read(dir: &Path, worker: &str) -> Result<Option<PublicKey>, Untrusted> {
    let path = dir.join(worker);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => {
            let text = io_at(&path, read)?;
            let key = text.trim().parse::<PublicKey>().map_err(io::Error::other);
            Ok(Some(io_at(&path, key)?))
        }
    }
}

/// Renamed into place. Names of workers do not begin with a dot.
fn write(dir: &Path, worker: &str, key: PublicKey) -> Result<(), Untrusted> {
    let (path, beside) = (dir.join(worker), dir.join(format!(".{worker}")));
    let written = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(format!("{key}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(dir)?.sync_all()
    };
    Ok(io_at(&path, written())?)
}

fn remove(dir: &Path, worker: &str) -> Result<bool, Untrusted> {
    let path = dir.join(worker);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        removed => {
            io_at(&path, removed)?;
            Ok(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::statement::Hex;

    use super::*;

    #[test]
    fn the_first_key_of_a_name_is_believed_and_another_waits() {
        let dir = tempfile::tempdir().unwrap();
        let workers = Workers::open(dir.path(), false).unwrap();
        let (one, other) = (Hex([1; 32]), Hex([2; 32]));
        assert!(!workers.check("w", one).unwrap());
        workers.learn("w", one).unwrap();
        assert!(workers.check("w", one).unwrap());
        for _ in 0..2 {
            let error = workers.check("w", other).unwrap_err().to_string();
            assert!(error.contains("rpmfarm-acceptor worker trust w"), "{error}");
        }
        assert_eq!(workers.waiting().unwrap(), [("w".to_owned(), other)]);
        assert!(workers.check("w", one).unwrap(), "its own is as good as before");
        assert_eq!(workers.trust("w").unwrap(), Some(other));
        assert!(workers.check("w", other).unwrap() && workers.check("w", one).is_err());
        assert!(workers.forget("w").unwrap() && !workers.forget("w").unwrap());
        assert_eq!((workers.known().unwrap(), workers.waiting().unwrap()), (vec![], vec![]));
    }

    #[test]
    fn where_only_known_workers_are_believed_new_ones_wait() {
        let dir = tempfile::tempdir().unwrap();
        let workers = Workers::open(dir.path(), true).unwrap();
        let key = Hex([1; 32]);
        let error = workers.check("w", key).unwrap_err().to_string();
        assert!(error.contains("is not known"), "{error}");
        assert_eq!(workers.trust("x").unwrap(), None);
        assert_eq!(workers.trust("w").unwrap(), Some(key));
        assert!(workers.check("w", key).unwrap());
        assert_eq!(workers.known().unwrap(), [("w".to_owned(), key)]);
    }
}
