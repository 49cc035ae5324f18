//! Files that a build puts beside its packages, and output that it writes for people to read.

use std::fs::{self, File};
use std::io::Read as _;
use std::process::Stdio;

use crate::{Attack, NOTHING, PATIENCE, Scene};

/// The name, and the additional commands of `%install`. rpmbuild writes its packages afterwards.
const WAYS: &[(&str, &str)] = &[
    ("empty-result", ": > $results/a-1-1.noarch.rpm"),
    ("host-link", "ln -s /proc/1/root/etc/shadow $results/a-1-1.noarch.rpm"),
    ("relative-link", "ln -s ../../../../../../etc/passwd $results/a-1-1.noarch.rpm"),
    ("directory", "mkdir $results/a-1-1.noarch.rpm"),
    ("fifo", "mkfifo $results/a-1-1.noarch.rpm"),
    ("secret-link", "ln -s /etc/shadow $results/a-1-1.noarch.rpm"),
    ("random", "head -c 600M /dev/urandom > $results/a-1-1.noarch.rpm"),
    ("times", "rm /builddir/build/rpmbuild.times; ln -s /dev/zero /builddir/build/rpmbuild.times"),
    ("hard-link", "echo x > /builddir/x; ln /builddir/x $results/a-1-1.noarch.rpm"),
    ("linked-folder", "rmdir $results; mkdir /builddir/real; ln -s /builddir/real $results"),
    ("folder-of-the-host", "rmdir $results; ln -s /etc $results"),
    ("build-folder-gone", "mv /builddir/build /builddir/b2; ln -s b2 /builddir/build"),
    ("control-characters", "echo x > \"$results/$(printf 'a\\033[2J\\nb').rpm\""),
    ("dash", "echo x > $results/-rf.rpm"),
    ("foreign-source", "cp /builddir/input/*.rpm $results/other-1-1.noarch.rpm"),
    ("many", "for n in $(seq 6000); do echo x > $results/a$n-1-1.noarch.rpm; done"),
    ("sparse", "truncate -s 30G $results/a-1-1.noarch.rpm"),
    (
        "unreadable",
        "echo x > $results/a-1-1.noarch.rpm; chmod 000 $results/a-1-1.noarch.rpm $results",
    ),
    (
        "daemon",
        "(setsid sh -c \"while :; do for f in $results/*.rpm $results/*/*.rpm; do \
         [ -s \\$f ] && echo swapped > \\$f; done; done\" > /dev/null 2>&1 &) ; true",
    ),
];

/// Each is reported as the package's fault or does not change the package, and no upload is
/// repeated without end.
#[test]
#[ignore = "slow: make attack"]
fn whatever_lies_among_the_results_is_the_packages_fault() {
    let mut scene = Scene::new();
    for (name, install) in WAYS {
        scene.push(&Attack { name, install, ..NOTHING });
    }
    let client = scene.farm.client();
    let ids: Vec<i64> = WAYS.iter().map(|(name, _)| client.build(&[name]).unwrap()[0]).collect();
    let mut wrong = Vec::new();
    for ((name, _), id) in WAYS.iter().zip(ids) {
        let shown = client.wait(id, &["failed", "published"], PATIENCE).unwrap();
        if shown["state"] == "failed" && shown["failure"]["fault"] != "package" {
            wrong.push(format!("{name}: {:#}", shown["failure"]));
        }
        let text = shown.to_string();
        if text.contains("root:x:0:0") || text.contains("\\u001b") {
            wrong.push(format!("{name}: it shows what it should not: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    scene.goes_on();
}

/// Sets the title and the clipboard, sends strings and codes of 8 bits, turns the direction of
/// text.
const SHOUTS: &str = "printf '\\033]0;title\\007\\033]52;c;ZXZpbA==\\007\\033P+q\\033\\\\\\233A\\302\\233B\\342\\200\\256x\\n'\n\
                      head -c 3M /dev/zero | tr '\\0' a\n\
                      printf 'error: \\033[2J\\033[31m\\342\\200\\256red\\n' >&2; exit 1";

/// The output of a command on a terminal.
fn screen(scene: &Scene, words: &[&str]) -> String {
    let pty = nix::pty::openpty(None, None).unwrap();
    let mut command = scene.farm.client().command(words);
    command.env("NO_COLOR", "1").stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::from(pty.slave)).spawn().unwrap();
    drop(command);
    let mut bytes = Vec::new();
    // The terminal ends with an error when its last writer is gone.
    let _ = File::from(pty.master).read_to_end(&mut bytes);
    child.wait().unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Control sequences in a log do not reach the reader's terminal.
#[test]
#[ignore = "slow: make attack"]
fn logs_do_nothing_to_a_terminal() {
    let mut scene = Scene::new();
    scene.push(&Attack { name: "paints", build: SHOUTS, ..NOTHING });
    let shown = scene.fails("paints");
    let id = shown["id"].to_string();
    for (words, part) in [
        (&["log", &id] as &[&str], "\\x1b]52;c;ZXZpbA==\\x07"),
        (&["show", &id], "paints"),
        (&["list"], "paints"),
    ] {
        let shown = screen(&scene, words);
        assert!(shown.contains(part), "{words:?}: {shown:?}");
        for control in ['\u{1b}', '\u{9b}', '\u{7}', '\u{202e}'] {
            assert!(!shown.contains(control), "{words:?}: {shown:?}");
        }
    }
    for log in fs::read_dir(scene.farm.directory().join("logs")).unwrap().flatten() {
        let bytes = fs::read(log.path()).unwrap();
        assert!(!bytes.contains(&0x1b), "{}", log.path().display());
    }
    scene.goes_on();
}
