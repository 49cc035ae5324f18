//! Keys of Ed25519 (RFC 8032): created at the first start, and readable only by their owner.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use pem::{EncodeConfig, LineEnding, Pem};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rpmfarm_core::statement::{Hex, PublicKey, Signature};

use crate::path::{NotPrivate, PathError, check_private, io_at};

/// The label of a secret key in PEM (PKCS #8, RFC 5958).
const SECRET: &str = "PRIVATE KEY";

/// The label of a public key in PEM.
const PUBLIC: &str = "PUBLIC KEY";

/// The bytes before the 32 bytes of a public key (SubjectPublicKeyInfo, RFC 8410).
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// The largest file of a key, in bytes.
const MAX_FILE: u64 = 4096;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Reading or writing the file failed.
    #[error(transparent)]
    Io(#[from] PathError),
    /// The file is not a key.
    #[error("{path} is no {expected} of Ed25519", path = .path.display())]
    Unreadable {
        path: PathBuf,
        /// The expected content.
        expected: &'static str,
    },
    /// Other users can read the secret key.
    #[error(transparent)]
    NotPrivate(#[from] NotPrivate),
    /// The system has no random numbers.
    #[error("cannot make a key: the system has no random numbers")]
    Random,
}

pub struct SigningKey(Ed25519KeyPair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

impl SigningKey {
    /// Reads the key in a file; creates file and directory if they do not exist.
    ///
    /// # Errors
    /// When the file is not a key, other users can read it, or reading or writing fails.
    pub fn load_or_make(path: &Path) -> Result<Self, KeyError> {
        if !io_at(path, path.try_exists())? {
            make(path)?;
        }
        let file = io_at(path, File::open(path))?;
        check_private(path, &io_at(path, file.metadata())?)?;
        let text = io_at(path, io::read_to_string(io::Read::take(file, MAX_FILE)))?;
        let pair = pem::parse(text).ok().filter(|pem| pem.tag() == SECRET);
        // Keys that other programs wrote may lack the public part.
        let pair =
            pair.and_then(|pem| Ed25519KeyPair::from_pkcs8_maybe_unchecked(pem.contents()).ok());
        let (path, expected) = (path.to_owned(), "secret key");
        pair.map(Self).ok_or(KeyError::Unreadable { path, expected })
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        Hex(bytes)
    }

    /// Signs bytes. The same bytes have the same signature.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.0.sign(bytes).as_ref());
        Hex(signature)
    }
}

/// Whether a key has signed bytes.
#[must_use]
pub fn verify(key: &PublicKey, bytes: &[u8], signature: &Signature) -> bool {
    UnparsedPublicKey::new(&ED25519, &key.0).verify(bytes, &signature.0).is_ok()
}

/// A public key as PEM, as other programs read it.
#[must_use]
pub fn public_pem(key: &PublicKey) -> String {
    encoded(PUBLIC, [PUBLIC_PREFIX.as_slice(), key.0.as_slice()].concat())
}

/// Reads the public key in a file, as PEM or as 64 hex digits.
///
/// # Errors
/// When the file cannot be read or is not such a key.
pub fn read_public(path: &Path) -> Result<PublicKey, KeyError> {
    let file = io_at(path, File::open(path))?;
    let text = io_at(path, io::read_to_string(io::Read::take(file, MAX_FILE)))?;
    let (path, expected) = (path.to_owned(), "public key (PEM or 64 hex digits)");
    parse_public(text.trim()).ok_or(KeyError::Unreadable { path, expected })
}

fn parse_public(text: &str) -> Option<PublicKey> {
    if let Ok(key) = text.parse() {
        return Some(key);
    }
    let pem = pem::parse(text).ok().filter(|pem| pem.tag() == PUBLIC)?;
    let bytes = pem.contents().strip_prefix(PUBLIC_PREFIX.as_slice())?;
    bytes.try_into().ok().map(Hex)
}

fn encoded(tag: &str, bytes: Vec<u8>) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new(tag, bytes), config)
}

/// Creates a key file, complete or not at all.
fn make(path: &Path) -> Result<(), KeyError> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
    let text = encoded(SECRET, key.as_ref().to_vec());
    let dir = path.parent().unwrap_or(Path::new("."));
    let written = || -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let beside = path.with_extension("new");
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(dir)?.sync_all()
    };
    Ok(io_at(path, written())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::process::Command;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/signing.key");
        let key = SigningKey::load_or_make(&path).unwrap();
        let again = SigningKey::load_or_make(&path).unwrap();
        assert_eq!(key.public(), again.public());
        assert_eq!(key.sign(b"x"), again.sign(b"x"));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = SigningKey::load_or_make(&path).unwrap_err().to_string();
        assert!(error.contains("mode 0640") && error.contains("chmod go= "), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "x").unwrap();
        let error = SigningKey::load_or_make(&path).unwrap_err().to_string();
        assert!(error.contains("is no secret key of Ed25519"), "{error}");
    }

    #[test]
    fn only_the_key_signs_and_only_these_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] =
            ["1", "2"].map(|name| SigningKey::load_or_make(&dir.path().join(name)).unwrap());
        let signature = one.sign(b"text");
        assert!(verify(&one.public(), b"text", &signature));
        assert!(!verify(&one.public(), b"texts", &signature));
        assert!(!verify(&other.public(), b"text", &signature));
        assert!(!verify(&one.public(), b"text", &Hex([0; 64])));
    }

    #[test]
    fn public_keys_are_read_as_others_write_them() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, public) = (dir.path().join("secret"), dir.path().join("public"));
        let key = SigningKey::load_or_make(&secret).unwrap().public();
        for text in [public_pem(&key), key.to_string(), format!("{key}\n")] {
            fs::write(&public, text).unwrap();
            assert_eq!(read_public(&public).unwrap(), key);
        }
        for text in ["", "ab", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            fs::write(&public, text).unwrap();
            let error = read_public(&public).unwrap_err().to_string();
            assert!(error.contains("is no public key (PEM or 64 hex digits)"), "{error}");
        }
        // One of openssl, both parts.
        let openssl = |words: &[&str]| {
            let done = Command::new("openssl").args(words).current_dir(dir.path()).status();
            assert!(done.unwrap().success(), "{words:?}");
        };
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", "theirs"]);
        openssl(&["pkey", "-in", "theirs", "-pubout", "-out", "theirs.pub"]);
        let theirs = dir.path().join("theirs");
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
        let theirs = SigningKey::load_or_make(&theirs).unwrap().public();
        assert_eq!(read_public(&dir.path().join("theirs.pub")).unwrap(), theirs);
    }
}
