//! Checks that a worker can run on this host: the kernel's features, tools, free space.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Finding, Level, bad, good};
use crate::exit::reason;
use crate::show::size;

const GIB: u64 = 1024 * 1024 * 1024;
/// With less than this, in bytes, a large package may not build.
const SPACE_WARNING: u64 = 20 * GIB;
/// With less than this, in bytes, not even a root fits.
const SPACE_ERROR: u64 = 2 * GIB;

/// Whether a worker is installed here.
pub(crate) fn is_one() -> bool {
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("rpmfarm-worker"));
    beside.is_some_and(|path| path.is_file()) || program("rpmfarm-worker").is_some()
}

pub(crate) fn check(directory: &Path) -> Vec<Finding> {
    vec![
        root_user(),
        overlayfs(&read("/proc/filesystems")),
        user_namespaces(&read("/proc/sys/user/max_user_namespaces")),
        cgroups(&read("/proc/self/mountinfo"), &read("/sys/fs/cgroup/cgroup.controllers")),
        crun(),
        space(directory),
    ]
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn root_user() -> Finding {
    let name = "user";
    if nix::unistd::geteuid().is_root() {
        return good(name, "root, as a worker needs to make roots");
    }
    bad(
        Level::Warning,
        name,
        "not root; a worker makes roots as root",
        "run rpmfarm-worker as root",
    )
}

fn overlayfs(filesystems: &str) -> Finding {
    let there = filesystems.lines().any(|line| line.split_whitespace().last() == Some("overlay"));
    if there {
        return good("overlayfs", "the kernel has overlayfs");
    }
    bad(
        Level::Error,
        "overlayfs",
        "the kernel has no overlayfs, with which roots are stacked",
        "modprobe overlay, and name it in /etc/modules-load.d/rpmfarm.conf",
    )
}

fn user_namespaces(limit: &str) -> Finding {
    let name = "user namespaces";
    match limit.trim().parse::<u64>() {
        Ok(0) => bad(
            Level::Error,
            name,
            "user.max_user_namespaces is 0, and builds need user namespaces",
            "sysctl -w user.max_user_namespaces=15000, and keep it in /etc/sysctl.d/rpmfarm.conf",
        ),
        Ok(limit) => good(name, format!("the kernel allows {limit}")),
        Err(_) => bad(
            Level::Error,
            name,
            "the kernel has no user namespaces, which builds need",
            "use a kernel with CONFIG_USER_NS=y",
        ),
    }
}

/// The limits of builds need the controllers `memory`, `pids` and `cpu`, of version 1 or 2.
fn cgroups(mountinfo: &str, v2_controllers: &str) -> Finding {
    const NEEDED: [&str; 3] = ["memory", "pids", "cpu"];
    let mut there: Vec<&str> = v2_controllers.split_whitespace().collect();
    there.extend(mountinfo.lines().flat_map(v1_controllers));
    let missing: Vec<_> = NEEDED.into_iter().filter(|name| !there.contains(name)).collect();
    if missing.is_empty() {
        return good("cgroups", "memory, pids and cpu can be limited");
    }
    bad(
        Level::Error,
        "cgroups",
        format!(
            "no controller for {}: the limits of builds cannot be enforced",
            missing.join(", ")
        ),
        "mount cgroup2 on /sys/fs/cgroup, and boot without cgroup_disable",
    )
}

/// The controllers of a line of mountinfo that mounts a hierarchy of version 1:
/// `… - cgroup cgroup rw,cpu,cpuacct`.
fn v1_controllers(line: &str) -> Vec<&str> {
    let Some((_, mount)) = line.split_once(" - ") else { return Vec::new() };
    let fields: Vec<_> = mount.split(' ').collect();
    match fields.as_slice() {
        ["cgroup", _, options, ..] => options.split(',').collect(),
        _ => Vec::new(),
    }
}

fn crun() -> Finding {
    match program("crun") {
        Some(path) => good("crun", path.display().to_string()),
        None => bad(
            Level::Error,
            "crun",
            "not found in PATH; the worker needs it to run builds in cages",
            "apt install crun, or dnf install crun",
        ),
    }
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn space(directory: &Path) -> Finding {
    let name = "space";
    let existing = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let free = match nix::sys::statvfs::statvfs(existing) {
        Ok(stat) => stat.blocks_available() * stat.fragment_size(),
        Err(error) => {
            let why = reason(&std::io::Error::from(error));
            let message = format!("cannot inspect {}: {why}", existing.display());
            return bad(Level::Error, name, message, "name the worker's directory: --worker-dir");
        }
    };
    let message = format!("{} free for {}", size::bytes(free), directory.display());
    let level = match free {
        free if free < SPACE_ERROR => Level::Error,
        free if free < SPACE_WARNING => Level::Warning,
        _ => return good(name, message),
    };
    let remedy = format!("builds of large packages need {}; make room", size::bytes(SPACE_WARNING));
    bad(level, name, message, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlayfs_is_looked_for_by_its_whole_name() {
        assert_eq!(overlayfs("nodev\tsysfs\nnodev\toverlay\n").level, Level::Ok);
        assert_eq!(overlayfs("nodev\tsysfs\nnodev\tmyoverlay\n").level, Level::Error);
    }

    #[test]
    fn user_namespaces_can_be_forbidden_or_missing() {
        assert_eq!(user_namespaces("15000\n").level, Level::Ok);
        assert_eq!(user_namespaces("0\n").level, Level::Error);
        assert_eq!(user_namespaces("").level, Level::Error);
    }

    #[test]
    fn controllers_of_both_versions_count() {
        let v1 = "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  34 31 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                  36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
        assert_eq!(cgroups(v1, "").level, Level::Ok);
        assert_eq!(cgroups("", "cpuset cpu io memory pids\n").level, Level::Ok);
        let without = cgroups("", "cpuset cpu\n");
        assert_eq!(without.level, Level::Error);
        assert!(without.message.contains("memory, pids"), "{}", without.message);
    }
}
