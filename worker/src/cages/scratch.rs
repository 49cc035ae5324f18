//! Scratch space: an empty directory of limited size for everything that one build writes.
//!
//! A scratch space is made before the build needs it and removed after it, with everything in it.
//! How its size is limited depends on the host, see [`ScratchKind`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use parking_lot::{Mutex, MutexGuard};

use crate::disk::{free_inodes, free_mib};
use crate::trees;

/// How scratch space is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ScratchKind {
    /// An ext4 file system of the build's limit in a sparse file. Needs mkfs.ext4 and loop
    /// devices.
    Image,
    /// Memory. Fast, and counts against the memory of the host and of the build.
    Tmpfs,
    /// A directory. The disk limit applies to single files; the sum is measured periodically.
    Plain,
}

impl ScratchKind {
    /// The best kind for this host: an image, or else a directory.
    #[must_use]
    pub fn best() -> Self {
        let tools = ["/sbin/mkfs.ext4", "/usr/sbin/mkfs.ext4"];
        let has_mkfs = tools.iter().any(|tool| Path::new(tool).exists());
        if has_mkfs && Path::new("/dev/loop-control").exists() { Self::Image } else { Self::Plain }
    }
}

/// Makes scratches and keeps one ahead.
#[derive(Debug, Clone)]
pub struct ScratchPool(Arc<ScratchPoolShared>);

#[derive(Debug)]
struct ScratchPoolShared {
    kind: ScratchKind,
    directory: PathBuf,
    next: AtomicU64,
    ready: Mutex<Option<Scratch>>,
}

/// One scratch space; removed in the background when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    kind: ScratchKind,
    directory: PathBuf,
    mib: u64,
}

impl ScratchPool {
    /// A pool in a directory of its own, which was emptied as far as that was possible.
    #[must_use]
    pub fn new(kind: ScratchKind, directory: PathBuf) -> Self {
        let (next, ready) = (AtomicU64::new(0), Mutex::new(None));
        Self(Arc::new(ScratchPoolShared { kind, directory, next, ready }))
    }

    /// Which kind it makes.
    #[must_use]
    pub fn kind(&self) -> ScratchKind {
        self.0.kind
    }

    /// An empty scratch space of that size; starts to make the next one.
    ///
    /// # Errors
    /// When none can be made.
    pub fn acquire(&self, mib: u64) -> io::Result<Scratch> {
        let ready = self.0.lock().take().filter(|scratch| scratch.mib == mib);
        let scratch = match ready {
            Some(scratch) => scratch,
            None => self.0.create(mib)?,
        };
        self.prepare(mib);
        Ok(scratch)
    }

    /// An empty scratch of that size, and none ahead of the next one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self, mib: u64) -> io::Result<Scratch> {
        self.0.create(mib)
    }

    /// Makes a scratch of that size ahead, in the background.
    pub fn prepare(&self, mib: u64) {
        let pool = self.clone();
        std::thread::spawn(move || {
            if pool.0.lock().is_some() {
                return;
            }
            match pool.0.create(mib) {
                Ok(scratch) => *pool.0.lock() = Some(scratch),
                Err(error) => tracing::warn!(%error, mib, "cannot prepare scratch space"),
            }
        });
    }
}

impl ScratchPoolShared {
    fn lock(&self) -> MutexGuard<'_, Option<Scratch>> {
        self.ready.lock()
    }

    fn create(&self, mib: u64) -> io::Result<Scratch> {
        let directory = self.directory()?;
        // From here on, dropping it removes it.
        let scratch = Scratch { kind: self.kind, directory, mib };
        match self.kind {
            ScratchKind::Image => mount_image(&scratch.directory, mib)?,
            ScratchKind::Tmpfs => mount_tmpfs(&scratch.directory, mib)?,
            ScratchKind::Plain => {}
        }
        Ok(scratch)
    }

    /// A new directory. A name is skipped if an earlier process left a directory that cannot be
    /// removed.
    fn directory(&self) -> io::Result<PathBuf> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let directory = self.directory.join(number.to_string());
            match fs::create_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| directory),
            }
        }
    }
}

impl Scratch {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The largest file that may be written, in MiB, where no better limit on writes is available.
    #[must_use]
    pub fn largest_file_mib(&self) -> Option<u64> {
        (self.kind == ScratchKind::Plain).then_some(self.mib)
    }

    /// How many MiB can still be written, where a limit holds.
    #[must_use]
    pub fn free_mib(&self) -> Option<u64> {
        if self.kind == ScratchKind::Plain {
            return None;
        }
        free_mib(&self.directory)
    }

    /// What may be in it, where no file system of its own limits that.
    #[must_use]
    pub fn bounds(&self) -> Option<trees::TreeBounds> {
        let (entries, bytes) = (inodes(self.mib), self.mib.saturating_mul(1 << 20));
        let bounds = trees::TreeBounds { entries, depth: usize::MAX, bytes };
        (self.kind == ScratchKind::Plain).then_some(bounds)
    }

    /// How many files can still be made, where a limit holds.
    #[must_use]
    pub fn free_inodes(&self) -> Option<u64> {
        if self.kind == ScratchKind::Plain {
            return None;
        }
        free_inodes(&self.directory)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (kind, directory) = (self.kind, std::mem::take(&mut self.directory));
        // On a thread: removing a large tree takes long, and the build's slot is free meanwhile.
        let mut going = GOING.lock();
        going.retain(|thread| !thread.is_finished());
        going.push(std::thread::spawn(move || throw_away(kind, &directory)));
    }
}

/// Threads that remove scratch space.
static GOING: Mutex<Vec<JoinHandle<()>>> = Mutex::new(Vec::new());

/// Waits until all dropped scratch spaces are removed, because the process ends next and would stop
/// the removal.
pub fn wait_until_gone() {
    let going = std::mem::take(&mut *GOING.lock());
    for thread in going {
        // Its panic was reported.
        let _ = thread.join();
    }
}

/// Unmounts without writing back, because the image will be removed.
fn throw_away(kind: ScratchKind, directory: &Path) {
    if kind == ScratchKind::Image
        && let Err(error) = shutdown::forget(directory)
    {
        tracing::debug!(%error, "the scratch image is written back before it goes");
    }
    if kind != ScratchKind::Plain
        && let Err(error) = umount2(directory, MntFlags::MNT_DETACH)
    {
        tracing::debug!(%error, directory = %directory.display(), "no scratch was mounted");
    }
    if let Err(error) = trees::remove(directory) {
        tracing::warn!(%error, directory = %directory.display(), "scratch space could not be removed");
    }
}

/// The order of names in an ext4 directory depends on hashes: with a fixed seed, builds that depend
/// on that order give the same result each time.
const HASH_SEED: &str = "72706d66-6172-4d00-8000-000000000001";

/// One inode for so many bytes. A file takes 4096 at least unless it is empty or a short link, so
/// that blocks run out before inodes do for nearly every build; tables that are not used are not
/// written.
const INODE_RATIO: u64 = 2048;

/// Files and directories that fit into a scratch of that size.
const fn inodes(mib: u64) -> u64 {
    mib.saturating_mul((1 << 20) / INODE_RATIO)
}

fn mount_image(directory: &Path, mib: u64) -> io::Result<()> {
    let image = directory.with_extension("img");
    let file = fs::File::create(&image)?;
    // The tables of inodes take an eighth, which the build cannot use.
    file.set_len(((mib << 20) / 7).saturating_mul(8))?;
    let extended = format!("lazy_itable_init=1,nodiscard,hash_seed={HASH_SEED}");
    let made = tool(
        Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-U", HASH_SEED])
            .args(["-i", &INODE_RATIO.to_string()])
            .args(["-E", &extended])
            .arg(&image),
    )
    .and_then(|()| {
        let options = "loop,noatime,nodiscard,noinit_itable,nobarrier";
        tool(Command::new("mount").args(["-t", "ext4", "-o", options]).arg(&image).arg(directory))
    });
    // The mount keeps the file open, so the file disappears with the mount, however the worker
    // ends.
    let removed = fs::remove_file(&image);
    made.and(removed)
}

fn tool(command: &mut Command) -> io::Result<()> {
    let path = "/usr/sbin:/usr/bin:/sbin:/bin";
    let output = command.env_clear().env("PATH", path).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let program = command.get_program().to_string_lossy().into_owned();
    Err(io::Error::other(format!("{program} failed ({}): {}", output.status, stderr.trim())))
}

fn mount_tmpfs(directory: &Path, mib: u64) -> io::Result<()> {
    let options = format!("size={mib}m,nr_inodes={},mode=755", inodes(mib));
    mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::MS_NOATIME, Some(options.as_str()))?;
    Ok(())
}

/// The one call for which there is no safe wrapper.
mod shutdown {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    /// `EXT4_IOC_SHUTDOWN`, include/uapi/linux/ext4.h.
    const SHUTDOWN: nix::libc::Ioctl = nix::request_code_read!(b'X', 125, size_of::<u32>());

    /// `EXT4_GOING_FLAGS_NOLOGFLUSH`: nothing is flushed, not even a journal.
    const NO_FLUSH: u32 = 2;

    nix::ioctl_write_ptr_bad!(ext4_shutdown, SHUTDOWN, u32);

    /// Makes an ext4 file system forget what it has not written yet.
    pub(super) fn forget(mount: &Path) -> io::Result<()> {
        let directory = File::open(mount)?;
        // SAFETY: the descriptor is open for the whole call, and the kernel only reads the u32.
        #[allow(unsafe_code)]
        unsafe {
            ext4_shutdown(directory.as_raw_fd(), &NO_FLUSH)?;
        }
        Ok(())
    }
}
