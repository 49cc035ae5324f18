//! Actions that a cage must prevent, and that a build leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

mod common;

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use common::{FINDS_OWNERS, ID_COUNT, Scene, UID_BASE, failure, has_own_ids, spec};

/// Nothing of any cage is alive, mounted or limited.
fn assert_nothing_left(scene: &Scene) {
    let data = scene.data.to_str().unwrap();
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(data), "mounts are left:\n{mounts}");
    assert_eq!(processes_of(SLEEP), Vec::<String>::new());
    for entry in ["cages", "scratch"] {
        let left: Vec<_> = fs::read_dir(scene.data.join(entry)).unwrap().flatten().collect();
        let plain: Vec<_> =
            left.iter().filter(|entry| entry.path().join("upper").exists()).collect();
        assert!(plain.is_empty(), "{plain:?} is left");
    }
}

/// A number of seconds that no other process sleeps.
const SLEEP: &str = "31415926";

fn processes_of(word: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    lines
        .map(|line| line.replace('\0', " "))
        .filter(|line| line.starts_with("sleep") && line.contains(word))
        .collect()
}

#[test]
fn a_build_has_no_power() {
    let scene = Scene::new(&[]);
    let refused = [
        "unshare -U true",
        "unshare -m true",
        "unshare -n true",
        "mknod n b 7 0",
        "chown root /builddir",
        "touch /usr/bin/x",
        "touch /etc/x",
        "chroot / true",
        "echo 1 > /proc/sys/kernel/hostname",
        "cat /proc/kcore",
        "dmesg",
    ];
    let mut script = String::new();
    for command in refused {
        script += &format!("if {command}; then echo 'ALLOWED: {command}'; exit 1; fi\n");
    }
    script += "id\ntest $(id -u) = 1000\ngrep -q 'CapBnd:.0000000000000000' /proc/self/status\n\
        grep -q 'NoNewPrivs:.1' /proc/self/status\ngrep -q 'Seccomp:.2' /proc/self/status\n\
        test $(hostname 2>/dev/null || cat /proc/sys/kernel/hostname) = rpmfarm\n\
        test \"$HOME\" = /builddir\ntest -z \"$SECRET\"\n\
        if grep -l 'of the host' /proc/[0-9]*/environ; then exit 1; fi\n\
        test $(ls /dev/{null,zero,full,random,urandom,tty} | wc -l) = 6\n\
        for f in /dev/*; do if test -c $f && ! test -L $f; then echo $f; fi; done > nodes; cat nodes\n\
        test $(grep -v -e /dev/pts -e /dev/console nodes | wc -l) = 6\n\
        if cat /dev/console; then exit 1; fi\n\
        echo x > /dev/shm/x; ls -l /dev/fd/ /dev/ptmx\n\
        test $(awk '$2 ~ /^0+$/ {n++} END {print n+0}' /proc/net/route) = 0\n\
        grep -q '127.0.0.1' /proc/net/fib_trie\ngrep localhost /etc/hosts\n\
        for f in class/dmi class/net/eth0 firmware/dmi block/* devices/pci*/* devices/virtual/dmi/* \
            fs/ext4/* kernel/debug/* class/block/*; do\n\
        if test -e /sys/$f; then echo \"SHOWN: $f\"; exit 1; fi; done\n\
        test \"$(echo /sys/class/net/* /sys/devices/virtual/net/*)\" = \"/sys/class/net/lo /sys/devices/virtual/net/lo\"\n\
        test ! -w /sys/class/net/lo/mtu\nsync\necho ALL GOOD";
    let report = scene.build_spec("power", &spec("power", &script), &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
    assert!(scene.log().contains("ALL GOOD"));
    assert_nothing_left(&scene);
}

/// A process of the host with the same ids as builds: the ids alone must not be the protection. It
/// ends when this is dropped.
struct Neighbour(Child);

impl Neighbour {
    fn start() -> Self {
        // The user of the builds of a worker that has one cage at a time.
        let user = first_id() + 1000;
        let ids = [format!("--reuid={user}"), format!("--regid={user}")];
        let mut command = Command::new("setpriv");
        command.args(ids).args(["--clear-groups", "--", "sleep", SLEEP]);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The host's id of root in the cage of a worker that has one at a time.
fn first_id() -> u32 {
    if has_own_ids() { UID_BASE + ID_COUNT } else { UID_BASE }
}

/// A port of the host's loopback, as a coordinator or a database has it.
struct Port(TcpListener);

impl Port {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn number(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn was_not_called(&self) {
        let called = self.0.accept().map(|_| ()).unwrap_err();
        assert_eq!(called.kind(), std::io::ErrorKind::WouldBlock, "a cage has called the host");
    }
}

/// System calls of a hostile program: namespaces, devices, mounts, sockets to the host, the memory
/// of other processes, and calls for the owner of a machine. And `ptrace`, which debuggers and
/// their tests need, reaches only the build's own processes.
#[test]
fn what_a_program_tries_by_itself() {
    let scene = Scene::new(&[]);
    let neighbour = Neighbour::start();
    let name = format!("rpmfarm-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let host = UnixListener::bind_addr(&address).unwrap();
    host.set_nonblocking(true).unwrap();
    let port = Port::new();

    let script = format!(
        "gcc -Wall -Werror -o reach %{{SOURCE0}}\n./reach {} {name} {SLEEP} {}",
        neighbour.0.id(),
        port.number()
    );
    let text = spec("reach", &script).replace("BuildArch:", "Source0: reach.c\nBuildArch:");
    let srpm = scene.srpm("reach", &text, &[("reach.c", include_str!("reach.c"))]);
    let report = scene.build(&srpm, &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
    assert!(scene.log().contains("ALL REFUSED"), "{}", scene.log());
    let heard = host.accept().map(|_| ()).unwrap_err();
    assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock, "a build has called the host");
    port.was_not_called();
    drop(neighbour);
    assert_nothing_left(&scene);
}

#[test]
fn nothing_of_a_build_reaches_the_next() {
    let scene = Scene::new(&[]);
    let script = "for f in /tmp/mark /var/tmp/mark /builddir/mark /builddir/build/SOURCES/mark /dev/shm/mark; do\n\
        test ! -e $f; echo x > $f; done";
    for _ in 0..2 {
        let report = scene.build_spec("traces", &spec("traces", script), &[]);
        assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
    }
}

/// The results of calls that flush files, the size of sparse files, 32-bit programs, and the files
/// of every machine are those of a kernel and of mock's chroot.
#[test]
fn a_build_sees_a_machine() {
    let scene = Scene::new(&[]);
    let script = "cat > flush.c <<'EOF'\n\
        #define _GNU_SOURCE\n#include <errno.h>\n#include <fcntl.h>\n#include <stdio.h>\n\
        #include <unistd.h>\n\
        static int bad;\n\
        static void is(const char *what, int result, int expected) {\n\
          int found = result ? errno : 0;\n\
          printf(\"%%s %%d\\n\", what, found);\n  bad |= found != expected;\n}\n\
        int main(void) {\n  int p[2];\n  if (pipe(p)) return 2;\n\
          is(\"fsync\", fsync(-1), EBADF); is(\"fdatasync\", fdatasync(999), EBADF);\n\
          is(\"syncfs\", syncfs(-1), EBADF);\n\
          is(\"range\", sync_file_range(-1, 0, 0, 0), EBADF);\n\
          is(\"a pipe\", fsync(p[1]), EINVAL); is(\"data of a pipe\", fdatasync(p[1]), EINVAL);\n\
          is(\"range of a pipe\", sync_file_range(p[1], 0, 0, 0), ESPIPE);\n\
          is(\"a file\", fsync(open(\"f\", O_CREAT | O_RDWR, 0600)), 0);\n  return bad;\n}\nEOF\n\
        gcc -o flush flush.c\n./flush\n\
        truncate -s 5G sample\ntest $(stat -c %%s sample) = 5368709120\n\
        dd if=/dev/zero of=sample bs=1 count=1 seek=8T conv=notrunc status=none\n\
        test $(stat -c %%b sample) -lt 1000\ntest $(ulimit -f) = unlimited\n\
        printf '.globl _start\\n_start: movl $1, %%%%eax; movl $42, %%%%ebx; int $0x80\\n' > e.s\n\
        as --32 -o e.o e.s && ld -m elf_i386 -o e e.o\nstatus=0\n./e || status=$?\ntest $status = 42\n\
        grep -Eqx '[0-9a-f]{32}' /etc/machine-id\ntest -e /etc/localtime\ntest -e /etc/mtab\n\
        test -f /etc/resolv.conf\ntest -r /sys/devices/system/cpu/online\nlscpu | head -5\n\
        test -d /sys/fs/cgroup\ntest -f /sys/fs/cgroup/cgroup.controllers\n\
        test \"$(readlink /proc/self/fd/0)\" = /dev/null\ntest \"$(id -un):$(id -gn)\" = mockbuild:mock\n\
        test $TERM = vt100\ntest $SHELL = /bin/bash\ntest -z \"$TZ\"\ndate +%%Z | grep UTC\n\
        test $(ulimit -Hc) = unlimited\nmkdir many\n\
        seq -f 'many/%%06.0f' 300000 | xargs touch\necho ALL RIGHT";
    // Of a size in which one file for 16 KiB would be too few.
    let limits = ["--limits", r#"{"disk_mib": 4096}"#];
    let report = scene.build_spec("machine", &spec("machine", script), &limits);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
    assert!(scene.log().contains("ALL RIGHT"), "{}", scene.log());
}

/// Each word of a target's `allow` opens its devices or calls, and without it they are closed.
#[test]
fn what_is_closed_opens_by_its_word() {
    let scene = Scene::new(&[]);
    let text = spec("allowed", "gcc -Wall -o allowed %{SOURCE0}\n./allowed")
        .replace("BuildArch:", "Source0: allowed.c\nBuildArch:");
    let srpm = scene.srpm("allowed", &text, &[("allowed.c", include_str!("allowed.c"))]);
    let printed = |options: &[&str]| {
        let report = scene.build(&srpm, options);
        assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
        let log = scene.log();
        let lines = log.lines().filter_map(|line| line.strip_prefix("ALLOWED "));
        lines.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(printed(&[]), std::collections::BTreeSet::new());
    let all = rpmfarm_core::Allowance::ALL;
    let words: Vec<&str> = all.iter().map(|one| one.as_str()).collect();
    let open = printed(&["--allow", &words.join(",")]);
    // Of these a kernel may have none, or refuse them itself.
    let kernels = ["crypto_sockets", "kernel_log", "vsock"];
    for word in &words {
        assert!(open.contains(*word) || kernels.contains(word), "{word} is not open: {open:?}");
    }
    // One at a time, for those whose neighbours are nearest.
    for word in ["loop", "user_namespaces", "sockets_of_32_bits"] {
        assert_eq!(printed(&["--allow", word]), [word.to_owned()].into(), "{word}");
    }
    // The loop devices were removed with the build, together with the files that it had attached.
    let left = fs::read_dir("/sys/block").unwrap().flatten().filter(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.strip_prefix("loop").and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n >= 1 << 16)
    });
    assert_eq!(left.count(), 0, "loop devices are left");
    assert_nothing_left(&scene);
}

/// Scriptlets have the descriptors of `/dev`; ids above those of most containers work; and a
/// scriptlet that fails is reported in the log of each build in that root.
#[test]
fn scriptlets_see_a_machine_and_their_failures_are_told() {
    let scene = Scene::new(&[]);
    scene.add_scriptlet(
        "furnished",
        "bash -c 'cat <(echo one)' >> /var/lib/marks\necho two | cat /dev/stdin >> /var/lib/marks\n\
         echo three > /dev/stderr && echo three >> /var/lib/marks\n\
         test -c /dev/ptmx && test -w /dev/shm && test -r /sys/devices/system/cpu/online\n\
         test -r /proc/self/stat && test -e /etc/machine-id && echo four >> /var/lib/marks\n\
         if grep -q rpmfarm-worker /proc/[0-9]*/cmdline /proc/mounts; then exit 9; fi\n\
         touch /var/lib/owned && chown 100000:65534 /var/lib/owned && echo five >> /var/lib/marks",
    );
    scene.add_scriptlet("broken", "mknod /var/lib/node b 7 0\nexit 3");
    let script = "test \"$(echo $(cat /var/lib/marks))\" = 'one two three four five'\n\
        test $(stat -c %%u:%%g /var/lib/owned) = 100000:65534";
    for turn in ["made", "there"] {
        let report = scene.build_spec("stands", &spec("stands", script), &[]);
        assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
        let cause = "%post(broken-1-1.noarch) scriptlet failed, exit status 3";
        assert!(scene.log().contains(cause), "{turn}: {}", scene.log());
        let root = fs::read_to_string(scene.dir.path().join("out/0/root.log")).unwrap();
        assert!(root.contains(cause), "{turn}: {root}");
    }
    let report = scene.build_spec("fails", &spec("fails", "exit 1"), &[]);
    let (_, _, message) = failure(&report);
    assert!(message.contains("%post(broken-1-1.noarch) scriptlet failed"), "{message}");
}

/// A build has other ids on the host than any file of the worker has on disk, and the files of its
/// layers have the owners that packages gave them. So have they where the host has too few ids, and
/// all builds get those of the files; and a layer that was made with the ones is used with the
/// others.
#[test]
fn files_keep_their_owners_whichever_ids_a_build_has() {
    let scene = Scene::new(&[]);
    scene.add_owners();
    let script = format!("awk '{{print \"FIRST\", $2}}' /proc/self/uid_map\n{FINDS_OWNERS}");
    let too_many = ["--slots", "4096"];
    let srpm = scene.srpm_with("owners", &spec("owners", &script), &[], &too_many);
    assert_eq!(scene.on_disk("var/lib/owned"), (UID_BASE + 60_000, UID_BASE + 60_001, 0o6755));
    let few = ["--slots", "1"];
    for (options, first) in [(few, first_id()), (too_many, UID_BASE)] {
        let report = scene.build(&srpm, &options);
        assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
        let printed = format!("FIRST {first}");
        assert!(scene.log().lines().any(|line| line == printed), "{printed}: {}", scene.log());
        assert_nothing_left(&scene);
    }
}

/// Attacks of scriptlets as root of their cage, and files that they leave for builds in their root.
#[test]
fn a_scriptlet_reaches_its_own_root_alone() {
    let scene = Scene::new(&[]);
    let port = Port::new();
    let text =
        |script: &str| script.replace("@PORT@", &port.number().to_string()).replace('%', "%%");
    scene.add_scriptlet("fatal", "kill -9 -1\necho more > /var/lib/survived");
    scene.add_scriptlet("meddles", &text(include_str!("meddles.sh")));
    let build = text(include_str!("meets.sh"));
    let report = scene.build_spec("meets", &spec("meets", &build), &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
    let log = scene.log();
    for tried in ["END OF MEDDLING", "refused: mount", "refused: removing /packages/"] {
        assert!(log.contains(tried), "{tried}: {log}");
    }
    let allowed: Vec<&str> = log.lines().filter(|line| line.contains("ALLOWED")).collect();
    assert!(allowed.is_empty(), "{allowed:#?}");
    // Files that a scriptlet left in the directory of packages are not the build's.
    assert_eq!(report["files"].as_array().unwrap(), &["meets-1-1.lab9.noarch.rpm"]);
    port.was_not_called();
    assert_nothing_left(&scene);
}

#[test]
fn limits_hold() {
    let scene = Scene::new(&[]);
    let table = [
        (
            format!("sleep {SLEEP}"),
            r#"{"seconds": 3}"#,
            "did not end: the build was killed after its 3 seconds",
        ),
        (
            format!("(setsid sleep {SLEEP} > /dev/null 2>&1 &)\nsleep {SLEEP}"),
            r#"{"silence_seconds": 2}"#,
            "wrote nothing for 2 seconds",
        ),
        ("yes".into(), r#"{"log_mib": 1}"#, "wrote a log of more than 1 MiB"),
        ("cat /dev/zero > big".into(), r#"{"disk_mib": 96}"#, "filled its 96 MiB of disk space"),
        (
            "head -c 300M /dev/zero | tail > x".into(),
            r#"{"memory_mib": 128}"#,
            "needed more than its 128 MiB of memory",
        ),
        // Most processes of a fork bomb wait here, so that it ends in the same way each time.
        (
            format!(
                "perl -e 'while (1) {{ my $child = fork; die qq(no more\\n) unless defined $child;\n\
                 exec qw(sleep {SLEEP}) unless $child }}'"
            ),
            r#"{"processes": 64, "seconds": 60}"#,
            "reached its limit of 64 processes",
        ),
    ];
    for (script, limits, message) in table {
        let srpm = scene.srpm("limits", &spec("limits", &script), &[]);
        let begin = Instant::now();
        let report = scene.build(&srpm, &["--limits", limits]);
        let (fault, stage, cause) = failure(&report);
        assert_eq!((fault.as_str(), stage.as_str()), ("package", "build"), "{script}\n{report:#}");
        assert!(cause.contains(message), "{cause}");
        assert!(begin.elapsed() < Duration::from_secs(60), "{script}");
        assert_nothing_left(&scene);
    }
}

/// Whatever a build does to the processes, files and descriptors of its own cage is its own fault,
/// and is reported in a line.
#[test]
fn what_a_build_does_to_its_cage_is_its_own_fault() {
    let scene = Scene::new(&[]);
    let itself =
        |signal: &str| format!("rpmbuild was killed by the build itself ({signal} in %build");
    let table = [
        ("kill -9 -1; sleep 5".to_owned(), "{}", itself("SIGKILL")),
        ("kill -9 $PPID; sleep 5".into(), "{}", itself("SIGKILL")),
        ("kill -TERM $PPID; sleep 5".into(), "{}", itself("SIGTERM")),
        ("kill -SEGV $PPID; sleep 5".into(), "{}", itself("SIGSEGV")),
        ("kill -ABRT $PPID; sleep 5".into(), "{}", itself("SIGABRT")),
        ("kill -9 $$".into(), "{}", "%build failed".into()),
        (
            "kill -STOP $PPID".into(),
            r#"{"silence_seconds": 2}"#,
            "wrote nothing for 2 seconds".into(),
        ),
        ("kill -STOP -1".into(), r#"{"seconds": 3}"#, "killed after its 3 seconds".into()),
        // The init of the cage takes no signal from inside.
        ("kill -9 1; kill -STOP 1; exit 3".into(), "{}", "%build failed".into()),
        ("exec > /dev/null 2>&1 < /dev/null; exit 3".into(), "{}", "%build failed".into()),
        ("rm -rf /builddir/build; exit 3".into(), "{}", "%build failed".into()),
        ("rm -rf /builddir/build".into(), "{}", String::new()),
        ("chmod 0 /builddir/build /builddir; exit 3".into(), "{}", "%build failed".into()),
        (
            "cat /dev/zero > /tmp/big".into(),
            r#"{"disk_mib": 96}"#,
            "filled its 96 MiB of disk space (limit `disk_mib`)".into(),
        ),
        ("cat /dev/zero > /dev/shm/big".into(), r#"{"memory_mib": 128}"#, String::new()),
        (
            "mkdir d; seq -f 'd/%%06.0f' 60000 | xargs touch".into(),
            r#"{"disk_mib": 64}"#,
            "had no inode left (a larger limit `disk_mib` brings more)".into(),
        ),
        ("ulimit -n 3; cat /etc/passwd".into(), "{}", String::new()),
    ];
    for (script, limits, message) in table {
        let srpm = scene.srpm("itself", &spec("itself", &script), &[]);
        let report = scene.build(&srpm, &["--limits", limits]);
        let (fault, _, cause) = failure(&report);
        assert_eq!(fault, "package", "{script}\n{report:#}\n{}", scene.log());
        assert!(cause.contains(&message), "{script}: {cause}\n{}", scene.log());
        assert_nothing_left(&scene);
    }
}

/// Scratch space in a directory is measured: many files, or large ones together, end the build.
#[test]
fn a_plain_scratch_is_bounded_too() {
    let scene = Scene::new(&[]);
    let table = [
        (
            "for n in 1 2 3; do head -c 60M /dev/zero > f$n; done",
            r#"{"disk_mib": 96}"#,
            "filled its 96 MiB of disk space (limit `disk_mib`)",
        ),
        (
            "mkdir d; seq -f 'd/%%06.0f' 20000 | xargs touch",
            r#"{"disk_mib": 32}"#,
            "had no inode left (a larger limit `disk_mib` brings more)",
        ),
    ];
    for (script, limits, message) in table {
        let srpm = scene.srpm("plain", &spec("plain", &format!("{script}\nsleep {SLEEP}")), &[]);
        let report = scene.build(&srpm, &["--scratch", "plain", "--limits", limits]);
        let (fault, _, cause) = failure(&report);
        assert_eq!(fault, "package", "{script}\n{report:#}\n{}", scene.log());
        assert!(cause.contains(message), "{script}: {cause}");
        assert_nothing_left(&scene);
    }
}

#[test]
fn a_full_disk_is_the_workers_fault() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("full", &spec("full", &format!("sleep {SLEEP}")), &[]);
    let report = scene.build(&srpm, &["--reserve", "1000000000"]);
    let (fault, _, cause) = failure(&report);
    assert_eq!(fault, "worker", "{report:#}");
    assert!(cause.contains("the worker's disk is full"), "{cause}");
    assert_nothing_left(&scene);
}

#[test]
fn killing_the_worker_kills_the_build() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("killed", &spec("killed", &format!("sleep {SLEEP}")), &[]);
    let mut worker = scene.start(&srpm);
    let wait = |until: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !until() {
            assert!(begin.elapsed() < Duration::from_secs(30), "nothing happens");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait(&|| processes_of(SLEEP).len() == 1);
    worker.kill().unwrap();
    worker.wait().unwrap();
    wait(&|| processes_of(SLEEP).is_empty());
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(scene.data.to_str().unwrap()), "mounts are left:\n{mounts}");
    // And after a restart the worker works, and has removed the leftovers.
    let report = scene.build_spec("after", &spec("after", "true"), &[]);
    assert!(report["failure"].is_null(), "{report:#}");
    assert_nothing_left(&scene);
}

/// `%(…)` and `%{lua:…}` run when a spec is read: in the cage, as the user of builds.
#[test]
fn macros_of_a_spec_run_in_the_cage() {
    let scene = Scene::new(&[]);
    let made = scene.dir.path().join("made");
    let first = format!(
        "%global who %(touch {0}; id -u)\n%global nothing %{{lua:os.execute('touch {0}')}}%{{nil}}\n",
        made.display()
    );
    let text = spec("curious", "true").replace("Summary: A test", "Summary: User %{who}%{nothing}");
    let report = scene.build_spec("curious", &format!("{first}{text}"), &[]);
    assert!(report["failure"].is_null(), "{report:#}");
    let rpm = scene.results().join(report["files"][0].as_str().unwrap());
    let printed =
        Command::new("rpm").args(["-qp", "--qf", "%{SUMMARY}"]).arg(&rpm).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&printed.stdout), "User 1000");
    assert!(!made.exists(), "a macro has written to the host");
}

/// No command of the package has run then, and crun's message is reported.
#[test]
fn a_broken_crun_is_the_workers_fault() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("fine", &spec("fine", "true"), &[]);
    let crun = scene.dir.path().join("crun");
    fs::write(&crun, "#!/bin/sh\necho 'libyajl.so.2 is missing' >&2\nexit 127\n").unwrap();
    fs::set_permissions(&crun, fs::Permissions::from_mode(0o755)).unwrap();
    let report = scene.build(&srpm, &["--crun", crun.to_str().unwrap()]);
    let (fault, _, cause) = failure(&report);
    assert_eq!(fault, "worker", "{report:#}");
    assert!(cause.contains("127") && cause.contains("libyajl.so.2 is missing"), "{cause}");
}

/// A worker without roots installs one in a cage, and builds in another. A program in the place of
/// crun keeps the configuration of each.
#[test]
fn later_cages_get_the_compiled_filter_of_earlier_ones() {
    let mut scene = Scene::new(&[]);
    let script = "grep -q 'Seccomp:.2' /proc/self/status\nif unshare -U true; then exit 1; fi\n\
                  if dmesg; then exit 1; fi\nsync\necho ALL GOOD";
    let srpm = scene.srpm("filter", &spec("filter", script), &[]);
    let (crun, seen) = (scene.dir.path().join("crun"), scene.dir.path().join("seen"));
    fs::create_dir(&seen).unwrap();
    let copy = format!("/bin/cp \"$9/config.json\" {}/$(/bin/date +%s%N)", seen.display());
    fs::write(&crun, format!("#!/bin/sh\n{copy}\nexec /usr/bin/crun \"$@\"\n")).unwrap();
    fs::set_permissions(&crun, fs::Permissions::from_mode(0o755)).unwrap();
    scene.data = scene.dir.path().join("data");
    let report = scene.build(&srpm, &["--crun", crun.to_str().unwrap()]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
    assert!(scene.log().contains("ALL GOOD"));

    let mut files: Vec<_> =
        fs::read_dir(&seen).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let config = |path| serde_json::from_slice::<Value>(&fs::read(path).unwrap()).unwrap();
    let configs: Vec<Value> = files.into_iter().map(config).collect();
    let rules = |config: &Value| config["linux"]["seccomp"].clone();
    let has_filter = |config: &Value| config["annotations"]["run.oci.seccomp_bpf_data"].is_string();
    let (first, later) = configs.split_first().unwrap();
    assert!(!has_filter(first), "its rules were never compiled");
    let alike: Vec<_> = later.iter().filter(|config| rules(config) == rules(first)).collect();
    assert!(!alike.is_empty() && alike.iter().all(|config| has_filter(config)), "{configs:#?}");
}

/// Resources that the kernel counts for a user are never counted for the host's root: a build that
/// has taken every inotify instance that it can get leaves root's alone.
#[test]
fn a_build_takes_nothing_that_is_counted_for_root() {
    let scene = Scene::new(&[]);
    let hog = format!(
        "#include <stdio.h>\n#include <sys/inotify.h>\n#include <sys/resource.h>\n#include <unistd.h>\n\
         int main(void) {{\n  struct rlimit r;\n  getrlimit(RLIMIT_NOFILE, &r);\n\
         r.rlim_cur = r.rlim_max;\n  setrlimit(RLIMIT_NOFILE, &r);\n  int n = 0;\n\
         while (n < 100000 && inotify_init1(0) >= 0) n++;\n  printf(\"INSTANCES %d\\n\", n);\n\
         fflush(stdout);\n  execlp(\"sleep\", \"sleep\", \"{SLEEP}\", NULL);\n  return 1;\n}}\n"
    );
    let script = "cat /proc/sys/user/max_*\ngcc -o hog %{SOURCE0}\n./hog";
    let text = spec("hog", script).replace("BuildArch:", "Source0: hog.c\nBuildArch:");
    let srpm = scene.srpm("hog", &text, &[("hog.c", &hog)]);
    let mut worker = scene.start(&srpm);
    let begin = Instant::now();
    while processes_of(SLEEP).is_empty() || !scene.log().contains("INSTANCES ") {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing happens");
        assert!(worker.try_wait().unwrap().is_none(), "the build ended: {}", scene.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // inotify_init1 on x86_64.
    let ask = ["-e", "exit(syscall(294, 0) < 0 ? 1 : 0)"];
    let root = Command::new("perl").args(ask).status().unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    let log = scene.log();
    let taken = log.lines().find_map(|line| line.strip_prefix("INSTANCES ")).unwrap();
    assert!((1..=128).contains(&taken.parse::<u32>().unwrap()), "{taken}");
    assert!(root.success(), "the host's root has no inotify instance left");
}

/// A scriptlet that makes a tree beyond the limits: its layer is refused with the reason, and the
/// worker continues, can be restarted, and has removed the leftovers.
#[test]
fn a_layer_that_no_package_has_is_refused() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("usesdeep", &spec("usesdeep", "true"), &[]);
    let good = fs::read(scene.lock_file()).unwrap();
    let deep = "cd /var/lib\nperl -e 'for (1..20000) { mkdir \"d\" or die; chdir \"d\" or die }'";
    scene.add_scriptlet("deep", deep);
    let report = scene.build(&srpm, &[]);
    let (fault, stage, cause) = failure(&report);
    assert_eq!((fault.as_str(), stage.as_str()), ("worker", "transaction"), "{report:#}");
    let expected = "installing the packages of the build requirements (deep-1-1.noarch) left a tree \
                    that is refused: directories are nested more than 2048 levels deep, in /var/lib/d/d/…";
    assert_eq!(cause, expected);
    fs::write(scene.lock_file(), good).unwrap();
    let report = scene.build(&srpm, &[]);
    assert!(report["failure"].is_null(), "{report:#}");
    let roots = fs::read_dir(scene.data.join("roots")).unwrap().flatten();
    let names: Vec<String> = roots.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.starts_with("making") || name == "aside"), "{names:?}");
}

/// Leftovers of an earlier run are removed at the start, however deep they are; what cannot be
/// removed is moved aside.
#[test]
fn a_worker_starts_over_whatever_was_left() {
    let scene = Scene::new(&[]);
    let srpm = scene.srpm("starts", &spec("starts", "true"), &[]);
    for place in ["roots/making-3/tree", "scratch/0/upper", "attempts/1-1"] {
        let place = scene.data.join(place);
        fs::create_dir_all(&place).unwrap();
        let script = "for (1..20000) { mkdir 'd' or die; chdir 'd' or die }";
        assert!(
            Command::new("perl")
                .args(["-e", script])
                .current_dir(&place)
                .status()
                .unwrap()
                .success()
        );
    }
    let busy = scene.data.join("attempts/2-2/busy");
    fs::create_dir_all(&busy).unwrap();
    let bind = Command::new("mount").arg("--bind").args([&busy, &busy]).status().unwrap();
    assert!(bind.success());
    let report = scene.build(&srpm, &[]);
    let moved = scene.data.join("aside/2-2/busy");
    let free =
        |path: &std::path::Path| Command::new("umount").arg(path).status().unwrap().success();
    assert!(free(&moved) || free(&busy));
    assert!(report["failure"].is_null(), "{report:#}");
    assert!(moved.is_dir());
    for gone in ["roots/making-3", "scratch/0/upper/d", "attempts/1-1", "attempts/2-2"] {
        assert!(!scene.data.join(gone).exists(), "{gone}");
    }
    fs::remove_dir_all(scene.data.join("aside")).unwrap();
}

/// Neither the host's mounts nor the runtime that made the cage are seen in `/proc`, in a scriptlet
/// either.
#[test]
fn proc_shows_nothing_of_the_host() {
    let scene = Scene::new(&[]);
    let data = scene.data.display().to_string();
    let shown = "for f in /proc/[0-9]*; do tr '\\0' ' ' < $f/cmdline; echo; cat $f/mountinfo $f/mounts \
                 $f/environ; readlink $f/exe $f/cwd $f/root; done; cat /proc/mounts; echo DONE";
    scene.add_scriptlet("curious", &format!("({shown}) > /var/lib/shown 2>&1"));
    let script = format!("cat /var/lib/shown\necho ---\n({shown}) 2>&1").replace('%', "%%");
    let report = scene.build_spec("looks", &spec("looks", &script), &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
    let log = scene.log();
    assert_eq!(log.lines().filter(|line| line.trim() == "DONE").count(), 2, "{log}");
    // The parts of overlays are named in the options of the mount by their whole paths.
    let shown: Vec<&str> = log.lines().filter(|line| line.contains(&data)).collect();
    assert!(shown.is_empty(), "{shown:#?}");
    assert!(!log.contains("crun"), "{log}");
}

#[test]
fn hostile_results_are_refused() {
    let scene = Scene::new(&[]);
    let table = [
        ("ln -s /etc/shadow /builddir/build/RPMS/evil-1-1.noarch.rpm", "is not a plain file"),
        ("ln -s /proc/1/root/etc/shadow /builddir/build/RPMS/a.rpm", "is not a plain file"),
        ("mkfifo /builddir/build/RPMS/evil-1-1.noarch.rpm", "is not a plain file"),
        ("mkdir /builddir/build/RPMS/evil-1-1.noarch.rpm", "is not a plain file"),
        (
            "echo x > /builddir/x; ln /builddir/x /builddir/build/RPMS/evil-1-1.noarch.rpm",
            "is not a plain file of its own",
        ),
        (
            "perl -MSocket -e 'socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die;\n\
             bind($s, pack_sockaddr_un($ARGV[0])) or die' /builddir/build/RPMS/a.rpm",
            "is not a plain file",
        ),
        ("echo x > /builddir/build/RPMS/evil", "is not a package"),
        (": > /builddir/build/RPMS/evil-1-1.noarch.rpm", "evil-1-1.noarch.rpm is empty"),
        ("echo x > /builddir/build/RPMS/-rf.rpm", "is not a plain file name"),
        (
            "echo x > \"/builddir/build/RPMS/$(printf 'a\\033[2J\\nb').rpm\"",
            "is not a plain file name",
        ),
        (
            "cd /builddir/build/RPMS; seq -f 'a%%.0f-1-1.noarch.rpm' 6000 | xargs touch",
            "more than 5000 files",
        ),
        ("truncate -s 3G /builddir/build/RPMS/evil-1-1.noarch.rpm", "(limit `results_mib`)"),
        (
            "head -c 80M /dev/urandom > /builddir/build/RPMS/evil-1-1.noarch.rpm",
            "(limit `results_mib`)",
        ),
        ("chmod 111 /builddir/build/RPMS", ""),
        ("rmdir /builddir/build/RPMS; ln -s /etc /builddir/build/RPMS", ""),
        (
            "mv /builddir/build /builddir/b; ln -s /etc /builddir/build; ln -s /builddir/b /builddir/c",
            "",
        ),
    ];
    let limits = ["--limits", r#"{"results_mib": 64}"#];
    for (script, message) in table {
        let hostile = spec("hostile", script);
        let report = scene.build_spec("hostile", &hostile, &limits);
        let (fault, _, cause) = failure(&report);
        assert_eq!(fault, "package", "{script}\n{report:#}\n{}", scene.log());
        assert!(cause.contains(message), "{cause}");
        assert!(!cause.contains(char::is_control), "{cause:?}");
    }
    // A build's record of its times is not read through a link, and a bad one is no reason to fail.
    let times = "rm /builddir/build/rpmbuild.times; ln -s /dev/zero /builddir/build/rpmbuild.times";
    let report = scene.build_spec("timeless", &spec("timeless", times), &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
}
