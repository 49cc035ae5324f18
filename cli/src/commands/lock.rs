//! `rpmfarm lock`: the exact packages of a build's root.

use clap::Args;
use rpmfarm_core::lock::LockedPackage;
use rpmfarm_core::{Lock, Sha256};
use rpmfarm_proto::v1::{GetLockRequest, LockReply};

use super::Session;
use super::log::TaskKindFilter;
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;
use crate::show::size;
use crate::show::table::{Column, cell, column, number, table};

/// The columns of a lock.
const COLUMNS: [Column; 4] = [
    column("LAYER").rank(2),
    column("PACKAGE").cut(24),
    column("SIZE").rank(1),
    column("FROM").rank(3).cut(10),
];

/// Which lock.
#[derive(Debug, Args)]
#[command(after_help = "\
With --json the lock is printed byte by byte as the farm stores it; its SHA-256 is its name.

Examples:
  rpmfarm lock 7
  rpmfarm lock 7 --arch aarch64 --json > hello.lock
  diff <(rpmfarm lock 7) <(rpmfarm lock 9)    what changed in the root")]
pub(crate) struct Options {
    /// Number of the build
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    build: i64,
    /// Architecture [default: the first]
    #[arg(long)]
    arch: Option<String>,
    /// Kind of the task [default: build]
    #[arg(long)]
    kind: Option<TaskKindFilter>,
}

pub(crate) async fn run(options: Options, mut session: Session) -> Result<Exit, Error> {
    let request = GetLockRequest {
        build: options.build,
        kind: options.kind.map(TaskKindFilter::word).unwrap_or_default().into(),
        arch: options.arch.unwrap_or_default(),
    };
    let lock = checked(&session.client.lock(request).await?)?;
    if session.out.json {
        session.out.bytes(&lock.to_bytes())?;
    } else {
        print(&lock, &session.out)?;
    }
    Ok(Exit::Done)
}

/// The lock of a reply, if its digest is the one in the reply.
fn checked(reply: &LockReply) -> Result<Lock, Error> {
    let lock = Lock::from_bytes(&reply.lock).map_err(|error| {
        Error::Farm(format!("the lock {} cannot be read: {error} (rpmfarm version)", reply.digest))
    })?;
    let found = digest(&lock);
    if found == reply.digest {
        return Ok(lock);
    }
    Err(Error::Farm(format!(
        "the received lock has the digest {found}, not {}; is the coordinator's version another one? (rpmfarm version, rpmfarm doctor)",
        reply.digest
    )))
}

fn digest(lock: &Lock) -> String {
    Sha256::compute(&lock.to_bytes()).hex()
}

/// The repository, and the module stream where there is one.
fn from(package: &LockedPackage) -> String {
    if package.module.is_empty() {
        package.origin.clone()
    } else {
        format!("{}, module {}", package.origin, package.module)
    }
}

fn print(lock: &Lock, out: &StandardOutput) -> Result<(), Error> {
    let layers = std::iter::once(("bootstrap".to_owned(), &lock.bootstrap)).chain(
        lock.layers.iter().enumerate().map(|(number, layer)| (format!("layer {number}"), layer)),
    );
    let rows: Vec<_> = layers
        .flat_map(|(name, layer)| {
            layer.packages().iter().map(move |package| {
                vec![
                    cell(&name),
                    cell(package.nevra.to_string()),
                    number(size::bytes(package.size)),
                    cell(from(package)),
                ]
            })
        })
        .collect();
    let total: u64 = lock.packages().map(|package| package.size).sum();
    let count = rows.len();
    out.text(&table(out, &COLUMNS, &rows))?;
    out.line(&format!(
        "{count} package{}, {}, for {} on {}; lock {}",
        if count == 1 { "" } else { "s" },
        size::bytes(total),
        lock.target,
        lock.arch,
        digest(lock)
    ))
}
