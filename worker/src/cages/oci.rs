//! The OCI runtime configuration of a cage, as crun reads it.
//! Source of the format: the Open Container Initiative's runtime specification, 1.0.

use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource};
use rpmfarm_core::id_ranges::IdRange;
use serde_json::{Value, json};

use super::cage::{BUILDER_ID, Cage, CageRoot, CageUser};
use super::devices::CageDevices;
use super::users::{COUNTED, at_most};
use super::{compiled_filters, sysfs};

/// Host name in every cage.
pub(super) const HOSTNAME: &str = "rpmfarm";

/// The capabilities of an rpm transaction; none of them reaches out of the user namespace.
const RPM_CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The configuration. `root`, the sources of `binds`, `devices` (one for each root of `system_at`)
/// and the user namespace of `ids` are where things are mounted by the time crun runs. `rules` are
/// those of [`seccomp::filter`], and `compiled` is their compiled form, if there is one.
pub(super) fn config(
    cage: &Cage,
    root: &Path,
    binds: &[(&Path, &Path, bool)],
    devices: &[CageDevices],
    (ids, users): (IdRange, &Path),
    (rules, compiled): (&Value, Option<&str>),
) -> Value {
    let (first, count) = (ids.first(), ids.count());
    let hidden: Vec<sysfs::HiddenPaths> =
        cage.system_at.iter().map(|root| sysfs::paths(root, Path::new("/sys"))).collect();
    let masked: Vec<_> = hidden.iter().flat_map(|paths| &paths.masked).collect();
    let read_only: Vec<_> = hidden.iter().flat_map(|paths| &paths.read_only).collect();
    json!({
        "ociVersion": "1.0.0",
        "hostname": HOSTNAME,
        "root": { "path": root, "readonly": matches!(cage.root, CageRoot::ReadOnly(_)) },
        "process": process(cage),
        "mounts": mounts(cage, binds, devices),
        "annotations": compiled
            .map_or_else(|| json!({}), |filter| json!({ compiled_filters::ANNOTATION: filter })),
        "linux": {
            "uidMappings": [{ "containerID": 0, "hostID": first, "size": count }],
            "gidMappings": [{ "containerID": 0, "hostID": first, "size": count }],
            "namespaces": [
                { "type": "user", "path": users }, { "type": "mount" }, { "type": "pid" }, { "type": "network" },
                { "type": "ipc" }, { "type": "uts" }, { "type": "cgroup" },
            ],
            "maskedPaths": masked,
            "readonlyPaths": read_only,
            "seccomp": rules,
        },
    })
}

fn process(cage: &Cage) -> Value {
    let (id, home, capabilities) = match cage.user {
        CageUser::Root => (0, "/root", RPM_CAPABILITIES),
        CageUser::Builder => (BUILDER_ID, "/builddir", [].as_slice()),
    };
    json!({
        "terminal": false,
        "user": { "uid": id, "gid": id, "umask": 0o022 },
        "args": cage.command,
        "env": environment(cage, home),
        "cwd": cage.directory,
        "noNewPrivileges": true,
        "oomScoreAdj": 500,
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
        },
        "rlimits": limits(cage.caps.file_mib),
    })
}

/// The resource limits of a process, the same on every worker: what a service of a distribution
/// has, where mock runs. Memory, processes and disk are limited for the cage as a whole.
fn limits(file_mib: Option<u64>) -> Vec<Value> {
    const MIB: u64 = 1 << 20;
    const NONE: u64 = RLIM_INFINITY;
    let file = file_mib.map_or(NONE, |mib| mib.saturating_mul(MIB));
    let own = [
        ("RLIMIT_AS", Resource::RLIMIT_AS, NONE, NONE),
        ("RLIMIT_CORE", Resource::RLIMIT_CORE, 0, NONE),
        ("RLIMIT_CPU", Resource::RLIMIT_CPU, NONE, NONE),
        ("RLIMIT_DATA", Resource::RLIMIT_DATA, NONE, NONE),
        ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE, file, file),
        ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS, NONE, NONE),
        ("RLIMIT_NICE", Resource::RLIMIT_NICE, 0, 0),
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE, 1024, 524_288),
        ("RLIMIT_NPROC", Resource::RLIMIT_NPROC, NONE, NONE),
        ("RLIMIT_RSS", Resource::RLIMIT_RSS, NONE, NONE),
        ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO, 0, 0),
        ("RLIMIT_STACK", Resource::RLIMIT_STACK, 8 * MIB, NONE),
    ];
    let counted = COUNTED.iter().map(|(name, resource, most)| (*name, *resource, *most, *most));
    let all = own.into_iter().chain(counted);
    all.map(|(name, resource, soft, hard)| limit(name, resource, soft, hard)).collect()
}

fn limit(name: &str, resource: Resource, soft: u64, hard: u64) -> Value {
    json!({ "type": name, "soft": at_most(resource, soft), "hard": at_most(resource, hard) })
}

/// The variables that mock sets, to which a login adds those of `/etc/profile`.
fn environment(cage: &Cage, home: &str) -> Vec<String> {
    let fixed = [
        ("TERM", "vt100"),
        ("SHELL", "/bin/bash"),
        ("HOME", home),
        ("HOSTNAME", HOSTNAME),
        ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"),
        ("PROMPT_COMMAND", "printf \"\\033]0;<mock-chroot>\\007\""),
        ("PS1", "<mock-chroot> \\s-\\v\\$ "),
        ("LANG", "C.UTF-8"),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| format!("{name}={value}"));
    fixed.chain(cage.environment.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

fn mounts(cage: &Cage, binds: &[(&Path, &Path, bool)], devices: &[CageDevices]) -> Vec<Value> {
    let mut mounts: Vec<Value> = binds
        .iter()
        .map(|(source, target, writable)| {
            let mode = if *writable { "rw" } else { "ro" };
            json!({ "destination": target, "type": "bind", "source": source,
                    "options": ["bind", "nosuid", "nodev", mode] })
        })
        .collect();
    for (root, devices) in cage.system_at.iter().zip(devices) {
        mounts.extend(system(root, devices));
    }
    mounts.extend(cage.tmpfs.iter().map(|target| tmpfs(target, &["mode=1777"])));
    mounts
}

/// What a root needs of the kernel. crun makes no `/dev` where one is bound.
fn system(root: &Path, devices: &CageDevices) -> Vec<Value> {
    let mount = |at: &str, kind: &str, options: &[&str]| json!({ "destination": root.join(at), "type": kind, "source": kind, "options": options });
    let bind = |at: &str, name: &str, options: &[&str]| {
        json!({ "destination": root.join(at), "type": "bind", "source": devices.at.join(name),
                "options": options })
    };
    let closed = ["nosuid", "nodev", "noexec", "ro"];
    let mut mounts = vec![
        mount("proc", "proc", &["nosuid", "nodev", "noexec"]),
        mount("sys", "sysfs", &closed),
        mount("sys/fs/cgroup", "cgroup2", &closed),
        bind("dev", "dev", &["bind", "nosuid", "noexec"]),
        mount(
            "dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        tmpfs(&root.join("dev/shm"), &["nodev", "mode=1777"]),
    ];
    mounts.extend(devices.bound().into_iter().map(|name| {
        json!({ "destination": root.join("dev").join(name), "type": "bind",
                "source": Path::new("/dev").join(name), "options": ["bind", "nosuid", "noexec"] })
    }));
    mounts.extend(sysfs::REPLACED.map(|name| {
        bind(&format!("sys/{name}"), name, &["bind", "nosuid", "nodev", "noexec", "ro"])
    }));
    mounts
}

fn tmpfs(target: &Path, options: &[&str]) -> Value {
    let options: Vec<&str> = ["nosuid"].iter().chain(options).copied().collect();
    json!({ "destination": target, "type": "tmpfs", "source": "tmpfs", "options": options })
}
