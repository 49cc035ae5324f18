//! Results: copied out of the build's directory from outside, trusting nothing in it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use rpmfarm_core::name;
use rpmfarm_core::results::{ResultFile, ResultKind};
use rpmfarm_core::{Failure, FailureStage, Fault, Sha256};
use sha2::Digest as _;

use crate::cages::confined_dir::{ConfinedDir, DirEntry};

/// The most files that a package build may make.
const MAX_FILES: usize = 5000;

/// Copies the packages out of a directory that the build has written to, and names them by
/// digest. The build must be dead.
///
/// # Errors
/// A failure of the package for anything that is not a plain package file, or too large; of the
/// worker when the copy cannot be written.
pub fn collect(
    from: &ConfinedDir,
    kind: ResultKind,
    into: &Path,
    limit_mib: u64,
) -> Result<Vec<ResultFile>, Failure> {
    let worker = |error: io::Error| {
        let message = format!("cannot copy the results to {}: {error}", into.display());
        Failure::new(Fault::Worker, FailureStage::Files, message)
    };
    let entries = from.list(MAX_FILES).map_err(|error| refused(&error.to_string()))?;
    check(&entries, limit_mib)?;
    fs::create_dir_all(into).map_err(worker)?;
    let mut results = Vec::new();
    for entry in entries {
        let source = from.file(&entry.name).map_err(|error| refused(&error.to_string()))?;
        let target = into.join(&entry.name);
        let (digest, size) = copy(source.take(entry.size), &target).map_err(worker)?;
        results.push(ResultFile { name: entry.name, kind, digest, size });
    }
    Ok(results)
}

fn refused(what: &str) -> Failure {
    Failure::new(Fault::Package, FailureStage::Files, format!("the results are refused: {what}"))
}

fn check(entries: &[DirEntry], limit_mib: u64) -> Result<(), Failure> {
    for entry in entries {
        name::check_file(&entry.name).map_err(|error| refused(&error.to_string()))?;
        if !entry.plain {
            return Err(refused(&format!(
                "{} is not a plain file of its own (a link, device or directory)",
                name::shown(&entry.name)
            )));
        }
        if !entry.name.ends_with(".rpm") {
            return Err(refused(&format!("{} is not a package", name::shown(&entry.name))));
        }
        if entry.size == 0 {
            return Err(refused(&format!("{} is empty", name::shown(&entry.name))));
        }
    }
    let bytes = entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.size));
    if bytes > limit_mib << 20 {
        return Err(refused(&format!(
            "{} MiB of packages, at most {limit_mib} (limit `results_mib`)",
            bytes >> 20
        )));
    }
    Ok(())
}

/// Copies and computes the digest on the way.
pub(super) fn copy(mut from: impl Read, to: &Path) -> io::Result<(Sha256, u64)> {
    let mut file = File::create(to)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut size = 0;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok((Sha256::from_bytes(hasher.finalize().into()), size));
        }
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
        size += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn collected(prepare: impl Fn(&Path)) -> Result<Vec<ResultFile>, Failure> {
        let (from, into) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
        prepare(from.path());
        let beneath = ConfinedDir::open(from.path()).expect("opens");
        let results = collect(&beneath, ResultKind::Rpm, into.path(), 1);
        for file in results.iter().flatten() {
            let copy = fs::read(into.path().join(&file.name)).expect("was copied");
            assert_eq!((Sha256::compute(&copy), copy.len() as u64), (file.digest, file.size));
        }
        results
    }

    #[test]
    fn plain_packages_are_taken() {
        let results = collected(|dir| {
            fs::write(dir.join("b-1-1.noarch.rpm"), "b").expect("writes");
            fs::write(dir.join("a-1-1.noarch.rpm"), vec![7; 600_000]).expect("writes");
        });
        let names: Vec<_> = results.expect("taken").into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["a-1-1.noarch.rpm", "b-1-1.noarch.rpm"]);
    }

    #[test]
    fn whatever_else_is_refused() {
        let refusal = |prepare: &dyn Fn(&Path)| {
            let failure = collected(prepare).expect_err("refused");
            assert_eq!(failure.fault, Fault::Package);
            failure.message
        };
        let link =
            refusal(&|dir| symlink("/etc/shadow", dir.join("a-1-1.noarch.rpm")).expect("links"));
        assert!(link.contains("a-1-1.noarch.rpm is not a plain file"), "{link}");
        let hard = refusal(&|dir| {
            fs::write(dir.join("a-1-1.noarch.rpm"), "x").expect("writes");
            fs::hard_link(dir.join("a-1-1.noarch.rpm"), dir.join("b-1-1.noarch.rpm"))
                .expect("links");
        });
        assert!(hard.contains("not a plain file of its own"), "{hard}");
        let fifo = refusal(&|dir| {
            let mode = nix::sys::stat::Mode::S_IRUSR;
            nix::unistd::mkfifo(&dir.join("a-1-1.noarch.rpm"), mode).expect("makes a FIFO");
        });
        assert!(fifo.contains("not a plain file"), "{fifo}");
        let directory = refusal(&|dir| fs::create_dir(dir.join("x86_64")).expect("makes"));
        assert!(directory.contains("x86_64 is not a plain file"), "{directory}");
        let other = refusal(&|dir| fs::write(dir.join("core"), "x").expect("writes"));
        assert!(other.contains("core is not a package"), "{other}");
        let large = refusal(&|dir| fs::write(dir.join("a.rpm"), vec![0; 2 << 20]).expect("writes"));
        assert!(large.contains("2 MiB of packages, at most 1 (limit `results_mib`)"), "{large}");
        let empty = refusal(&|dir| fs::write(dir.join("a.rpm"), "").expect("writes"));
        assert!(empty.contains("a.rpm is empty"), "{empty}");
        let name = refusal(&|dir| fs::write(dir.join("-rf\n.rpm"), "x").expect("writes"));
        assert!(name.contains("plain file name"), "{name}");
    }
}
