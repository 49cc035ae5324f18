//! The kept files of a failed build: found among what the build left, and copied out.
//!
//! Owns the walk over an untrusted tree. `core` decides which files to keep.
//!
//! The files that the target's `keep_on_failure` names are uploaded by digest, and then reported to
//! the coordinator.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rpmfarm_core::kept_files::{self, KeptFile, MAX_FILE, MAX_FILES, MAX_SUM};

use super::results;
use crate::cages::confined_dir::ConfinedDir;

/// The directory of an attempt's copies, below the attempt's own: they are numbered, beside their
/// list.
const DIRECTORY: &str = "kept";
const LIST: &str = "list.json";

/// How many entries of the tree are read.
const MAX_ENTRIES: usize = 200_000;

/// Copies the files to keep out of the upper layer of a build that has ended. A file that is too
/// large is left out, and the rest is kept.
///
/// # Errors
/// When the worker's own disk fails.
pub(super) fn collect(scratch: &Path, patterns: &[String], attempt: &Path) -> io::Result<()> {
    if patterns.is_empty() {
        return Ok(());
    }
    let upper = ConfinedDir::open(&scratch.join("upper"))?;
    // A build that failed early, or an SRPM's, has none.
    let Ok(build) = upper.directory("builddir/build/BUILD") else { return Ok(()) };
    let into = attempt.join(DIRECTORY);
    let _ = fs::remove_dir_all(&into);
    fs::create_dir_all(&into)?;
    let mut files: Vec<KeptFile> = Vec::new();
    let mut left = MAX_SUM;
    for (path, size) in
        build.find(MAX_ENTRIES, MAX_FILES, |path| kept_files::is_wanted(patterns, path))
    {
        if size > MAX_FILE || size > left {
            continue;
        }
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let Ok(file) = build.directory(directory).and_then(|directory| directory.file(name)) else {
            continue;
        };
        let (digest, size) = results::copy(file.take(size), &copy_of(attempt, files.len()))?;
        left -= size;
        files.push(KeptFile { path, digest, size });
    }
    fs::write(into.join(LIST), serde_json::to_vec(&files)?)
}

/// The copy of the file with this number.
pub fn copy_of(attempt: &Path, number: usize) -> PathBuf {
    attempt.join(DIRECTORY).join(number.to_string())
}

/// The kept files of an attempt.
///
/// # Errors
/// When the list exists and cannot be read.
pub fn list(attempt: &Path) -> io::Result<Vec<KeptFile>> {
    match fs::read(attempt.join(DIRECTORY).join(LIST)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_are_kept_and_links_are_not_followed() {
        let (scratch, attempt) =
            (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        let build = scratch.path().join("upper/builddir/build/BUILD/x-1");
        fs::create_dir_all(build.join("sub")).expect("makes");
        fs::write(build.join("config.log"), "top").expect("writes");
        fs::write(build.join("sub/config.log"), "below").expect("writes");
        fs::write(build.join("other"), "not wanted").expect("writes");
        let huge = fs::File::create(build.join("sub/core")).expect("makes");
        huge.set_len(MAX_FILE + 1).expect("sets");
        let secret = scratch.path().join("secret");
        fs::create_dir(&secret).expect("makes");
        fs::write(secret.join("config.log"), "of the host").expect("writes");
        symlink(secret.join("config.log"), build.join("test-suite.log")).expect("links");
        symlink(&secret, build.join("linked")).expect("links");
        let mode = nix::sys::stat::Mode::S_IRUSR;
        nix::unistd::mkfifo(&build.join("testlog.txt"), mode).expect("makes a FIFO");
        let patterns: Vec<String> =
            kept_files::DEFAULT.iter().map(|text| (*text).to_owned()).collect();
        collect(scratch.path(), &patterns, attempt.path()).expect("keeps");
        let files = list(attempt.path()).expect("reads");
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["x-1/config.log", "x-1/sub/config.log"]);
        assert_eq!(kept_files::check(&files), Ok(()));
        for (number, text) in ["top", "below"].iter().enumerate() {
            let copy = fs::read(copy_of(attempt.path(), number)).expect("reads");
            assert_eq!(copy, text.as_bytes());
            assert_eq!(rpmfarm_core::Sha256::compute(&copy), files[number].digest);
        }
        // Nothing is asked for, or nothing is there.
        let other = tempfile::tempdir().expect("dir");
        collect(scratch.path(), &[], other.path()).expect("keeps nothing");
        assert_eq!(list(other.path()).expect("reads"), []);
    }
}
