//! `repomd.xml`: the page that names the files of a repository with their checksums. It is the one
//! file of a repository that is signed.

use rpmfarm_core::Sha256;
use serde::{Deserialize, Serialize};

use crate::{Compression, Document};

/// The record of one compressed document in repomd.xml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepomdRecord {
    /// Which document it is.
    pub document: Document,
    /// Its compression.
    pub compression: Compression,
    /// SHA-256 of the compressed file.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content before compression.
    pub open_digest: Sha256,
    /// Size of its content before compression, in bytes.
    pub open_size: u64,
}

impl RepomdRecord {
    /// The name of the file in `repodata/`. It begins with the checksum, so a name never means
    /// two contents, and any cache may keep it without end.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}-{}.xml.{}", self.digest, self.document.as_str(), self.compression.extension())
    }
}

/// Writes repomd.xml. `revision` grows with each state of the repository; `timestamp` is its
/// time in seconds since 1970.
#[must_use]
pub fn write(revision: u64, timestamp: i64, records: &[RepomdRecord]) -> String {
    let mut xml = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>{revision}</revision>
"#
    );
    for record in records {
        let RepomdRecord { document, digest, size, open_digest, open_size, .. } = record;
        let (kind, name) = (document.as_str(), record.file_name());
        xml.push_str(&format!(
            r#"  <data type="{kind}">
    <checksum type="sha256">{digest}</checksum>
    <open-checksum type="sha256">{open_digest}</open-checksum>
    <location href="repodata/{name}"/>
    <timestamp>{timestamp}</timestamp>
    <size>{size}</size>
    <open-size>{open_size}</open-size>
  </data>
"#
        ));
    }
    xml.push_str("</repomd>\n");
    xml
}
