//! The operator's commands, beside a running signer or without one. They need the directory of the
//! state, which is that of the keys by default: whoever reaches only the socket can run none of
//! them.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rpmfarm_core::name;
use rpmfarm_guarded::chain::{self, ChainHead};

use crate::audit::LogWriter;
use crate::config::Config;
use crate::event::{Event, LogEntry};
use crate::journal::Journal;
use crate::pause::{PauseState, PauseSwitch};

/// The longest reason, in characters: what messages show of a text.
const MAX_REASON: usize = 160;

/// Checks that a reason can be logged.
///
/// # Errors
/// When it is empty, too long, or has control characters.
pub fn check_reason(reason: &str) -> anyhow::Result<()> {
    ensure!(!reason.trim().is_empty(), "--reason is empty: say why, for those who read the log");
    ensure!(
        name::shown(reason) == reason,
        "--reason has control characters or more than {MAX_REASON} of others"
    );
    Ok(())
}

/// Stops all signatures until [`resume`].
///
/// # Errors
/// When the reason is empty, or a file cannot be written.
pub fn pause(config: &Config, reason: &str) -> anyhow::Result<PauseState> {
    check_reason(reason)?;
    let since = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let paused = PauseState { since, reason: reason.to_owned(), uid: uid() };
    let dir = own(config)?;
    let turned = PauseSwitch::new(dir).pause(&paused);
    turned.with_context(|| format!("pausing the signer of {}", dir.display()))?;
    Ok(paused)
}

/// Resumes the signer. Returns whether it was paused.
pub fn resume(config: &Config) -> anyhow::Result<bool> {
    let dir = own(config)?;
    let turned = PauseSwitch::new(dir).resume();
    turned.with_context(|| format!("resuming the signer of {}", dir.display()))
}

/// The newest revisions of a target, of a channel (`TARGET/CHANNEL`), or of all, one line each.
///
/// # Errors
/// When the state cannot be read.
pub fn revisions(config: &Config, below: &str) -> anyhow::Result<Vec<String>> {
    let memory = Journal::peek(config.state_dir())?.memory;
    let is_below = |place: &str| {
        let rest = place.strip_prefix(below.trim_end_matches('/'));
        rest.is_some_and(|rest| below.is_empty() || rest.is_empty() || rest.starts_with('/'))
    };
    let mut lines: Vec<String> = memory
        .newest()
        .filter(|(place, _)| is_below(&place.to_string()))
        .map(|(place, page)| format!("{place}\t{}\t{}", page.revision, page.digest))
        .collect();
    let floors = memory.floors().filter(|(t, c, _)| is_below(&format!("{t}/{c}")));
    lines.extend(floors.map(|(target, channel, to)| format!("{target}/{channel}\treset to {to}")));
    Ok(lines)
}

/// Lets revisions above `to` be signed for a channel, written `TARGET/CHANNEL`.
///
/// # Errors
/// When a signer runs, the channel is unknown, or an error of the disk.
pub fn reset(config: &Config, channel: &str, to: u64, reason: &str) -> anyhow::Result<u64> {
    check_reason(reason)?;
    let (target, channel) = channel.split_once('/').context("expected TARGET/CHANNEL")?;
    for word in [target, channel] {
        name::check_package(word).context("expected TARGET/CHANNEL")?;
    }
    let mut books = open(config)?;
    let before = books.memory.revision(target, channel);
    if before == 0 {
        bail!("nothing of {target}/{channel} was signed: there is nothing to reset");
    }
    let (target, channel, reason) = (target.to_owned(), channel.to_owned(), reason.to_owned());
    let event = Event::Reset { target, channel, to, reason, uid: uid() };
    books.record(event).context("writing it down")?;
    Ok(before)
}

/// The digest of the header that was signed for a target under a NEVRA, if any.
///
/// # Errors
/// When the state cannot be read.
pub fn package(config: &Config, target: &str, nevra: &str) -> anyhow::Result<Option<String>> {
    let nevra = whole(nevra)?;
    let memory = Journal::peek(config.state_dir())?.memory;
    Ok(memory.package(target, &nevra).map(|digest| digest.hex()))
}

/// Lets another package be signed under a NEVRA.
///
/// # Errors
/// When a signer runs, there is none, or an error of the disk.
pub fn forget(config: &Config, target: &str, nevra: &str, reason: &str) -> anyhow::Result<()> {
    check_reason(reason)?;
    let nevra = whole(nevra)?;
    let mut books = open(config)?;
    if books.memory.package(target, &nevra).is_none() {
        bail!("{nevra} was not signed for {}", name::shown(target));
    }
    let (target, reason) = (target.to_owned(), reason.to_owned());
    books.record(Event::Forgot { target, nevra, reason, uid: uid() }).context("writing it down")
}

/// Checks the chain of a log, and describes it.
///
/// # Errors
/// When it is broken.
pub fn verify(path: &Path) -> anyhow::Result<String> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let mut entries = 0;
    let walked = chain::walk(BufReader::new(file), None, |_, line| {
        entries += usize::from(serde_json::from_slice::<LogEntry>(line).is_ok());
    });
    let walked = walked.with_context(|| format!("{} is not whole", path.display()))?;
    let mut text = format!(
        "{}: lines {} to {} follow each other ({entries} entries)\nhead\t{}\t{}",
        path.display(),
        walked.from.line + 1,
        walked.head.line,
        walked.head.line,
        walked.head.digest
    );
    if walked.from != ChainHead::START {
        text += &format!("\nfollows\t{}\t{}", walked.from.line, walked.from.digest);
    }
    if walked.before > 0 {
        text += &format!("\n{} lines are from before there was a chain", walked.before);
    }
    if walked.cut > 0 {
        text += &format!("\n{} lines were cut by a crash", walked.cut);
    }
    Ok(text)
}

/// Begins a new file that continues the log. Returns the path of the old file, if it exists.
///
/// # Errors
/// When a signer runs, nothing was logged yet, or an error of the disk.
pub fn restart(config: &Config, reason: &str) -> anyhow::Result<Option<std::path::PathBuf>> {
    check_reason(reason)?;
    Ok(LogWriter::restart(&config.audit_log, own(config)?, reason)?)
}

fn open(config: &Config) -> anyhow::Result<LogWriter> {
    Ok(LogWriter::open(&config.audit_log, own(config)?)?)
}

/// The directory of the state, which must belong to the caller: files of another user in it would
/// keep the signer from starting.
fn own(config: &Config) -> anyhow::Result<&Path> {
    let dir = config.state_dir();
    let metadata = std::fs::metadata(dir).with_context(|| dir.display().to_string())?;
    let (owner, own) = (metadata.uid(), nix::unistd::geteuid().as_raw());
    ensure!(
        owner == own,
        "{} belongs to uid {owner}: run this as that user, as the signer does",
        dir.display()
    );
    Ok(dir)
}

/// A NEVRA as the signer writes it.
fn whole(nevra: &str) -> anyhow::Result<String> {
    let parsed: rpmfarm_core::Nevra = nevra.parse()?;
    Ok(parsed.to_string())
}

fn uid() -> u32 {
    nix::unistd::getuid().as_raw()
}
