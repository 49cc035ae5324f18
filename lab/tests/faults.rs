//! `docs/faults.md` is complete: each fault has its row, and each test that a row names is there.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The faults that have a row each.
const FAULTS: std::ops::RangeInclusive<u32> = 1..=26;

/// Those that no test makes; their rows say so.
const UNTESTED: [u32; 1] = [24];

const SOURCES: [&str; 7] = [
    "lab/tests",
    "coordinator/tests",
    "coordinator/src",
    "worker/tests",
    "worker/src",
    "signer/src",
    "acceptor/tests",
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The names in backquotes of each row of the table, by the fault's number.
fn rows(text: &str) -> BTreeMap<u32, Vec<String>> {
    let row = |line: &str| {
        let number = line.strip_prefix("| ")?.split(" |").next()?.parse().ok()?;
        let last = line.trim_end_matches(" |").rsplit(" | ").next()?;
        let names = last.split('`').skip(1).step_by(2).map(str::to_owned);
        Some((number, names.collect()))
    };
    text.lines().filter_map(row).collect()
}

fn sources(directory: &Path, all: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn each_fault_has_a_test_that_is_there() {
    let text = std::fs::read_to_string(workspace().join("docs/faults.md")).unwrap();
    let mut code = String::new();
    for directory in SOURCES {
        sources(&workspace().join(directory), &mut code);
    }
    let rows = rows(&text);
    let mut wrong = Vec::new();
    for fault in FAULTS {
        let names = rows.get(&fault).cloned().unwrap_or_default();
        let tests: Vec<&String> =
            names.iter().filter(|name| name.contains("::") && !name.contains(' ')).collect();
        if UNTESTED.contains(&fault) {
            let says = format!("| {fault} |");
            let row = text.lines().find(|line| line.starts_with(&says)).unwrap_or_default();
            if !row.contains("| none:") {
                wrong.push(format!("fault {fault} does not say that it has no test"));
            }
        } else if tests.is_empty() {
            wrong.push(format!("fault {fault} has no test"));
        }
        for test in tests {
            let function = test.rsplit("::").next().unwrap();
            let is_there = [format!("fn {function}("), format!("mod {function};")];
            if !is_there.iter().any(|line| code.contains(line)) {
                wrong.push(format!("fault {fault}: there is no test {test}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
