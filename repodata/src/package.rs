//! The repodata of one package: created once from its headers, stored, and put into every
//! repository with the package.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use quick_xml::Writer;
use rpmfarm_core::Sha256;
use rpmfarm_rpmfile::Headers;
use rpmrepo_metadata::{
    Checksum, FilelistsXml, OtherXml, Package, PackageOptions, PackageSource, PrimaryXml,
};

use crate::error::io_at;
use crate::{Document, RepodataError, Result};

/// Facts of a package's file that its headers lack. The digest and size must be those of the file
/// that clients will download: signing changes both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// SHA-256 of the whole file; repodata's pkgid.
    pub digest: Sha256,
    /// Size of the whole file in bytes.
    pub size: u64,
    /// Path of the file, relative to the root of the repository.
    pub href: String,
}

/// The three `<package>` elements of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragments {
    primary: Vec<u8>,
    filelists: Vec<u8>,
    other: Vec<u8>,
}

/// The largest size of stored fragments after decompression, in bytes: some hundred times the file
/// list of a kernel with its debugging symbols.
const MAX_OPEN: u64 = 2 << 30;

/// The number of changelog entries; createrepo_c's default.
const CHANGELOGS: usize = 10;

/// The first bytes of stored fragments, before compression: the version of their format.
const MAGIC: &[u8] = b"rpmfarm fragments 1\n";

impl Fragments {
    /// Whether the package's location has this part in its path, including slashes.
    #[must_use]
    pub fn lies_below(&self, part: &str) -> bool {
        self.primary.windows(part.len().max(1)).any(|window| window == part.as_bytes())
    }

    /// Describes the RPM at `path`. Only its headers are read.
    ///
    /// The file's modification time is given as the build time: the same package always gives
    /// the same bytes, wherever and whenever it was stored. Texts and paths that are not UTF-8 are
    /// converted as by createrepo_c.
    ///
    /// # Errors
    /// When the headers cannot be read, or say what XML cannot carry (control characters in
    /// names, dependencies or paths).
    pub fn of_rpm(path: &Path, file: &PackageFile) -> Result<Self> {
        let mut reader = BufReader::new(File::open(path).map_err(io_at(path))?);
        let headers = Headers::read(&mut reader).map_err(|source| RepodataError::Rpm {
            path: path.to_owned(),
            source: source.into(),
        })?;
        Self::of_headers(&headers, file).map_err(|source| RepodataError::Describe {
            path: path.to_owned(),
            source: source.into(),
        })
    }

    fn of_headers(
        headers: &Headers,
        file: &PackageFile,
    ) -> std::result::Result<Self, rpmrepo_metadata::MetadataError> {
        let source = PackageSource {
            checksum: Some(Checksum::Sha256(file.digest.hex())),
            size_package: Some(file.size),
            time_file: headers.metadata.get_build_time().unwrap_or_default(),
            location_href: file.href.clone(),
            location_base: None,
        };
        let options = PackageOptions { changelog_limit: CHANGELOGS, ..PackageOptions::default() };
        let mut package = Package::from_package_metadata(&headers.metadata, source, options)?;
        // The position in the file, not in the copy with texts converted to UTF-8.
        package.set_rpm_header_range(headers.header.start, headers.header.end);

        // The writers are used for single packages only: they write no header, so that its count
        // does not matter.
        let mut primary = PrimaryXml::new_writer(Writer::new(Vec::new()));
        primary.write_package(&package)?;
        let mut filelists = FilelistsXml::new_writer(Writer::new(Vec::new()));
        filelists.write_package(&package)?;
        let mut other = OtherXml::new_writer(Writer::new(Vec::new()));
        other.write_package(&package)?;
        let line = |mut bytes: Vec<u8>| {
            bytes.push(b'\n');
            bytes
        };
        Ok(Self {
            primary: line(primary.into_inner()),
            filelists: line(filelists.into_inner()),
            other: line(other.into_inner()),
        })
    }

    #[cfg(test)]
    pub(crate) fn of_texts(primary: &str, filelists: &str, other: &str) -> Self {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Self { primary: bytes(primary), filelists: bytes(filelists), other: bytes(other) }
    }

    /// The `<package>` element for a document, with a line feed behind it.
    #[must_use]
    pub fn get(&self, document: Document) -> &[u8] {
        match document {
            Document::Primary => &self.primary,
            Document::Filelists => &self.filelists,
            Document::Other => &self.other,
        }
    }

    /// The bytes to store: compressed, and the same for the same fragments.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut open = MAGIC.to_vec();
        for document in Document::ALL {
            let fragment = self.get(document);
            open.extend_from_slice(&(fragment.len() as u64).to_le_bytes());
            open.extend_from_slice(fragment);
        }
        zstd::encode_all(open.as_slice(), 3).expect("compression in memory has no way to fail")
    }

    /// Parses stored bytes.
    ///
    /// # Errors
    /// [`RepodataError::Fragments`] when they are not the result of [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| RepodataError::Fragments(what.to_owned());
        let unpacked = |error: std::io::Error| damaged(&error.to_string());
        let decoder = zstd::Decoder::new(bytes).map_err(unpacked)?;
        let mut open = Vec::new();
        decoder.take(MAX_OPEN).read_to_end(&mut open).map_err(unpacked)?;
        let mut rest = open.strip_prefix(MAGIC).ok_or_else(|| damaged("not the known format"))?;
        let mut fragment = || -> Result<Vec<u8>> {
            let mut length = [0; 8];
            rest.read_exact(&mut length).map_err(|_| damaged("cut short"))?;
            let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
            let (fragment, after) =
                rest.split_at_checked(length).ok_or_else(|| damaged("cut short"))?;
            rest = after;
            Ok(fragment.to_vec())
        };
        let fragments = Self { primary: fragment()?, filelists: fragment()?, other: fragment()? };
        if rest.is_empty() { Ok(fragments) } else { Err(damaged("trailing bytes")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_fragments_are_read_back_or_refused() {
        let fragments = Fragments::of_texts("<package type=\"rpm\"/>\n", "", "<package/>\n");
        let bytes = fragments.to_bytes();
        assert_eq!(bytes, fragments.to_bytes());
        assert_eq!(Fragments::from_bytes(&bytes).unwrap(), fragments);
        assert!(Fragments::from_bytes(&bytes[..bytes.len() - 3]).is_err());
        assert!(Fragments::from_bytes(b"").is_err());
        let other =
            zstd::encode_all(&b"rpmfarm fragments 1\n\xff\xff\xff\xff\xff\xff\xff\xff"[..], 3);
        assert!(Fragments::from_bytes(&other.unwrap()).is_err());
    }
}
