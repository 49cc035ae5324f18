//! The one file of a worker's identity: read and replaced whole, and only its owner reads it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rpmfarm_core::Timestamp;
use serde::{Deserialize, Serialize};

/// The identity of this host as a worker of its farm.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The name that the farm gave.
    pub name: String,
    /// Address of the coordinator: `https://HOST:PORT`.
    pub coordinator: String,
    /// The farm's CA certificate, PEM.
    pub authority: String,
    /// The worker's certificate, PEM.
    pub certificate: String,
    /// Its key, PEM.
    pub key: String,
    /// Since when it holds.
    #[serde(rename = "issued_us")]
    pub issued: Timestamp,
    #[serde(rename = "ends_us")]
    pub ends: Timestamp,
}

/// The key is not shown.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, coordinator, ends, .. } = self;
        write!(f, "Credentials({name} at {coordinator} until {ends})")
    }
}

/// Where they are kept.
#[derive(Debug, Clone)]
pub struct IdentityFile(PathBuf);

impl IdentityFile {
    /// The file in a directory.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self(directory.join("worker.json"))
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads it; `None` when this host was not enrolled.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(&self) -> Result<Option<Credentials>> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", self.0.display()));
            }
        };
        let read = serde_json::from_str(&text);
        read.map(Some).with_context(|| {
            format!("{} is broken; enrol this worker again (--force)", self.0.display())
        })
    }

    /// Replaces it: a reader sees the old or the new one, whole.
    pub fn write(&self, credentials: &Credentials) -> Result<()> {
        let directory = self.0.parent().context("a file without a directory")?;
        let written = || -> std::io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            let beside = self.0.with_extension("new");
            let _ = fs::remove_file(&beside);
            let mut file =
                fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
            serde_json::to_writer_pretty(&mut file, credentials)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&beside, &self.0)?;
            fs::File::open(directory)?.sync_all()
        };
        written().with_context(|| format!("cannot write {}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn kept_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = IdentityFile::in_directory(&dir.path().join("identity"));
        assert_eq!(file.read().unwrap(), None);
        let mut credentials = Credentials {
            name: "w".into(),
            coordinator: "https://farm:7879".into(),
            authority: "ca".into(),
            certificate: "cert".into(),
            key: "secret".into(),
            issued: Timestamp::from_us(1),
            ends: Timestamp::from_us(2),
        };
        for ends in [2, 3] {
            credentials.ends = Timestamp::from_us(ends);
            file.write(&credentials).unwrap();
            assert_eq!(file.read().unwrap().as_ref(), Some(&credentials));
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(file.path()), 0o600);
        assert_eq!(mode(file.path().parent().unwrap()), 0o700);
        assert!(!format!("{credentials:?}").contains("secret"));
        fs::write(file.path(), "{").unwrap();
        let error = format!("{:#}", file.read().unwrap_err());
        assert!(error.contains("worker.json is broken"), "{error}");
    }
}
