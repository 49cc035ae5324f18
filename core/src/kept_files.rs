//! The kept files of a failed build, as config.log.
//!
//! Owns which files match a list of patterns, how many and how large they may be, and which reports
//! of a worker are refused. It must not know how a tree is read nor where files are stored.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Sha256;
use crate::glob::matches_end;
use crate::name::check_part;
use crate::name::shown;

/// The most files that are kept of one attempt.
pub const MAX_FILES: usize = 200;
/// The largest file that is kept, in bytes.
pub const MAX_FILE: u64 = 32 << 20;
/// The most that is kept of one attempt, in bytes.
pub const MAX_SUM: u64 = 64 << 20;
/// The longest path, in bytes.
const MAX_PATH: usize = 1024;
/// The most patterns of a target, and the longest one in bytes.
const MAX_PATTERNS: (usize, usize) = (100, 200);

/// The patterns of a target without its own: files that configure, CMake, Meson, and the test
/// suites of automake and CTest leave, and core files by their usual names.
pub const DEFAULT: &[&str] = &[
    "config.log",
    "CMakeError.log",
    "CMakeOutput.log",
    "CMakeConfigureLog.yaml",
    "meson-log.txt",
    "testlog.txt",
    "test-suite.log",
    "LastTest.log",
    "core",
    "core.[0-9]*",
    "vgcore.[0-9]*",
];

/// A file that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its path below rpm's build directory, with `/` between the parts.
    pub path: String,
    /// SHA-256 of the file, by which the blob store has it.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// Why the report of a worker is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    #[error("{0} kept files, at most {MAX_FILES} are accepted")]
    Many(usize),
    /// Too large, alone or together.
    #[error("kept file {path} makes {bytes} bytes, at most {limit} are accepted")]
    Large {
        path: String,
        /// Its size, or the sum up to it.
        bytes: u64,
        limit: u64,
    },
    /// The path would lead elsewhere.
    #[error("`{0}` is not a valid path of a kept file (relative, of plain file names)")]
    Path(String),
    /// Two files with one path.
    #[error("kept file {0} is listed twice")]
    Twice(String),
}

/// Whether a file at this path is to be kept. A pattern matches the end of a path, so `config.log`
/// means each in any directory and `build/*.log` those of a directory `build`.
#[must_use]
pub fn is_wanted(patterns: &[String], path: &str) -> bool {
    check_path(path).is_ok() && patterns.iter().any(|pattern| matches_end(pattern, path))
}

/// Checks a path that will be used below another user's directory.
///
/// # Errors
/// When it would lead out of the directory, or is too long.
pub fn check_path(path: &str) -> Result<(), KeptError> {
    let good = path.len() <= MAX_PATH && path.split('/').all(|part| check_part(part).is_ok());
    if good { Ok(()) } else { Err(KeptError::Path(shown(path))) }
}

/// Checks the kept files that a worker reports.
///
/// # Errors
/// The first one that is refused.
pub fn check(files: &[KeptFile]) -> Result<(), KeptError> {
    if files.len() > MAX_FILES {
        return Err(KeptError::Many(files.len()));
    }
    let mut paths = BTreeSet::new();
    let mut sum = 0_u64;
    for file in files {
        check_path(&file.path)?;
        if !paths.insert(&file.path) {
            return Err(KeptError::Twice(shown(&file.path)));
        }
        sum = sum.saturating_add(file.size);
        for (bytes, limit) in [(file.size, MAX_FILE), (sum, MAX_SUM)] {
            if bytes > limit {
                return Err(KeptError::Large { path: shown(&file.path), bytes, limit });
            }
        }
    }
    Ok(())
}

/// The first invalid pattern of a target, and why it is invalid.
#[must_use]
pub fn pattern_problem(patterns: &[String]) -> Option<(&str, String)> {
    let (most, longest) = MAX_PATTERNS;
    if patterns.len() > most {
        return Some(("…", format!("{} patterns, at most {most} are accepted", patterns.len())));
    }
    let bad = |pattern: &&String| {
        pattern.trim().is_empty()
            || pattern.len() > longest
            || pattern.starts_with('/')
            || pattern.chars().any(char::is_control)
            || pattern.split('/').any(|part| part == "..")
    };
    patterns.iter().find(bad).map(|pattern| {
        let what = "write a file name or the end of a path, with * ? [] as in a shell: \
                    `config.log`, `testsuite/*.log`";
        (pattern.as_str(), what.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns() -> Vec<String> {
        DEFAULT.iter().map(|pattern| (*pattern).to_owned()).collect()
    }

    #[test]
    fn what_matters_is_kept_and_nothing_else() {
        for path in [
            "config.log",
            "x-1/sub/config.log",
            "x-1/build/meson-logs/testlog.txt",
            "x-1/core",
            "x-1/core.4711",
            "x-1/tests/test-suite.log",
        ] {
            assert!(is_wanted(&patterns(), path), "{path}");
        }
        for path in ["x-1/core.c", "x-1/myconfig.log", "x-1/config.log.in", "../config.log", ""] {
            assert!(!is_wanted(&patterns(), path), "{path}");
        }
        assert!(is_wanted(&["tests/*.log".to_owned()], "x-1/tests/a.log"));
        assert!(!is_wanted(&["tests/*.log".to_owned()], "x-1/other/a.log"));
        assert_eq!(pattern_problem(&patterns()), None);
        for bad in ["", "/etc/*", "../x", "a\nb"] {
            assert!(pattern_problem(&[bad.to_owned()]).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn what_a_worker_tells_of_is_bounded() {
        let file = |path: &str, size| KeptFile {
            path: path.to_owned(),
            digest: Sha256::compute(path.as_bytes()),
            size,
        };
        assert_eq!(check(&[file("a/config.log", MAX_FILE), file("b", MAX_FILE)]), Ok(()));
        let many: Vec<_> = (0..=MAX_FILES).map(|n| file(&n.to_string(), 1)).collect();
        for (files, says) in [
            (many, "at most 200"),
            (vec![file("a", MAX_FILE + 1)], "at most"),
            (vec![file("a", MAX_FILE), file("b", MAX_FILE), file("c", 1)], "at most"),
            (vec![file("a", 1), file("a", 2)], "twice"),
            (vec![file("/etc/passwd", 1)], "is not a valid path"),
            (vec![file("a/../../b", 1)], "is not a valid path"),
            (vec![file("a//b", 1)], "is not a valid path"),
            (vec![file("a\u{1b}", 1)], "is not a valid path"),
        ] {
            let error = check(&files).expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
