//! The directory of keys: one file `NAME.key` for each. Owns its permissions.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rpmfarm_core::name;
use rpmfarm_guarded::path::{NotPrivate, PathError, check_private, io_at};

use crate::key::{KeyError, SigningKey};

const EXTENSION: &str = "key";
/// The largest key file, in bytes; even many user ids need less.
const MAX_FILE: u64 = 1 << 20;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The name is not one.
    #[error("`{}` is not a name for a key (letters, digits and `+-._`)", name::shown(.0))]
    Name(String),
    /// There is no key of that name.
    #[error("no key `{}` (there {})", name::shown(.asked), listed(.known))]
    Unknown {
        /// The requested name.
        asked: String,
        /// The names of the keys.
        known: Vec<String>,
    },
    /// There is a key of that name already.
    #[error("{} exists already; keys are never replaced", .0.display())]
    Exists(PathBuf),
    /// Others could read or replace it.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// The key cannot be used.
    #[error("{}: {source}", .path.display())]
    Key { path: PathBuf, source: KeyError },
    /// An error of the system.
    #[error(transparent)]
    Io(#[from] PathError),
}

/// All keys of a signer, by name.
#[derive(Debug)]
pub struct SigningKeys {
    by_name: BTreeMap<String, SigningKey>,
}

impl SigningKeys {
    /// Reads all keys of a directory, and proves each of them.
    ///
    /// # Errors
    /// When the directory or a key is readable by others, or a key cannot be used now.
    pub fn load(dir: &Path, now: SystemTime) -> Result<Self, KeysError> {
        check_private(dir, &io_at(dir, fs::metadata(dir))?)?;
        let mut by_name = BTreeMap::new();
        for entry in io_at(dir, fs::read_dir(dir))? {
            let path = io_at(dir, entry)?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                check_name(&stem)?;
                by_name.insert(stem, load_one(&path, now)?);
            }
        }
        Ok(Self { by_name })
    }

    /// The key with a name.
    ///
    /// # Errors
    /// When there is none; the error lists the existing ones.
    pub fn get(&self, asked: &str) -> Result<&SigningKey, KeysError> {
        self.by_name.get(asked).ok_or_else(|| KeysError::Unknown {
            asked: asked.to_owned(),
            known: self.by_name.keys().cloned().collect(),
        })
    }

    /// Names and keys, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SigningKey)> {
        self.by_name.iter().map(|(name, key)| (name.as_str(), key))
    }
}

/// Writes a new key into a directory, which is made when it is not there.
///
/// # Errors
/// When there is a key of that name, or the system refuses.
pub fn store(dir: &Path, key_name: &str, armored: &str) -> Result<PathBuf, KeysError> {
    check_name(key_name)?;
    io_at(dir, fs::DirBuilder::new().recursive(true).mode(0o700).create(dir))?;
    check_private(dir, &io_at(dir, fs::metadata(dir))?)?;
    let path = path_of(dir, key_name);
    // A hard link fails when the name exists; a rename would replace the key.
    let partial = dir.join(format!(".{key_name}.{}", std::process::id()));
    let written = write_private(&partial, armored).and_then(|()| fs::hard_link(&partial, &path));
    let _ = fs::remove_file(&partial);
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(KeysError::Exists(path)),
        written => {
            io_at(&path, written)?;
            io_at(dir, File::open(dir).and_then(|dir| dir.sync_all()))?;
            Ok(path)
        }
    }
}

/// Where the key of a name is.
#[must_use]
pub fn path_of(dir: &Path, key_name: &str) -> PathBuf {
    dir.join(format!("{key_name}.{EXTENSION}"))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn load_one(path: &Path, now: SystemTime) -> Result<SigningKey, KeysError> {
    let file = io_at(path, File::open(path))?;
    let metadata = io_at(path, file.metadata())?;
    check_private(path, &metadata)?;
    if metadata.len() > MAX_FILE {
        let source = KeyError::Unreadable(format!("larger than {MAX_FILE} bytes"));
        return Err(KeysError::Key { path: path.to_owned(), source });
    }
    let text = io_at(path, io::read_to_string(file))?;
    let key = SigningKey::from_armored(&text).and_then(|key| key.prove(now).map(|()| key));
    key.map_err(|source| KeysError::Key { path: path.to_owned(), source })
}

fn check_name(key_name: &str) -> Result<(), KeysError> {
    name::check_package(key_name).map_err(|_| KeysError::Name(key_name.to_owned()))
}

fn listed(known: &[String]) -> String {
    match known {
        [] => "are no keys; make one with `rpmfarm-signer key new`".into(),
        [only] => format!("is only `{only}`"),
        all => format!("are: {}", all.join(", ")),
    }
}
