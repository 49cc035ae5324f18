//! The programs of the farm take their locks from `rpmfarm_daemon::sync`, so that a panic is treated
//! everywhere the same way. Read from their sources.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

use std::fs;
use std::path::{Path, PathBuf};

/// The crates whose sources are read.
const CRATES: [&str; 6] = ["acceptor", "coordinator", "guarded", "lab", "signer", "worker"];

/// What they have from `rpmfarm_daemon::sync`, or do not need with it.
const LOCKS: [&str; 4] = ["Condvar", "Mutex", "PoisonError", "RwLock"];

/// The locks of the standard library that a text names, alone or in a list of `use`.
fn locks(text: &str) -> Vec<&str> {
    let named = text.split("std::sync::").skip(1).map(|rest| match rest.strip_prefix('{') {
        Some(list) => list.split('}').next().unwrap(),
        None => rest.split(|c: char| !c.is_alphanumeric()).next().unwrap(),
    });
    named.flat_map(|names| names.split([',', ' ', '\n'])).filter(|n| LOCKS.contains(n)).collect()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let all = paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    all.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

#[test]
fn no_program_has_a_lock_with_poison() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut read = 0;
    for path in CRATES.iter().flat_map(|name| sources(&root.join(name).join("src"))) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(locks(&text).is_empty(), "{}: {:?}", path.display(), locks(&text));
        read += 1;
    }
    assert!(read > 200, "these are not the sources: {read} files");
}

#[test]
fn locks_of_the_standard_library_are_found() {
    assert_eq!(
        locks("use std::sync::{Arc, Mutex, mpsc};\nstd::sync::RwLock::new(1)"),
        ["Mutex", "RwLock"]
    );
    assert!(locks("use std::sync::{Arc, MutexGuard};\nuse tokio::sync::Mutex;").is_empty());
}
