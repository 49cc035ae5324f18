//! The farm's token, which guards every call that writes: made at the first start, and kept in a
//! file that only its owner can read.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use subtle::ConstantTimeEq as _;

/// The farm's token.
#[derive(Clone)]
pub struct FarmToken(String);

impl FarmToken {
    /// Reads the token from a file, or makes one there.
    ///
    /// # Errors
    /// When the file cannot be read or made, or is empty.
    pub fn load_or_make(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            create(path)
                .with_context(|| format!("cannot make the token file {}", path.display()))?;
        }
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the token file {}", path.display()))?;
        let text = text.trim().to_owned();
        anyhow::ensure!(
            text.len() >= 32,
            "the token file {} holds no token; remove it and start again",
            path.display()
        );
        Ok(Self(text))
    }

    /// Whether a call's `authorization` metadata contains the token. Takes the same time for every
    /// wrong token of one length.
    #[must_use]
    pub fn admits(&self, authorization: &str) -> bool {
        authorization
            .strip_prefix("Bearer ")
            .is_some_and(|given| given.as_bytes().ct_eq(self.0.as_bytes()).into())
    }
}

fn create(path: &Path) -> std::io::Result<()> {
    let bytes: [u8; 32] = rand::random();
    // Renamed into place, because another process may be reading or making the file at the same
    // time.
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".token").tempfile_in(directory)?;
    writeln!(file, "{}", hex::encode(bytes))?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        // Another process has made the farm's token first.
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop).map_err(|error| error.error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn made_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let token = FarmToken::load_or_make(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(token.admits(&format!("Bearer {}", text.trim())));
        assert!(!token.admits(text.trim()));
        assert!(!token.admits("Bearer "));
        assert!(!token.admits(&format!("Bearer {}0", text.trim())));
        assert!(FarmToken::load_or_make(&path).unwrap().admits(&format!("Bearer {}", text.trim())));

        fs::write(&path, "").unwrap();
        assert!(FarmToken::load_or_make(&path).is_err());
    }
}
