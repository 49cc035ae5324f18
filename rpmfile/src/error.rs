//! Why an RPM file is refused. The messages do not name the file: whoever called knows which
//! name means something to its reader.

use std::io;

/// Why an RPM file is refused, or could not be handled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RpmError {
    /// It does not begin as an RPM does.
    #[error("not an RPM file (it does not start with the RPM magic)")]
    NotRpm,
    /// It ends inside something.
    #[error("truncated: {found} bytes long, but {place} would end at {expected}")]
    Truncated {
        /// What is cut off.
        place: &'static str,
        /// Where that would end, in bytes from the start of the file.
        expected: u64,
        /// How long the file is.
        found: u64,
    },
    /// It goes on after its end.
    #[error("{extra} trailing bytes after {place}")]
    Trailing {
        /// The part that should have been the last, such as `the archive`.
        place: &'static str,
        /// How many bytes are beyond it.
        extra: u64,
    },
    /// A header is not well formed.
    #[error("malformed {place}: {reason}")]
    Malformed {
        /// Which header, such as `signature header`.
        place: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A header is larger than is accepted.
    #[error("the {place} claims {size} bytes, more than the {limit} that are accepted")]
    TooLarge {
        /// Which header, such as `signature header`.
        place: &'static str,
        /// What its index claims, in bytes.
        size: u64,
        /// The largest that is accepted, in bytes.
        limit: u64,
    },
    /// It is not the file that was meant.
    #[error("another file: its SHA-256 is {found}, not {expected}")]
    OtherFile {
        /// Of the file that was meant.
        expected: rpmfarm_core::Sha256,
        /// Of the file that was read.
        found: rpmfarm_core::Sha256,
    },
    /// A digest is not what it should be.
    #[error("{what} does not match: the file says {expected}, its content has {found}")]
    Digest {
        /// Which digest, as people call it.
        what: &'static str,
        /// The one written in the file.
        expected: String,
        /// The one computed from the content.
        found: String,
    },
    /// A digest that the farm relies on is not there.
    #[error("no {what} (packages made by rpm 4.14 or later have it)")]
    NoDigest {
        /// Which digest, as people call it.
        what: &'static str,
    },
    /// A tag is missing or has no meaning.
    #[error("tag {tag}: {reason}")]
    Tag {
        /// RPM's name of the tag.
        tag: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The payload is compressed in a way that is not known.
    #[error("payload compressor `{0}` is not supported (known: zstd, xz, lzma, gzip, bzip2)")]
    Compressor(String),
    /// The compressed stream is damaged, or is a bomb.
    #[error("payload: {0}")]
    Payload(String),
    /// The archive holds something it must not.
    #[error("payload entry `{name}`: {reason}")]
    Entry {
        /// The entry, made fit to be shown.
        name: String,
        /// Why it is refused.
        reason: String,
    },
    /// There is no signature of the header.
    #[error("not signed (there is no signature of the header)")]
    Unsigned,
    /// The signature is there and is not accepted.
    #[error("signature by key {key}: {reason}")]
    Signature {
        /// Key id, as far as it is known.
        key: String,
        /// Why it is not accepted.
        reason: String,
    },
    /// The certificates are not usable.
    #[error("public keys: {0}")]
    Certs(String),
    /// The system said no.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// What the system said.
        source: io::Error,
    },
}

impl RpmError {
    /// An error of the system, with what was being done.
    pub(crate) fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        move |source| Self::Io { context, source }
    }

    /// A payload entry that is refused.
    pub(crate) fn entry(name: &[u8], reason: impl Into<String>) -> Self {
        let name = String::from_utf8_lossy(name);
        Self::Entry { name: rpmfarm_core::name::shown(&name), reason: reason.into() }
    }

    /// A tag that is refused.
    pub(crate) fn tag(tag: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Tag { tag, reason: rpmfarm_core::name::shown(&reason.to_string()) }
    }
}
