//! Common inputs of tests and benchmarks of several crates: a target file, the state of a worker.
//!
//! Owns two targets that pass all checks, and how a test changes them. It must not know the
//! coordinator or the worker: they depend on the lab in their tests. Invalid input is a mistake of
//! the test and panics.

use std::path::Path;

use rpmfarm_core::task::WorkerState;
use rpmfarm_core::worker_standing::PROTOCOL;
use rpmfarm_core::{Arch, Target};
use toml::{Table, Value};

use crate::target::{ADDRESS, TEXT};

/// An address, `HOST:PORT`, at which no process listens: for calls that never happen, or must fail.
pub const NOWHERE: &str = "127.0.0.1:1";

/// Little more than the required keys of a target.
const SMALL: &str = r#"
name = "lab"
arches = ["x86_64"]
dist = ".lab1"
channels = ["testing"]
signing_key = "lab"
bootstrap = ["rpm"]
base = ["rpm-build"]
private_hosts = ["127.0.0.1:8170"]

[upstream]
url = "http://127.0.0.1:8170/git/{name}.git"
ref = "lab1"

[[repositories]]
id = "lab"
baseurl = "http://127.0.0.1:8170/repo/{arch}/"
keys = ["lab.asc"]

[proof]
closure = "warn"
"#;

/// A target file: one of two that are valid, and the lines in which a test differs from it.
#[derive(Debug, Clone)]
pub struct TargetFile(Value);

impl TargetFile {
    /// The lab's own target, `deploy/targets/lab.toml`, whose servers are all at one address,
    /// `HOST:PORT`. Without a server ([`NOWHERE`]) nothing can be proved before it is published.
    #[must_use]
    pub fn lab(address: &str) -> Self {
        let file = Self(read(&TEXT.replace(ADDRESS, address)));
        if address == NOWHERE { file.with("proof.closure = \"warn\"") } else { file }
    }

    /// A target `lab` with one architecture, one channel and one repository, without modifications,
    /// look-aside cache, macros and limits of its own. Its servers are all at one address,
    /// `HOST:PORT`. Problems of its packages are no obstacle to publishing them.
    #[must_use]
    pub fn small(address: &str) -> Self {
        Self(read(&SMALL.replace(ADDRESS, address)))
    }

    /// Under another name. The name of the signing key stays.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.with(&format!("name = \"{name}\""))
    }

    /// Merges these lines of a target file. Tables are merged; every other value, a list of
    /// repositories as well, replaces the existing one.
    ///
    /// # Panics
    /// When the lines are not TOML.
    #[must_use]
    pub fn with(mut self, lines: &str) -> Self {
        merge(&mut self.0, read(lines));
        self
    }

    /// Marks packages and metadata of the repositories as unsigned.
    #[must_use]
    pub fn unsigned(mut self) -> Self {
        let repositories = self.0.get_mut("repositories").and_then(Value::as_array_mut);
        for repository in repositories.into_iter().flatten().filter_map(Value::as_table_mut) {
            repository.remove("keys");
            repository.remove("repo_gpgcheck");
            repository.insert("gpgcheck".to_owned(), Value::Boolean(false));
            repository.insert("insecure".to_owned(), Value::Boolean(true));
        }
        self
    }

    /// The text of the file. It may be one that the farm refuses.
    #[must_use]
    pub fn text(&self) -> String {
        toml::to_string(&self.0).expect("what was read as TOML can be written")
    }

    /// The target.
    ///
    /// # Panics
    /// When it is not valid, with its problems.
    #[must_use]
    pub fn target(&self) -> Target {
        let target = Target::parse(&self.file_name(), &self.text());
        target.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes the file, `NAME.toml`, into a directory of targets, which is made if it is missing.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, directory: &Path) {
        let path = directory.join(self.file_name());
        let written =
            std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&path, self.text()));
        written.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }

    fn file_name(&self) -> String {
        let name = self.0.get("name").and_then(Value::as_str).unwrap_or_default();
        format!("{name}.toml")
    }
}

fn read(text: &str) -> Value {
    let table = toml::from_str::<Table>(text);
    Value::Table(table.unwrap_or_else(|error| panic!("{error}")))
}

/// Lays a value over another one.
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Table(below), Value::Table(above)) => {
            for (key, value) in above {
                match below.get_mut(&key) {
                    Some(there) => merge(there, value),
                    None => {
                        below.insert(key, value);
                    }
                }
            }
        }
        (below, above) => *below = above,
    }
}

/// A worker that takes work: one slot and none for SRPMs, one processor, 8 GiB of memory and 100
/// GiB of disk, for `x86_64`.
#[must_use]
pub fn worker(name: &str) -> WorkerState {
    WorkerState {
        name: name.to_owned(),
        version: "1".to_owned(),
        protocol: PROTOCOL,
        arches: vec![Arch::X86_64],
        emulated: Vec::new(),
        slots: 1,
        srpm_slots: 0,
        cpus: 1,
        memory_mib: 8 << 10,
        disk_free_mib: 100 << 10,
        labels: Vec::new(),
        draining: false,
        unready: String::new(),
        attempts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "127.0.0.1:4711";

    #[test]
    fn both_targets_are_valid_signed_and_unsigned() {
        for file in [TargetFile::lab(ANY), TargetFile::small(ANY)] {
            let (signed, unsigned) = (file.target(), file.clone().unsigned().target());
            assert_eq!(signed.name, "lab");
            assert!(signed.private_hosts.allow("127.0.0.1", 4711));
            assert!(!file.text().contains("8170"), "{}", file.text());
            assert!(signed.repositories.iter().all(|repository| repository.gpgcheck));
            assert!(unsigned.repositories.iter().all(|repository| !repository.gpgcheck));
        }
        assert_eq!(TargetFile::lab(ADDRESS).target(), Target::parse("lab.toml", TEXT).unwrap());
    }

    #[test]
    fn lines_replace_values_and_are_merged_into_tables() {
        let file = TargetFile::lab(ANY).named("other").with(
            "arches = [\"aarch64\"]\nupstream.ref = \"c9s\"\n[packages.hello]\nunmodified = true\n",
        );
        let (target, lab) = (file.target(), TargetFile::lab(ANY).target());
        assert_eq!((target.name.as_str(), &target.arches[..]), ("other", &[Arch::Aarch64][..]));
        assert_eq!(target.git_ref("hello", None).unwrap(), "c9s");
        assert_eq!(target.git_url("hello"), lab.git_url("hello"));
        assert_eq!(target.packages.len(), lab.packages.len() + 1);
        let later = file.with("[packages.hello]\nunmodified = false\n").target();
        assert!(!later.packages["hello"].unmodified);
    }

    #[test]
    fn a_file_is_written_under_the_name_of_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let targets = directory.path().join("targets");
        let file = TargetFile::small(ANY).named("other");
        file.write(&targets);
        let text = std::fs::read_to_string(targets.join("other.toml")).unwrap();
        assert_eq!(Target::parse("other.toml", &text).unwrap(), file.target());
    }
}
