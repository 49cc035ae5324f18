//! The two logs of an attempt, as files that grow while it runs.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rpmfarm_core::task::{LogName, Phase};

/// The file of a log in an attempt's directory.
#[must_use]
pub fn log_file(attempt: &Path, log: LogName) -> PathBuf {
    attempt.join(format!("{log}.log"))
}

/// Is notified of an attempt's progress.
pub trait Observer: Sync {
    /// The attempt has entered this phase.
    fn phase(&self, phase: Phase);
}

/// One log, open for appending.
pub(super) struct LogFile {
    file: File,
    bytes: u64,
}

impl LogFile {
    /// Opens the log; a later round continues where the one before ended.
    pub(super) fn open(attempt: &Path, log: LogName) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(log_file(attempt, log))?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
