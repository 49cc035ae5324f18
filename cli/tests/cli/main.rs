//! The command as people and scripts use it, against a farm with prepared answers.

#![allow(unreachable_pub)]

mod batches;
mod doctor;
mod facts;
mod farm;
mod generated;
mod logs;
mod narrow;
mod reading;
mod unreachable;
mod watching;
mod workers;
mod writing;

use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

/// The token of every farm here.
pub const TOKEN: &str = "good-token";

/// The command with the address `server`, without any setting of this host.
pub fn rpmfarm(server: &str, home: &Path) -> Command {
    let mut command = Command::cargo_bin("rpmfarm").expect("it was built");
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC")
        .env("RPMFARM_SERVER", server)
        .timeout(std::time::Duration::from_secs(60));
    command
}

/// A home directory; with a token, if one is given.
pub fn home(token: Option<&str>) -> TempDir {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join(".config/rpmfarm");
    std::fs::create_dir_all(&dir).expect("a directory");
    if let Some(token) = token {
        std::fs::write(dir.join("token"), format!("{token}\n")).expect("a file");
    }
    home
}

/// The output of the command, and its exit code.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the command to its end.
pub fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("it starts");
    Ran {
        code: output.status.code().expect("it ends by itself"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}
