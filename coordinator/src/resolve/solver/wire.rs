//! The messages between the coordinator and a solver: JSON documents, each after its length in four
//! bytes, the most significant first.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use rpmfarm_core::modules::ModuleChoice;
use rpmfarm_core::owners::{KnownOwners, OwnerQuery};
use rpmfarm_core::target::Target;
use rpmfarm_core::{Arch, Lock, Nevra};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::lock::{FarmReplacement, Requirements};
use super::super::pools::{PoolContent, PoolStats, PoolsError};
use super::super::proof::{ContentFindings, ContentProof};

/// The longest document, in bytes; a list of 100,000 packages has some 20 MB.
const MAX_DOCUMENT: u32 = 1 << 30;

/// The first message to a solver: its target and architecture, and the path of the blob store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) struct SolverSetup {
    pub(in super::super) target: Target,
    pub(in super::super) arch: Arch,
    /// The module streams that differ from the default ones.
    pub(in super::super) modules: ModuleChoice,
    /// The path of the blob store.
    pub(in super::super) blobs: PathBuf,
    /// Where solver data of external repositories are kept.
    pub(in super::super) cache: PathBuf,
}

/// A question to a pool that is up to date.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in super::super) enum SolverTask {
    /// Make a lock.
    Lock(Requirements),
    /// Find those of these `noarch` packages that have a missing requirement.
    Lacking(HashSet<Nevra>),
    /// Find the owners of the names in the query; the paths are those that builds have required.
    Owners(OwnerQuery, BTreeSet<String>),
    /// Find the packages that a root would have without the farm's.
    Taken(Requirements),
    /// Compare two contents of a channel.
    Prove(ContentProof),
    /// To get the pool and the roots that all builds share ready, and nothing else.
    Prepare,
}

/// One question. It has two answers: [`SolverResponse::Prepared`] or a failure, then that to the
/// task. [`SolverResponse::Warnings`] may come before the first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SolverRequest {
    /// The content that the pool must have.
    pub(super) content: PoolContent,
    /// The question to the pool.
    pub(super) task: SolverTask,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SolverResponse {
    /// Warnings for the operator about the packages that were read: an answer follows.
    Warnings(Vec<String>),
    /// The pool is up to date.
    Prepared(PoolStats),
    Lock(Box<Lock>),
    /// Packages with a requirement that no package provides.
    Lacking(Vec<(Nevra, String)>),
    /// The owners of the names in the query.
    Owners(KnownOwners),
    /// The farm's own packages in the root.
    Taken(Vec<FarmReplacement>),
    /// What was found of two contents of a channel.
    Proof(ContentFindings),
    /// The pool is ready for what is asked next.
    Ready,
    /// Why there is no answer.
    Failed(PoolsError),
}

/// Writes a document.
///
/// # Errors
/// When the other side has ended.
pub(super) fn write(to: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec(document)?;
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MAX_DOCUMENT);
    let length = length.ok_or_else(|| io::Error::other("the document is too long"))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads a document; `None` when the other side has ended between two.
///
/// # Errors
/// When the other side has ended within one, or the bytes are not such a document.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length);
    if length > MAX_DOCUMENT {
        return Err(io::Error::other(format!("a document of {length} bytes")));
    }
    let mut bytes = Vec::new();
    from.take(length.into()).read_to_end(&mut bytes)?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}
