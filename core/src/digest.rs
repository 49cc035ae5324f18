//! Digests: the SHA-256 that names every blob of the farm, and the older kinds that
//! dist-git still writes. Owns parsing and printing; computing over files is done by whoever
//! reads the file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A SHA-256 digest: the name of a blob. Printed and stored as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

/// Text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} digest (expected {digits} hex digits)")]
pub struct DigestError {
    text: String,
    kind: &'static str,
    digits: &'static str,
}

impl Sha256 {
    /// Digest of bytes that are in memory.
    #[must_use]
    pub fn compute(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// A digest computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for Sha256 {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let mut bytes = [0; 32];
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) => Ok(Self(bytes)),
            Err(_) => Err(DigestError { text: clip(text), kind: "SHA-256", digits: "64" }),
        }
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

words! {
    /// The kinds of digest that look-aside caches use.
    pub enum DigestKind: "kind of digest" {
        /// MD5: refused unless a target allows it.
        Md5 = "md5",
        /// SHA-1: CentOS 7 and 8 imports.
        Sha1 = "sha1",
        /// SHA-256: exploded layouts of EL8 and later.
        Sha256 = "sha256",
        /// SHA-512: flat layouts.
        Sha512 = "sha512",
    }
}

impl DigestKind {
    /// Hex digits of a digest of this kind.
    #[must_use]
    pub const fn digits(self) -> usize {
        match self {
            Self::Md5 => 32,
            Self::Sha1 => 40,
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// The kind that has so many hex digits.
    #[must_use]
    pub const fn from_digits(digits: usize) -> Option<Self> {
        match digits {
            32 => Some(Self::Md5),
            40 => Some(Self::Sha1),
            64 => Some(Self::Sha256),
            128 => Some(Self::Sha512),
            _ => None,
        }
    }
}

/// A digest of a named kind, as dist-git names a tarball. The hex is lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checksum {
    /// Which function made it.
    pub kind: DigestKind,
    /// Lower-case hex digits.
    pub hex: String,
}

impl Checksum {
    /// Reads hex digits; their number determines the kind.
    ///
    /// # Errors
    /// When the text is not hex or its length belongs to no known kind.
    pub fn from_hex(text: &str) -> Result<Self, DigestError> {
        let error = || DigestError { text: clip(text), kind: "known", digits: "32, 40, 64 or 128" };
        let kind = DigestKind::from_digits(text.len()).ok_or_else(error)?;
        if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(error());
        }
        Ok(Self { kind, hex: text.to_ascii_lowercase() })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.hex)
    }
}

/// Keeps what a stranger wrote to a length that a message can carry.
fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(140).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_it_parses() {
        let digest = Sha256::compute(b"abc");
        assert_eq!(
            digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.hex().parse(), Ok(digest));
        assert!("ba78".parse::<Sha256>().is_err());
        let json = serde_json::to_string(&digest).expect("serialises");
        assert_eq!(serde_json::from_str::<Sha256>(&json).expect("parses"), digest);
    }

    #[test]
    fn kind_follows_length() {
        for kind in [DigestKind::Md5, DigestKind::Sha1, DigestKind::Sha256, DigestKind::Sha512] {
            let text = "A".repeat(kind.digits());
            let checksum = Checksum::from_hex(&text).expect("hex");
            assert_eq!(checksum.kind, kind);
            assert_eq!(checksum.hex, text.to_lowercase());
        }
        assert!(Checksum::from_hex("").is_err());
        assert!(Checksum::from_hex(&"g".repeat(64)).is_err());
    }
}
