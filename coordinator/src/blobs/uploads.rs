//! Uploads: blobs that arrive in chunks, resume by offset, and become visible when they are
//! complete and match the announced digest.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rpmfarm_core::Sha256;

use super::{BlobError, Blobs, Result, hash, io_at};
use crate::planted_bugs::{PlantedBug, is_planted};

impl Blobs {
    /// How many bytes of an announced blob have arrived; its size if it is complete.
    pub fn uploaded(&self, digest: Sha256, size: u64) -> Result<u64> {
        if self.contains(digest) {
            return Ok(size);
        }
        let path = self.partial(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len().min(size)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(io_at(&path)(error)),
        }
    }

    /// Appends a chunk to an announced blob. Bytes that have arrived before are skipped, so a
    /// repeated chunk changes nothing. An empty blob is begun and completed by an empty chunk.
    ///
    /// # Errors
    /// [`BlobError::Offset`] for a gap, [`BlobError::TooLong`] beyond the announced size.
    pub fn upload_chunk(&self, digest: Sha256, size: u64, at: u64, bytes: &[u8]) -> Result<u64> {
        let have = self.uploaded(digest, size)?;
        if at > have {
            return Err(BlobError::Offset { at, have });
        }
        let end = at + bytes.len() as u64;
        if end > size {
            return Err(BlobError::TooLong { what: digest.hex(), limit: size });
        }
        let begins = size == 0 && !self.contains(digest);
        if end <= have && !begins {
            return Ok(have);
        }
        let path = self.partial(digest);
        #[cfg(feature = "simulation")]
        crate::simulation::check_disk_space().map_err(io_at(&path))?;
        let mut options = File::options();
        let options = options.create(true).truncate(false).write(true);
        let file = options.open(&path).map_err(io_at(&path))?;
        let new = usize::try_from(have - at).expect("a part of a chunk that is in memory");
        // Written at its offset, because the same bytes may be written by another coordinator at
        // the same time.
        let written = file.write_all_at(&bytes[new..], have);
        if let Err(source) = written {
            // A partly written chunk would be counted as progress, so the file is cut back to its
            // length before.
            let _ = file.set_len(have);
            let error = BlobError::Io { path, source };
            if error.is_full() {
                // The partial file is removed, or uploads would take each other's last free space
                // again and again.
                let _ = fs::remove_file(self.partial(digest));
            }
            return Err(error);
        }
        Ok(end)
    }

    /// Checks a complete upload and makes it a blob. After a wrong digest the bytes are discarded,
    /// so that the upload starts again.
    ///
    /// # Errors
    /// [`BlobError::Mismatch`], or an error of the disk.
    pub fn finish_upload(&self, digest: Sha256) -> Result<()> {
        if self.contains(digest) {
            return Ok(());
        }
        let path = self.partial(digest);
        let mut file = File::open(&path).map_err(io_at(&path))?;
        let (found, _) = hash(&mut file).map_err(io_at(&path))?;
        if found != digest && !is_planted(PlantedBug::UnverifiedUpload) {
            fs::remove_file(&path).map_err(io_at(&path))?;
            return Err(BlobError::Mismatch { what: "upload".into(), expected: digest, found });
        }
        if let Err(error) = file.sync_all() {
            // A second fsync may succeed although data was lost (Linux reports a failed write
            // once), so the file is uploaded again.
            let _ = fs::remove_file(&path);
            return Err(io_at(&path)(error));
        }
        self.appear(&path, digest)
    }

    fn partial(&self, digest: Sha256) -> PathBuf {
        self.root.join("partial").join(digest.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_resume_repeat_and_are_checked() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let blobs = Blobs::open(dir.path()).expect("opens");
        let digest = Sha256::compute(b"0123456789");
        assert_eq!(blobs.upload_chunk(digest, 10, 0, b"0123").unwrap(), 4);
        assert_eq!(blobs.upload_chunk(digest, 10, 2, b"2345").unwrap(), 6);
        assert_eq!(blobs.upload_chunk(digest, 10, 0, b"012").unwrap(), 6);
        assert!(matches!(
            blobs.upload_chunk(digest, 10, 8, b"89"),
            Err(BlobError::Offset { at: 8, have: 6 })
        ));
        assert!(matches!(
            blobs.upload_chunk(digest, 10, 6, b"67890"),
            Err(BlobError::TooLong { .. })
        ));
        blobs.upload_chunk(digest, 10, 6, b"6789").unwrap();
        blobs.finish_upload(digest).unwrap();
        assert_eq!(blobs.uploaded(digest, 10).unwrap(), 10);
        assert_eq!(blobs.verify(digest).unwrap(), 10);

        let empty = Sha256::compute(b"");
        for _ in 0..2 {
            assert_eq!(blobs.uploaded(empty, 0).unwrap(), 0);
            assert_eq!(blobs.upload_chunk(empty, 0, 0, b"").unwrap(), 0);
            blobs.finish_upload(empty).unwrap();
            assert_eq!(blobs.verify(empty).unwrap(), 0);
            assert!(!blobs.partial(empty).exists());
        }

        let wrong = Sha256::compute(b"x");
        blobs.upload_chunk(wrong, 1, 0, b"y").unwrap();
        assert!(matches!(blobs.finish_upload(wrong), Err(BlobError::Mismatch { .. })));
        assert_eq!(blobs.uploaded(wrong, 1).unwrap(), 0);
    }
}
