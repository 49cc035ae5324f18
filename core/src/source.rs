//! The sources of a package: the source bundle, a list of files by digest.
//!
//! The bundle of a commit has one spec and its sources; each file is a blob of its own, so that a
//! new commit with the same tarball stores and transfers only the changed files.

use serde::{Deserialize, Serialize};

use crate::Sha256;

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// A plain file name, checked by [`crate::name::check_file`].
    pub name: String,
    /// SHA-256 of the file, by which the blob store has it.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it is executable in git (mode 100755). rpm keeps the mode in the source package, and
    /// specs run such sources by their name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

/// The sources of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceBundle {
    /// Package name as the dist-git repository is named.
    pub package: String,
    /// The URL of the repository.
    pub url: String,
    /// Full commit id.
    pub commit: String,
    pub spec: SourceFile,
    /// All other files (patches, tarballs), sorted by name.
    pub sources: Vec<SourceFile>,
    /// The modifications that are applied; `None` when it is as upstream has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modification: Option<Modification>,
    /// The steps that are left for the build cage: a plan of `rpmfarm-sources`. The spec and the
    /// sources are then those before the first script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<SourceFile>,
}

/// A commit of a package's modifications. Together with the upstream commit it identifies the
/// sources of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modification {
    /// The URL of the repository.
    pub url: String,
    /// Full commit id.
    pub commit: String,
    /// The configuration that was applied.
    pub config: String,
}

words! {
    /// The state of an action in a preview of modifications.
    pub enum ActionState: "state of an action" {
        /// It was applied and is in the diff.
        Applied = "applied",
        /// A script: it runs in the sandbox, and its changes are not in the diff.
        Sandbox = "sandbox",
        /// It cannot be applied now, but comes after a script that may change that.
        AfterScript = "after-script",
        /// It cannot be applied: an import would fail.
        Failed = "failed",
        /// It comes after an action that failed.
        NotTried = "not-tried",
    }
}

/// The record of a build's sources and of where each came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The branch, tag or commit that was followed.
    pub git_ref: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modification: Option<Modification>,
    /// The first line of the modifications' commit message.
    #[serde(default)]
    pub modification_subject: String,
    /// Names of the scripts that run in the build cage, in order.
    #[serde(default)]
    pub scripts: Vec<String>,
    /// Whether the release was raised for a rebuild without a change.
    #[serde(default)]
    pub bump: bool,
    /// The spec and every source, sorted by name.
    pub files: Vec<SourceOrigin>,
    /// Notes on the sources, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where a source file came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceOrigin {
    /// Its name in the source package.
    pub name: String,
    /// SHA-256 of the file, by which the blob store has it.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// `git`, `modifications`, or the URL that a look-aside file was fetched from.
    pub from: String,
    /// The checksum of a look-aside file in git, `sha512:HEX`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checksum: String,
}

impl SourceBundle {
    /// The bytes that are stored and whose digest is the bundle's name.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a bundle has no map with keys that JSON lacks")
    }

    /// Reads the stored bytes.
    ///
    /// # Errors
    /// When they are not a bundle.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_without_modifications_has_the_bytes_that_it_had_before_there_were_any() {
        let file = SourceFile {
            name: "x.spec".into(),
            digest: Sha256::compute(b"x"),
            size: 1,
            executable: false,
        };
        let bundle = SourceBundle {
            package: "x".into(),
            url: "u".into(),
            commit: "c".into(),
            spec: file,
            sources: Vec::new(),
            modification: None,
            plan: None,
        };
        let text = String::from_utf8(bundle.to_bytes()).unwrap();
        for absent in ["modification", "plan", "executable"] {
            assert!(!text.contains(absent), "{text}");
        }
        assert_eq!(SourceBundle::from_bytes(text.as_bytes()).unwrap(), bundle);
    }

    #[test]
    fn a_file_keeps_whether_it_is_a_program() {
        let file = SourceFile {
            name: "x".into(),
            digest: Sha256::compute(b"x"),
            size: 1,
            executable: true,
        };
        let text = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<SourceFile>(&text).unwrap(), file, "{text}");
    }
}
