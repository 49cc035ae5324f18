//! `rpmfarm-worker enrol`: makes this host a worker of a farm.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rpmfarm_core::Arch;
use rpmfarm_core::enrolment::{NoToken, Token};
use serde::Serialize;

use super::options::{HostOptions, UID_BASE};
use crate::identity::{Credentials, IdentityFile, enrol};

/// Where the identity lies when nobody says otherwise.
pub(super) const IDENTITY: &str = "identity";

/// Options of `enrol`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rpmfarm-worker enrol --coordinator https://farm.example.org:7879 --token rpmfarm1.…
  ssh farm rpmfarm worker enrol w1 --json | jq -r .token |
      rpmfarm-worker enrol --coordinator https://farm.example.org:7879 --token -

An administrator makes the token with `rpmfarm worker enrol NAME`; it also names the farm's CA, so
that nothing else has to be trusted. The key is made here and never leaves this host.")]
pub(super) struct Enrol {
    /// Address of the coordinator, like https://farm.example.org:7879.
    #[arg(long, value_name = "URL", env = "RPMFARM_COORDINATOR")]
    coordinator: String,
    /// The token from `rpmfarm worker enrol NAME`; `-` reads it from standard input.
    #[arg(long, env = "RPMFARM_ENROL_TOKEN", hide_env_values = true)]
    token: String,
    /// Architectures that this worker will build for. What this host does not run, be it by an
    /// emulator, and what the token does not allow is refused now [default: asked for when it
    /// connects].
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    arch: Vec<Arch>,
    /// The worker's data directory.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/rpmfarm-worker")]
    data_dir: PathBuf,
    /// The crun program, for trying architectures.
    #[arg(long, value_name = "FILE", default_value = "crun")]
    crun: PathBuf,
    /// First of the 16,777,216 host user and group ids that files of builds have, as for `run`.
    #[arg(long, value_name = "ID", default_value_t = UID_BASE)]
    uid_base: u32,
    /// Where the key and the certificate are kept [default: identity in the data directory].
    #[arg(long, value_name = "DIR")]
    identity: Option<PathBuf>,
    /// Enrol again although this host is a worker already.
    #[arg(long)]
    force: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What scripts see.
#[derive(Debug, Serialize)]
struct Document<'a> {
    worker: &'a str,
    coordinator: &'a str,
    identity: String,
    certificate_ends_us: i64,
}

impl Enrol {
    #[allow(clippy::print_stdout)] // The answer to whoever asked.
    pub(super) fn run(self) -> Result<ExitCode> {
        let directory = self.identity.clone().unwrap_or_else(|| self.data_dir.join(IDENTITY));
        let file = IdentityFile::in_directory(&directory);
        if let (false, Ok(Some(known))) = (self.force, file.read()) {
            anyhow::bail!(
                "this host is worker {} of {} already ({}); enrol it again with --force",
                known.name,
                known.coordinator,
                file.path().display()
            );
        }
        let token = self.token()?;
        // Before the token is used up. Threads come after it.
        let (data_dir, crun) = (self.data_dir.clone(), self.crun.clone());
        HostOptions::for_cages(data_dir, crun, self.uid_base).prove(&self.arch)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let credentials = runtime.block_on(enrol::enrol(&self.coordinator, &token, &self.arch))?;
        file.write(&credentials)?;
        self.tell(&credentials, &file)?;
        Ok(ExitCode::SUCCESS)
    }

    #[allow(clippy::print_stdout)] // The answer to whoever asked.
    fn tell(&self, credentials: &Credentials, file: &IdentityFile) -> Result<()> {
        let Credentials { name, coordinator, ends_us, .. } = credentials;
        let path = file.path().display();
        if self.json {
            let document = Document {
                worker: name,
                coordinator,
                identity: path.to_string(),
                certificate_ends_us: *ends_us,
            };
            println!("{}", serde_json::to_string_pretty(&document)?);
        } else {
            let days = (ends_us - credentials.issued_us) / 1_000_000 / 86_400;
            println!("this host is worker {name} of {coordinator}");
            println!("its key and its certificate ({days} days, renewed by itself) are in {path}");
            println!("start it with: rpmfarm-worker run");
        }
        Ok(())
    }

    fn token(&self) -> Result<Token> {
        let mut text = self.token.clone();
        if text == "-" {
            text.clear();
            let read = std::io::stdin().take(4096).read_to_string(&mut text);
            read.context("cannot read the token from standard input")?;
        }
        ensure!(!text.trim().is_empty(), "--token is empty");
        text.parse().map_err(|error: NoToken| {
            anyhow::anyhow!("{error}; `rpmfarm worker enrol` makes one, on a host of the farm")
        })
    }
}
