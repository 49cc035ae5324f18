//! Farms over TLS: workers that are enrolled, and a command that trusts the farm's CA.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{Farm, program};

impl Farm {
    /// The coordinator's address with TLS; of several coordinators, the first's.
    ///
    /// # Errors
    /// When it listens without.
    pub fn tls_address(&self) -> anyhow::Result<String> {
        self.tls_address_of(0)
    }

    /// The address with TLS of one of the coordinators.
    ///
    /// # Errors
    /// When it listens without.
    pub fn tls_address_of(&self, index: usize) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(address_file(self.directory(), index))
            .context("the coordinator listens without TLS")?;
        Ok(text.trim().to_owned())
    }

    /// The file of the farm's CA.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.directory().join("coordinator/tls/ca.pem")
    }

    /// Where a worker's key and certificate are.
    #[must_use]
    pub fn identity(&self, worker: &str) -> PathBuf {
        self.directory().join("identities").join(worker)
    }

    /// Enrols a worker, unless it is enrolled, and sets a command up to run as it.
    pub(super) fn run_enrolled(&self, worker: &str, command: &mut Command) -> anyhow::Result<()> {
        let identity = self.identity(worker);
        if !identity.exists() {
            let invitation = self.client().json(&["worker", "enrol", worker])?;
            let token = invitation["token"].as_str().context("no token")?;
            let output = program("rpmfarm-worker")
                .args(["enrol", "--coordinator", &self.tls_address()?, "--token", token])
                .arg("--identity")
                .arg(&identity)
                .output()?;
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "{worker} is not enrolled: {stderr}");
        }
        command.arg("--identity").arg(identity);
        if self.servers().len() > 1 {
            let all = (0..self.servers().len()).map(|index| self.tls_address_of(index));
            let all: Vec<String> = all.collect::<anyhow::Result<_>>()?;
            command.args(["--coordinator", &all.join(",")]);
        }
        Ok(())
    }
}

/// The file in which a coordinator writes its TLS address.
fn address_file(directory: &Path, index: usize) -> PathBuf {
    let number = if index == 0 { String::new() } else { (index + 1).to_string() };
    directory.join(format!("tls-address{number}"))
}

/// Tells a coordinator to listen with TLS, where it listened before.
pub(super) fn listen(directory: &Path, index: usize, command: &mut Command) {
    let file = address_file(directory, index);
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    let address = match before.trim().trim_start_matches("https://") {
        "" => "127.0.0.1:0",
        address => address,
    };
    command.args(["--listen-tls", address]).arg("--tls-address-file").arg(&file);
}
