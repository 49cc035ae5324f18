//! The `/dev` of a cage, as mock makes one: real nodes of harmless devices, the links to a
//! process's own descriptors, and directories for terminals and shared memory.
//!
//! Made by the cage's init, which has the privilege to make nodes, in a file system of its own that
//! ends with the cage. It must not know who runs there.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde::{Deserialize, Serialize};

use super::sysfs;

/// The directories for one root of a cage: `dev`, `bus` and `class` in a directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CageDevices {
    pub(super) at: PathBuf,
    /// The owner of all of it: root in the cage.
    pub(super) owner: u32,
    /// Whether `/dev/fuse` is there.
    pub(super) fuse: bool,
    /// Loop devices that are the cage's alone, by their numbers.
    pub(super) loops: Vec<u32>,
    /// Whether no nodes can be made here ([`can_make_nodes`]), so that the host's own are bound.
    pub(super) bound: bool,
}

/// Character devices: name, mode, major and minor number, as in the kernel's devices.txt.
const NODES: &[(&str, u32, u64, u64)] = &[
    ("null", 0o666, 1, 3),
    ("zero", 0o666, 1, 5),
    ("full", 0o666, 1, 7),
    ("random", 0o666, 1, 8),
    ("urandom", 0o444, 1, 9),
    ("tty", 0o666, 5, 0),
];

/// Links: name and target.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// What the file system of a `/dev` may hold.
const OPTIONS: &str = "mode=755,size=1m";

/// The group that terminals belong to, in every distribution.
const TTY: u32 = 5;

/// Major number of loop devices.
const LOOP: u64 = 7;

impl CageDevices {
    /// Names of the nodes that are bound from the host's `/dev`, where none can be made. crun does
    /// it: what the cage's init binds is not seen in the cage.
    pub(super) fn bound(&self) -> Vec<&'static str> {
        let names = NODES.iter().map(|(name, ..)| *name);
        names.filter(|name| self.bound && Path::new("/dev").join(name).exists()).collect()
    }

    /// Makes it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.at)?;
        mount(Some("tmpfs"), &self.at, Some("tmpfs"), MsFlags::MS_NOSUID, Some(OPTIONS))?;
        own(&self.at, 0o755, self.owner)?;
        sysfs::furnish(&self.at)?;
        let dev = self.at.join("dev");
        for directory in [dev.clone(), dev.join("pts"), dev.join("shm")] {
            fs::create_dir(&directory)?;
            own(&directory, 0o755, self.owner)?;
        }
        for (name, mode, major, minor) in NODES {
            self.node(&dev.join(name), SFlag::S_IFCHR, *mode, (*major, *minor), self.owner)?;
        }
        chown(dev.join("tty"), None, Some(self.owner + TTY))?;
        // The host's console exists, as in mock's chroot, but no process in the cage can open it.
        self.node(&dev.join("console"), SFlag::S_IFCHR, 0o600, (5, 1), 0)?;
        if self.fuse {
            self.node(&dev.join("fuse"), SFlag::S_IFCHR, 0o666, (10, 229), self.owner)?;
        }
        for number in &self.loops {
            let path = dev.join(format!("loop{number}"));
            self.node(&path, SFlag::S_IFBLK, 0o666, (LOOP, u64::from(*number)), self.owner)?;
        }
        for (name, to) in LINKS {
            symlink(to, dev.join(name))?;
            lchown(dev.join(name), Some(self.owner), Some(self.owner))?;
        }
        Ok(())
    }

    fn node(
        &self,
        path: &Path,
        kind: SFlag,
        mode: u32,
        (major, minor): (u64, u64),
        owner: u32,
    ) -> io::Result<()> {
        if self.bound {
            // An empty file to be mounted over.
            let listed = NODES.iter().any(|(name, ..)| path.ends_with(*name));
            return if listed { fs::File::create(path).map(drop) } else { Ok(()) };
        }
        mknod(path, kind, Mode::empty(), makedev(major, minor))?;
        own(path, mode, owner)
    }
}

/// Whether device nodes can be made: root of a container cannot.
pub(super) fn can_make_nodes(directory: &Path) -> bool {
    let tried = directory.join("node");
    let made = mknod(tried.as_path(), SFlag::S_IFCHR, Mode::empty(), makedev(1, 3));
    let _ = fs::remove_file(&tried);
    made != Err(nix::Error::EPERM)
}

fn own(path: &Path, mode: u32, owner: u32) -> io::Result<()> {
    chown(path, Some(owner), Some(owner))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
