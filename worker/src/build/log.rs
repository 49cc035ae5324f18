//! The two logs of an attempt, as files that grow while it runs.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rpmfarm_core::task::Phase;

/// Which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogKind {
    /// What rpmbuild and everything under it wrote.
    Build,
    /// How the root was made.
    Root,
}

impl LogKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Build, Self::Root];

    /// The word for it in the protocol.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Root => "root",
        }
    }

    /// The file in an attempt's directory.
    #[must_use]
    pub fn path(self, attempt: &Path) -> PathBuf {
        attempt.join(format!("{}.log", self.as_str()))
    }
}

/// Is told how far an attempt is.
pub trait Observer: Sync {
    /// It is in this phase now.
    fn phase(&self, phase: Phase);
}

/// One log, open for appending.
pub(super) struct LogFile {
    file: File,
    bytes: u64,
}

impl LogFile {
    /// Opens it; a later round goes on where the one before ended.
    pub(super) fn open(attempt: &Path, kind: LogKind) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(kind.path(attempt))?;
        let bytes = file.metadata()?.len();
        Ok(Self { file, bytes })
    }

    /// Its length.
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
