//! The OCI runtime configuration of a cage, as crun reads it.
//! Source of the format: the Open Container Initiative's runtime specification, 1.0.

use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Value, json};

use super::cage::{BUILDER_ID, Cage, ID_COUNT, Root, User};
use super::seccomp;

/// Host name in every cage.
const HOSTNAME: &str = "rpmfarm";

/// What an rpm transaction needs, and nothing that reaches out of the user namespace.
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

/// The configuration. `root` and the sources of `binds` are where things are mounted by the time
/// crun runs.
pub(super) fn config(
    cage: &Cage,
    root: &Path,
    binds: &[(&Path, &Path, bool)],
    uid_base: u32,
) -> Value {
    json!({
        "ociVersion": "1.0.0",
        "hostname": HOSTNAME,
        "root": { "path": root, "readonly": matches!(cage.root, Root::ReadOnly(_)) },
        "process": process(cage),
        "mounts": mounts(cage, binds),
        "linux": {
            "uidMappings": [{ "containerID": 0, "hostID": uid_base, "size": ID_COUNT }],
            "gidMappings": [{ "containerID": 0, "hostID": uid_base, "size": ID_COUNT }],
            "namespaces": [
                { "type": "user" }, { "type": "mount" }, { "type": "pid" }, { "type": "network" },
                { "type": "ipc" }, { "type": "uts" }, { "type": "cgroup" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
            "seccomp": seccomp::filter(),
        },
    })
}

fn process(cage: &Cage) -> Value {
    let (id, home, capabilities) = match cage.user {
        User::Root => (0, "/root", RPM_CAPABILITIES),
        User::Builder => (BUILDER_ID, "/builddir", [].as_slice()),
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
        "rlimits": [
            limit("RLIMIT_CORE", Resource::RLIMIT_CORE, 0, 0),
            limit("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE, 1024, 262_144),
            limit("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE, cage.caps.file_mib << 20,
                  cage.caps.file_mib << 20),
        ],
    })
}

/// A resource limit that is not above the worker's own: raising it would need a privilege.
fn limit(name: &str, resource: Resource, soft: u64, hard: u64) -> Value {
    let own = getrlimit(resource).map_or(u64::MAX, |(_, hard)| hard);
    json!({ "type": name, "soft": soft.min(own), "hard": hard.min(own) })
}

fn environment(cage: &Cage, home: &str) -> Vec<String> {
    let fixed = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"),
        ("HOME", home),
        ("LANG", "C.UTF-8"),
        ("TZ", "UTC"),
        ("TERM", "dumb"),
        ("SHELL", "/bin/sh"),
        ("HOSTNAME", HOSTNAME),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| format!("{name}={value}"));
    fixed.chain(cage.environment.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

fn mounts(cage: &Cage, binds: &[(&Path, &Path, bool)]) -> Vec<Value> {
    let mut mounts: Vec<Value> = binds
        .iter()
        .map(|(source, target, writable)| {
            let mode = if *writable { "rw" } else { "ro" };
            json!({ "destination": target, "type": "bind", "source": source,
                    "options": ["bind", "nosuid", "nodev", mode] })
        })
        .collect();
    for root in &cage.system_at {
        mounts.extend(system(root));
    }
    mounts.extend(cage.tmpfs.iter().map(|target| tmpfs(target, &["mode=1777"])));
    mounts
}

/// What a root needs of the kernel.
fn system(root: &Path) -> Vec<Value> {
    if root == Path::new("/") { first_system() } else { second_system(root) }
}

/// crun puts the six device nodes and the usual links into `/dev` by itself.
fn first_system() -> Vec<Value> {
    let proc = json!({ "destination": "/proc", "type": "proc", "source": "proc",
                       "options": ["nosuid", "nodev", "noexec"] });
    let pts = json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                      "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620",
                                  "gid=5"] });
    let shm = tmpfs(Path::new("/dev/shm"), &["nodev", "mode=1777"]);
    vec![proc, sys(Path::new("/")), dev(Path::new("/")), pts, shm]
}

/// A root below the first one, for scriptlets. A `/proc` of its own is what crun makes only at
/// the top: this one shows the stage that runs crun, which nothing in the cage may touch.
fn second_system(root: &Path) -> Vec<Value> {
    let proc = json!({ "destination": root.join("proc"), "type": "bind", "source": "/proc",
                       "options": ["bind", "ro", "nosuid", "nodev", "noexec"] });
    let nodes = ["null", "zero", "full", "random", "urandom", "tty"].map(|node| {
        json!({ "destination": root.join("dev").join(node), "type": "bind",
                "source": Path::new("/dev").join(node), "options": ["bind", "nosuid"] })
    });
    [proc, sys(root), dev(root)].into_iter().chain(nodes).collect()
}

fn sys(root: &Path) -> Value {
    tmpfs(&root.join("sys"), &["ro", "mode=555", "size=4k"])
}

fn dev(root: &Path) -> Value {
    json!({ "destination": root.join("dev"), "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "noexec", "mode=755", "size=64k"] })
}

fn tmpfs(target: &Path, options: &[&str]) -> Value {
    let options: Vec<&str> = ["nosuid"].iter().chain(options).copied().collect();
    json!({ "destination": target, "type": "tmpfs", "source": "tmpfs", "options": options })
}
