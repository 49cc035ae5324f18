//! The index from the checksums in look-aside lists to blobs, so that no tarball is fetched twice.
//!
//! Owns the files `KIND/ab/abcdef…`, each with the SHA-256 and size of a blob that was checked
//! against that checksum. A lost or outdated entry costs one download.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use rpmfarm_core::Sha256;
use rpmfarm_core::digest::Checksum;

use super::failure::ImportError;
use crate::blobs::Blobs;

/// The directory of the index.
#[derive(Debug, Clone)]
pub(super) struct ChecksumIndex {
    dir: PathBuf,
}

impl ChecksumIndex {
    pub(super) const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The blob with this checksum, its size, and the URL that it was fetched from, if the blob
    /// still exists.
    pub(super) fn find(&self, checksum: &Checksum, blobs: &Blobs) -> Option<(Sha256, u64, String)> {
        let text = fs::read_to_string(self.path(checksum)).ok()?;
        let mut words = text.trim_end().split(' ');
        let (digest, size) = (words.next()?, words.next()?);
        let from = words.next().unwrap_or("the look-aside cache").to_owned();
        let (digest, size) = (digest.parse().ok()?, size.parse().ok()?);
        let there = fs::metadata(blobs.path(digest)).is_ok_and(|file| file.len() == size);
        there.then_some((digest, size, from))
    }

    /// Records that a blob has this checksum.
    pub(super) fn note(
        &self,
        checksum: &Checksum,
        digest: Sha256,
        size: u64,
        from: &str,
    ) -> Result<(), ImportError> {
        let path = self.path(checksum);
        let dir = path.parent().expect("an entry lies in a directory");
        let written = fs::create_dir_all(dir).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            writeln!(file, "{digest} {size} {from}")?;
            file.persist(&path)?;
            Ok(())
        });
        written.map_err(|source| ImportError::Disk { path: path.display().to_string(), source })
    }

    fn path(&self, checksum: &Checksum) -> PathBuf {
        self.dir.join(checksum.kind.as_str()).join(&checksum.hex[..2]).join(&checksum.hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_counts_while_its_blob_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
        let index = ChecksumIndex::new(dir.path().join("index"));
        let checksum = Checksum::from_hex(&"a".repeat(128)).unwrap();
        assert_eq!(index.find(&checksum, &blobs), None);
        let digest = blobs.put(b"hello").unwrap();
        index.note(&checksum, digest, 5, "http://h/x").unwrap();
        assert_eq!(index.find(&checksum, &blobs), Some((digest, 5, "http://h/x".to_owned())));
        fs::write(blobs.path(digest), b"hell").unwrap();
        assert_eq!(index.find(&checksum, &blobs), None);
        fs::write(index.path(&checksum), "nonsense").unwrap();
        assert_eq!(index.find(&checksum, &blobs), None);
    }
}
