//! The log of all acceptances, a chain of JSON lines ([`rpmfarm_guarded::chain`]), and the memory
//! that is rebuilt from it. A line is on disk before its acceptance leaves the process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rpmfarm_core::statement::PublicKey;
use rpmfarm_guarded::chain::{self, ChainError, ChainHead};
use rpmfarm_guarded::path::{PathError, io_at};

use crate::event::{Entry, Event};
use crate::memory::Memory;

/// Names below the directory of the state.
const LOG: &str = "acceptances.jsonl";
const LOCK: &str = "lock";

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// An error of the system.
    #[error(transparent)]
    Io(#[from] PathError),
    /// Another process has it.
    #[error("{path}: an acceptor runs on it; stop it first", path = .0.display())]
    Held(PathBuf),
    /// The log was changed by another program.
    #[error(
        "the log {path} was changed: {source}; find out what happened to it and put it back. If it is moved away, a new log is started: attempts that were accepted before can then be accepted again, with the keys that workers have now",
        path = .path.display()
    )]
    Broken { path: PathBuf, source: ChainError },
    /// It could not be written before.
    #[error("the log {path} could not be written; nothing is accepted without it", path = .0.display())]
    Failed(PathBuf),
}

/// Log and memory; whoever locks it has exclusive access.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    file: File,
    head: ChainHead,
    /// The state that follows from the log.
    pub memory: Memory,
    /// After a failed write the content of the disk is unknown, so no other write is tried.
    has_failed: bool,
    _lock: File,
}

impl Book {
    /// Opens the log in a directory, and reads it.
    ///
    /// # Errors
    /// When another process has it, it was changed, or an error of the disk.
    pub fn open(state: &Path) -> Result<Self, BookError> {
        io_at(state, fs::DirBuilder::new().recursive(true).mode(0o700).create(state))?;
        let lock = open_locked(&state.join(LOCK))?;
        let path = state.join(LOG);
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = io_at(&path, options.open(&path))?;
        io_at(state, File::open(state).and_then(|dir| dir.sync_all()))?;
        let mut memory = Memory::default();
        let reader = BufReader::new(io_at(&path, File::open(&path))?);
        let walked = chain::walk(reader, None, |_, line| {
            if let Ok(entry) = serde_json::from_slice::<Entry>(line) {
                memory.apply(&entry.event);
            }
        });
        let walked = walked.map_err(|source| BookError::Broken { path: path.clone(), source })?;
        // A crash may leave an incomplete last line.
        if walked.is_torn {
            io_at(&path, file.write_all(b"\n"))?;
        }
        Ok(Self { path, file, head: walked.head, memory, has_failed: false, _lock: lock })
    }

    /// Begins a new log.
    pub fn begin(&mut self, key: PublicKey) -> Result<(), BookError> {
        if self.head == ChainHead::START {
            self.append(vec![Event::Began { key }])?;
        }
        Ok(())
    }

    /// Writes events, one line each, and remembers them.
    ///
    /// # Errors
    /// An error of the disk, now or before.
    pub fn append(&mut self, events: Vec<Event>) -> Result<(), BookError> {
        if self.has_failed {
            return Err(BookError::Failed(self.path.clone()));
        }
        let written = self.write(&events);
        self.has_failed = written.is_err();
        io_at(&self.path, written)?;
        events.iter().for_each(|event| self.memory.apply(event));
        Ok(())
    }

    fn write(&mut self, events: &[Event]) -> io::Result<()> {
        let (mut bytes, mut head) = (Vec::new(), self.head);
        for event in events {
            let (line, next) = head.next(&Entry::now(event.clone()))?;
            bytes.extend(line);
            head = next;
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.head = head;
        Ok(())
    }
}

fn open_locked(path: &Path) -> Result<File, BookError> {
    let mut options = OpenOptions::new();
    let lock =
        io_at(path, options.write(true).create(true).truncate(false).mode(0o600).open(path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(BookError::Held(path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Ok(io_at(path, Err(error))?),
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::statement::Hex;
    use rpmfarm_core::{AttemptId, Sha256, TaskId};

    use super::*;

    fn accepted(attempt: i64) -> Event {
        let (task, attempt, set) = (TaskId(1), AttemptId(attempt), Sha256::compute(b"x"));
        Event::Attempt { task, attempt, set, input: set, key: Hex([1; 32]), at: 7 }
    }

    #[test]
    fn a_log_is_read_back_and_a_change_of_it_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOG);
        let mut book = Book::open(dir.path()).unwrap();
        book.begin(Hex([1; 32])).unwrap();
        book.append(vec![accepted(5), accepted(6)]).unwrap();
        let error = Book::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("stop it first"), "{error}");
        drop(book);
        // A crash.
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [whole.as_slice(), b"{\"line\":4,\"pr"].concat()).unwrap();
        let mut book = Book::open(dir.path()).unwrap();
        assert_eq!(book.memory.accepted(), 2);
        book.begin(Hex([1; 32])).unwrap();
        book.append(vec![accepted(7)]).unwrap();
        drop(book);
        assert_eq!(Book::open(dir.path()).unwrap().memory.accepted(), 3);

        let changed =
            fs::read_to_string(&path).unwrap().replacen("\"attempt\":5", "\"attempt\":4", 1);
        fs::write(&path, changed).unwrap();
        let error = Book::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("was changed: line 3 does not follow"), "{error}");
    }
}
