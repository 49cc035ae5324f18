//! A TUN device: a network interface whose packets a program reads and writes.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, ensure};

/// A device, which exists as long as its file is open.
pub(super) struct Tun {
    pub(super) file: File,
}

/// The part of the kernel's `struct ifreq` that `TUNSETIFF` reads.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// `IFF_TUN | IFF_NO_PI`: packets of IP, with nothing before them.
const PLAIN_PACKETS: u16 = 0x0001 | 0x1000;

nix::ioctl_write_ptr_bad!(
    tun_set_interface,
    nix::request_code_write!(b'T', 202, size_of::<i32>()),
    InterfaceRequest
);

impl Tun {
    /// Makes a device of this name in the namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no TUN devices, or the name is taken.
    pub(super) fn make(name: &str) -> anyhow::Result<Self> {
        ensure!(name.len() < 16, "{name}: the name of an interface has at most 15 characters");
        let file = File::options().read(true).write(true).open("/dev/net/tun");
        let file = file.context("cannot open /dev/net/tun")?;
        let mut request = InterfaceRequest { name: [0; 16], flags: PLAIN_PACKETS, rest: [0; 22] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: the kernel reads a `struct ifreq` from the pointer, which this is, and writes
        // back within its 40 bytes; it lives until the call has returned.
        #[allow(unsafe_code)]
        let made = unsafe { tun_set_interface(file.as_raw_fd(), &raw const request) };
        made.with_context(|| format!("cannot make the interface {name}"))?;
        Ok(Self { file })
    }
}
