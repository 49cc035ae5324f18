//! What may be signed: the rules, without keys or sockets.

use std::path::PathBuf;

use rpmfarm_core::signing::{RepositoryId, SignedPage};
use rpmfarm_core::statement::{Acceptance, PublicKey, SignedAcceptance};
use rpmfarm_core::{Nevra, Sha256, name};
use rpmfarm_guarded::key::verify;
use rpmfarm_rpmfile::{Headers, nevra, payload_digest};

use crate::memory::SignedBeforeError;
use crate::repomd::{self, RepomdError};

/// Largest file that is signed, in bytes.
pub const MAX_FILE: usize = 1 << 20;

/// Asks for a signature over a header.
#[derive(Debug, Clone)]
pub struct HeaderRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    /// The target that it is for.
    pub target: &'a str,
    /// The package that was accepted.
    pub nevra: Nevra,
    /// The main header's bytes.
    pub header: &'a [u8],
    pub header_digest: Sha256,
    /// Digest of the whole unsigned file.
    pub artifact_digest: Sha256,
    /// The build whose acceptance lets it be signed.
    pub build: u64,
    /// That the package was accepted, where the request has it.
    pub acceptance: Option<SignedAcceptance>,
}

/// Asks for a detached signature over a `repomd.xml`.
#[derive(Debug, Clone)]
pub struct RepomdRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    pub place: RepositoryId,
    /// Its bytes.
    pub data: &'a [u8],
}

/// Why something is not signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request names no build.
    #[error("no build number: only accepted results of a build are signed")]
    NoBuild,
    /// The target's name is not one.
    #[error("`{}` is not the name of a target", name::shown(.0))]
    Target(String),
    /// The key is for other targets.
    #[error("the key `{key}` does not sign for the target `{target}`: it is bound to {bound}")]
    Bound {
        /// Name of the key.
        key: String,
        /// The target that was asked for.
        target: String,
        /// The targets that it signs for.
        bound: String,
    },
    /// Something else was signed before.
    #[error(transparent)]
    Known(#[from] SignedBeforeError),
    /// The package's file is not what was said of it.
    #[error("the accepted file {path}: {reason}", path = .path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        reason: String,
    },
    /// No acceptor that is known has accepted the package.
    #[error("{nevra}: {reason}")]
    NotAccepted {
        /// The package, as the request has it.
        nevra: String,
        /// The missing or wrong part.
        reason: String,
    },
    /// The header is not the one that was meant.
    #[error("the header has SHA-256 {found}, the request says {requested}")]
    HeaderDigest {
        /// Of the bytes.
        found: Sha256,
        /// As the request has it.
        requested: Sha256,
    },
    /// The bytes are not a header, or one that says too little.
    #[error("the header of {nevra}: {reason}")]
    Header {
        /// The package, as the request has it.
        nevra: String,
        reason: String,
    },
    /// The header is of another package.
    #[error("the header is of {found}, the request says {requested}")]
    Nevra {
        /// As the header has it.
        found: String,
        /// As the request has it.
        requested: String,
    },
    /// The file is not of a kind that is signed.
    #[error("not a repomd.xml, the only kind of file that is signed: {0}")]
    NotRepomd(RepomdError),
    /// The file is too large.
    #[error("{0} bytes are more than the {MAX_FILE} that are signed")]
    TooLarge(usize),
}

impl HeaderRequest<'_> {
    /// Checks that the header is one of the package that was accepted, and that signing it
    /// covers the payload too.
    ///
    /// # Errors
    /// With the first rule that is not kept.
    pub fn check(&self) -> Result<(), RequestError> {
        check_target(self.target)?;
        if self.build == 0 {
            return Err(RequestError::NoBuild);
        }
        let found = Sha256::compute(self.header);
        if found != self.header_digest {
            return Err(RequestError::HeaderDigest { found, requested: self.header_digest });
        }
        let refused = |error: rpmfarm_rpmfile::RpmError| RequestError::Header {
            nevra: self.nevra.to_string(),
            reason: error.to_string(),
        };
        let headers = Headers::from_main(self.header).map_err(refused)?;
        let found = nevra(&headers.metadata).map_err(refused)?;
        if found != self.nevra {
            let (found, requested) = (found.to_string(), self.nevra.to_string());
            return Err(RequestError::Nevra { found, requested });
        }
        payload_digest(&headers.metadata).map_err(refused)?;
        Ok(())
    }

    /// Checks that one of these acceptors has accepted this very package for this target.
    ///
    /// # Errors
    /// When there is no acceptance, it is signed by another key, or is about something else.
    pub fn check_accepted(&self, acceptors: &[PublicKey]) -> Result<Acceptance, RequestError> {
        let refused =
            |reason: String| RequestError::NotAccepted { nevra: self.nevra.to_string(), reason };
        let SignedAcceptance { text, signature } = self.acceptance.as_ref().ok_or_else(|| {
            refused(
                "the acceptor has not accepted it (is the coordinator started with \
                 --acceptor-socket? What was accepted before there was an acceptor must be signed \
                 before the signer asks for it)"
                    .to_owned(),
            )
        })?;
        if !acceptors.iter().any(|key| verify(key, text.as_bytes(), signature)) {
            return Err(refused(
                "its acceptance is signed by none of the --acceptor keys".to_owned(),
            ));
        }
        let found = Acceptance::parse(text).map_err(|error| refused(error.to_string()))?;
        let requested = Acceptance {
            target: self.target.to_owned(),
            nevra: self.nevra.to_string(),
            file: self.artifact_digest,
            header: self.header_digest,
            ..found.clone()
        };
        match differing(&found, &requested) {
            Some(what) => Err(refused(format!("its acceptance is of another {what}"))),
            None => Ok(found),
        }
    }
}

impl RepomdRequest<'_> {
    /// Checks that the file is the page of a repository, and reads which one. A detached signature
    /// over a header would be a package's signature, so nothing else is signed in this way.
    ///
    /// # Errors
    /// With the first rule that is not kept.
    pub fn check(&self) -> Result<SignedPage, RequestError> {
        if self.data.len() > MAX_FILE {
            return Err(RequestError::TooLarge(self.data.len()));
        }
        let revision = repomd::revision(self.data).map_err(RequestError::NotRepomd)?;
        Ok(SignedPage { revision, digest: Sha256::compute(self.data) })
    }
}

impl RequestError {
    /// Whether it is logged: whoever asks for this does so on purpose, or the farm's files are not
    /// what they were.
    #[must_use]
    pub fn is_telling(&self) -> bool {
        matches!(
            self,
            Self::Bound { .. } | Self::Known(_) | Self::File { .. } | Self::NotAccepted { .. }
        )
    }
}

/// The differences between the accepted package and the one to be signed.
fn differing(found: &Acceptance, requested: &Acceptance) -> Option<String> {
    let pairs = [
        ("target", found.target.clone(), requested.target.clone()),
        ("package", found.nevra.clone(), requested.nevra.clone()),
        ("file", found.file.hex(), requested.file.hex()),
        ("header", found.header.hex(), requested.header.hex()),
    ];
    let (what, found, _) = pairs.into_iter().find(|(_, found, requested)| found != requested)?;
    Some(format!("{what}: {}", name::shown(&found)))
}

/// A target's name, as it stands in the log.
fn check_target(target: &str) -> Result<(), RequestError> {
    name::check_package(target).map_err(|_| RequestError::Target(target.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(data: &[u8]) -> Result<SignedPage, RequestError> {
        let place = RepositoryId::new("lab", "testing", "x86_64/os").unwrap();
        RepomdRequest { key: "k", place, data }.check()
    }

    #[test]
    fn signs_repomd_and_nothing_else() {
        let repomd = br#"<?xml version="1.0"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>3</revision></repomd>"#;
        assert_eq!(page(repomd), Ok(SignedPage { revision: 3, digest: Sha256::compute(repomd) }));
        for other in [b"".as_slice(), b"hello", &[0x8e, 0xad, 0xe8, 1], b"<?xml?><metadata/>"] {
            assert!(matches!(page(other), Err(RequestError::NotRepomd(_))));
        }
        let large = vec![b' '; MAX_FILE + 1];
        assert_eq!(page(&large), Err(RequestError::TooLarge(MAX_FILE + 1)));
    }
}
