//! Idmapped copies of mounts: the same files, with the owners of another range of ids.
//!
//! What cages read and write has one range of ids on disk, whichever cage it was, since all of them
//! use the same layers; a cage that runs has a range of its own. The kernel translates: a copy of a
//! mount has a map, and whoever reads or writes there sees and gives owners of the other range
//! (mount_setattr(2): Linux 5.12; as layers of overlayfs 5.19; on tmpfs 6.3; on overlayfs itself
//! never).
//!
//! Owns the map and the copies. It must not know which range belongs to whom.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use rpmfarm_core::id_ranges::{IdRange, mount_map};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::users::{MADE, expect};

/// A map from the ids on disk to those of a cage.
#[derive(Debug)]
pub(super) struct IdMap {
    /// The user namespace that the kernel takes the map from. Nothing runs in it.
    namespace: File,
    disk: IdRange,
    cage: IdRange,
}

impl IdMap {
    /// Makes the map, through a process that ends when it is made. To be called where `/proc` shows
    /// that process.
    pub(super) fn make(disk: IdRange, cage: IdRange) -> Result<Self> {
        let mut holder = Command::new(std::env::current_exe()?)
            .arg("cage-map")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the holder of a map of ids")?;
        let (asks, says) = (holder.stdin.take(), holder.stdout.take());
        let (asks, says) = asks.zip(says).context("no pipes to the holder")?;
        expect(&mut BufReader::new(says), MADE)?;
        let process = PathBuf::from(format!("/proc/{}", holder.id()));
        for map in ["uid_map", "gid_map"] {
            fs::write(process.join(map), mount_map(disk, cage))
                .with_context(|| format!("mapping the ids {disk} to {cage} in {map}"))?;
        }
        let namespace =
            File::open(process.join("ns/user")).context("opening the namespace of the map")?;
        // The holder ends when its input is closed; the namespace stays as long as it is open.
        drop(asks);
        ensure!(holder.wait()?.success(), "the holder of a map of ids failed");
        Ok(Self { namespace, disk, cage })
    }

    /// Shows a directory at another one with the ids of the cage; mounts below it are not shown.
    pub(super) fn show(&self, from: &Path, at: &Path) -> Result<()> {
        self.copy(from, at, OpenTreeFlags::empty())
    }

    /// Covers a directory with a copy of itself that has the ids of the cage. Mounts below it
    /// stays as it is.
    pub(super) fn cover(&self, directory: &Path) -> Result<()> {
        self.copy(directory, directory, OpenTreeFlags::AT_RECURSIVE)
    }

    fn copy(&self, from: &Path, at: &Path, how: OpenTreeFlags) -> Result<()> {
        self.try_copy(from, at, how).with_context(|| {
            let (disk, cage) = (self.disk, self.cage);
            format!("showing {} with the ids {cage} instead of {disk}", from.display())
        })
    }

    fn try_copy(&self, from: &Path, at: &Path, how: OpenTreeFlags) -> Result<()> {
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let copy: OwnedFd = open_tree(CWD, from, clone | how).context("copying the mount")?;
        setattr::idmap(copy.as_fd(), self.namespace.as_fd()).context("mapping its ids")?;
        move_mount(&copy, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .with_context(|| format!("mounting it at {}", at.display()))
    }
}

/// The process that holds the map: makes a user namespace, and lives until its map is written and
/// the namespace opened. Errors are printed on standard output, where the worker waits for a word.
pub(super) fn hold() -> u8 {
    let done = hold_namespace(&mut io::stdin(), &mut io::stdout());
    if let Err(error) = &done {
        // The reader is dead in that case.
        let _ = writeln!(io::stdout(), "{error:#}");
    }
    u8::from(done.is_err())
}

fn hold_namespace(asks: &mut impl Read, says: &mut impl Write) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER).context("making a user namespace for a map of ids")?;
    writeln!(says, "{MADE}")?;
    says.flush()?;
    asks.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The one call for which there is no safe wrapper.
mod setattr {
    use std::io;
    use std::os::fd::{AsRawFd as _, BorrowedFd};

    use nix::libc;

    /// Gives a detached mount the map of a user namespace.
    pub(super) fn idmap(mount: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
        let attributes = libc::mount_attr {
            attr_set: libc::MOUNT_ATTR_IDMAP,
            attr_clr: 0,
            propagation: 0,
            userns_fd: u64::try_from(namespace.as_raw_fd()).map_err(io::Error::other)?,
        };
        // SAFETY: both descriptors are open for the whole call, the path ends with a zero, and the
        // kernel only reads the attributes, whose size it is given.
        #[allow(unsafe_code)]
        let done = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                mount.as_raw_fd(),
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                &raw const attributes,
                size_of::<libc::mount_attr>(),
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
