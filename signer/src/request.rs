//! What may be signed: the rules, without keys or sockets.

use rpmfarm_core::{Nevra, Sha256, name};
use rpmfarm_rpmfile::{Headers, nevra, payload_digest};

/// Largest file that is signed, in bytes.
pub const MAX_FILE: usize = 1 << 20;
/// Longest verdict or purpose.
const MAX_TEXT: usize = 256;

/// Asks for a signature over a header.
#[derive(Debug, Clone)]
pub struct HeaderRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    /// The package that was accepted.
    pub nevra: Nevra,
    /// The main header's bytes.
    pub header: &'a [u8],
    /// Their digest.
    pub header_digest: Sha256,
    /// Digest of the whole unsigned file.
    pub artifact_digest: Sha256,
    /// The acceptance that lets it be signed.
    pub verdict: &'a str,
}

/// Asks for a detached signature over a file.
#[derive(Debug, Clone)]
pub struct FileRequest<'a> {
    /// Name of the key.
    pub key: &'a str,
    /// What the file is, for the log.
    pub purpose: &'a str,
    /// Its bytes.
    pub data: &'a [u8],
}

/// Why something is not signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody has accepted it.
    #[error("no verdict: only what was accepted is signed")]
    NoVerdict,
    /// It is not said what the file is.
    #[error("no purpose: it must say which repository the file belongs to")]
    NoPurpose,
    /// Text for the log that is not fit for it.
    #[error("the {0} is longer than {MAX_TEXT} characters or has control characters")]
    Text(&'static str),
    /// The header is not the one that was meant.
    #[error("the header has SHA-256 {found}, the request says {said}")]
    HeaderDigest {
        /// Of the bytes.
        found: Sha256,
        /// As the request has it.
        said: Sha256,
    },
    /// The bytes are not a header, or one that says too little.
    #[error("the header of {nevra}: {reason}")]
    Header {
        /// The package, as the request has it.
        nevra: String,
        /// What is wrong.
        reason: String,
    },
    /// The header is of another package.
    #[error("the header is of {found}, the request says {said}")]
    Nevra {
        /// As the header has it.
        found: String,
        /// As the request has it.
        said: String,
    },
    /// The file is not of a kind that is signed.
    #[error("not a repomd.xml: this is the only kind of file that is signed")]
    NotRepomd,
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
    pub fn check(&self) -> Result<(), Refusal> {
        check_text("verdict", self.verdict, Refusal::NoVerdict)?;
        let found = Sha256::of(self.header);
        if found != self.header_digest {
            return Err(Refusal::HeaderDigest { found, said: self.header_digest });
        }
        let refused = |error: rpmfarm_rpmfile::Error| Refusal::Header {
            nevra: self.nevra.to_string(),
            reason: error.to_string(),
        };
        let headers = Headers::from_main(self.header).map_err(refused)?;
        let found = nevra(&headers.metadata).map_err(refused)?;
        if found != self.nevra {
            let (found, said) = (found.to_string(), self.nevra.to_string());
            return Err(Refusal::Nevra { found, said });
        }
        payload_digest(&headers.metadata).map_err(refused)?;
        Ok(())
    }
}

impl FileRequest<'_> {
    /// Checks that the file is repository metadata. A detached signature over a header would be
    /// a package's signature, so nothing else is signed in this way.
    ///
    /// # Errors
    /// With the first rule that is not kept.
    pub fn check(&self) -> Result<(), Refusal> {
        check_text("purpose", self.purpose, Refusal::NoPurpose)?;
        if self.data.len() > MAX_FILE {
            return Err(Refusal::TooLarge(self.data.len()));
        }
        let text = std::str::from_utf8(self.data).map_err(|_| Refusal::NotRepomd)?;
        let body = text.trim_start_matches('\u{feff}').trim_start();
        let is_repomd = body.starts_with("<?xml")
            && body.contains("<repomd")
            && body.trim_end().ends_with("</repomd>");
        if is_repomd { Ok(()) } else { Err(Refusal::NotRepomd) }
    }
}

fn check_text(what: &'static str, text: &str, absent: Refusal) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(absent);
    }
    if text.len() > MAX_TEXT || name::shown(text) != text {
        return Err(Refusal::Text(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file<'a>(purpose: &'a str, data: &'a [u8]) -> FileRequest<'a> {
        FileRequest { key: "k", purpose, data }
    }

    #[test]
    fn signs_repomd_and_nothing_else() {
        let repomd = br#"<?xml version="1.0"?><repomd xmlns="x"></repomd>"#;
        assert_eq!(file("t/stable/1/x86_64", repomd).check(), Ok(()));
        assert_eq!(file(" ", repomd).check(), Err(Refusal::NoPurpose));
        assert_eq!(file("a\nb", repomd).check(), Err(Refusal::Text("purpose")));
        for other in [b"".as_slice(), b"hello", &[0x8e, 0xad, 0xe8, 1], b"<?xml?><metadata/>"] {
            assert_eq!(file("p", other).check(), Err(Refusal::NotRepomd));
        }
        let large = vec![b' '; MAX_FILE + 1];
        assert_eq!(file("p", &large).check(), Err(Refusal::TooLarge(MAX_FILE + 1)));
    }
}
