//! `rpmfarm-signer`: the command line of the signer.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand};
use rpmfarm_daemon::log::{self, LogFormat};
use rpmfarm_guarded::{harden, run};
use rpmfarm_signer::config::{Config, KeyBinding, NewKey};
use rpmfarm_signer::keys::{self, SigningKeys};
use rpmfarm_signer::{generate, operate, serve};

/// Holds the keys of the farm and signs accepted packages and repository metadata.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests on a Unix socket, until SIGTERM.
    Serve(ServeOptions),
    /// Make and show keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Sign nothing until `resume`; builds wait and say why. At once, and over restarts.
    Pause {
        /// The reason, for people who wait.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        place: StateOptions,
    },
    /// Sign again.
    Resume {
        #[command(flatten)]
        place: StateOptions,
    },
    /// Show which revisions of repositories were signed last, or let older ones be signed.
    #[command(subcommand)]
    Revision(RevisionCommand),
    /// Show what a target has under a NEVRA, or let another package take its place.
    #[command(subcommand)]
    Package(PackageCommand),
    /// Check the audit log, or continue with a new one.
    #[command(subcommand)]
    Audit(AuditCommand),
}

/// Where a signer keeps what it remembers.
#[derive(Debug, Args)]
struct StateOptions {
    /// A TOML file with `keys`, `state`, `socket`, `audit_log`, `allow_uids`, `per_minute`,
    /// `blobs`, `acceptors`, `[bind]` and `[[create]]`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the keys.
    #[arg(long, value_name = "DIR", env = "RPMFARM_SIGNER_KEYS")]
    keys: Option<PathBuf>,
    /// Directory of the signer's memory; by default that of the keys.
    #[arg(long, value_name = "DIR", env = "RPMFARM_SIGNER_STATE")]
    state: Option<PathBuf>,
    /// The log of everything signed.
    #[arg(long, value_name = "FILE", env = "RPMFARM_SIGNER_AUDIT_LOG")]
    audit_log: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum RevisionCommand {
    /// Show the newest revision that was signed of each repository.
    Show {
        /// TARGET or TARGET/CHANNEL [default: all].
        #[arg(default_value = "")]
        of: String,
        #[command(flatten)]
        place: StateOptions,
    },
    /// Let revisions above a number be signed, as after a restore from a backup. The signer must be
    /// stopped.
    Reset {
        /// TARGET/CHANNEL.
        channel: String,
        /// Revisions above this one are signed.
        #[arg(long, value_name = "REVISION")]
        to: u64,
        /// The reason, for the log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        place: StateOptions,
    },
}

#[derive(Debug, Subcommand)]
enum PackageCommand {
    /// Show the digest of the header that was signed.
    Show {
        /// NAME-[EPOCH:]VERSION-RELEASE.ARCH.
        nevra: String,
        /// Name of the target.
        #[arg(long)]
        target: String,
        #[command(flatten)]
        place: StateOptions,
    },
    /// Let another package of the name be signed. The signer must be stopped.
    Forget {
        /// NAME-[EPOCH:]VERSION-RELEASE.ARCH.
        nevra: String,
        /// Name of the target.
        #[arg(long)]
        target: String,
        /// The reason, for the log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        place: StateOptions,
    },
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check that each line of a log follows the one before.
    Verify {
        /// The log.
        file: PathBuf,
    },
    /// Continue with a new file, after the log was moved or cut off. The rest of the old file is
    /// moved aside. The signer must be stopped.
    Restart {
        /// The reason, for the log.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        place: StateOptions,
    },
}

#[derive(Debug, Args)]
struct ServeOptions {
    #[command(flatten)]
    place: StateOptions,
    /// The Unix socket to listen on.
    #[arg(long, value_name = "PATH", env = "RPMFARM_SIGNER_SOCKET")]
    socket: Option<PathBuf>,
    /// A user that may request signatures, beside root and the signer's own.
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
    /// Make this key at start when it is not there.
    #[arg(long, value_name = "NAME=UID")]
    create: Vec<NewKey>,
    /// The targets that a key signs for, and no others. A key without this signs for any.
    #[arg(long, value_name = "KEY=TARGET,…")]
    bind: Vec<KeyBinding>,
    /// Signatures in a minute at most, and at once [default: 6000].
    #[arg(long, value_name = "COUNT")]
    per_minute: Option<u32>,
    /// The coordinator's blob store (DATA/blobs): the signer reads each package there, and signs
    /// only the header of that package.
    #[arg(long, value_name = "DIR", env = "RPMFARM_SIGNER_BLOBS")]
    blobs: Option<PathBuf>,
    /// The public key of an acceptor (rpmfarm-acceptor key), PEM or hex; may be given several
    /// times. Then a header is signed only when one of them has signed that it accepts the package.
    #[arg(long, value_name = "FILE", env = "RPMFARM_SIGNER_ACCEPTOR", value_delimiter = ',')]
    acceptor: Vec<PathBuf>,
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
        /// Its name, for `signing_key` of targets.
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

impl StateOptions {
    fn config(self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::default(),
        };
        config.keys = self.keys.unwrap_or(config.keys);
        config.state = self.state.or(config.state);
        config.audit_log = self.audit_log.unwrap_or(config.audit_log);
        Ok(config)
    }
}

impl ServeOptions {
    fn config(self) -> anyhow::Result<Config> {
        let mut config = self.place.config()?;
        config.socket = self.socket.unwrap_or(config.socket);
        config.allow_uids.extend(self.allow_uid);
        config.create.extend(self.create);
        for KeyBinding { key, targets } in self.bind {
            config.bind.add(&key, targets);
        }
        config.per_minute = self.per_minute.unwrap_or(config.per_minute);
        config.blobs = self.blobs.or(config.blobs);
        config.acceptors.extend(self.acceptor);
        Ok(config)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    harden::protect_memory()?;
    log::start_filtered("RUST_LOG", "info,pgp=warn", LogFormat::Text);
    match cli.command {
        Command::Serve(options) => serve::serve(&options.config()?, run::stopped()?).await,
        Command::Key(command) => key(command),
        Command::Pause { reason, place } => {
            print_line(&format!("paused {}", operate::pause(&place.config()?, &reason)?))
        }
        Command::Resume { place } => {
            let was = operate::resume(&place.config()?)?;
            print_line(if was { "resumed" } else { "it was not paused" })
        }
        Command::Revision(command) => revision(command),
        Command::Package(command) => package(command),
        Command::Audit(command) => audit(command),
    }
}

#[allow(clippy::print_stdout, reason = "the output of the command")]
fn print_line(text: &str) -> anyhow::Result<()> {
    println!("{text}");
    Ok(())
}

fn revision(command: RevisionCommand) -> anyhow::Result<()> {
    match command {
        RevisionCommand::Show { of, place } => {
            operate::revisions(&place.config()?, &of)?.iter().try_for_each(|line| print_line(line))
        }
        RevisionCommand::Reset { channel, to, reason, place } => {
            let before = operate::reset(&place.config()?, &channel, to, &reason)?;
            print_line(&format!("{channel}: was {before}; revisions above {to} are signed"))
        }
    }
}

fn package(command: PackageCommand) -> anyhow::Result<()> {
    match command {
        PackageCommand::Show { nevra, target, place } => {
            let found = operate::package(&place.config()?, &target, &nevra)?;
            print_line(found.as_deref().unwrap_or("not signed"))
        }
        PackageCommand::Forget { nevra, target, reason, place } => {
            operate::forget(&place.config()?, &target, &nevra, &reason)?;
            print_line(&format!("another package {nevra} of {target} can be signed now"))
        }
    }
}

fn audit(command: AuditCommand) -> anyhow::Result<()> {
    match command {
        AuditCommand::Verify { file } => print_line(&operate::verify(&file)?),
        AuditCommand::Restart { reason, place } => {
            match operate::restart(&place.config()?, &reason)? {
                Some(aside) => {
                    print_line(&format!("a new log; the old one is {}", aside.display()))
                }
                None => print_line("a new log; the old one was not there"),
            }
        }
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
            for (name, key) in SigningKeys::load(&dir.keys, SystemTime::now())?.iter() {
                println!("{name}\t{}", key.fingerprint());
            }
        }
        KeyCommand::Show { name, dir } => {
            print!("{}", SigningKeys::load(&dir.keys, SystemTime::now())?.get(&name)?.public());
        }
    }
    Ok(())
}
