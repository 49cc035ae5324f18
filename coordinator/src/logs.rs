//! Logs of attempts: appended by offset while they run, kept compressed when they have ended.
//!
//! Owns the files `logs/ATTEMPT-NAME.log` (growing) and `.log.zst` (ended). It must not know
//! what the lines say.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rpmfarm_core::AttemptId;

/// Which log of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogName {
    /// What rpmbuild prints.
    Build,
    /// How the root was made.
    Root,
}

impl LogName {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Root => "root",
        }
    }
}

impl std::str::FromStr for LogName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "build" => Ok(Self::Build),
            "root" => Ok(Self::Root),
            other => Err(format!("unknown log `{other}` (known: build, root)")),
        }
    }
}

/// The directory of all logs. All calls block on the disk.
#[derive(Debug, Clone)]
pub struct Logs {
    dir: PathBuf,
}

/// No log grows beyond this many bytes, whatever a worker says.
const MAX_LOG: u64 = 1 << 30;

impl Logs {
    /// Opens the directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Appends what is new of a chunk, and says where the next one goes. A chunk that leaves a
    /// gap changes nothing; `last` ends the log.
    ///
    /// # Errors
    /// What the disk says.
    pub fn append(
        &self,
        attempt: AttemptId,
        name: LogName,
        offset: u64,
        data: &[u8],
        last: bool,
    ) -> io::Result<u64> {
        let ended = self.ended(attempt, name);
        if ended.exists() {
            return Ok(offset + data.len() as u64);
        }
        let path = self.growing(attempt, name);
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        let have = file.metadata()?.len();
        let end = offset + data.len() as u64;
        if offset > have || end > MAX_LOG {
            return Ok(have);
        }
        if end > have {
            let known = usize::try_from(have - offset).expect("less than a chunk in memory");
            // At its place: the same bytes may come to another coordinator at the same time.
            if let Err(error) = file.write_all_at(&data[known..], have) {
                // A torn tail would be taken for progress.
                let _ = file.set_len(have);
                return Err(error);
            }
        }
        let have = have.max(end);
        if last && have == end {
            compress(&path, &ended)?;
        }
        Ok(have)
    }

    /// Ends a log whose worker is gone, as it is.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(&self, attempt: AttemptId, name: LogName) -> io::Result<()> {
        let path = self.growing(attempt, name);
        if path.exists() { compress(&path, &self.ended(attempt, name)) } else { Ok(()) }
    }

    /// Reads up to `limit` bytes from an offset, and whether the log has ended. `None` when there
    /// is no such log.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(
        &self,
        attempt: AttemptId,
        name: LogName,
        offset: u64,
        limit: usize,
    ) -> io::Result<Option<(Vec<u8>, bool)>> {
        let take = |reader: &mut dyn Read| {
            let mut data = Vec::new();
            reader.take(limit as u64).read_to_end(&mut data).map(|_| data)
        };
        // The growing file first: when it is compressed between the two looks, the second finds it.
        match File::open(self.growing(attempt, name)) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(offset))?;
                return Ok(Some((take(&mut file)?, false)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match File::open(self.ended(attempt, name)) {
            Ok(file) => {
                let mut decoder = zstd::Decoder::new(file)?;
                io::copy(&mut (&mut decoder).take(offset), &mut io::sink())?;
                Ok(Some((take(&mut decoder)?, true)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn growing(&self, attempt: AttemptId, name: LogName) -> PathBuf {
        self.dir.join(format!("{attempt}-{}.log", name.as_str()))
    }

    fn ended(&self, attempt: AttemptId, name: LogName) -> PathBuf {
        self.dir.join(format!("{attempt}-{}.log.zst", name.as_str()))
    }
}

fn compress(from: &Path, to: &Path) -> io::Result<()> {
    let directory = to.parent().unwrap_or(Path::new("."));
    let beside = tempfile::Builder::new().prefix(".log").tempfile_in(directory)?;
    let mut encoder = zstd::Encoder::new(beside.as_file(), 6)?;
    io::copy(&mut File::open(from)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    beside.persist(to).map_err(|error| error.error)?;
    match fs::remove_file(from) {
        // Another coordinator ended it at the same time.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_resume_repeat_and_never_leave_gaps() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path()).unwrap();
        let (id, name) = (AttemptId(7), LogName::Build);
        let append = |offset, data: &str, last| {
            logs.append(id, name, offset, data.as_bytes(), last).unwrap()
        };
        assert!(logs.read(id, name, 0, 10).unwrap().is_none());
        assert_eq!(append(0, "hello ", false), 6);
        assert_eq!(append(3, "lo wor", false), 9);
        assert_eq!(append(12, "!", false), 9, "a gap changes nothing");
        assert_eq!(logs.read(id, name, 6, 100).unwrap(), Some((b"wor".to_vec(), false)));
        assert_eq!(append(9, "ld", true), 11);
        assert_eq!(logs.read(id, name, 6, 100).unwrap(), Some((b"world".to_vec(), true)));
        assert_eq!(logs.read(id, name, 0, 5).unwrap(), Some((b"hello".to_vec(), true)));
        assert_eq!(append(9, "ld", true), 11, "a repeated end is the same end");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
