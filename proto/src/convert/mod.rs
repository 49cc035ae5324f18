//! Wire ↔ domain, in both directions, each with its checks.
//!
//! This file has what every message needs: the error of an invalid one, how fields are read, and
//! files by digest. `accepted` has acceptances, `batches` the order of batches, `desired` what the
//! coordinator tells a worker, `reported` what a worker tells, `options` what a person asks for,
//! `words` the states and stages of all of them.

mod accepted;
mod batches;
mod desired;
mod options;
mod reported;
mod words;

use rpmfarm_core::source::SourceFile;
use rpmfarm_core::{Arch, name};

use crate::v1;

/// A message that does not say what its type needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field is absent.
    #[error("{message} lacks its {field}")]
    Missing {
        /// Its name in the protocol, such as `Failure`.
        message: &'static str,
        /// The field's name in the protocol.
        field: &'static str,
    },
    /// A field has a value that means nothing.
    #[error("{field}: {reason}")]
    Bad {
        /// The field's name in the protocol.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<WireError> for tonic::Status {
    fn from(error: WireError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// Requirements or names beyond this number are no list that a package has.
const MAX_NAMES: usize = 100_000;

fn parse<T: std::str::FromStr<Err: ToString>>(
    field: &'static str,
    text: &str,
) -> Result<T, WireError> {
    text.parse().map_err(|error: T::Err| WireError::Bad { field, reason: error.to_string() })
}

fn present<T>(
    message: &'static str,
    field: &'static str,
    value: Option<T>,
) -> Result<T, WireError> {
    value.ok_or(WireError::Missing { message, field })
}

/// Architectures that a list names at most: far more than there are.
const MAX_ARCHES: usize = 64;

fn arches(words: &[String]) -> Result<Vec<Arch>, WireError> {
    if words.len() > MAX_ARCHES {
        let reason = format!("{} architectures, at most {MAX_ARCHES}", words.len());
        return Err(WireError::Bad { field: "arch", reason });
    }
    words.iter().map(|word| parse("arch", word)).collect()
}

fn bounded(field: &'static str, list: Vec<String>) -> Result<Vec<String>, WireError> {
    at_most(MAX_NAMES, field, list)
}

fn at_most<T>(most: usize, field: &'static str, list: Vec<T>) -> Result<Vec<T>, WireError> {
    if list.len() <= most {
        return Ok(list);
    }
    Err(WireError::Bad { field, reason: format!("{} entries, at most {most}", list.len()) })
}

impl From<&SourceFile> for v1::FileRef {
    fn from(file: &SourceFile) -> Self {
        Self {
            name: file.name.clone(),
            digest: file.digest.hex(),
            size: file.size,
            executable: file.executable,
        }
    }
}

impl TryFrom<v1::FileRef> for SourceFile {
    type Error = WireError;

    fn try_from(file: v1::FileRef) -> Result<Self, WireError> {
        name::check_file(&file.name)
            .map_err(|error| WireError::Bad { field: "file name", reason: error.to_string() })?;
        Ok(Self {
            digest: parse("file digest", &file.digest)?,
            name: file.name,
            size: file.size,
            executable: file.executable,
        })
    }
}

/// A stranger's line: no control characters, no endless length.
fn clip(line: &str, chars: usize) -> String {
    line.chars()
        .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
        .take(chars)
        .collect()
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::Sha256;

    use super::*;

    /// A file that exists in name only.
    pub(super) fn file(name: &str) -> SourceFile {
        SourceFile {
            name: name.into(),
            digest: Sha256::compute(name.as_bytes()),
            size: 3,
            executable: false,
        }
    }

    #[test]
    fn a_file_keeps_whether_it_is_a_program() {
        for executable in [false, true] {
            let file = SourceFile { executable, ..file("x") };
            let wire = v1::FileRef::from(&file);
            assert_eq!(SourceFile::try_from(wire).ok(), Some(file));
        }
    }

    #[test]
    fn what_is_no_file_name_or_digest_is_refused() {
        for name in ["../x", "a/b", ""] {
            let wire = v1::FileRef { name: name.into(), ..(&file("x")).into() };
            assert!(SourceFile::try_from(wire).is_err(), "{name}");
        }
        let wire = v1::FileRef { digest: "12".into(), ..(&file("x")).into() };
        assert!(SourceFile::try_from(wire).is_err());
    }
}
