//! Blobs in a bucket, with the directory as their cache (docs/object-stores.md).
//!
//! ```text
//! blobs/
//!   ab/abcdef…        a blob that is here
//!   outbox/abcdef…    a hard link to a blob that is not uploaded yet
//!   outbox/.complete  all blobs that are here were uploaded, or are in the outbox
//!   away/ab/abcdef…   its size: the blob lies in the bucket alone
//! ```
//!
//! A new blob gets its link in the outbox before its name, so none is forgotten. What leaves this
//! disk is in the bucket, and is marked as away before it is removed. So a blob is always found,
//! whenever a coordinator dies.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use rpmfarm_core::Sha256;

use super::bucket::BlobBucket;
use super::{BlobError, BlobWriter, Blobs, Result, gone, io_at, sync};
use crate::s3::{BucketError, FoundObject};

/// How long a blob must be unused before it leaves this disk: whoever found it here may still be
/// about to open it, as signer and acceptor do.
const UNUSED: Duration = Duration::from_secs(60 * 60);

/// The first bytes of each RPM file. Only packages leave the disk: documents are small, and the
/// solver process, which has no bucket, reads them.
const RPM_LEAD: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];

const COMPLETE: &str = ".complete";

/// What the cache holds after blobs were let go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// The bytes of all blobs that are here for themselves, and not as files of a repository.
    pub bytes: u64,
    /// Blobs that were removed here.
    pub removed: u64,
}

/// The blobs that the bucket lacks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UploadBacklog {
    pub count: usize,
    /// The time since the oldest was written.
    pub oldest: Duration,
}

impl Blobs {
    /// The same store, with a bucket that has all blobs, and this directory as its cache. Blobs that
    /// were stored before there was a bucket are uploaded, too; those that the bucket has and that
    /// are not here are known as away.
    ///
    /// # Errors
    /// When the directory or the bucket cannot be read.
    pub fn kept_in(self, bucket: BlobBucket) -> Result<Self> {
        let of_away = (0..=u8::MAX).map(|byte| self.root().join(format!("away/{byte:02x}")));
        for dir in std::iter::once(self.outbox()).chain(of_away) {
            fs::create_dir_all(&dir).map_err(io_at(&dir))?;
        }
        let store = Self { bucket: Some(bucket), ..self };
        let complete = store.outbox().join(COMPLETE);
        if !complete.exists() {
            store.enter_all()?;
            File::create(&complete).map_err(io_at(&complete))?;
            sync(&store.outbox())?;
        }
        Ok(store)
    }

    /// The same store without a bucket.
    ///
    /// # Errors
    /// [`BlobError::NoBucket`] when some of its blobs lie in one alone.
    pub fn kept_here(self) -> Result<Self> {
        let away = self.root().join("away");
        for byte in 0..=u8::MAX {
            let dir = away.join(format!("{byte:02x}"));
            if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
                return Err(BlobError::NoBucket { dir: away });
            }
        }
        // What is stored from now on gets no link, so that another start with a bucket begins anew.
        gone(fs::remove_dir_all(self.outbox())).map_err(io_at(&self.outbox()))?;
        Ok(self)
    }

    /// The bucket that has the blobs, if there is one.
    #[must_use]
    pub fn bucket(&self) -> Option<&BlobBucket> {
        self.bucket.as_ref()
    }

    /// The size of a blob that the bucket has; `None` without a bucket, or while the blob is not
    /// uploaded.
    #[must_use]
    pub fn size_in_bucket(&self, digest: Sha256) -> Option<u64> {
        self.bucket.as_ref()?;
        if self.outbox().join(digest.hex()).exists() {
            return None;
        }
        let here = fs::metadata(self.place(digest)).map(|metadata| metadata.len());
        here.ok().or_else(|| self.away(digest))
    }

    /// The blobs that are not uploaded yet; empty without a bucket.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn to_upload(&self) -> Result<Vec<Sha256>> {
        if self.bucket.is_none() {
            return Ok(Vec::new());
        }
        let outbox = self.outbox();
        let mut digests = Vec::new();
        for entry in fs::read_dir(&outbox).map_err(io_at(&outbox))? {
            let name = entry.map_err(io_at(&outbox))?.file_name();
            digests.extend(name.to_str().and_then(|name| name.parse::<Sha256>().ok()));
        }
        Ok(digests)
    }

    /// How much is not uploaded yet.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn upload_backlog(&self, now: SystemTime) -> Result<UploadBacklog> {
        let mut backlog = UploadBacklog::default();
        for digest in self.to_upload()? {
            // One that was uploaded meanwhile is gone.
            let link = fs::metadata(self.outbox().join(digest.hex()));
            let Ok(written) = link.and_then(|link| link.modified()) else { continue };
            backlog.count += 1;
            backlog.oldest = backlog.oldest.max(now.duration_since(written).unwrap_or_default());
        }
        Ok(backlog)
    }

    /// Uploads a blob of the outbox. To be called on a thread that may block.
    ///
    /// # Errors
    /// When the disk or the bucket fails; then the blob stays in the outbox.
    pub fn upload(&self, digest: Sha256) -> Result<()> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let link = self.outbox().join(digest.hex());
        let file = link.clone();
        let uploaded = bucket.wait(|bucket| async move {
            bucket.upload(&BlobBucket::key(digest), &file).await.map(drop)
        });
        match uploaded {
            // Another coordinator of the directory was faster.
            Err(BucketError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            uploaded => uploaded?,
        }
        gone(fs::remove_file(&link)).map_err(io_at(&link)).map(drop)
    }

    /// Removes the packages that were used longest ago from this disk, until the rest has no more
    /// than `limit` bytes. What is not uploaded stays, and what a repository shows, which is a hard
    /// link to the blob.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn trim(&self, limit: u64, now: SystemTime) -> Result<CacheStats> {
        let mut stats = CacheStats::default();
        if self.bucket.is_none() {
            return Ok(stats);
        }
        let mut blobs = Vec::new();
        for prefix in 0..=u8::MAX {
            for digest in self.listed(prefix).map_err(io_at(self.root()))? {
                // One that another coordinator has just removed.
                let Ok(metadata) = fs::metadata(self.place(digest)) else { continue };
                if metadata.nlink() == 1 {
                    stats.bytes += metadata.len();
                    let used = metadata.accessed().into_iter().chain(metadata.modified()).max();
                    blobs.push((used.unwrap_or(now), metadata.len(), digest));
                }
            }
        }
        blobs.sort_unstable();
        for (used, size, digest) in blobs {
            let is_unused = now.duration_since(used).is_ok_and(|unused| unused > UNUSED);
            if stats.bytes <= limit || !is_unused {
                break;
            }
            if self.let_go(digest, size)? {
                stats.bytes -= size;
                stats.removed += 1;
            }
        }
        Ok(stats)
    }

    /// Removes a package here that the bucket has; whether it did.
    fn let_go(&self, digest: Sha256, size: u64) -> Result<bool> {
        let path = self.place(digest);
        let mut lead = [0; RPM_LEAD.len()];
        let read =
            File::open(&path).and_then(|mut file| io::Read::read_exact(&mut file, &mut lead));
        if read.is_err() || lead != RPM_LEAD {
            return Ok(false);
        }
        self.mark_away(digest, size)?;
        let dir = self.away_path(digest);
        sync(dir.parent().expect("a mark lies in a directory"))?;
        gone(fs::remove_file(&path)).map_err(io_at(&path))?;
        // Another coordinator of the directory may have removed the blob first, and stored it again,
        // which takes the mark.
        if self.away(digest).is_none() {
            self.mark_away(digest, size)?;
        }
        Ok(true)
    }

    /// Brings a blob here that is away. Does nothing for one that is here, or that nobody has.
    pub(super) fn bring(&self, digest: Sha256) -> Result<()> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        if let Ok(file) = File::open(self.place(digest)) {
            // What was used last is kept longest. Many file systems note it once a day or never.
            let _ = file.set_times(fs::FileTimes::new().set_accessed(SystemTime::now()));
            return Ok(());
        }
        let lock = bucket.fetching(digest);
        let _turn = lock.lock();
        let Some(size) = self.away(digest).filter(|_| !self.is_here(digest)) else {
            return Ok(());
        };
        let written = self.download(bucket, BlobBucket::key(digest), size)?;
        written.finish("the object of a blob", Some(digest))?;
        Ok(())
    }

    /// Writes an object of at most so many bytes to a new file. Its digest is still to be checked.
    fn download(&self, bucket: &BlobBucket, key: String, size: u64) -> Result<BlobWriter> {
        let mut writer = self.writer(size)?;
        bucket.wait(|bucket| async move {
            let mut pieces = bucket.download(&key).await?;
            while let Some(piece) = pieces.try_next().await? {
                writer.append(&piece)?;
            }
            Ok(writer)
        })
    }

    /// Takes over an object that a worker has put into the bucket: it becomes a blob here if it has
    /// this digest and size. To be called on a thread that may block.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`] or [`BlobError::TooLong`] when it is something else.
    pub fn take_over(&self, key: &str, digest: Sha256, size: u64) -> Result<()> {
        let Some(bucket) = &self.bucket else { return Err(BlobError::Missing(digest)) };
        if self.contains(digest) {
            return Ok(());
        }
        let taken = self.download(bucket, key.to_owned(), size);
        let taken = taken.and_then(|writer| writer.finish("the uploaded object", Some(digest)));
        // Right or wrong, nobody needs the object any more.
        let object = key.to_owned();
        let removed = bucket.wait(|bucket| async move { bucket.delete(&object).await });
        if let Err(error) = removed {
            tracing::debug!(%error, "an uploaded object is left for the clean-up");
        }
        taken.map(drop)
    }

    /// Gives a file that becomes a blob its link in the outbox, or takes the mark from one that was
    /// away.
    pub(super) fn enter(&self, from: &std::path::Path, digest: Sha256) -> Result<()> {
        if self.bucket.is_none() || self.away(digest).is_some() {
            return Ok(());
        }
        let link = self.outbox().join(digest.hex());
        match fs::hard_link(from, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by a coordinator that died before the blob had its name: perhaps another file.
                fs::remove_file(&link).and_then(|()| fs::hard_link(from, &link))
            }
            linked => linked,
        }
        .map_err(io_at(&link))?;
        sync(&self.outbox())
    }

    /// Removes the mark of a blob that is here now.
    pub(super) fn unmark(&self, digest: Sha256) -> Result<()> {
        if self.bucket.is_none() {
            return Ok(());
        }
        let mark = self.away_path(digest);
        gone(fs::remove_file(&mark)).map_err(io_at(&mark)).map(drop)
    }

    /// Enters all blobs that are here into the outbox, and marks those that only the bucket has.
    fn enter_all(&self) -> Result<()> {
        for prefix in 0..=u8::MAX {
            for digest in self.listed(prefix).map_err(io_at(self.root()))? {
                self.enter(&self.place(digest), digest)?;
            }
        }
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let found: Vec<FoundObject> =
            bucket.wait(|bucket| async move { bucket.list("blobs")?.try_collect().await })?;
        for object in found {
            let name = object.key.rsplit('/').next().unwrap_or_default();
            let Ok(digest) = name.parse::<Sha256>() else { continue };
            if !self.is_here(digest) {
                self.mark_away(digest, object.size)?;
            }
        }
        Ok(())
    }

    /// The size of a blob that lies in the bucket alone.
    pub(super) fn away(&self, digest: Sha256) -> Option<u64> {
        self.bucket.as_ref()?;
        fs::read_to_string(self.away_path(digest)).ok()?.parse().ok()
    }

    fn mark_away(&self, digest: Sha256, size: u64) -> Result<()> {
        let mark = self.away_path(digest);
        let new = self.root().join("incoming").join(format!("{digest}.away"));
        fs::write(&new, size.to_string()).map_err(io_at(&new))?;
        File::open(&new).and_then(|file| file.sync_all()).map_err(io_at(&new))?;
        fs::rename(&new, &mark).map_err(io_at(&mark))
    }

    fn away_path(&self, digest: Sha256) -> PathBuf {
        let hex = digest.hex();
        self.root().join("away").join(&hex[..2]).join(hex)
    }

    fn outbox(&self) -> PathBuf {
        self.root().join("outbox")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rpmfarm_lab::serve::s3::{LastRequest, S3Server};

    use super::*;
    use crate::s3::{S3Settings, open};

    /// A store with a bucket, and directories that may be lost.
    struct Scene {
        dir: tempfile::TempDir,
        server: S3Server,
    }

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    impl Scene {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let server = S3Server::start(&dir.path().join("s3"), &["farm"], false).await.unwrap();
            Self { dir, server }
        }

        fn here(&self) -> Blobs {
            Blobs::open(self.dir.path().join("blobs")).unwrap()
        }

        /// The store as a coordinator that starts opens it.
        async fn stored(&self) -> Blobs {
            let settings = S3Settings {
                endpoint: Some(self.server.url().parse().unwrap()),
                region: "us-east-1".into(),
                credentials: Some(self.server.write_key(self.dir.path()).unwrap()),
                single_writer: false,
            };
            let bucket = open(&"s3://farm/x".parse().unwrap(), &settings).await.unwrap();
            self.here().kept_in(BlobBucket::new(bucket).unwrap()).unwrap()
        }

        fn object(&self, digest: Sha256) -> PathBuf {
            self.dir.path().join("s3/farm/x").join(BlobBucket::key(digest))
        }
    }

    fn upload_all(blobs: &Blobs) {
        for digest in blobs.to_upload().unwrap() {
            blobs.upload(digest).unwrap();
        }
    }

    fn package(content: &str) -> Vec<u8> {
        [&RPM_LEAD[..], content.as_bytes()].concat()
    }

    /// Makes a blob look as if it was last used so long ago.
    fn age(blobs: &Blobs, digest: Sha256, unused: Duration) {
        let at = SystemTime::now() - unused;
        let times = fs::FileTimes::new().set_accessed(at).set_modified(at);
        File::open(blobs.place(digest)).unwrap().set_times(times).unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_unused_for_longest_leaves_and_comes_back() {
        let scene = Scene::new().await;
        let blobs = scene.stored().await;
        let put = |content: &str| blobs.put(&package(content)).unwrap();
        let [oldest, older, new] = [put("11111"), put("22222"), put("33333")];
        let document = blobs.put(b"a document").unwrap();
        let now = SystemTime::now();
        assert_eq!(blobs.trim(0, now + DAY).unwrap().removed, 0, "nothing is uploaded yet");
        upload_all(&blobs);
        for (digest, days) in [(oldest, 3), (older, 2), (document, 9)] {
            age(&blobs, digest, DAY * days);
        }
        let shown = scene.dir.path().join("shown.rpm");
        fs::hard_link(blobs.place(oldest), &shown).unwrap();
        // All but the one that is shown count 28 bytes.
        assert_eq!(blobs.trim(19, now).unwrap(), CacheStats { bytes: 19, removed: 1 });
        assert!(blobs.is_here(oldest) && blobs.is_here(new) && blobs.is_here(document));
        assert!(!blobs.place(older).exists() && blobs.contains(older));
        assert_eq!(blobs.trim(0, now).unwrap().removed, 0, "what was used just now stays");

        assert_eq!(blobs.size_in_bucket(older), Some(9));
        assert_eq!(blobs.read_small(older, 9).unwrap(), package("22222"));
        assert!(blobs.is_here(older) && blobs.to_upload().unwrap().is_empty());
        // It was used now, and is let go again a day later.
        assert_eq!(blobs.trim(0, now + DAY).unwrap().removed, 2);
        assert_eq!(fs::read(blobs.path(older)).unwrap(), package("22222"));
        // Reading everything again is no use of it.
        age(&blobs, older, DAY);
        blobs.verify(older).unwrap();
        assert_eq!(blobs.trim(0, now).unwrap().removed, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_damaged_object_and_a_store_that_is_away_bring_nothing() {
        let scene = Scene::new().await;
        let blobs = scene.stored().await;
        let digest = blobs.put(&package("12345")).unwrap();
        upload_all(&blobs);
        age(&blobs, digest, DAY);
        assert_eq!(blobs.trim(0, SystemTime::now()).unwrap().removed, 1);
        scene.server.cut_after(0, LastRequest::Lost);
        assert!(matches!(blobs.read(digest), Err(BlobError::Bucket(_))));
        assert!(!blobs.path(digest).exists() && blobs.contains(digest));
        scene.server.restore();
        fs::write(scene.object(digest), package("12346")).unwrap();
        assert!(matches!(blobs.read(digest), Err(BlobError::Mismatch { .. })));
        assert!(!blobs.is_here(digest));
        // Whoever has the right bytes can store them again.
        blobs.put(&package("12345")).unwrap();
        assert_eq!(blobs.verify(digest).unwrap(), 9);
        assert_eq!(blobs.away(digest), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_that_was_lost_or_had_no_bucket_is_taken_over() {
        let scene = Scene::new().await;
        let before = scene.here().put(b"from before there was a bucket").unwrap();
        let blobs = scene.stored().await;
        assert_eq!(blobs.to_upload().unwrap(), [before]);
        let after = blobs.put(&package("later")).unwrap();
        // The coordinator dies at the first request of an upload.
        scene.server.cut_after(0, LastRequest::Done);
        blobs.upload(after).unwrap_err();
        scene.server.restore();
        drop(blobs);
        let blobs = scene.stored().await;
        assert_eq!(blobs.to_upload().unwrap().len(), 2);
        let backlog = blobs.upload_backlog(SystemTime::now() + DAY).unwrap();
        assert!(backlog.count == 2 && backlog.oldest >= DAY, "{backlog:?}");
        upload_all(&blobs);
        fs::remove_dir_all(blobs.root()).unwrap();
        let blobs = scene.stored().await;
        assert!(blobs.contains(before) && blobs.contains(after) && !blobs.is_here(after));
        assert_eq!(blobs.read_small(before, 100).unwrap(), b"from before there was a bucket");
        // Without the bucket the farm would miss blobs, and does not start.
        let error = scene.here().kept_here().unwrap_err().to_string();
        assert!(error.contains("--object-store"), "{error}");
        blobs.read(after).unwrap();
        let alone = scene.here().kept_here().unwrap();
        assert!(!Path::new(&alone.outbox()).exists());
        assert_eq!(alone.verify(after).unwrap(), 9);
    }
}
