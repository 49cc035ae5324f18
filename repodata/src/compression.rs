//! How documents are compressed: as a row of members, each of which can be read by itself.
//!
//! Both gzip (RFC 1952, 2.2) and zstd (RFC 8878, 3) say that compressed streams written one
//! after the other are the compressed form of their contents written one after the other. So a
//! member that did not change is copied as it is, and only changed ones are compressed again.
//!
//! gzip is the default because every client reads it (docs/decisions/0012).

use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};

/// The format of the compressed documents of a repository.
///
/// Gzip is the default: every client and tool since EL5 reads it, among them createrepo_c of
/// EL8 and EL9, which do not read zstd when they update or merge a repository. Zstd is a fifth
/// smaller and faster for clients that are known to read it (dnf of EL8 and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// The format of RFC 1952.
    #[default]
    Gzip,
    /// Zstandard, the format of RFC 8878.
    Zstd,
}

/// Higher levels make the documents of real distributions less than 2 % smaller.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 9;

impl Compression {
    /// The extension of file names.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
        }
    }

    /// Writes one member to `out`: `fill` writes its uncompressed content.
    pub(crate) fn member<W: Write, E: From<io::Error>>(
        self,
        out: W,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
                fill(&mut encoder)?;
                encoder.finish()?;
            }
            Self::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                fill(&mut encoder)?;
                encoder.finish()?;
            }
        }
        Ok(())
    }

    /// Reads the uncompressed content of whole members; their own checksums are compared on the
    /// way.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub fn open<'a>(self, packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            Self::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
        })
    }
}
