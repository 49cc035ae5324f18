//! The lab's signing key, and signing with real gpg and rpmsign.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::DistroError;
use crate::cache::Cache;
use crate::tool;

/// The name on the key.
const USER: &str = "rpmfarm lab <lab@rpmfarm.invalid>";

/// A key that signs packages and metadata; its agent is ended when this is dropped.
#[derive(Debug)]
pub(super) struct Key {
    home: PathBuf,
    fingerprint: String,
}

impl Key {
    /// The key of the cache, made when there is none.
    pub(super) fn open(cache: &Cache) -> Result<Self, DistroError> {
        let home = cache.directory("gnupg")?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
        let mut key = Self { home, fingerprint: String::new() };
        if key.find()?.is_none() {
            let mut command = key.gpg();
            command.args([
                "--passphrase",
                "",
                "--quick-generate-key",
                USER,
                "rsa4096",
                "sign",
                "never",
            ]);
            tool::output(&mut command)?;
        }
        key.fingerprint = key.find()?.ok_or(DistroError::NoKey)?;
        Ok(key)
    }

    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&self.home).args(["--batch", "--quiet", "--no-tty", "--yes"]);
        command
    }

    fn find(&self) -> Result<Option<String>, DistroError> {
        // The public part is asked for: that needs no agent, which another run may just be ending.
        let listing = tool::output(self.gpg().args(["--with-colons", "--list-keys"]))?;
        let text = String::from_utf8_lossy(&listing).into_owned();
        let line = text.lines().find(|line| line.starts_with("fpr:"));
        Ok(line.and_then(|line| line.split(':').nth(9)).map(str::to_owned))
    }

    /// The armoured public key.
    pub(super) fn public(&self) -> Result<Vec<u8>, DistroError> {
        Ok(tool::output(self.gpg().args(["--armor", "--export", &self.fingerprint]))?)
    }

    /// Adds header signatures to packages, in place.
    pub(super) fn sign_packages(&self, packages: &[PathBuf]) -> Result<(), DistroError> {
        if packages.is_empty() {
            return Ok(());
        }
        let mut command = Command::new("rpmsign");
        // Debian's rpmsign looks for gpg2, which Debian does not have.
        command.args(["--addsign", "--define", "__gpg /usr/bin/gpg", "--define"]);
        command.arg(format!("_gpg_name {}", self.fingerprint));
        command.arg("--define").arg(format!("_gpg_path {}", self.home.display()));
        tool::output(command.args(packages))?;
        Ok(())
    }

    /// Writes an armoured detached signature beside the file.
    pub(super) fn sign_file(&self, file: &Path) -> Result<(), DistroError> {
        let mut name = file.as_os_str().to_owned();
        name.push(".asc");
        let mut command = self.gpg();
        command.args(["--armor", "--detach-sign", "--local-user", &self.fingerprint]);
        tool::output(command.arg("--output").arg(name).arg(file))?;
        Ok(())
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // The agent that gpg started would otherwise outlive the run.
        let mut command = Command::new("gpgconf");
        drop(tool::output(command.arg("--homedir").arg(&self.home).args(["--kill", "all"])));
    }
}
