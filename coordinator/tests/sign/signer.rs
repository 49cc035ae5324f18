//! The signer as a process, beside the data of a coordinator.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rpmfarm_lab::farm::program;

use crate::support::{self, Gpg};

/// A running signer with the key `lab`; it is killed with this.
pub(crate) struct Signer(Child);

impl Signer {
    /// Starts it as it should be: its key is bound, and it reads the packages itself.
    pub(crate) fn start(data: &Path, options: &[&str]) -> Self {
        let blobs = data.join("blobs");
        let usual = ["--bind", "lab=lab", "--blobs", blobs.to_str().unwrap()];
        Self::start_as(data, &[&usual[..], options].concat())
    }

    /// Starts it with these options alone.
    pub(crate) fn start_as(data: &Path, options: &[&str]) -> Self {
        put_key(data);
        let socket = data.join("signer.sock");
        let mut command = program("rpmfarm-signer");
        command.arg("serve").arg("--keys").arg(data.join("keys")).arg("--audit-log");
        command.arg(log(data)).arg("--socket").arg(&socket).args(options).stdin(Stdio::null());
        let mut child = command.spawn().unwrap();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the signer does not start");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self(child)
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn log(data: &Path) -> PathBuf {
    data.join("audit.jsonl")
}

/// Runs a command of an operator; it must succeed.
pub(crate) fn operate(data: &Path, words: &[&str]) {
    let mut command = program("rpmfarm-signer");
    command.args(words).arg("--keys").arg(data.join("keys")).arg("--audit-log").arg(log(data));
    support::run(&mut command);
}

fn put_key(data: &Path) {
    let keys = data.join("keys");
    if keys.join("lab.key").exists() {
        return;
    }
    let gpg = Gpg::new("rsa2048", "never");
    let secret = support::run(gpg.command().args(["--armor", "--export-secret-keys"])).stdout;
    fs::create_dir_all(&keys).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(keys.join("lab.key"), secret).unwrap();
    fs::set_permissions(keys.join("lab.key"), fs::Permissions::from_mode(0o600)).unwrap();
}
