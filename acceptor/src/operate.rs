//! The operator's commands. They need the directory of the state: whoever reaches only the socket
//! can run none of them.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rpmfarm_core::{AttemptId, name};

use crate::book::Book;
use crate::event::Event;
use crate::workers::Workers;

/// The trusted workers and those that wait, one line each.
pub fn workers(state: &Path) -> anyhow::Result<Vec<String>> {
    let workers = open(state)?;
    let known = workers.known()?.into_iter().map(|(name, key)| format!("{name}\t{key}\tknown"));
    let waiting = workers.waiting()?.into_iter();
    let waiting = waiting.map(|(name, key)| format!("{name}\t{key}\twaits for `worker trust`"));
    Ok(known.chain(waiting).collect())
}

/// Trusts the key with which a worker signs. A running acceptor notices it at once.
///
/// # Errors
/// When no key waits, or an error of the disk.
pub fn trust(state: &Path, worker: &str) -> anyhow::Result<String> {
    name::check_worker(worker)?;
    let key = open(state)?.trust(worker)?;
    let key = key.with_context(|| {
        format!(
            "no key of {worker} waits: the worker has signed nothing, or its key is trusted already"
        )
    })?;
    Ok(format!("{worker} is known by {key}"))
}

/// Forgets a worker: the next key of that name counts as the first.
///
/// # Errors
/// When it is unknown, or an error of the disk.
pub fn forget(state: &Path, worker: &str) -> anyhow::Result<()> {
    name::check_worker(worker)?;
    if !open(state)?.forget(worker)? {
        bail!("there is no worker {worker}");
    }
    Ok(())
}

/// Forgets acceptances of attempts from a number on, because their numbers come again after the
/// coordinator's data were restored from a backup.
///
/// # Errors
/// When an acceptor runs, the reason is empty, or a file cannot be written.
pub fn forget_attempts(state: &Path, from: AttemptId, reason: &str) -> anyhow::Result<()> {
    ensure!(!reason.trim().is_empty(), "--reason is empty: say why, for those who read the log");
    ensure!(name::shown(reason) == reason, "--reason is too long, or has control characters");
    let (reason, uid) = (reason.to_owned(), nix::unistd::getuid().as_raw());
    Ok(Book::open(own(state)?)?.append(vec![Event::Forgot { from, reason, uid }])?)
}

fn open(state: &Path) -> anyhow::Result<Workers> {
    Ok(Workers::open(own(state)?, false)?)
}

/// The directory of the state, which must belong to the caller: the acceptor could not read files
/// of another user in it.
fn own(state: &Path) -> anyhow::Result<&Path> {
    let metadata = std::fs::metadata(state).with_context(|| state.display().to_string())?;
    let (owner, own) = (metadata.uid(), nix::unistd::geteuid().as_raw());
    ensure!(
        owner == own,
        "{} belongs to uid {owner}: run this as that user, as the acceptor does",
        state.display()
    );
    Ok(state)
}
