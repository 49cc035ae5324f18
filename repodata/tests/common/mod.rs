//! Real RPMs for the tests: made by rpmbuild.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command to its end and returns what it printed; a failure fails the test with both
/// of its streams.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out
}

/// Builds a spec, and returns the binary and source RPMs, sorted by file name.
pub(crate) fn rpmbuild(topdir: &Path, spec: &[u8]) -> Vec<PathBuf> {
    let path = topdir.join("odd.spec");
    fs::write(&path, spec).unwrap();
    run(Command::new("rpmbuild")
        .args(["-ba", "--nodeps", "--define", "_build_id_links none"])
        .args(["--define", "_invalid_encoding_terminates_build 0"])
        .args(["--define", &format!("_topdir {}", topdir.display())])
        .env("HOME", topdir)
        .arg(&path));
    let mut rpms: Vec<_> = ["RPMS/noarch", "RPMS/x86_64", "SRPMS"]
        .iter()
        .filter_map(|dir| fs::read_dir(topdir.join(dir)).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    rpms.sort();
    assert!(!rpms.is_empty());
    rpms
}
