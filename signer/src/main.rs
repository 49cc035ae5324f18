//! `rpmfarm-signer`: the command line of the signer.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand};
use rpmfarm_signer::config::{Config, NewKey};
use rpmfarm_signer::keys::{self, Keys};
use rpmfarm_signer::{generate, harden, serve};
use tokio::signal::unix::{SignalKind, signal};

/// Holds the keys of the farm and signs what was accepted.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests on a Unix socket, until SIGTERM.
    Serve(Serve),
    /// Make and show keys.
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(Debug, Args)]
struct Serve {
    /// A TOML file with `keys`, `socket`, `audit_log`, `allow_uids` and `[[create]]`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the keys.
    #[arg(long, value_name = "DIR", env = "RPMFARM_SIGNER_KEYS")]
    keys: Option<PathBuf>,
    /// Where to listen.
    #[arg(long, value_name = "PATH", env = "RPMFARM_SIGNER_SOCKET")]
    socket: Option<PathBuf>,
    /// The log of everything signed.
    #[arg(long, value_name = "FILE", env = "RPMFARM_SIGNER_AUDIT_LOG")]
    audit_log: Option<PathBuf>,
    /// A user that may ask, beside root and the signer's own.
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
    /// Make this key at start when it is not there.
    #[arg(long, value_name = "NAME=UID")]
    create: Vec<NewKey>,
}

#[derive(Debug, Args)]
struct KeyDir {
    /// Directory of the keys.
    #[arg(long, value_name = "DIR", env = "RPMFARM_SIGNER_KEYS", default_value_os_t = Config::default().keys)]
    keys: PathBuf,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key (RSA 4096).
    New {
        /// Its name, as targets have it.
        name: String,
        /// Its user id, as `Example Linux <security@example.com>`.
        #[arg(long)]
        uid: String,
        #[command(flatten)]
        dir: KeyDir,
    },
    /// List the keys with their fingerprints.
    List {
        #[command(flatten)]
        dir: KeyDir,
    },
    /// Print the public part of a key.
    Show {
        /// Its name.
        name: String,
        #[command(flatten)]
        dir: KeyDir,
    },
}

impl Serve {
    fn config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        config.keys = self.keys.unwrap_or(config.keys);
        config.socket = self.socket.unwrap_or(config.socket);
        config.audit_log = self.audit_log.unwrap_or(config.audit_log);
        config.allow_uids.extend(self.allow_uid);
        config.create.extend(self.create);
        Ok(config)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    harden::shut()?;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,pgp=warn"));
    // In a file or a journal the codes of colours are noise.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal() && !plain)
        .with_writer(std::io::stderr)
        .init();
    match cli.command {
        Command::Serve(options) => serve::serve(&options.config()?, stopped()?).await,
        Command::Key(command) => key(command),
    }
}

#[allow(clippy::print_stdout, reason = "the output of the command")]
fn key(command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::New { name, uid, dir } => {
            let path = keys::store(&dir.keys, &name, &generate::new_key(&uid)?)?;
            println!("{}", path.display());
        }
        KeyCommand::List { dir } => {
            for (name, key) in Keys::load(&dir.keys, SystemTime::now())?.iter() {
                println!("{name}\t{}", key.fingerprint());
            }
        }
        KeyCommand::Show { name, dir } => {
            print!("{}", Keys::load(&dir.keys, SystemTime::now())?.get(&name)?.public());
        }
    }
    Ok(())
}

/// SIGTERM or SIGINT.
fn stopped() -> anyhow::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
