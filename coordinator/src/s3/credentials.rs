//! The key by which requests are signed: from a file that only its owner can read, or from the
//! environment. It is written nowhere else.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// A key of S3.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads a file, or without one the variables that the tools of S3 read, too.
    ///
    /// # Errors
    /// When others can read the file, or when a part is missing.
    pub(super) fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        match file {
            Some(file) => Self::of_file(file),
            None => {
                Self::of_variables(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
            }
        }
    }

    fn of_file(file: &Path) -> anyhow::Result<Self> {
        let name = file.display();
        let metadata = fs::metadata(file).with_context(|| format!("cannot read {name}"))?;
        ensure!(metadata.mode() & 0o077 == 0, "others can read the key {name}; chmod 600 it");
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        // The parser's message would quote the line, and so the key.
        toml::from_str(&text).map_err(|_| {
            anyhow::anyhow!(
                "{name}: expected access_key_id = \"…\", secret_access_key = \"…\" and perhaps \
                 session_token = \"…\""
            )
        })
    }

    fn of_variables(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let needed = |name: &str| {
            variable(name).with_context(|| {
                format!("{name} is not set; set it, or give a file (--s3-credentials)")
            })
        };
        Ok(Self {
            access_key_id: needed("AWS_ACCESS_KEY_ID")?,
            secret_access_key: needed("AWS_SECRET_ACCESS_KEY")?,
            session_token: variable("AWS_SESSION_TOKEN"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_key_is_read_from_a_private_file_or_the_environment() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s3.toml");
        let write = |text: &str, mode: u32| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            Credentials::read(Some(&file)).map_err(|error| format!("{error:#}"))
        };
        let text = "access_key_id = \"id\"\nsecret_access_key = \"hidden\"\n";
        let read = write(text, 0o600).unwrap();
        assert_eq!(
            (read.access_key_id.as_str(), read.secret_access_key.as_str()),
            ("id", "hidden")
        );
        assert!(!format!("{read:?}").contains("hidden"));
        assert!(write(text, 0o640).unwrap_err().contains("chmod 600"));
        let error = write("secret_access_key = \"hidden\nx", 0o600).unwrap_err();
        assert!(error.contains("access_key_id") && !error.contains("hidden"), "{error}");

        let of = |names: &[&str]| {
            Credentials::of_variables(|name| names.contains(&name).then(|| name.to_lowercase()))
        };
        let both = of(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]).unwrap();
        assert_eq!((both.access_key_id.as_str(), both.session_token), ("aws_access_key_id", None));
        let error = of(&["AWS_ACCESS_KEY_ID"]).unwrap_err().to_string();
        assert!(error.contains("AWS_SECRET_ACCESS_KEY") && error.contains("--s3-credentials"));
    }
}
