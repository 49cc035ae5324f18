//! The keys of a channel while its target changes from one key to another.
//!
//! Owns how metadata are signed with several keys, and which packages have a signature of an
//! earlier key alone. When these are signed again is the pass's to decide.

use std::collections::HashSet;

use rpmfarm_core::signing::RepositoryId;
use rpmfarm_core::snapshot::Snapshot;
use rpmfarm_core::{Nevra, Target};
use rpmfarm_rpmfile::join_detached;

use super::{RepomdSignature, RepomdSigner, SignError};
use crate::sign::{self, SignerClient};
use crate::store::{SignedPackage, Store};

/// Signs `repomd.xml` with the target's key and with each earlier one: a client that knows any of
/// them believes the page.
pub(super) struct TargetSigner<'a> {
    pub(super) client: &'a SignerClient,
    pub(super) target: &'a Target,
}

impl RepomdSigner for TargetSigner<'_> {
    async fn sign(
        &self,
        place: &RepositoryId,
        repomd: &[u8],
    ) -> Result<RepomdSignature, SignError> {
        let (mut all, mut last) = (Vec::new(), None);
        for key in self.target.accepted_keys() {
            let signature = self.client.sign_repomd(key, place, repomd.to_vec()).await?;
            last = Some(sign::logged(&signature)?);
            all.push(String::from_utf8(signature.signature.to_vec())?);
        }
        let armored = match all.as_slice() {
            [only] => only.clone(),
            all => join_detached(all)?,
        };
        Ok(RepomdSignature { armored, logged: last })
    }
}

/// The packages of a snapshot that are not among the signed ones.
pub(super) fn unsigned<'a>(snapshot: &'a Snapshot, signed: &[SignedPackage]) -> Vec<&'a Nevra> {
    let signed: HashSet<&Nevra> = signed.iter().map(|row| &row.package.nevra).collect();
    let all = snapshot.packages().iter().map(|package| &package.nevra);
    all.filter(|nevra| !signed.contains(nevra)).collect()
}

/// Adds the signatures of earlier keys to those of the target's key, for packages that it has not
/// signed. Returns these packages.
pub(super) async fn add_earlier_signatures(
    store: &Store,
    target: &Target,
    snapshot: &Snapshot,
    signed: &mut Vec<SignedPackage>,
) -> anyhow::Result<Vec<Nevra>> {
    let mut outdated = Vec::new();
    for key in &target.previous_keys {
        let missing = unsigned(snapshot, signed);
        if missing.is_empty() {
            break;
        }
        let earlier = store.package_list_signed(&target.name, key, &missing).await?;
        outdated.extend(earlier.iter().map(|row| row.package.nevra.clone()));
        signed.extend(earlier);
    }
    Ok(outdated)
}
