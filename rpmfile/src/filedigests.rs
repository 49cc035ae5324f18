//! The digests of single files in a main header, compared with the archive.
//!
//! dnf checks them when it installs a file: a package with a wrong one could be signed and
//! published, and every machine would refuse it.

use std::io::{self, Read};

use md5::Md5;
use rpm::IndexTag;
use rpmfarm_core::Sha256;
use sha1::Sha1;
use sha2::digest::DynDigest;

use crate::archive::Member;
use crate::files::{FileKind, FileList};
use crate::headers::Headers;
use crate::{Result, RpmError, blob};

const CHUNK: usize = 64 << 10;

/// MD5 in `FILEDIGESTALGO`, which counts as OpenPGP does (RFC 9580, 9.5). A header without the tag
/// has MD5.
const MD5: u32 = 1;
const SHA256: u32 = 8;

/// The digests of a header's files.
pub(crate) struct FileDigests<'a> {
    files: &'a FileList,
    algorithm: u32,
    expected: Vec<&'a [u8]>,
    /// Whether to compute the SHA-256 of each file, whatever the header has.
    sha256_too: bool,
    found: Vec<(Vec<u8>, Sha256)>,
    buffer: Vec<u8>,
}

impl<'a> FileDigests<'a> {
    pub(crate) fn from_headers(
        headers: &'a Headers,
        files: &'a FileList,
        is_source: bool,
    ) -> Result<Self> {
        let header = &headers.metadata.header;
        let algorithm =
            header.get_entry_data_as_u32(IndexTag::RPMTAG_FILEDIGESTALGO).unwrap_or(MD5);
        let expected = blob::texts(headers.main(), IndexTag::RPMTAG_FILEDIGESTS.into());
        let has_content = |kind: &FileKind| *kind == FileKind::Regular;
        let wanted = files.entries.iter().any(|entry| has_content(&entry.kind) && !entry.ghost);
        if wanted && expected.len() != files.entries.len() {
            return Err(RpmError::tag("FILEDIGESTS", "there is not one digest for each file"));
        }
        let (found, buffer) = (Vec::new(), vec![0; CHUNK]);
        Ok(Self { files, algorithm, expected, sha256_too: is_source, found, buffer })
    }

    /// Reads the content of an entry and compares its digest.
    pub(crate) fn check(&mut self, member: Member, content: &mut impl Read) -> Result<()> {
        let entry = &self.files.entries[member.index];
        // Of several names of one file, the archive has the content at the last.
        if entry.kind != FileKind::Regular || member.size < entry.size {
            return Ok(());
        }
        let mut hasher = hasher(self.algorithm)?;
        let mut sha256 = (self.sha256_too && self.algorithm != SHA256)
            .then(|| Box::new(sha2::Sha256::default()) as Box<dyn DynDigest>);
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(RpmError::Payload(error.to_string())),
            };
            hasher.update(&self.buffer[..count]);
            if let Some(sha256) = &mut sha256 {
                sha256.update(&self.buffer[..count]);
            }
        }
        let found = hasher.finalize();
        let expected = self.expected.get(member.index).copied().unwrap_or_default();
        if hex::encode(&found).as_bytes() != expected {
            let expected = rpmfarm_core::name::shown(&String::from_utf8_lossy(expected));
            let reason = format!(
                "has the digest {} in the archive, and `{expected}` in the header",
                hex::encode(&found)
            );
            return Err(RpmError::entry(&entry.path, reason));
        }
        if self.sha256_too {
            let bytes = sha256.map_or(found, DynDigest::finalize);
            let bytes: [u8; 32] = bytes.as_ref().try_into().expect("a SHA-256 has 32 bytes");
            self.found.push((entry.path.clone(), Sha256::from_bytes(bytes)));
        }
        Ok(())
    }

    /// The SHA-256 of each file, if requested.
    pub(crate) fn into_found(self) -> Vec<(Vec<u8>, Sha256)> {
        self.found
    }
}

fn hasher(algorithm: u32) -> Result<Box<dyn DynDigest>> {
    Ok(match algorithm {
        MD5 => Box::new(Md5::default()),
        2 => Box::new(Sha1::default()),
        SHA256 => Box::new(sha2::Sha256::default()),
        9 => Box::new(sha2::Sha384::default()),
        10 => Box::new(sha2::Sha512::default()),
        11 => Box::new(sha2::Sha224::default()),
        other => {
            let reason = format!("algorithm {other} is not known (expected 1, 2, 8, 9, 10 or 11)");
            return Err(RpmError::tag("FILEDIGESTALGO", reason));
        }
    })
}
