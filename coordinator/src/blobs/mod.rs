//! The blob store: files named by their SHA-256, in a local directory.
//!
//! Owns the layout `blobs/ab/abcdef…` and the rule that a blob appears whole or not at all:
//! written beside, synced, renamed. A blob that is there is never written again. It must not
//! know what the blobs mean.

mod stamp;
mod uploads;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rpmfarm_core::Sha256;
use sha2::Digest as _;

pub use stamp::FileStamp;

/// A content-addressed directory. Cheap to clone; all calls block on the disk.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
    /// The group that may read them, beside this user.
    group: Option<u32>,
}

/// Why an operation on a blob failed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The store has no such blob.
    #[error("no blob {0} in the store")]
    Missing(Sha256),
    /// The bytes are not those that were announced.
    #[error("{what}: expected sha256 {expected}, found {found}")]
    Mismatch {
        /// A name of the content, for messages.
        what: String,
        /// The digest that was announced.
        expected: Sha256,
        /// The digest of the bytes that came.
        found: Sha256,
    },
    /// More bytes than were announced or allowed.
    #[error("{what}: longer than the {limit} bytes that were announced")]
    TooLong {
        /// A name of the content, for messages.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A chunk that does not continue what is there.
    #[error("upload continues at byte {at}, but {have} bytes are there")]
    Offset {
        /// Where the chunk would go.
        at: u64,
        /// How many bytes are there.
        have: u64,
    },
    /// The disk said no.
    #[error("blob store {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
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
        // What is made in a directory outlives a loss of power when the directory itself does.
        sync(&root)?;
        Ok(Self { root, group: None })
    }

    /// The same store, whose blobs a group may read, too: those that there will be. What is not whole
    /// stays hidden.
    ///
    /// # Errors
    /// When the group cannot be given, as one that this process is not in.
    pub fn shared_with(self, group: u32) -> Result<Self> {
        let of_blobs = (0..=u8::MAX).map(|byte| self.root.join(format!("{byte:02x}")));
        for dir in std::iter::once(self.root.clone()).chain(of_blobs) {
            share(&dir, group, 0o750)?;
        }
        Ok(Self { group: Some(group), ..self })
    }

    /// A store that was opened before, by another process.
    #[must_use]
    pub fn existing(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), group: None }
    }

    /// The directories of what is not whole: files that are being made, and uploads.
    #[must_use]
    pub fn unfinished(&self) -> [PathBuf; 2] {
        [self.root.join("incoming"), self.root.join("partial")]
    }

    /// The directory that all of them lie below.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a blob lies, whether or not it is there.
    #[must_use]
    pub fn path(&self, digest: Sha256) -> PathBuf {
        let hex = digest.hex();
        self.root.join(&hex[..2]).join(hex)
    }

    /// Whether a blob is there.
    #[must_use]
    pub fn contains(&self, digest: Sha256) -> bool {
        self.path(digest).is_file()
    }

    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`BlobError::Missing`], or what the disk says.
    pub fn read(&self, digest: Sha256) -> Result<File> {
        let path = self.path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(digest),
            _ => BlobError::Io { path, source },
        })
    }

    /// The whole of a small blob.
    ///
    /// # Errors
    /// As [`Self::read`]; and [`BlobError::TooLong`] over `limit` bytes.
    pub fn read_small(&self, digest: Sha256, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = self.read(digest)?;
        file.take(limit + 1).read_to_end(&mut bytes).map_err(io_at(&self.path(digest)))?;
        if bytes.len() as u64 > limit {
            return Err(BlobError::TooLong { what: digest.hex(), limit });
        }
        Ok(bytes)
    }

    /// Stores bytes that are in memory.
    pub fn put(&self, bytes: &[u8]) -> Result<Sha256> {
        let digest = Sha256::compute(bytes);
        if !self.contains(digest) {
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

    /// A directory for files that may become blobs, on the same disk; gone when it is dropped.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        let dir = self.root.join("incoming");
        #[cfg(feature = "simulation")]
        crate::simulation::check_disk_space().map_err(io_at(&dir))?;
        tempfile::tempdir_in(&dir).map_err(io_at(&dir))
    }

    /// Makes a file of [`Self::scratch`] a blob, by a rename. Its digest is what whoever made the file has
    /// found in it; a blob of that name that is there already stays.
    pub fn adopt(&self, path: &Path, digest: Sha256) -> Result<()> {
        if self.contains(digest) {
            return Ok(());
        }
        File::open(path).and_then(|file| file.sync_all()).map_err(io_at(path))?;
        self.appear(path, digest)
    }

    /// What the file of a blob is like; none when there is no such blob.
    #[must_use]
    pub fn stamp(&self, digest: Sha256) -> Option<FileStamp> {
        let metadata = fs::metadata(self.path(digest)).ok()?;
        Some(FileStamp::from_metadata(&metadata))
    }

    /// Reads a blob again and compares: the guard against bit rot before it is published.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] when the bytes are not what their name says.
    pub fn verify(&self, digest: Sha256) -> Result<u64> {
        let mut file = self.read(digest)?;
        let (found, size) = hash(&mut file).map_err(io_at(&self.path(digest)))?;
        if found == digest {
            Ok(size)
        } else {
            Err(BlobError::Mismatch { what: "stored blob".into(), expected: digest, found })
        }
    }

    fn appear(&self, from: &Path, digest: Sha256) -> Result<()> {
        let path = self.path(digest);
        let dir = path.parent().expect("a blob lies in a directory");
        if let Some(group) = self.group {
            share(from, group, 0o640)?;
        }
        fs::rename(from, &path).map_err(io_at(&path))?;
        sync(dir)
    }
}

/// A blob being written. Dropped unfinished, it leaves nothing.
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
    /// [`BlobError::TooLong`] over the limit, or what the disk says.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        if self.written > self.limit {
            return Err(BlobError::TooLong { what: "blob".into(), limit: self.limit });
        }
        self.hasher.update(bytes);
        let path = self.file.path().to_owned();
        self.file.write_all(bytes).map_err(io_at(&path))
    }

    /// Where the bytes lie so far.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file as it is so far, read from its beginning; further bytes still go to its end.
    pub fn reopen(&self) -> Result<File> {
        let mut file = self.file.reopen().map_err(io_at(self.file.path()))?;
        file.seek(SeekFrom::Start(0)).map_err(io_at(self.file.path()))?;
        Ok(file)
    }

    /// Makes it a blob and returns its name and size in bytes.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] when `expected` is another digest; then nothing is stored.
    pub fn finish(self, what: &str, expected: Option<Sha256>) -> Result<(Sha256, u64)> {
        let found = Sha256::from_bytes(self.hasher.finalize().into());
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(BlobError::Mismatch { what: what.into(), expected, found });
        }
        if !self.store.contains(found) {
            let path = self.file.path().to_owned();
            // Before it has its name: a blob that is there after a loss of power is whole.
            self.file.as_file().sync_all().map_err(io_at(&path))?;
            let path = self.file.into_temp_path();
            self.store.appear(&path, found)?;
            // The name is gone with the rename; there is nothing left to remove.
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

/// Makes what a directory names durable.
fn sync(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at(dir))
}

/// SHA-256 and length of everything that is left to read.
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
        // Any user may give what is theirs to their own group.
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
