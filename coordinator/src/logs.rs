//! Logs of attempts: appended by offset while the attempts run, compressed when they have ended.
//!
//! Owns the files `logs/ATTEMPT-NAME.log` (growing) and `.log.zst` (ended), and with a bucket
//! `logs/stored/…`, an empty file for each ended log that the bucket has. It must not know what the
//! lines mean.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use rpmfarm_core::AttemptId;
pub use rpmfarm_core::task::LogName;

use crate::blobs::BlobBucket;
use crate::s3::{BucketError, FoundObject};

/// A piece of a log, as it arrives.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// Its offset in the log, in bytes.
    pub offset: u64,
    pub data: &'a [u8],
    /// Whether it is the end of the log.
    pub last: bool,
}

/// Reads one log piece by piece. For an ended log it keeps the decompressor: a long log would
/// otherwise be decompressed from its beginning for each piece, hundreds of times.
pub struct LogReader {
    logs: Logs,
    attempt: AttemptId,
    name: LogName,
    /// The offset of the next piece, in bytes.
    offset: u64,
    ended: Option<zstd::Decoder<'static, BufReader<File>>>,
}

/// The directory of all logs. All calls block on the disk, and those that read a log which lies in
/// the bucket alone on the network.
#[derive(Debug, Clone)]
pub struct Logs {
    dir: PathBuf,
    bucket: Option<BlobBucket>,
}

/// How long an ended log stays here after it was stored in the bucket, or fetched from there.
const STAYS: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why a chunk of a log is refused.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The log would exceed its limit.
    #[error("a log of at most {limit} bytes is accepted")]
    TooLong {
        /// The limit, in bytes.
        limit: u64,
    },
    /// An error of the disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Logs {
    /// Opens the directory.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, bucket: None })
    }

    /// The same logs, stored in a bucket when they have ended. Those that the bucket has are known
    /// from the first start on.
    ///
    /// # Errors
    /// When the directory or the bucket cannot be read.
    pub fn kept_in(self, bucket: BlobBucket) -> io::Result<Self> {
        let stored = self.dir.join(STORED);
        if !stored.exists() {
            let found: Vec<FoundObject> = bucket
                .wait(|bucket| async move { bucket.list(KEYS)?.try_collect().await })
                .map_err(|error: BucketError| io::Error::other(error))?;
            // Made aside, so that a start that is broken off begins again.
            let new = tempfile::tempdir_in(&self.dir)?;
            for object in found {
                let name = object.key.rsplit('/').next().unwrap_or_default();
                if name.ends_with(ENDED) {
                    File::create(new.path().join(name))?;
                }
            }
            fs::rename(new.keep(), &stored)?;
        }
        Ok(Self { bucket: Some(bucket), ..self })
    }

    /// Stores the ended logs in the bucket, and removes those here that were stored long ago.
    /// Returns how many were stored. To be called on a thread that may block.
    ///
    /// # Errors
    /// When the disk or the bucket fails; the rest is stored the next time.
    pub fn store_ended(&self, now: SystemTime) -> io::Result<usize> {
        let Some(bucket) = &self.bucket else { return Ok(0) };
        let mut count = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.ends_with(ENDED) {
                continue;
            }
            let (mark, file) = (self.dir.join(STORED).join(&name), entry.path());
            if mark.exists() {
                let written = entry.metadata()?.modified()?;
                if now.duration_since(written).is_ok_and(|age| age > STAYS) {
                    fs::remove_file(&file)?;
                }
                continue;
            }
            let upload = bucket.wait(|bucket| async move {
                bucket.upload(&format!("{KEYS}/{name}"), &file).await
            });
            upload.map_err(|error: BucketError| io::Error::other(error))?;
            File::create(&mark)?;
            count += 1;
        }
        Ok(count)
    }

    /// The ended log, brought here when the bucket alone has it; `None` when it has not ended.
    fn open_ended(&self, attempt: AttemptId, name: LogName) -> io::Result<Option<File>> {
        let path = self.ended(attempt, name);
        if let Some(file) = found(&path)? {
            return Ok(Some(file));
        }
        let Some(bucket) = self.bucket.as_ref().filter(|_| self.is_stored(attempt, name)) else {
            return Ok(None);
        };
        let beside = tempfile::Builder::new().prefix(".log").tempfile_in(&self.dir)?;
        let (mut file, key) = (beside.reopen()?, format!("{KEYS}/{}", ended(attempt, name)));
        let fetched = bucket.wait(|bucket| async move {
            let mut pieces = bucket.download(&key).await?;
            while let Some(piece) = pieces.try_next().await? {
                file.write_all(&piece)?;
            }
            Ok(())
        });
        fetched.map_err(|FetchError(error)| error)?;
        beside.persist(&path).map_err(|error| error.error)?;
        found(&path)
    }

    fn is_stored(&self, attempt: AttemptId, name: LogName) -> bool {
        self.bucket.is_some() && self.dir.join(STORED).join(ended(attempt, name)).exists()
    }

    /// Appends the new part of a chunk, and returns the offset of the next one. A chunk that leaves
    /// a gap changes nothing; the last one ends the log.
    ///
    /// # Errors
    /// [`LogError::TooLong`] beyond the limit, with the log filled up to it; an error of the disk.
    pub fn append(
        &self,
        attempt: AttemptId,
        name: LogName,
        chunk: &Chunk<'_>,
        limit: u64,
    ) -> Result<u64, LogError> {
        let Chunk { offset, data, last } = *chunk;
        let too_long = || LogError::TooLong { limit };
        let end = offset.checked_add(data.len() as u64).ok_or_else(too_long)?;
        let ended = self.ended(attempt, name);
        if ended.exists() || self.is_stored(attempt, name) {
            return Ok(end);
        }
        let path = self.growing(attempt, name);
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        let have = file.metadata()?.len();
        if offset > have {
            return if offset > limit { Err(too_long()) } else { Ok(have) };
        }
        let fits = end.min(limit);
        if fits > have {
            let within = |at: u64| usize::try_from(at - offset).expect("within a chunk in memory");
            // Written at its offset: the same bytes may be written by another coordinator at the
            // same time.
            if let Err(error) = file.write_all_at(&data[within(have)..within(fits)], have) {
                // A partly written chunk would be counted as progress.
                let _ = file.set_len(have);
                return Err(error.into());
            }
        }
        if end > limit {
            return Err(too_long());
        }
        let have = have.max(end);
        if last && have == end {
            compress(&path, &ended)?;
        }
        Ok(have)
    }

    /// Ends a log whose worker is gone.
    pub fn finish(&self, attempt: AttemptId, name: LogName) -> io::Result<()> {
        let path = self.growing(attempt, name);
        if path.exists() { compress(&path, &self.ended(attempt, name)) } else { Ok(()) }
    }

    /// Reads a log from an offset on.
    #[must_use]
    pub fn reader(&self, attempt: AttemptId, name: LogName, offset: u64) -> LogReader {
        LogReader { logs: self.clone(), attempt, name, offset, ended: None }
    }

    fn growing(&self, attempt: AttemptId, name: LogName) -> PathBuf {
        self.dir.join(format!("{attempt}-{}.log", name.as_str()))
    }

    fn ended(&self, attempt: AttemptId, name: LogName) -> PathBuf {
        self.dir.join(ended(attempt, name))
    }
}

/// The ends of the names of logs that have ended.
const ENDED: &str = ".log.zst";
/// The directory of the marks, and the folder of keys in the bucket.
const STORED: &str = "stored";
const KEYS: &str = "logs";

/// The name of an ended log.
fn ended(attempt: AttemptId, name: LogName) -> String {
    format!("{attempt}-{}{ENDED}", name.as_str())
}

/// Why a log cannot be fetched.
struct FetchError(io::Error);

impl From<BucketError> for FetchError {
    fn from(error: BucketError) -> Self {
        Self(io::Error::other(error))
    }
}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        Self(error)
    }
}

impl LogReader {
    /// The offset of the next piece, in bytes.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// The next piece of up to `limit` bytes, and whether the log has ended. A shorter piece is all
    /// that has arrived. `None` when there is no such log.
    pub fn next(&mut self, limit: usize) -> io::Result<Option<(Vec<u8>, bool)>> {
        if self.ended.is_none() {
            // The growing file comes first: when the log is compressed between the two reads, the
            // second read finds it.
            if let Some(mut file) = found(&self.logs.growing(self.attempt, self.name))? {
                // A seek beyond the largest possible file would be an error of the file system.
                if self.offset > file.metadata()?.len() {
                    return Ok(Some((Vec::new(), false)));
                }
                file.seek(SeekFrom::Start(self.offset))?;
                return Ok(Some((self.read_chunk(&mut file, limit)?, false)));
            }
            self.ended = self.unpacked()?;
        }
        let Some(mut decoder) = self.ended.take() else { return Ok(None) };
        let data = self.read_chunk(&mut decoder, limit)?;
        self.ended = Some(decoder);
        Ok(Some((data, true)))
    }

    /// A decompressor of the ended log, at the offset of the next piece; `None` when the log has
    /// not ended.
    fn unpacked(&self) -> io::Result<Option<zstd::Decoder<'static, BufReader<File>>>> {
        let Some(file) = self.logs.open_ended(self.attempt, self.name)? else {
            return Ok(None);
        };
        let mut decoder = zstd::Decoder::new(file)?;
        io::copy(&mut (&mut decoder).take(self.offset), &mut io::sink())?;
        Ok(Some(decoder))
    }

    fn read_chunk(&mut self, reader: &mut dyn Read, limit: usize) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        reader.take(limit as u64).read_to_end(&mut data)?;
        self.offset += data.len() as u64;
        Ok(data)
    }
}

fn found(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
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
        // Another coordinator compressed it at the same time.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 20;

    fn append(logs: &Logs, offset: u64, data: &str, last: bool) -> Result<u64, LogError> {
        let chunk = Chunk { offset, data: data.as_bytes(), last };
        logs.append(AttemptId(7), LogName::Build, &chunk, LIMIT)
    }

    fn read(logs: &Logs, offset: u64, limit: usize) -> Option<(Vec<u8>, bool)> {
        logs.reader(AttemptId(7), LogName::Build, offset).next(limit).unwrap()
    }

    #[test]
    fn chunks_resume_repeat_and_never_leave_gaps() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path()).unwrap();
        let append = |offset, data, last| append(&logs, offset, data, last).unwrap();
        assert!(read(&logs, 0, 10).is_none());
        assert_eq!(append(0, "hello ", false), 6);
        assert_eq!(append(3, "lo wor", false), 9);
        assert_eq!(append(12, "!", false), 9, "a gap changes nothing");
        assert_eq!(read(&logs, 6, 100), Some((b"wor".to_vec(), false)));
        assert_eq!(append(9, "ld", true), 11);
        assert_eq!(read(&logs, 6, 100), Some((b"world".to_vec(), true)));
        assert_eq!(read(&logs, 0, 5), Some((b"hello".to_vec(), true)));
        assert_eq!(append(9, "ld", true), 11, "a repeated end is the same end");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_log_is_filled_up_to_its_limit_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path()).unwrap();
        assert_eq!(append(&logs, 0, "0123456789abcdef", false).unwrap(), 16);
        for (offset, data) in
            [(16, "ghijk"), (16, "ghijk"), (21, "far"), (u64::MAX - 2, "overflow"), (u64::MAX, "x")]
        {
            let error = append(&logs, offset, data, true).unwrap_err();
            assert!(matches!(error, LogError::TooLong { limit: LIMIT }), "{offset}: {error}");
        }
        assert_eq!(read(&logs, 14, 100), Some((b"efghij".to_vec(), false)));
        assert_eq!(read(&logs, u64::MAX, 100), Some((Vec::new(), false)));
        logs.finish(AttemptId(7), LogName::Build).unwrap();
        assert_eq!(read(&logs, 14, 100), Some((b"efghij".to_vec(), true)));
        assert_eq!(read(&logs, u64::MAX, 100), Some((Vec::new(), true)));
        assert!(append(&logs, u64::MAX, "xx", true).is_err(), "no overflow when it has ended");
    }

    #[test]
    fn an_ended_log_is_unpacked_once_while_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::open(dir.path()).unwrap();
        let (id, name) = (AttemptId(1), LogName::Root);
        let data: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
        let chunk = Chunk { offset: 0, data: &data, last: false };
        logs.append(id, name, &chunk, u64::MAX).unwrap();
        let mut reader = logs.reader(id, name, 4);
        let mut all = reader.next(1000).unwrap().unwrap().0;
        // It ends in the middle of being read.
        logs.finish(id, name).unwrap();
        all.extend(reader.next(1000).unwrap().unwrap().0);
        // Only the piece that the one reader has open is unpacked: no piece is read again.
        fs::remove_file(logs.ended(id, name)).unwrap();
        while let Some((piece, true)) = reader.next(100_000).unwrap().filter(|p| !p.0.is_empty()) {
            all.extend(piece);
        }
        assert_eq!(reader.offset(), data.len() as u64);
        assert!(all == data[4..], "{} bytes", all.len());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stored_log_leaves_after_a_month_and_is_read_from_the_bucket() {
        use rpmfarm_lab::serve::s3::S3Server;

        use crate::s3::{S3Settings, open};

        let dir = tempfile::tempdir().unwrap();
        let server = S3Server::start(&dir.path().join("s3"), &["farm"], false).await.unwrap();
        let settings = S3Settings {
            endpoint: Some(server.url().parse().unwrap()),
            region: "us-east-1".into(),
            credentials: Some(server.write_key(dir.path()).unwrap()),
            single_writer: false,
        };
        let bucket = open(&"s3://farm".parse().unwrap(), &settings).await.unwrap();
        let stored = || {
            let bucket = BlobBucket::new(bucket.clone()).unwrap();
            Logs::open(dir.path().join("logs")).unwrap().kept_in(bucket).unwrap()
        };
        let logs = stored();
        append(&logs, 0, "hello ", false).unwrap();
        let now = SystemTime::now();
        assert_eq!(logs.store_ended(now).unwrap(), 0, "it grows");
        append(&logs, 6, "world", true).unwrap();
        assert_eq!(logs.store_ended(now).unwrap(), 1);
        assert_eq!(logs.store_ended(now + STAYS / 2).unwrap(), 0);
        let path = logs.ended(AttemptId(7), LogName::Build);
        assert!(path.exists());
        logs.store_ended(now + STAYS * 2).unwrap();
        assert!(!path.exists());
        assert_eq!(append(&logs, 6, "world", true).unwrap(), 11, "a repeated end is the same end");
        assert_eq!(read(&logs, 6, 100), Some((b"world".to_vec(), true)));
        // Another disk finds it, too.
        fs::remove_dir_all(dir.path().join("logs")).unwrap();
        assert_eq!(read(&stored(), 0, 5), Some((b"hello".to_vec(), true)));
    }
}
