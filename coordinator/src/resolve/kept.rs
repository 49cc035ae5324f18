//! How metadata lie on disk: for each repository `current.json`, which names what is current,
//! and a directory for each state that is kept, named by the digest of its `repomd.xml`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rpmfarm_core::Sha256;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::checks::{check_file, suffix};
use super::download::Validator;
use super::metadata::RepoMetadata;
use super::rejection::{Result, io_at};
use super::repomd::{MetadataFile, Repomd};

/// States of a repository that are kept: someone may be reading the one before.
const KEPT: usize = 3;

/// What is current, in `current.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Current {
    pub(super) repomd: Sha256,
    #[serde(default)]
    pub(super) revision: Option<u64>,
    pub(super) timestamp: u64,
    /// Where the page came from, which is whom `validator` means something to.
    #[serde(default)]
    pub(super) url: String,
    #[serde(default)]
    pub(super) validator: Validator,
}

/// Where the files of a state lie.
pub(super) fn located(dir: &Path, digest: Sha256, repomd: &Repomd) -> RepoMetadata {
    RepoMetadata {
        digest,
        timestamp: repomd.timestamp,
        primary: dir.join(file_name(&repomd.primary)),
        filelists: repomd.filelists.as_ref().map(|file| dir.join(file_name(file))),
        modules: repomd.modules.as_ref().map(|file| dir.join(file_name(file))),
    }
}

/// A name of our own making, with the suffix that tells the compression.
pub(super) fn file_name(file: &MetadataFile) -> String {
    let suffix = suffix(file).map(|suffix| format!(".{suffix}")).unwrap_or_default();
    let form = if file.kind == "modules" { "yaml" } else { "xml" };
    format!("{}-{}.{form}{suffix}", &file.checksum.hex[..64], file.kind)
}

/// Takes over a file that did not change from a state that is kept.
pub(super) fn link_known(home: &Path, file: &MetadataFile, path: &Path) -> bool {
    let Ok(states) = fs::read_dir(home) else { return false };
    states.filter_map(std::result::Result::ok).any(|state| {
        let old = state.path().join(file_name(file));
        old.is_file() && check_file(&old, file).is_ok() && fs::hard_link(&old, path).is_ok()
    })
}

fn current_path(home: &Path) -> PathBuf {
    home.join("current.json")
}

/// What is current; `None` when nothing is known.
pub(super) fn read_current(home: &Path) -> Option<Current> {
    let bytes = fs::read(current_path(home)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Says what is current, at once or not at all.
///
/// # Errors
/// When the disk fails.
pub(super) fn write_current(home: &Path, current: &Current) -> Result<()> {
    let path = current_path(home);
    let json = serde_json::to_vec(current).expect("plain fields");
    let mut new = NamedTempFile::new_in(home).map_err(io_at(home))?;
    new.write_all(&json).map_err(io_at(&path))?;
    new.persist(&path).map_err(|error| io_at(&path)(error.error))?;
    Ok(())
}

/// Removes all states but the newest few. What cannot be removed is removed the next time.
pub(super) fn prune(home: &Path, current: Sha256) {
    let Ok(entries) = fs::read_dir(home) else { return };
    let mut states: Vec<_> = entries
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.path().is_dir() && entry.file_name() != current.hex().as_str())
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    states.sort_unstable();
    let surplus = states.len().saturating_sub(KEPT - 1);
    for (_, path) in states.into_iter().take(surplus) {
        let _ = fs::remove_dir_all(path);
    }
}
