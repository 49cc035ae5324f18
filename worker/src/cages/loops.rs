//! Loop devices for one cage only.
//!
//! A node of a loop device lets its holder read and write whatever is attached to that device, as
//! other builds' scratch space. So a cage never sees the host's devices, but gets new ones whose
//! numbers nobody else uses. They are removed when the cage has ended, and after a crash when the
//! worker starts again.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many a cage gets.
const COUNT: usize = 4;

/// Their numbers begin here, far above those that `losetup -f` and installers hand out.
const FIRST: u32 = 1 << 16;
/// A minor number has 20 bits.
const LAST: u32 = (1 << 20) - 1;

/// The numbers of a cage's devices, in its directory.
const FILE: &str = "loops";

const CONTROL: &str = "/dev/loop-control";

/// Loop devices; removed when dropped.
#[derive(Debug)]
pub(super) struct LoopDevices {
    numbers: Vec<u32>,
}

impl LoopDevices {
    /// Makes them for a cage with this directory.
    ///
    /// # Errors
    /// When the host has no loop devices, or all numbers are taken.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let control = File::options().read(true).write(true).open(CONTROL)?;
        let mut loops = Self { numbers: Vec::new() };
        let mut tries = 0;
        while loops.numbers.len() < COUNT {
            let offset = NEXT.fetch_add(1, Ordering::Relaxed) % (LAST - FIRST);
            match calls::add(&control, FIRST + offset) {
                Ok(()) => loops.numbers.push(FIRST + offset),
                Err(error) if error.raw_os_error() == Some(nix::libc::EEXIST) && tries < 4096 => {
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
        let lines: Vec<String> = loops.numbers.iter().map(u32::to_string).collect();
        fs::write(directory.join(FILE), lines.join("\n"))?;
        Ok(loops)
    }

    pub(super) fn numbers(&self) -> &[u32] {
        &self.numbers
    }
}

impl Drop for LoopDevices {
    fn drop(&mut self) {
        for number in &self.numbers {
            remove(*number);
        }
    }
}

/// Removes the devices that an earlier process left. `cages` is the directory of the cages'
/// directories.
pub(super) fn clear_left(cages: &Path) {
    let Ok(entries) = fs::read_dir(cages) else { return };
    for entry in entries.flatten() {
        let text = fs::read_to_string(entry.path().join(FILE)).unwrap_or_default();
        // A lower number was not made by this worker, whatever the file says.
        let numbers = text.lines().filter_map(|line| line.parse().ok());
        numbers.filter(|number| (FIRST..=LAST).contains(number)).for_each(remove);
    }
}

fn remove(number: u32) {
    let device = format!("/dev/loop{number}");
    // Fails when nothing is attached, which is fine.
    let _ = File::open(&device).and_then(|device| calls::detach(&device));
    let removed = File::options()
        .read(true)
        .write(true)
        .open(CONTROL)
        .and_then(|control| calls::remove(&control, number));
    if let Err(error) = removed {
        tracing::warn!(%error, device, "a loop device of a build could not be removed");
    }
}

/// The calls for which there is no safe wrapper (linux/loop.h).
mod calls {
    use super::{AsRawFd as _, File, io};

    nix::ioctl_none_bad!(loop_clr_fd, 0x4C01);
    nix::ioctl_write_int_bad!(loop_ctl_add, 0x4C80);
    nix::ioctl_write_int_bad!(loop_ctl_remove, 0x4C81);

    fn int(number: u32) -> i32 {
        number.cast_signed()
    }

    pub(super) fn add(control: &File, number: u32) -> io::Result<()> {
        // SAFETY: the descriptor is open for the whole call, which takes a plain number.
        #[allow(unsafe_code)]
        unsafe { loop_ctl_add(control.as_raw_fd(), int(number)) }?;
        Ok(())
    }

    pub(super) fn remove(control: &File, number: u32) -> io::Result<()> {
        // SAFETY: the descriptor is open for the whole call, which takes a plain number.
        #[allow(unsafe_code)]
        unsafe { loop_ctl_remove(control.as_raw_fd(), int(number)) }?;
        Ok(())
    }

    pub(super) fn detach(device: &File) -> io::Result<()> {
        // SAFETY: the descriptor is open for the whole call, which takes nothing.
        #[allow(unsafe_code)]
        unsafe { loop_clr_fd(device.as_raw_fd()) }?;
        Ok(())
    }
}
