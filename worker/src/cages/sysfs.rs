//! What a cage sees of `/sys`, and what of `/proc` it does not.
//!
//! `/sys` is a fresh mount in the cage's own network namespace, read-only: processors, memory and
//! the loopback device are there, as configure scripts and test suites read them. Everything else
//! of the host's devices is hidden: serial numbers, firmware, disks, and the names of what is
//! plugged in. It is a list of the visible files, so that a new kernel's directories are hidden,
//! too.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Directories of `/sys`, each with its visible entries; all others are hidden. Those of
/// [`REPLACED`] are shown as made here.
const SHOWN: &[(&str, &[&str])] = &[
    ("", &["bus", "class", "devices", "fs", "kernel", "module"]),
    ("devices", &["system", "virtual"]),
    ("devices/system", &["clockevents", "clocksource", "cpu", "memory", "node"]),
    ("devices/virtual", &["mem", "net"]),
    // Places to mount on, which are empty.
    ("fs", &["bpf", "cgroup", "fuse", "pstore", "selinux"]),
    (
        "kernel",
        &[
            "address_bits",
            "btf",
            "cgroup",
            "config",
            "cpu_byteorder",
            "debug",
            "fscaps",
            "kexec_crash_loaded",
            "kexec_loaded",
            "mm",
            "notes",
            "profiling",
            "rcu_expedited",
            "rcu_normal",
            "security",
            "tracing",
            "uevent_seqnum",
        ],
    ),
];

/// Directories that list devices by names that say what the host has.
pub(super) const REPLACED: [&str; 2] = ["bus", "class"];

/// What stands in their place: directories, and links where something is shown.
const DIRECTORIES: &[&str] = &[
    "bus/cpu/devices",
    "bus/node/devices",
    "bus/pci/devices",
    "bus/scsi/devices",
    "bus/usb/devices",
    "class/block",
    "class/hwmon",
    "class/input",
    "class/mem",
    "class/net",
    "class/power_supply",
    "class/thermal",
    "class/tty",
];
const LINKS: &[(&str, &str)] = &[
    ("class/mem/full", "../../devices/virtual/mem/full"),
    ("class/mem/null", "../../devices/virtual/mem/null"),
    ("class/mem/random", "../../devices/virtual/mem/random"),
    ("class/mem/urandom", "../../devices/virtual/mem/urandom"),
    ("class/mem/zero", "../../devices/virtual/mem/zero"),
    ("class/net/lo", "../../devices/virtual/net/lo"),
];

/// The hidden and the read-only entries of `/proc`. A process without privileges reads
/// little of it on any host.
const PROC_HIDDEN: &[&str] = &[
    "acpi",
    "asound",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
const PROC_READ_ONLY: &[&str] = &["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Paths of a cage that hide what the host has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HiddenPaths {
    /// Shown empty.
    pub(super) masked: Vec<PathBuf>,
    /// Not to be written to.
    pub(super) read_only: Vec<PathBuf>,
}

/// The paths for a root of a cage; `sys` is the host's.
pub(super) fn paths(root: &Path, sys: &Path) -> HiddenPaths {
    let below = |top: &str, names: &[&str]| -> Vec<PathBuf> {
        names.iter().map(|name| root.join(top).join(name)).collect()
    };
    let mut masked = below("proc", PROC_HIDDEN);
    for (directory, shown) in SHOWN {
        // A kernel that does not have it shows nothing of it.
        let names = names(&sys.join(directory));
        masked.extend(
            names
                .iter()
                .filter(|name| !shown.contains(&name.as_str()))
                .map(|name| root.join("sys").join(directory).join(name)),
        );
    }
    HiddenPaths { masked, read_only: below("proc", PROC_READ_ONLY) }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Makes what stands in the place of [`REPLACED`], below a directory.
pub(super) fn furnish(top: &Path) -> io::Result<()> {
    for directory in DIRECTORIES {
        fs::create_dir_all(top.join(directory))?;
    }
    LINKS.iter().try_for_each(|(at, to)| symlink(to, top.join(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_hidden() {
        let sys = tempfile::tempdir().expect("a directory");
        for path in [
            "block",
            "class/dmi",
            "devices/pci0000:00",
            "devices/system/cpu",
            "devices/virtual/dmi",
            "devices/virtual/net/lo",
            "firmware/efi",
            "fs/ext4",
            "fs/cgroup",
            "kernel/new",
            "kernel/mm",
        ] {
            fs::create_dir_all(sys.path().join(path)).expect("a directory");
        }
        let HiddenPaths { masked, read_only } = paths(Path::new("/target"), sys.path());
        let masked: Vec<&str> = masked
            .iter()
            .filter_map(|path| path.strip_prefix("/target/sys").ok()?.to_str())
            .collect();
        let expected = [
            "block",
            "firmware",
            "devices/pci0000:00",
            "devices/virtual/dmi",
            "fs/ext4",
            "kernel/new",
        ];
        assert_eq!(masked, expected);
        assert!(read_only.contains(&PathBuf::from("/target/proc/sys")));
    }

    #[test]
    fn what_is_replaced_is_made() {
        let top = tempfile::tempdir().expect("a directory");
        furnish(top.path()).expect("makes it");
        for name in REPLACED {
            assert!(top.path().join(name).is_dir());
        }
        let lo = fs::read_link(top.path().join("class/net/lo")).expect("a link");
        assert_eq!(lo, Path::new("../../devices/virtual/net/lo"));
    }
}
