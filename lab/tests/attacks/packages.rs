//! Packages that want to end a process, or to take from the host, and not to be built.

use std::fs;
use std::path::Path;

use nix::sys::inotify::{InitFlags, Inotify};

use crate::{Attack, NOTHING, PATIENCE, SOON, Scene, message, scene};

/// rpm takes requirements as deep as anybody writes them; the solver is written in C and recurses.
#[test]
fn requirements_without_end_do_not_end_the_coordinator() {
    let mut scene = Scene::new();
    let nested = |depth: usize| {
        format!("BuildRequires: {}bash{}", "(".repeat(depth), " or sed)".repeat(depth))
    };
    let long = format!("BuildRequires: ({})", vec!["bash"; 20_000].join(" or "));
    let cases =
        [("nested", nested(20_000)), ("deep", nested(65)), ("long", long), ("fine", nested(40))];
    for (name, tags) in &cases {
        scene.push(&Attack { name, tags, ..NOTHING });
    }
    // Requirements of packages in the pool would reach the roots of others; requirements that are
    // found during the build come late.
    let provided = format!("Requires: {}bash{}", "(".repeat(100), " or sed)".repeat(100));
    scene.push(&Attack { name: "provided", tags: &provided, ..NOTHING });
    let found = format!("{}nobody{}", "(".repeat(100), " or nothing)".repeat(100));
    let found = format!("%generate_buildrequires\necho '{found}'");
    scene.push(&Attack { name: "found", more: &found, ..NOTHING });
    let named = cases[..3].iter().map(|(name, _)| *name);
    for name in named.chain(["provided", "found"]) {
        let shown = scene.fails(name);
        assert!(message(&shown).contains("rpmfarm accepts at most"), "{name}: {shown:#}");
    }
    scene.farm.client().publish(&["fine"], SOON).unwrap();
    scene.goes_on();
    let settings = scene.settings.clone();
    scene.farm.restart_coordinator(&settings).unwrap();
    scene.goes_on();
}

/// A tree that is deeper than the longest possible path must not stop its measurement and removal.
#[test]
#[ignore = "slow: make attack"]
fn a_layer_that_nobody_can_walk_through_by_paths_is_the_packages_fault() {
    let mut scene = Scene::new();
    // Not by the shell, which walks the whole path for each step.
    let script = "%post -p /bin/bash\nperl -e 'chdir \"/usr/share/deep\"; \
                  for (1..20000) { mkdir \"d\" or exit 0; chdir \"d\" or exit 0 }'";
    scene.push(&Attack { name: "deep", tags: "Requires(post): perl", more: script, ..NOTHING });
    scene.push(&Attack { name: "uses-deep", tags: "BuildRequires: deep", ..NOTHING });
    let big = "%post -p /bin/bash\nhead -c 3G /dev/zero > /usr/share/big/zeros";
    scene.push(&Attack { name: "big", more: big, ..NOTHING });
    scene.push(&Attack { name: "uses-big", tags: "BuildRequires: big", ..NOTHING });
    let client = scene.farm.client();
    client.publish(&["deep", "big"], PATIENCE).unwrap();
    for user in ["uses-deep", "uses-big"] {
        let shown = scene.fails(user);
        assert_eq!(shown["failure"]["stage"], "transaction", "{shown:#}");
    }
    scene.goes_on();
    let settings = scene.settings.clone();
    scene.farm.restart_worker(&settings, 0).unwrap();
    scene.goes_on();
}

/// Three packages that kill the rpmbuild that builds them looked like three hosts without memory.
#[test]
#[ignore = "slow: make attack"]
fn who_kills_itself_silences_no_worker() {
    let mut scene = Scene::with(|settings| settings.workers = 2);
    let kills = ["kill -9 $PPID", "kill -9 1; kill -9 -1", "kill -SEGV $PPID", "kill -9 $$"];
    for (number, install) in kills.iter().enumerate() {
        scene.push(&Attack { name: &format!("kills-{number}"), install, ..NOTHING });
    }
    for number in 0..kills.len() {
        let shown = scene.fails(&format!("kills-{number}"));
        let tasks = shown["tasks"].as_array().unwrap();
        let build = tasks.iter().find(|task| task["kind"] == "build").unwrap();
        assert_eq!(build["attempts"], 1, "no other worker is tried: {shown:#}");
    }
    scene.goes_on();
}

/// Resources that the kernel counts for each user are not taken from root.
#[test]
#[ignore = "slow: make attack"]
fn a_build_leaves_the_hosts_root_its_watches() {
    let mut scene = Scene::new();
    let hog = "#include <stdio.h>\n#include <sys/inotify.h>\nint main(void) {\n\
               int n = 0; while (n < 100000 && inotify_init() >= 0) n++;\n\
               printf(\"TOOK %d\\n\", n); fflush(stdout); getchar(); return 0; }\n";
    let build = "cc -o hog %{SOURCE0}; (sleep 20 | ./hog) ; exit 1";
    let tags = "Source0: hog.c\nBuildRequires: gcc";
    scene.push(&Attack { name: "hog", tags, build, files: &[("hog.c", hog)], ..NOTHING });
    let client = scene.farm.client();
    let id = client.build(&["hog"]).unwrap()[0];
    let begun = std::time::Instant::now();
    while !client.run(&["log", &id.to_string()]).unwrap().out.contains("TOOK ") {
        assert!(begun.elapsed() < PATIENCE, "it does not run");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    Inotify::init(InitFlags::empty()).expect("root has instances left while it runs");
    client.wait(id, &["failed"], SOON).unwrap();
    scene.goes_on();
}

/// A spec whose macros never end fails after the time limit of an SRPM, and its batch continues.
#[test]
#[ignore = "slow: make attack"]
fn a_batch_does_not_wait_for_an_srpm_that_does_not_come() {
    let mut scene = Scene::with(|settings| settings.workers = 2);
    let macros = "%global a %{lua: while true do end}\n%{a}";
    scene.push(&Attack { name: "endless-lua", tags: macros, ..NOTHING });
    let client = scene.farm.client();
    let ids = client.build(&["endless-lua", "tiny"]).unwrap();
    let shown = client.wait(ids[0], &["failed"], SOON).unwrap();
    assert_eq!(shown["failure"]["fault"], "package", "{shown:#}");
    assert!(message(&shown).contains("20 seconds"), "{shown:#}");
    client.wait(ids[1], &["published"], SOON).unwrap();
    scene.goes_on();
}

/// A build searches for the farm around it: at its addresses, in its environment, its descriptors,
/// and in other processes that it sees.
#[test]
#[ignore = "slow: make attack"]
fn a_build_finds_nothing_of_its_farm() {
    let mut scene = Scene::new();
    let port = scene.farm.server().rsplit(':').next().unwrap();
    let build = format!(
        "for to in 127.0.0.1/{port} 169.254.169.254/80 10.0.0.1/80; do\n\
         if bash -c \"exec 3<> /dev/tcp/$to\"; then echo \"REACHED $to\"; fi\ndone\n\
         env; ls -l /proc/self/fd /proc/*/fd || :\ncat /proc/mounts /proc/self/mountinfo\n\
         for process in /proc/[0-9]*; do tr '\\0' ' ' < $process/cmdline; cat $process/environ; done || :\n\
         cat /proc/net/unix /proc/net/tcp; find / -xdev -name '*.sock' -o -xdev -name token || :\necho LOOKED"
    );
    scene.push(&Attack { name: "looks", build: &build, ..NOTHING });
    let client = scene.farm.client();
    let id = client.build(&["looks"]).unwrap()[0];
    client.wait(id, &["published"], PATIENCE).unwrap();
    let log = client.run(&["log", &id.to_string()]).unwrap().out;
    assert!(log.contains("LOOKED"), "{log}");
    let token = fs::read_to_string(scene.farm.directory().join("coordinator/token")).unwrap();
    let farm = scene.farm.directory().display().to_string();
    let roots = scene::warm_roots().display().to_string();
    for secret in ["REACHED", token.trim(), &farm, &roots, "signer.sock", "rpmfarm-worker"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    scene.goes_on();
}

/// Nothing of a cage is left on the host.
#[test]
#[ignore = "slow: make attack"]
fn scriptlets_leave_nothing_on_the_host() {
    let mut scene = Scene::new();
    let script = "%post -p /bin/bash\n\
                  mkdir -p /run/left; (while :; do sleep 1; done) & disown\n\
                  cp /bin/bash /usr/share/nasty/bash; chmod 6755 /usr/share/nasty/bash\n\
                  ln -s /etc/shadow /usr/share/nasty/shadow; mknod /usr/share/nasty/disk b 8 0\n\
                  echo 1 > /proc/sys/kernel/sysrq; mount -t tmpfs none /mnt; kill -9 -1; exit 0";
    scene.push(&Attack { name: "nasty", more: script, ..NOTHING });
    let reads = "cat /usr/share/nasty/shadow && exit 1; /usr/share/nasty/bash -p -c 'id -u' || :";
    scene.push(&Attack {
        name: "uses-nasty",
        tags: "BuildRequires: nasty",
        build: reads,
        ..NOTHING
    });
    let client = scene.farm.client();
    client.publish(&["nasty"], PATIENCE).unwrap();
    let id = client.build(&["uses-nasty"]).unwrap()[0];
    let shown = client.wait(id, &["failed", "published"], PATIENCE).unwrap();
    if shown["state"] == "failed" {
        assert_eq!(shown["failure"]["fault"], "package", "{shown:#}");
    }
    assert!(!Path::new("/run/left").exists());
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.lines().any(|line| line.contains(" /mnt ")), "{mounts}");
    scene.goes_on();
}
