//! The log of all signatures, and the memory that is rebuilt from it: a chain of JSON lines
//! ([`rpmfarm_guarded::chain`]) that are only ever appended, and beside the keys a journal of its
//! facts. Both are on disk before a signature leaves the process. Lines that wait at the same time
//! share syncs.
//!
//! The log is written first. A crash in between leaves lines that are not in the journal: they
//! follow its head, and are read from the log at the next start.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};
use rpmfarm_core::Sha256;
use rpmfarm_core::signing::LogHead;
use rpmfarm_guarded::chain::{self, ChainError, ChainHead, ChainSummary};
use rpmfarm_guarded::path::{PathError, io_at};
use tokio::sync::{oneshot, watch};

use crate::event::{Event, Fact, LogEntry};
use crate::journal::{Journal, LogEnd};
use crate::memory::SigningMemory;

/// How many lines may wait to be written; further callers wait until there is room.
const QUEUE: usize = 1024;

/// The remedy for a log that was changed by another program.
const GO_ON: &str = "nothing is signed until then: find out what happened to it (rpmfarm-signer audit \
                     verify FILE) and put it back, or stop the signer, run `rpmfarm-signer audit \
                     restart --reason TEXT` and start it again";

/// Why nothing is signed any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// An error of the disk.
    #[error("the audit log could not be written; nothing is signed without it")]
    Disk,
    /// Another program changed the log.
    #[error("the audit log {path}: {reason}; {GO_ON}", path = .path.display())]
    Touched {
        path: PathBuf,
        /// What happened to it.
        reason: String,
    },
}

/// Why the log and the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log was changed by another program.
    #[error(transparent)]
    Touched(#[from] LogError),
    /// An error of the system, or the journal is damaged.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Another process has it.
    #[error("{}: a signer runs on it; stop it first", .0.display())]
    Held(PathBuf),
}

struct QueuedEntry {
    entry: LogEntry,
    done: oneshot::Sender<LogHead>,
}

/// A handle to log and memory. After an error of the disk it stays closed: the content of the disk
/// is unknown, so no other write is tried.
#[derive(Debug, Clone)]
pub struct AuditLog {
    queue: mpsc::SyncSender<QueuedEntry>,
    failed: watch::Receiver<Option<LogError>>,
    memory: Arc<Mutex<SigningMemory>>,
    head: Arc<Mutex<ChainHead>>,
    log: Arc<str>,
    path: Arc<Path>,
}

impl AuditLog {
    /// Opens log and journal, making them when they are missing.
    ///
    /// # Errors
    /// When the log was changed, another process has it, or an error of the system.
    pub fn open(path: &Path, state: &Path) -> Result<Self, OpenError> {
        let mut books = LogWriter::open(path, state)?;
        if books.name.is_empty() {
            let log = format!("{:032x}", rand::random::<u128>());
            books.name.clone_from(&log);
            io_at(path, books.write(vec![LogEntry::now(Event::Began { log })]))?;
        }
        Ok(io_at(path, Self::start(books))?)
    }

    fn start(mut books: LogWriter) -> io::Result<Self> {
        let (queue, items) = mpsc::sync_channel(QUEUE);
        let (failure, failed) = watch::channel(None);
        let memory = Arc::new(Mutex::new(std::mem::take(&mut books.memory)));
        let head = Arc::new(Mutex::new(books.head));
        let (log, path) = (books.name.as_str().into(), books.path.as_path().into());
        let shown = head.clone();
        thread::Builder::new().name("audit".into()).spawn(move || {
            if let Err(error) = books.write_items(&items, &shown) {
                tracing::error!(%error, "signing has stopped");
                failure.send_replace(Some(error));
                // Waiting and later callers get the error.
                items.try_iter().for_each(drop);
            }
        })?;
        Ok(Self { queue, failed, memory, head, log, path })
    }

    /// Appends an entry; it is on disk when this returns.
    ///
    /// # Errors
    /// When the log could not be written, now or before.
    pub async fn append(&self, entry: LogEntry) -> Result<LogHead, LogError> {
        let (done, written) = oneshot::channel();
        let queue = self.queue.clone();
        // The queue is only full when the disk is far behind.
        let sent = match queue.try_send(QueuedEntry { entry, done }) {
            Err(mpsc::TrySendError::Full(item)) => {
                tokio::task::spawn_blocking(move || queue.send(item).is_ok()).await.unwrap_or(false)
            }
            sent => sent.is_ok(),
        };
        match written.await {
            Ok(logged) if sent => Ok(logged),
            _ => Err(self.failure().await),
        }
    }

    /// Why nothing is signed any more; `None` while signing works.
    #[must_use]
    pub fn stopped(&self) -> Option<LogError> {
        self.failed.borrow().clone()
    }

    /// Returns when the disk has failed.
    pub async fn failed(&self) {
        let mut failed = self.failed.clone();
        let of_disk = |failed: &Option<LogError>| *failed == Some(LogError::Disk);
        if failed.wait_for(of_disk).await.is_err() {
            // The writer ended for another reason: the process continues, to report it.
            std::future::pending::<()>().await;
        }
    }

    /// The signer's memory, locked.
    pub fn memory(&self) -> MutexGuard<'_, SigningMemory> {
        self.memory.lock()
    }

    /// The head of the log.
    #[must_use]
    pub fn head(&self) -> LogHead {
        let head = *self.head.lock();
        LogHead { log: self.log.to_string(), line: head.line, digest: head.digest }
    }

    /// Whether the log continues from a line to its present head. Reads the whole file.
    #[must_use]
    pub fn goes_on_from(&self, then: &LogHead) -> LogCheck {
        let now = self.head();
        if then.log != now.log {
            return LogCheck::Elsewhere(format!(
                "it is of the log {}, and this signer writes {}",
                rpmfarm_core::name::shown(&then.log),
                now.log
            ));
        }
        if let Some(error) = self.stopped() {
            return LogCheck::Broken(error.to_string());
        }
        if then.line > now.line {
            return LogCheck::Broken(format!(
                "line {} was published, and the log ends with line {}: what was signed since is \
                 not in it",
                then.line, now.line
            ));
        }
        compare(&self.path, then, &now)
    }

    async fn failure(&self) -> LogError {
        let mut failed = self.failed.clone();
        let failure = failed.wait_for(Option::is_some).await;
        failure.ok().and_then(|failure| failure.clone()).unwrap_or(LogError::Disk)
    }
}

/// Whether a log continues from an earlier head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogCheck {
    /// The line is in the log, and all later lines follow it.
    Continues(String),
    /// The line is in another file or of another log.
    Elsewhere(String),
    Broken(String),
}

/// Compares a line of a file with its earlier content, and the rest with the head.
fn compare(path: &Path, then: &LogHead, now: &LogHead) -> LogCheck {
    let (mut line_then, mut line_now) = (None, None);
    let walked = File::open(path).map_err(ChainError::from).and_then(|file| {
        chain::walk(BufReader::new(file), None, |head, _| {
            if head.line == then.line {
                line_then = Some(head.digest);
            }
            if head.line == now.line {
                line_now = Some(head.digest);
            }
        })
    });
    let walked = match walked {
        Ok(walked) => walked,
        Err(error) => return LogCheck::Broken(format!("{}: {error}", path.display())),
    };
    if then.line <= walked.from.line {
        return LogCheck::Elsewhere(format!(
            "line {} is in an older file: {} begins with line {}",
            then.line,
            path.display(),
            walked.from.line + 1
        ));
    }
    if line_then != Some(then.digest) {
        return LogCheck::Broken(format!(
            "{}: line {} is not what it was when it was published ({})",
            path.display(),
            then.line,
            then.digest
        ));
    }
    if line_now != Some(now.digest) {
        return LogCheck::Broken(format!(
            "{}: line {} is not what was written ({})",
            path.display(),
            now.line,
            now.digest
        ));
    }
    LogCheck::Continues(format!("{} lines since line {}", now.line - then.line, then.line))
}

impl LogEntry {
    /// An entry with the present time.
    #[must_use]
    pub fn now(event: Event) -> Self {
        Self::at(SystemTime::now(), event)
    }

    /// An entry with a given time.
    #[must_use]
    pub fn at(time: SystemTime, event: Event) -> Self {
        let time = jiff::Timestamp::try_from(time).unwrap_or_default().to_string();
        Self { time, event }
    }
}

/// Log and journal for writing; whoever holds it has exclusive access.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    file: File,
    /// The offsets of the last line.
    last: (u64, u64),
    head: ChainHead,
    journal: Journal,
    /// The name of the log; empty before its first line.
    name: String,
    pub(crate) memory: SigningMemory,
}

impl LogWriter {
    /// Opens both, and compares the log with the journal.
    ///
    /// # Errors
    /// As [`AuditLog::open`].
    pub fn open(path: &Path, state: &Path) -> Result<Self, OpenError> {
        let (journal, kept) = Journal::open(state)?;
        let is_new = kept.end.is_none();
        let file = open_log(path, is_new)?;
        let mut books = Self {
            path: path.to_owned(),
            file,
            last: (0, 0),
            head: ChainHead::START,
            journal,
            name: kept.name,
            memory: kept.memory,
        };
        if let Some(end) = kept.end {
            books.find(&end)?;
        }
        books.take_rest()?;
        Ok(books)
    }

    /// Begins a new file after the facts in the journal, whatever the old file contains; that file
    /// is moved aside if it exists. Returns its new path.
    ///
    /// # Errors
    /// When another process has it, nothing was written yet, or an error of the system.
    pub fn restart(path: &Path, state: &Path, reason: &str) -> Result<Option<PathBuf>, OpenError> {
        let (journal, kept) = Journal::open(state)?;
        let missing = || {
            io::Error::other(
                "the state beside the keys knows of no log to go on from: move this file away and \
                 start the signer, which begins a new one",
            )
        };
        let end = io_at(path, kept.end.ok_or_else(missing))?;
        let aside = io_at(path, put_aside(path))?;
        let found = match &aside {
            Some(aside) => format!("the old file is {}", aside.display()),
            None => "the old file did not exist".to_owned(),
        };
        let file = open_log(path, true)?;
        let (log, reason) = (kept.name.clone(), reason.to_owned());
        let mut books = Self {
            path: path.to_owned(),
            file,
            last: (0, 0),
            head: end.head,
            journal,
            name: kept.name,
            memory: kept.memory,
        };
        io_at(path, books.write(vec![LogEntry::now(Event::Restarted { log, reason, found })]))?;
        Ok(aside)
    }

    /// Writes an operator's event, and remembers it.
    pub fn record(&mut self, event: Event) -> io::Result<()> {
        if let Some(fact) = event.fact() {
            self.memory.apply(&fact);
        }
        self.write(vec![LogEntry::now(event)]).map(drop)
    }

    /// Finds the last line that the journal has.
    fn find(&mut self, end: &LogEnd) -> Result<(), OpenError> {
        let (from, to) = end.last;
        let length = io_at(&self.path, self.file.metadata())?.len();
        if length < to {
            let reason = format!("it has {length} bytes, and had {to}: it was cut off or replaced");
            return Err(self.touched(reason).into());
        }
        let size = usize::try_from(to.saturating_sub(from)).unwrap_or(0);
        let mut line = vec![0; size];
        io_at(&self.path, self.file.read_exact_at(&mut line, from))?;
        let whole = line.strip_suffix(b"\n");
        if whole.map(Sha256::compute) != Some(end.head.digest) {
            let reason = format!("its line {} is not the one that was written", end.head.line);
            return Err(self.touched(reason).into());
        }
        (self.head, self.last) = (end.head, end.last);
        Ok(())
    }

    /// Reads the lines that are not in the journal: all of them, if there is no journal.
    fn take_rest(&mut self) -> Result<(), OpenError> {
        let from = (self.last.1 > 0).then_some(self.head);
        let begin = self.last.1;
        let mut entries = Vec::new();
        let mut file = io_at(&self.path, File::open(&self.path))?;
        io_at(&self.path, file.seek(SeekFrom::Start(begin)))?;
        let walked = chain::walk(BufReader::new(file), from, |_, line| {
            entries.extend(serde_json::from_slice::<LogEntry>(line).ok());
        });
        let walked = match walked {
            Ok(walked) => walked,
            Err(ChainError::Io(error)) => return Ok(io_at(&self.path, Err(error))?),
            Err(error) => return Err(self.touched(error.to_string()).into()),
        };
        // A crash may leave an incomplete last line.
        if walked.cut > u64::from(walked.is_torn) && from.is_some() {
            let reason = "lines were added that the signer did not write".to_owned();
            return Err(self.touched(reason).into());
        }
        self.go_on(begin, &walked, &entries)
    }

    fn go_on(
        &mut self,
        begin: u64,
        walked: &ChainSummary,
        new: &[LogEntry],
    ) -> Result<(), OpenError> {
        for entry in new {
            if let Some(log) = entry.event.log() {
                log.clone_into(&mut self.name);
            }
            if let Some(fact) = entry.event.fact() {
                self.memory.apply(&fact);
            }
        }
        if walked.last.1 > 0 {
            self.last = (begin + walked.last.0, begin + walked.last.1);
            self.head = walked.head;
        }
        if walked.is_torn {
            io_at(&self.path, self.file.write_all(b"\n"))?;
            self.last.1 += 1;
        }
        io_at(&self.path, self.file.sync_all())?;
        let end = (self.last.1 > 0).then_some(LogEnd { head: self.head, last: self.last });
        self.journal.begin(&self.memory, &self.name, end)
    }

    fn touched(&self, reason: String) -> LogError {
        LogError::Touched { path: self.path.clone(), reason }
    }

    fn write_items(
        &mut self,
        items: &mpsc::Receiver<QueuedEntry>,
        shown: &Mutex<ChainHead>,
    ) -> Result<(), LogError> {
        while let Ok(first) = items.recv() {
            let batch: Vec<QueuedEntry> = std::iter::once(first).chain(items.try_iter()).collect();
            if let Err(reason) = self.is_untouched() {
                return Err(self.touched(reason));
            }
            let (entries, waiting): (Vec<_>, Vec<_>) =
                batch.into_iter().map(|item| (item.entry, item.done)).unzip();
            let heads = self.write(entries).map_err(|error| {
                tracing::error!(%error, "the audit log could not be written");
                LogError::Disk
            })?;
            *shown.lock() = self.head;
            for (head, done) in heads.into_iter().zip(waiting) {
                let log = self.name.clone();
                // The caller may be gone; the record stays.
                let _ = done.send(LogHead { log, line: head.line, digest: head.digest });
            }
        }
        Ok(())
    }

    /// Checks that the file is still the one at its path, with the length that was written.
    fn is_untouched(&self) -> Result<(), String> {
        let there = match std::fs::metadata(&self.path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err("it is not there any more: it was moved or removed".to_owned());
            }
            Err(error) => return Err(error.to_string()),
        };
        let own = self.file.metadata().map_err(|error| error.to_string())?;
        if (there.dev(), there.ino()) != (own.dev(), own.ino()) {
            return Err("another file is in its place: it was moved or replaced".to_owned());
        }
        match own.len() {
            length if length < self.last.1 => {
                Err(format!("it has {length} bytes instead of {}: it was cut off", self.last.1))
            }
            length if length > self.last.1 => Err(format!(
                "it has {length} bytes instead of {}: somebody else wrote to it",
                self.last.1
            )),
            _ => Ok(()),
        }
    }

    /// Appends entries to log and journal, and syncs both. Returns the head after each.
    fn write(&mut self, entries: Vec<LogEntry>) -> io::Result<Vec<ChainHead>> {
        let (mut bytes, mut heads) = (Vec::new(), Vec::new());
        let mut last = self.last;
        let mut head = self.head;
        for entry in &entries {
            let (line, next) = head.next(entry)?;
            last = (last.1, last.1 + line.len() as u64);
            head = next;
            heads.push(head);
            bytes.extend(line);
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        (self.head, self.last) = (head, last);
        let facts: Vec<Fact> = entries.iter().filter_map(|entry| entry.event.fact()).collect();
        self.journal.append(&facts, &self.name, &LogEnd { head, last })?;
        Ok(heads)
    }
}

fn open_log(path: &Path, may_make: bool) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(may_make).mode(0o640);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !may_make => {
            let reason = "it is not there, and was written to before: it was moved or removed";
            let (path, reason) = (path.to_owned(), reason.to_owned());
            return Err(LogError::Touched { path, reason }.into());
        }
        opened => io_at(path, opened)?,
    };
    io_at(path, file.sync_all())?;
    let whole = io_at(path, path.canonicalize())?;
    if let Some(parent) = whole.parent() {
        io_at(parent, File::open(parent).and_then(|dir| dir.sync_all()))?;
    }
    Ok(file)
}

/// Renames a file: appends the time to its name.
fn put_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string();
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{now}"));
    let aside = path.with_file_name(name);
    if aside.exists() {
        return Err(io::Error::other(format!("{} is there already", aside.display())));
    }
    match std::fs::rename(path, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
