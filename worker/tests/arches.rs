//! A worker proves the architectures that it claims to run: in a user namespace with a binfmt_misc
//! of its own, in which no emulator is registered.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

const WORKER: &str = env!("CARGO_BIN_EXE_rpmfarm-worker");

/// Where the kernel's list of emulators is.
const MISC: &str = "/proc/sys/fs/binfmt_misc";

/// Runs a script in a user namespace that has all ids and a binfmt_misc of its own. `None` where
/// the kernel has but one for all (before Linux 6.7).
fn start(script: &str, arguments: &[&str]) -> Option<Child> {
    let script = format!(
        "read -r go && mount -t binfmt_misc binfmt_misc {MISC} 2>/dev/null || exit 77\n{script}"
    );
    let mut child = Command::new("unshare")
        .args(["--user", "--mount", "sh", "-c", &script, "sh"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The namespace is there when it is no longer ours.
    let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user"));
    let pid = child.id().to_string();
    while of(&pid).unwrap() == of("self").unwrap() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{pid}/{map}"), "0 0 4294967295\n").unwrap();
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let supported = Command::new("uname").arg("-r").output().unwrap();
    let release = String::from_utf8(supported.stdout).unwrap();
    let mut numbers = release.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (version >= (6, 7)).then_some(child)
}

/// The exit code of the script's program, and its standard error.
fn end(mut child: Child) -> (Option<i32>, String) {
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (child.wait().unwrap().code(), stderr)
}

/// A directory that builds reach.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir_in("/var/lib").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), mode).unwrap();
    directory
}

/// Checks that a worker names the architecture that it cannot run, and the remedy.
fn assert_refused(code: Option<i32>, stderr: &str) {
    assert_eq!(code, Some(1), "{stderr}");
    let native = Command::new("uname").arg("-m").output().unwrap().stdout;
    let foreign = if native.starts_with(b"aarch64") { "x86_64" } else { "aarch64" };
    let line = stderr.lines().last().unwrap_or_default();
    for part in [&format!("cannot run programs of {foreign}"), "qemu-user", "--arch"] {
        assert!(line.contains(part), "`{part}` is not in: {line}");
    }
    assert!(line.contains("Exec format error"), "{line}");
}

/// A token of no farm, and an address without a server.
fn enrol(data: &std::path::Path, arches: &str) -> Vec<String> {
    let token = format!("rpmfarm1.{}.{}", "ab".repeat(32), "cd".repeat(32));
    ["enrol", "--coordinator", "https://127.0.0.1:1", "--token", &token, "--arch", arches]
        .into_iter()
        .chain(["--data-dir", data.to_str().unwrap()])
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_the_host_does_not_run_is_refused_before_it_is_enrolled() {
    let directory = directory();
    let data = directory.path().join("data");
    let arguments = enrol(&data, "x86_64,aarch64,ppc64le");
    let arguments: Vec<&str> =
        std::iter::once(WORKER).chain(arguments.iter().map(String::as_str)).collect();
    let Some(child) = start("exec timeout 60 \"$@\"", &arguments) else { return };
    let (code, stderr) = end(child);
    assert_refused(code, &stderr);
    let left: Vec<_> = std::fs::read_dir(data.join("probes")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn its_own_architecture_needs_no_proof_to_be_enrolled() {
    let directory = directory();
    let data = directory.path().join("data");
    let native = Command::new("uname").arg("-m").output().unwrap().stdout;
    let arguments = enrol(&data, String::from_utf8(native).unwrap().trim());
    let asked = Command::new(WORKER).args(arguments).output().unwrap();
    let stderr = String::from_utf8(asked.stderr).unwrap();
    // It went on to the coordinator, which is not there, and made nothing of this host.
    assert!(stderr.contains("127.0.0.1:1"), "{stderr}");
    assert!(!data.exists());
}

#[test]
fn a_claim_that_is_not_true_ends_the_worker_with_what_to_do() {
    let directory = directory();
    let data = directory.path().join("data");
    let token = directory.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    // There is no server at that address: a worker that continued would not end.
    let run = ["run", "--coordinator", "http://127.0.0.1:1", "--name", "p"];
    let places = ["--data-dir", data.to_str().unwrap(), "--token-file", token.to_str().unwrap()];
    let claim = ["--arch", "x86_64,aarch64,ppc64le"];
    let arguments = [&[WORKER][..], &run, &places, &claim].concat();
    let Some(child) = start("exec timeout 60 \"$@\"", &arguments) else { return };
    let (code, stderr) = end(child);
    assert_refused(code, &stderr);
}
