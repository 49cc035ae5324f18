//! Logs: byte by byte for files, harmless for terminals, lines for scripts.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::farm::{Facts, FakeFarm};
use crate::{facts, home, rpmfarm, run};

const LOG: &[u8] = "größe\r\nred \u{1b}[31m\nend".as_bytes();

fn farm() -> FakeFarm {
    let log = [LOG, b"\xff\n"].concat();
    FakeFarm::start(Facts { builds: vec![facts::building()], log, ..Facts::default() })
}

#[test]
fn a_file_gets_the_bytes_as_they_are() {
    let farm = farm();
    let output =
        rpmfarm(&farm.url(), home(None).path()).args(["log", "7"]).output().expect("it runs");
    assert_eq!(output.stdout, [LOG, b"\xff\n"].concat());
}

#[test]
fn options_reach_the_farm() {
    let farm = farm();
    let args = ["log", "7", "--kind", "srpm", "--arch", "aarch64", "--root", "-f"];
    assert_eq!(
        rpmfarm(&farm.url(), home(None).path()).args(args).output().expect("it runs").status.code(),
        Some(0)
    );
    let facts = farm.facts.lock();
    let asked = &facts.log_requests[0];
    let words = (asked.kind.as_str(), asked.arch.as_str(), asked.log.as_str());
    assert_eq!((words, asked.follow), (("srpm", "aarch64", "root"), true));
}

#[test]
fn scripts_get_lines_with_their_offsets() {
    let farm = farm();
    let ran = run(rpmfarm(&farm.url(), home(None).path()).args(["log", "7", "--json"]));
    let lines: Vec<Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let expected = [
        json!({"offset": 0, "line": "größe\r"}),
        json!({"offset": 9, "line": "red \u{1b}[31m"}),
        json!({"offset": 19, "line": "end\u{fffd}"}),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_terminal_is_not_told_what_to_do() {
    let farm = farm();
    assert_eq!(screen(&farm), "größe\r\nred \\x1b[31m\r\nend\u{fffd}\r\n");
}

/// The output of a log on a terminal.
fn screen(farm: &FakeFarm) -> String {
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("rpmfarm"));
    command.args(["log", "7"]).env_clear().env("HOME", "/nonexistent").env("TERM", "xterm");
    command.env("RPMFARM_SERVER", farm.url()).stdout(Stdio::from(pty.slave));
    let mut child = command.spawn().expect("it starts");
    drop(command);
    let mut screen = Vec::new();
    // The end of a terminal is an error, and the output before it counts.
    let _ = std::io::Read::read_to_end(&mut std::fs::File::from(pty.master), &mut screen);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    String::from_utf8(screen).expect("text")
}

/// Sequences that control a terminal: the clipboard, the title, queries that the terminal answers
/// as if typed, a cleared screen, the same in 8-bit codes, the direction of text, a line that hides
/// another.
const CONTROLS: [&[u8]; 10] = [
    b"\x1b]52;c;ZXZpbA==\x07",
    b"\x1b]0;title\x1b\\",
    b"\x1bP+q544e\x1b\\",
    b"\x1b[c\x1b[6n\x05",
    b"\x1b[2J\x1b[H",
    b"\xc2\x9b31m\xc2\x90x\xc2\x9c",
    b"\x9b31m\x90x\x9c",
    b"\xe2\x80\xaetxt.exe\xe2\x80\xac",
    b"\x0e\x08\x7f\x00\xff\xfe",
    b"failed\rfine  ",
];

#[test]
fn a_terminal_does_nothing_of_what_a_log_says_to_it() {
    let line = vec![b'x'; 1 << 15];
    let controls = CONTROLS.join(&b"\n"[..]);
    let log = [controls.as_slice(), b"\n", &line, b"\nthe end\n"].concat();
    let farm = FakeFarm::start(Facts { builds: vec![facts::building()], log, ..Facts::default() });
    let screen = screen(&farm).replace("\r\n", "\n");
    let controls_terminal =
        |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    let found: Vec<char> = screen.chars().filter(|c| controls_terminal(*c)).collect();
    assert!(found.is_empty(), "{found:?}");
    for shown in
        ["\\x1b]52;c;ZXZpbA==\\x07\n", "\\u{202e}txt.exe", "failed\\x0dfine", "\nthe end\n"]
    {
        assert!(screen.contains(shown), "{shown}");
    }
    assert!(screen.lines().any(|line| line.len() == 1 << 15), "a long line is whole");
}
