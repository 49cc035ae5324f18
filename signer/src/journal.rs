//! The journal of the signer's memory, beside the keys: JSON lines, each batch of facts followed by
//! a line with the head of the log. Lines after the last such line belong to a batch that was not
//! finished, and are dropped. The journal is rewritten, shorter, at each start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rpmfarm_guarded::chain::ChainHead;
use rpmfarm_guarded::path::io_at;
use serde::{Deserialize, Serialize};

use crate::audit::OpenError;
use crate::event::Fact;
use crate::memory::SigningMemory;

const NAME: &str = "state.jsonl";
const LOCK: &str = "state.lock";

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogEnd {
    pub(crate) head: ChainHead,
    /// The offsets of that line in the file, in bytes.
    pub(crate) last: (u64, u64),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum JournalLine {
    Fact(Fact),
    End { log: String, end: Option<LogEnd> },
}

/// The content of a journal.
#[derive(Debug, Default)]
pub(crate) struct JournalContent {
    pub(crate) memory: SigningMemory,
    pub(crate) name: String,
    /// `None` before anything was logged.
    pub(crate) end: Option<LogEnd>,
}

/// The journal, and the right to write it and the log.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    _lock: File,
}

impl Journal {
    /// Locks and reads it.
    pub(crate) fn open(dir: &Path) -> Result<(Self, JournalContent), OpenError> {
        io_at(dir, fs::DirBuilder::new().recursive(true).mode(0o700).create(dir))?;
        let lock = acquire_lock(&dir.join(LOCK))?;
        let path = dir.join(NAME);
        let file = io_at(&path, private().append(true).read(true).open(&path))?;
        let kept = io_at(&path, read(&path))?;
        Ok((Self { path, file, _lock: lock }, kept))
    }

    /// Reads it without the lock.
    pub(crate) fn peek(dir: &Path) -> Result<JournalContent, OpenError> {
        let path = dir.join(NAME);
        Ok(io_at(&path, read(&path))?)
    }

    /// Rewrites it, atomically.
    pub(crate) fn begin(
        &mut self,
        memory: &SigningMemory,
        log: &str,
        end: Option<LogEnd>,
    ) -> Result<(), OpenError> {
        let new = self.path.with_extension("new");
        let written = || -> io::Result<File> {
            let mut file = io::BufWriter::new(private().write(true).truncate(true).open(&new)?);
            for fact in memory.facts() {
                line(&mut file, &JournalLine::Fact(fact))?;
            }
            line(&mut file, &JournalLine::End { log: log.to_owned(), end })?;
            file.into_inner()?.sync_all()?;
            fs::rename(&new, &self.path)?;
            let dir = self.path.parent().unwrap_or(Path::new("."));
            File::open(dir)?.sync_all()?;
            OpenOptions::new().append(true).open(&self.path)
        };
        self.file = io_at(&self.path, written())?;
        Ok(())
    }

    /// Appends facts and the head of the log, and syncs.
    pub(crate) fn append(&mut self, facts: &[Fact], log: &str, end: &LogEnd) -> io::Result<()> {
        let mut bytes = Vec::new();
        for fact in facts {
            line(&mut bytes, &JournalLine::Fact(fact.clone()))?;
        }
        line(&mut bytes, &JournalLine::End { log: log.to_owned(), end: Some(*end) })?;
        self.file.write_all(&bytes)?;
        self.file.sync_data()
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

fn line(file: &mut impl Write, line: &JournalLine) -> io::Result<()> {
    serde_json::to_writer(&mut *file, line)?;
    file.write_all(b"\n")
}

fn acquire_lock(path: &Path) -> Result<File, OpenError> {
    let lock = io_at(path, private().write(true).open(path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::Held(path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Ok(io_at(path, Err(error))?),
    }
}

fn read(path: &Path) -> io::Result<JournalContent> {
    let mut kept = JournalContent::default();
    let mut batch = Vec::new();
    let bytes = fs::read(path)?;
    for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let Some(whole) = line.strip_suffix(b"\n") else { break };
        match serde_json::from_slice(whole) {
            Ok(JournalLine::Fact(fact)) => batch.push(fact),
            Ok(JournalLine::End { log, end }) => {
                batch.drain(..).for_each(|fact| kept.memory.apply(&fact));
                (kept.name, kept.end) = (log, end);
            }
            Err(error) => {
                let number = number + 1;
                return Err(io::Error::other(format!(
                    "line {number} is damaged ({error}); move the file away to have it rebuilt \
                     from the audit log"
                )));
            }
        }
    }
    Ok(kept)
}
