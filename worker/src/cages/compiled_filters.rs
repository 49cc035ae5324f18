//! Filters of system calls in the form of the kernel, kept from one cage for the next.
//!
//! crun compiles the rules of a cage with libseccomp, which takes half of the time that a cage takes
//! to begin. It also takes a compiled filter, by an annotation of the configuration. So the first
//! cage with some rules has crun compile them, the filter is copied from crun's state while the cage
//! runs, and later cages with the same rules get the copy. It must not know what the rules are.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use serde_json::Value;

use super::stage::FIRST_PROCESS;

/// The annotation with which crun takes a filter, in base64 (crun(1), "run.oci.seccomp_bpf_data"). A crun
/// that does not know it compiles the rules, which are in the configuration as well.
pub(super) const ANNOTATION: &str = "run.oci.seccomp_bpf_data";

/// The copy of a filter, in the directory of its cage.
const COPY: &str = "filter.bpf";

/// The size of an instruction in bytes, and the most instructions of a filter (`BPF_MAXINSNS` of
/// `linux/bpf_common.h`).
const INSTRUCTION: usize = 8;
const MOST_INSTRUCTIONS: usize = 4096;

/// How long a cage may take to begin until its filter is no longer waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time between two checks of whether it has begun, in milliseconds.
pub(super) const PACE_MS: u8 = 2;

/// The filters of a worker. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CompiledFilters(Arc<Mutex<HashMap<String, Arc<str>>>>);

impl CompiledFilters {
    /// The filter of these rules in base64, if a cage had them before.
    pub(super) fn get(&self, rules: &Value) -> Option<Arc<str>> {
        self.0.lock().get(&rules.to_string()).cloned()
    }

    /// Keeps the filter that was copied for a cage with these rules, if one was.
    pub(super) fn keep(&self, rules: &Value, directory: &Path) {
        let Ok(filter) = fs::read(directory.join(COPY)) else { return };
        if is_whole(&filter) {
            let text = BASE64_STANDARD.encode(filter);
            self.0.lock().insert(rules.to_string(), text.into());
        }
    }
}

/// Whether these bytes can be a filter.
fn is_whole(filter: &[u8]) -> bool {
    let instructions = filter.len() / INSTRUCTION;
    filter.len().is_multiple_of(INSTRUCTION) && (1..=MOST_INSTRUCTIONS).contains(&instructions)
}

/// A filter in crun's state that is to be copied as soon as the cage has a process: crun has written
/// all of it by then. When the cage has already ended, there is none, and no copy is made.
#[derive(Debug)]
pub(super) struct AwaitedFilter {
    process: PathBuf,
    filter: PathBuf,
    copy: PathBuf,
    until: Instant,
}

impl AwaitedFilter {
    /// That of a cage with this directory, and with crun's state of it in the other one.
    pub(super) fn new(directory: &Path, state: &Path) -> Self {
        Self {
            process: directory.join(FIRST_PROCESS),
            filter: state.join("seccomp.bpf"),
            copy: directory.join(COPY),
            until: Instant::now() + PATIENCE,
        }
    }

    /// Copies it if it is there. Whether it is still to be waited for.
    pub(super) fn is_awaited(&self) -> bool {
        if fs::metadata(&self.process).is_ok_and(|file| file.len() > 0) {
            // Without a copy, the next cage has its rules compiled, too.
            let _ = fs::copy(&self.filter, &self.copy);
            return false;
        }
        Instant::now() < self.until
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_copied_when_its_cage_has_a_process() {
        let cage = tempfile::tempdir().unwrap();
        let state = cage.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::write(state.join("seccomp.bpf"), [7; INSTRUCTION]).unwrap();
        let filter = AwaitedFilter::new(cage.path(), &state);
        fs::write(cage.path().join(FIRST_PROCESS), "").unwrap();
        assert!(filter.is_awaited(), "crun has not written it yet");
        assert!(!cage.path().join(COPY).exists());
        fs::write(cage.path().join(FIRST_PROCESS), "1").unwrap();
        assert!(!filter.is_awaited());
        assert_eq!(fs::read(cage.path().join(COPY)).unwrap(), [7; INSTRUCTION]);
    }

    #[test]
    fn only_a_whole_filter_is_kept() {
        let cage = tempfile::tempdir().unwrap();
        let (filters, rules) = (CompiledFilters::default(), json!({ "syscalls": [] }));
        filters.keep(&rules, cage.path());
        assert_eq!(filters.get(&rules), None, "there is no copy");
        for broken in [&[][..], &[1; 12], &vec![0; INSTRUCTION * (MOST_INSTRUCTIONS + 1)]] {
            fs::write(cage.path().join(COPY), broken).unwrap();
            filters.keep(&rules, cage.path());
            assert_eq!(filters.get(&rules), None, "{} bytes", broken.len());
        }
        fs::write(cage.path().join(COPY), [0xff; 16]).unwrap();
        filters.keep(&rules, cage.path());
        assert_eq!(filters.get(&rules).as_deref(), Some("/////////////////////w=="));
        assert_eq!(filters.get(&json!({ "syscalls": [1] })), None, "other rules");
    }
}
