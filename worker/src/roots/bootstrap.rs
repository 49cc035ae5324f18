//! The bootstrap root: packages unpacked by the worker itself, so that the target's own rpm can
//! run. No scriptlet runs here.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rpmfarm_rpmfile::{Headers, Ownership, unpack};

use super::error::RootError;
use crate::cages::{CancelFlag, CancelReason};
use crate::disk::free_mib;

/// Where the root that is being made is seen in the bootstrap root.
pub(super) const TARGET: &str = "/target";
/// Where the packages are seen.
pub(super) const PACKAGES: &str = "/packages";

/// A disk with less room than this is full.
const FULL_MIB: u64 = 16;

/// Unpacks packages into an empty directory, several at once.
pub(super) fn unpack_packages(
    tree: &Path,
    packages: &[PathBuf],
    uid_base: u32,
    cancel: &CancelFlag,
) -> Result<(), RootError> {
    let local = RootError::local("make the bootstrap root");
    mount_points(tree, uid_base).map_err(local)?;
    let owner = Ownership::Fixed { uid: uid_base, gid: uid_base };
    // Links like /bin → usr/bin come before what other packages put below them.
    let (first, rest): (Vec<_>, Vec<_>) =
        packages.iter().partition(|package| has_root_links(package));
    unpack_all(tree, first, owner, 1, cancel)?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    unpack_all(tree, rest, owner, workers, cancel)
}

fn unpack_all(
    tree: &Path,
    packages: Vec<&PathBuf>,
    owner: Ownership,
    workers: usize,
    cancel: &CancelFlag,
) -> Result<(), RootError> {
    let queue = Mutex::new(VecDeque::from(packages));
    let next = || queue.lock().pop_front();
    let work = || {
        while let Some(package) = next() {
            check(cancel).map_err(RootError::Cancelled)?;
            unpack(package, tree, owner).map_err(|error| refused(tree, package, &error))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| {
                let error = io::Error::other("a thread that unpacked packages panicked");
                Err(RootError::Local { what: "make the bootstrap root", source: error })
            })
        })
    })
}

/// A package that cannot be unpacked is bad, unless the disk is full.
fn refused(tree: &Path, package: &Path, error: &rpmfarm_rpmfile::RpmError) -> RootError {
    if free_mib(tree).is_some_and(|mib| mib < FULL_MIB) {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        return RootError::Local { what: "unpack packages", source: full };
    }
    RootError::Unpack {
        package: package.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        reason: error.to_string(),
    }
}

fn check(cancel: &CancelFlag) -> Result<(), CancelReason> {
    cancel.raised().map_or(Ok(()), Err)
}

/// Whether a package makes links right below `/`. One that cannot be read says so when it is
/// unpacked.
fn has_root_links(package: &Path) -> bool {
    let Ok(file) = fs::File::open(package) else { return false };
    let Ok(headers) = Headers::read(&mut io::BufReader::new(file)) else { return false };
    headers.metadata.get_file_entries().is_ok_and(|entries| {
        entries.iter().any(|entry| {
            entry.path().parent() == Some(Path::new("/"))
                && entry.linkto().is_some_and(|link| !link.is_empty())
        })
    })
}

/// The mount points must exist: nothing can be created in the root later on.
fn mount_points(tree: &Path, uid_base: u32) -> io::Result<()> {
    fs::set_permissions(tree, fs::Permissions::from_mode(0o755))?;
    chown(tree, Some(uid_base), Some(uid_base))?;
    let names =
        ["target", "packages", "proc", "sys", "dev", "tmp", "var", "var/tmp", "run", "root"];
    for name in names {
        let path = tree.join(name);
        fs::create_dir(&path)?;
        chown(&path, Some(uid_base), Some(uid_base))?;
    }
    Ok(())
}
