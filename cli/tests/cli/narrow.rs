//! Terminals of 80 columns and fewer, as they are split and as they are on telephones.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rpmfarm_proto::v1::{Build, Fault};

use crate::farm::{Facts, FakeFarm};
use crate::{facts, home, rpmfarm, run};

/// The output on a terminal of so many columns.
fn screen(farm: &FakeFarm, columns: u16, args: &[&str]) -> String {
    let size = nix::pty::Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).expect("a terminal");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rpmfarm"));
    let mut child = command
        .args(args)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("TZ", "UTC")
        .env("NO_COLOR", "1")
        .env("RPMFARM_SERVER", farm.url())
        .stdin(Stdio::null())
        .stdout(Stdio::from(pty.slave))
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    drop(command);
    let screen = read_all(pty.master);
    child.wait().expect("it ends");
    screen.replace("\r\n", "\n")
}

fn read_all(master: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // The terminal ends with an error when its last writer is gone.
    let _ = std::io::Read::read_to_end(&mut std::fs::File::from(master), &mut bytes);
    String::from_utf8(bytes).expect("text")
}

fn builds() -> Vec<Build> {
    let failed = |fault| {
        let mut build = facts::failed(fault);
        build.package = "python-cryptography-vectors".into();
        build.srpm = "python-cryptography-vectors-41.0.7-1.module_el9.4.0+70.src".into();
        if let Some(failure) = &mut build.failure {
            failure.message = "configure: error: ".to_owned() + &"no compiler, ".repeat(30);
        }
        build
    };
    let mut builds = Vec::new();
    for id in (1..=14).rev() {
        let build = match id % 3 {
            0 => failed(Fault::Package),
            1 => facts::building(),
            _ => facts::published(),
        };
        builds.push(Build { id, ..build });
    }
    builds
}

fn widest(text: &str) -> usize {
    text.lines().map(console::measure_text_width).max().unwrap_or(0)
}

#[test]
fn a_list_has_a_line_for_each_build_however_narrow_it_is() {
    let farm = FakeFarm::start(Facts { builds: builds(), ..Facts::default() });
    for columns in [40, 60, 80, 100, 200] {
        let text = screen(&farm, columns, &["list"]);
        assert_eq!(text.lines().count(), 15, "{columns}:\n{text}");
        assert!(widest(&text) <= columns.into(), "{columns}:\n{text}");
        for word in ["BUILD", "PACKAGE", "VERSION", "STATE", "hello", "failed"] {
            assert!(text.contains(word), "{columns}: no {word}:\n{text}");
        }
    }
    let wide = screen(&farm, 200, &["list"]);
    assert!(wide.contains("41.0.7-1.module_el9.4.0+70") && wide.contains("PRIORITY"), "{wide}");
    let narrow = screen(&farm, 80, &["list"]);
    assert!(narrow.contains("configure: er") && narrow.contains('…'), "{narrow}");
}

#[test]
fn a_pipe_gets_whole_values_on_one_line_each() {
    let farm = FakeFarm::start(Facts { builds: builds(), ..Facts::default() });
    let ran = run(rpmfarm(&farm.url(), home(None).path()).arg("list"));
    assert_eq!(ran.stdout.lines().count(), 15, "{}", ran.stdout);
    assert!(!ran.stdout.contains('…'), "{}", ran.stdout);
    assert!(ran.stdout.contains("no compiler,  (package's fault)"), "{}", ran.stdout);
    assert!(ran.stdout.contains("python-cryptography-vectors  41.0.7-1.module"), "{}", ran.stdout);
}

#[test]
fn nothing_else_is_wider_than_the_terminal() {
    let published = Build { id: 7, ..facts::published() };
    let farm =
        FakeFarm::start(Facts { builds: vec![published], lock: facts::lock(), ..Facts::default() });
    for columns in [40, 60, 80] {
        for args in [
            &["show", "7"] as &[&str],
            &["worker", "list"],
            &["repo", "list"],
            &["target", "list"],
            &["lock", "7"],
            &["doctor"],
        ] {
            let text = screen(&farm, columns, args);
            let lines = text.lines().count();
            assert!((2..60).contains(&lines), "{args:?} at {columns}:\n{text}");
            // Paths, addresses and digests stay whole, so that they can be copied.
            let too_wide = |line: &&str| {
                console::measure_text_width(line) > columns.into()
                    && line.split_whitespace().all(|word| word.len() < 20)
            };
            let wide: Vec<_> = text.lines().filter(too_wide).collect();
            assert!(wide.is_empty(), "{args:?} at {columns}: {wide:?}");
        }
    }
}

#[test]
fn every_error_can_be_read() {
    let farm = FakeFarm::start(Facts::default());
    let ran = run(rpmfarm(&farm.url(), home(None).path()).args(["show", "4711"]));
    assert_eq!(ran.code, 3);
    assert!(!ran.stderr.contains("\\x0a"), "{}", ran.stderr);
}
