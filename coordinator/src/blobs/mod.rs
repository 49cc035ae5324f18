//! The blob store: files named by their SHA-256, in a local directory, and on request in a bucket
//! whose cache this directory is (`away`).
//!
//! Owns the layout `blobs/ab/abcdef…` and the rule that a blob appears whole or not at all:
//! written beside, synced, renamed. A blob that is there is never written again. It must not
//! know what the blobs mean.

mod away;
mod bucket;
mod stamp;
mod uploads;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rpmfarm_core::Sha256;
use sha2::Digest as _;

pub use away::{CacheStats, UploadBacklog};
pub use bucket::BlobBucket;
pub use stamp::FileStamp;

use crate::s3::BucketError;

/// A content-addressed directory. Cheap to clone; all calls block on the disk, and those that read a
/// blob which lies in the bucket alone on the network.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
    /// The bucket that has all blobs.
    bucket: Option<BlobBucket>,
    /// The group that may read the blobs, beside this user.
    group: Option<u32>,
}

/// Why an operation on a blob failed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The store has no such blob.
    #[error("no blob {0} in the store")]
    Missing(Sha256),
    /// The bytes differ from the announced digest.
    #[error("{what}: expected sha256 {expected}, found {found}")]
    Mismatch {
        /// The name of the content, for messages.
        what: String,
        /// The digest that was announced.
        expected: Sha256,
        /// The digest of the bytes that came.
        found: Sha256,
    },
    /// More bytes than were announced or allowed.
    #[error("{what}: longer than the {limit} bytes that were announced")]
    TooLong {
        /// The name of the content, for messages.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A chunk that does not continue the bytes that were uploaded before.
    #[error("upload continues at byte {at}, but {have} bytes are there")]
    Offset {
        /// The offset of the chunk.
        at: u64,
        /// How many bytes were uploaded before.
        have: u64,
    },
    /// An operation on the disk failed.
    #[error("blob store {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// The bucket of the blobs failed.
    #[error("blob store: {0}")]
    Bucket(#[from] BucketError),
    /// Blobs lie in a bucket alone, and no bucket is given.
    #[error(
        "the blobs that {dir} lists lie in a bucket alone; start with --object-store and the bucket \
         that was used before"
    )]
    NoBucket { dir: PathBuf },
}

impl BlobError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// Result of the blob store.
pub type Result<T> = std::result::Result<T, BlobError>;

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> BlobError + '_ {
    move |source| BlobError::Io { path: path.to_owned(), source }
}

impl Blobs {
    /// Opens the store below `root`, making its directories.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let own = ["", "incoming", "partial"].map(PathBuf::from);
        let of_blobs = (0..=u8::MAX).map(|byte| PathBuf::from(format!("{byte:02x}")));
        for dir in own.into_iter().chain(of_blobs) {
            let dir = root.join(dir);
            fs::create_dir_all(&dir).map_err(io_at(&dir))?;
        }
        // A new directory survives a loss of power only when its parent is synced, too.
        sync(&root)?;
        Ok(Self { root, bucket: None, group: None })
    }

    /// The same store, with read permission for a group on blobs that are made from now on.
    /// Unfinished files stay private.
    ///
    /// # Errors
    /// When the group cannot be given, as one that this process does not belong to.
    pub fn shared_with(self, group: u32) -> Result<Self> {
        let of_blobs = (0..=u8::MAX).map(|byte| self.root.join(format!("{byte:02x}")));
        for dir in std::iter::once(self.root.clone()).chain(of_blobs) {
            share(&dir, group, 0o750)?;
        }
        Ok(Self { group: Some(group), ..self })
    }

    /// A store that another process has opened before.
    #[must_use]
    pub fn existing(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), bucket: None, group: None }
    }

    /// The directories of unfinished files: blobs that are being written, and uploads.
    #[must_use]
    pub fn unfinished(&self) -> [PathBuf; 2] {
        [self.root.join("incoming"), self.root.join("partial")]
    }

    /// The directory that contains the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a blob, whether or not it exists. One that lies in the bucket alone is brought
    /// here; when that fails, the log says why, and there is no file at the path.
    #[must_use]
    pub fn path(&self, digest: Sha256) -> PathBuf {
        if let Err(error) = self.bring(digest) {
            tracing::warn!(%error, "a blob cannot be fetched from its bucket");
        }
        self.place(digest)
    }

    /// The path of a blob that is here.
    #[must_use]
    pub fn place(&self, digest: Sha256) -> PathBuf {
        let hex = digest.hex();
        self.root.join(&hex[..2]).join(hex)
    }

    /// Whether the store has a blob, here or in its bucket.
    #[must_use]
    pub fn contains(&self, digest: Sha256) -> bool {
        self.is_here(digest) || self.away(digest).is_some()
    }

    /// Whether a blob is in the directory.
    fn is_here(&self, digest: Sha256) -> bool {
        self.place(digest).is_file()
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`BlobError::Missing`], or an error of the disk or the bucket.
    pub fn read(&self, digest: Sha256) -> Result<File> {
        self.bring(digest)?;
        self.open_here(digest)
    }

    fn open_here(&self, digest: Sha256) -> Result<File> {
        let path = self.place(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(digest),
            _ => BlobError::Io { path, source },
        })
    }

    /// Reads a small blob whole.
    ///
    /// # Errors
    /// As [`Self::read`]; and [`BlobError::TooLong`] over `limit` bytes.
    pub fn read_small(&self, digest: Sha256, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.read(digest)?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(io_at(&self.place(digest)))?;
        if bytes.len() as u64 > limit {
            return Err(BlobError::TooLong { what: digest.hex(), limit });
        }
        Ok(bytes)
    }

    /// Stores bytes that are in memory.
    pub fn put(&self, bytes: &[u8]) -> Result<Sha256> {
        let digest = Sha256::compute(bytes);
        if !self.is_here(digest) {
            let mut writer = self.writer(u64::MAX)?;
            writer.append(bytes)?;
            writer.finish("bytes", Some(digest))?;
        }
        Ok(digest)
    }

    /// Begins a blob of at most `limit` bytes whose digest is known at its end.
    pub fn writer(&self, limit: u64) -> Result<BlobWriter> {
        let dir = self.root.join("incoming");
        #[cfg(feature = "simulation")]
        crate::simulation::check_disk_space().map_err(io_at(&dir))?;
        let file = tempfile::NamedTempFile::new_in(&dir).map_err(io_at(&dir))?;
        Ok(BlobWriter { store: self.clone(), file, hasher: sha2::Sha256::new(), written: 0, limit })
    }

    /// A directory for files that may become blobs, on the same disk. It is removed when it is
    /// dropped.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        let dir = self.root.join("incoming");
        #[cfg(feature = "simulation")]
        crate::simulation::check_disk_space().map_err(io_at(&dir))?;
        tempfile::tempdir_in(&dir).map_err(io_at(&dir))
    }

    /// Makes a file of [`Self::scratch`] a blob, by a rename. The caller has computed its digest;
    /// an existing blob of that name stays.
    pub fn adopt(&self, path: &Path, digest: Sha256) -> Result<()> {
        if self.is_here(digest) {
            return Ok(());
        }
        File::open(path).and_then(|file| file.sync_all()).map_err(io_at(path))?;
        self.appear(path, digest)
    }

    /// The properties of a blob's file; `None` when it is not here.
    #[must_use]
    pub fn stamp(&self, digest: Sha256) -> Option<FileStamp> {
        let metadata = fs::metadata(self.place(digest)).ok()?;
        Some(FileStamp::from_metadata(&metadata))
    }

    /// Reads a blob again that is here and compares its digest, to find bit rot before the blob is
    /// published.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] when the digest differs from the name.
    pub fn verify(&self, digest: Sha256) -> Result<u64> {
        let mut file = self.open_here(digest)?;
        let used = file.metadata().and_then(|metadata| metadata.accessed());
        let (found, size) = hash(&mut file).map_err(io_at(&self.place(digest)))?;
        // Reading it all again, again and again, is no use of it (`trim`).
        if let (Some(_), Ok(used)) = (&self.bucket, used) {
            let _ = file.set_times(fs::FileTimes::new().set_accessed(used));
        }
        if found == digest {
            Ok(size)
        } else {
            Err(BlobError::Mismatch { what: "stored blob".into(), expected: digest, found })
        }
    }

    fn appear(&self, from: &Path, digest: Sha256) -> Result<()> {
        let path = self.place(digest);
        let dir = path.parent().expect("a blob lies in a directory");
        if let Some(group) = self.group {
            share(from, group, 0o640)?;
        }
        self.enter(from, digest)?;
        fs::rename(from, &path).map_err(io_at(&path))?;
        sync(dir)?;
        self.unmark(digest)
    }
}

/// A blob being written. When it is dropped unfinished, its file is removed.
#[derive(Debug)]
pub struct BlobWriter {
    store: Blobs,
    file: tempfile::NamedTempFile,
    hasher: sha2::Sha256,
    written: u64,
    limit: u64,
}

impl BlobWriter {
    /// Appends bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLong`] over the limit, or an error of the disk.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        if self.written > self.limit {
            return Err(BlobError::TooLong { what: "blob".into(), limit: self.limit });
        }
        self.hasher.update(bytes);
        let path = self.file.path().to_owned();
        self.file.write_all(bytes).map_err(io_at(&path))
    }

    /// The path of the unfinished file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Opens the unfinished file for reading from its beginning; further bytes are still appended.
    pub fn reopen(&self) -> Result<File> {
        let mut file = self.file.reopen().map_err(io_at(self.file.path()))?;
        file.seek(SeekFrom::Start(0)).map_err(io_at(self.file.path()))?;
        Ok(file)
    }

    /// Makes the file a blob and returns its digest and size in bytes.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] when `expected` is another digest; then nothing is stored.
    pub fn finish(self, what: &str, expected: Option<Sha256>) -> Result<(Sha256, u64)> {
        let found = Sha256::from_bytes(self.hasher.finalize().into());
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(BlobError::Mismatch { what: what.into(), expected, found });
        }
        if !self.store.is_here(found) {
            let path = self.file.path().to_owned();
            // Synced before the rename, so that a blob that exists after a loss of power is whole.
            self.file.as_file().sync_all().map_err(io_at(&path))?;
            let path = self.file.into_temp_path();
            self.store.appear(&path, found)?;
            // The rename has moved the file, so there is nothing left to remove.
            let _ = path.keep();
        }
        Ok((found, self.written))
    }
}

/// Gives a file or directory to a group, with a mode.
fn share(path: &Path, group: u32, mode: u32) -> Result<()> {
    chown(path, None, Some(group)).map_err(io_at(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io_at(path))
}

/// Syncs a directory, which makes the names in it durable.
fn sync(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at(dir))
}

/// Turns `NotFound` into `None`: the file is no longer there.
pub(crate) fn gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// SHA-256 and length of the rest of a reader.
fn hash(reader: &mut impl Read) -> io::Result<(Sha256, u64)> {
    let mut hasher = sha2::Sha256::new();
    let size = io::copy(reader, &mut hasher)?;
    Ok((Sha256::from_bytes(hasher.finalize().into()), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let blobs = Blobs::open(dir.path()).expect("opens");
        (dir, blobs)
    }

    #[test]
    fn a_group_reads_whole_blobs_and_nothing_else() {
        use std::os::unix::fs::MetadataExt as _;
        let (_dir, blobs) = store();
        for dir in blobs.unfinished() {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
        }
        // Every user may give their own files to their own group.
        let group = nix::unistd::getegid().as_raw();
        let blobs = blobs.shared_with(group).unwrap();
        let of = |path: &Path| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.gid(), metadata.mode() & 0o777)
        };
        let path = blobs.path(blobs.put(b"hello").unwrap());
        assert_eq!((of(&path), of(path.parent().unwrap())), ((group, 0o640), (group, 0o750)));
        assert_eq!(of(blobs.root()), (group, 0o750));
        assert!(blobs.unfinished().iter().all(|dir| of(dir).1 == 0o700));
    }

    #[test]
    fn a_blob_is_whole_or_absent() {
        let (_dir, blobs) = store();
        let digest = Sha256::compute(b"hello");
        let mut writer = blobs.writer(100).unwrap();
        writer.append(b"hel").unwrap();
        assert!(!blobs.contains(digest));
        writer.append(b"lo").unwrap();
        assert_eq!(writer.finish("greeting", Some(digest)).unwrap(), (digest, 5));
        assert_eq!(blobs.read_small(digest, 5).unwrap(), b"hello");
        assert!(matches!(blobs.read_small(digest, 4), Err(BlobError::TooLong { .. })));

        let mut writer = blobs.writer(100).unwrap();
        writer.append(b"other").unwrap();
        let error = writer.finish("greeting", Some(digest)).unwrap_err();
        assert!(error.to_string().contains(&Sha256::compute(b"other").hex()), "{error}");
        assert!(!blobs.contains(Sha256::compute(b"other")));
    }

    #[test]
    fn rot_is_found() {
        let (_dir, blobs) = store();
        let digest = blobs.put(b"payload").unwrap();
        fs::write(blobs.path(digest), b"pay1oad").unwrap();
        assert!(matches!(blobs.verify(digest), Err(BlobError::Mismatch { .. })));
    }
}
