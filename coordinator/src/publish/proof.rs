//! The proof of a channel's next content, before it is signed: what would it break for users?
//!
//! Asks the solver of each architecture, compares the files of packages that share a path, and
//! keeps what was found for as long as nothing changes. `core` says which problems count and which
//! build is to blame (`rpmfarm_core::proof`). That files are what was signed, the publisher proves
//! (`pool`). This file must not know why a channel changes.

mod files;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rpmfarm_core::proof::{
    ClosureRule, MAX_PROBLEMS, Problem, ProvenBuild, causes, foreign_names, new_problems,
    unaccepted,
};
use rpmfarm_core::snapshot::{Snapshot, SnapshotPackage};
use rpmfarm_core::{Arch, BuildId, Nevra, Sha256, Target, Timestamp, glob};

use super::gathering::LOOK_AGAIN;
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::resolve::{ContentFindings, ContentProof, FarmPackage, ResolveError, Resolver};
use crate::store::{AcceptedProblemRow, FencedStore, ProofRow, Store};

/// Proves contents of channels. Cheap to clone.
#[derive(Clone)]
pub struct Proofs {
    /// Knows the packages of external repositories.
    pub resolver: Resolver,
    /// The files of packages.
    pub blobs: Blobs,
    /// The clock that is read while a proof is made.
    pub clock: Clock,
    /// What was found.
    pub known: KnownProofs,
}

/// What the last proofs of each channel found. In memory only. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct KnownProofs(Arc<Mutex<ProofsByChannel>>);

/// By target and channel, the newest first.
type ProofsByChannel = HashMap<(String, String), Vec<KnownProof>>;

/// How many contents of each channel are remembered: that of all waiting builds, and that of those
/// which are not held back.
const REMEMBERED: usize = 4;

#[derive(Debug, Clone)]
struct KnownProof {
    /// The digests of the two contents.
    contents: [Sha256; 2],
    at: Instant,
    found: ProofResult,
}

/// The result of a proof.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ProofResult {
    /// The problems that the content before did not have.
    pub(super) problems: Vec<Problem>,
    /// Why the closure could not be looked at; empty when it was.
    pub(super) unproven: String,
}

/// Two contents of a channel that are to be compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents<'a> {
    pub(super) target: &'a Target,
    pub(super) channel: &'a str,
    /// What clients see now.
    pub(super) before: &'a Snapshot,
    /// What they would see.
    pub(super) after: &'a Snapshot,
    /// The packages of both as the solver has them, by name. What is not among them is left out.
    pub(super) packages: &'a HashMap<Nevra, FarmPackage>,
}

/// A content of a channel that must not be shown.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ProofRefusedError {
    reason: String,
    /// The builds that are the cause, each with the reason why it is held back.
    pub(super) builds: BTreeMap<BuildId, String>,
    /// The problems that nobody accepted.
    pub(super) problems: Vec<Problem>,
    /// When a person last accepted a problem of the channel, as far as was known then.
    pub(super) accepted: Option<Timestamp>,
}

impl ProofRefusedError {
    /// Nothing can be proved, so all builds wait.
    fn unproven(reason: &str, builds: &[ProvenBuild]) -> Self {
        let reason = format!("its requirements cannot be checked: {reason}");
        let builds = builds.iter().map(|one| (one.build, reason.clone())).collect();
        Self { reason, builds, problems: Vec::new(), accepted: None }
    }

    /// These problems, with the builds that cause them.
    fn new(problems: Vec<Problem>, causes: &BTreeMap<BuildId, Problem>) -> Self {
        let reason = match &problems[..] {
            [] => String::new(),
            [one] => explained(one),
            [first, more @ ..] => {
                format!("{} (and {} more problems)", explained(first), more.len())
            }
        };
        let builds = causes.iter().map(|(build, problem)| (*build, explained(problem))).collect();
        Self { reason, builds, problems, accepted: None }
    }
}

/// A problem with its chain and where it was found, in one line.
fn explained(problem: &Problem) -> String {
    let arches: Vec<&str> = problem.arches.iter().map(|arch| arch.as_str()).collect();
    let chain = match &problem.chain[..] {
        [] => String::new(),
        chain => format!(" ({})", chain.join("; ")),
    };
    format!("{problem} on {}{chain}", arches.join(", "))
}

impl Proofs {
    /// Proves that a content may be shown, and records what was found. `builds` are those that make
    /// the difference; problems that none of them causes, as those of a withdrawal, are recorded and
    /// no obstacle. `held` are the problems of builds that were taken out of it.
    ///
    /// # Errors
    /// [`ProofRefusedError`] when the target refuses problems and one of the builds causes a new one
    /// that nobody accepted, or nothing can be proved; database errors.
    pub(super) async fn require(
        &self,
        store: &FencedStore,
        contents: Contents<'_>,
        builds: &[ProvenBuild],
        held: &[Problem],
    ) -> anyhow::Result<()> {
        let found = self.prove(store, contents, held).await?;
        let Contents { target, channel, .. } = contents;
        if target.proof.closure == ClosureRule::Warn || builds.is_empty() {
            return Ok(());
        }
        let rows = store.problem_accept_list(&target.name, channel).await?;
        let at = rows.first().map(|row| row.at);
        if !found.unproven.is_empty() {
            let refused = ProofRefusedError::unproven(&found.unproven, builds);
            return Err(ProofRefusedError { accepted: at, ..refused }.into());
        }
        let accepted: Vec<_> =
            rows.into_iter().map(|AcceptedProblemRow { accepted, .. }| accepted).collect();
        let problems = unaccepted(&found.problems, &accepted, self.clock.time());
        let sources = sources(contents);
        let source_of = |nevra: &Nevra| sources.get(nevra).map(|source| (*source).to_owned());
        let causes = causes(&problems, builds, source_of);
        if causes.is_empty() {
            return Ok(());
        }
        let refused = ProofRefusedError::new(problems, &causes);
        Err(ProofRefusedError { accepted: at, ..refused }.into())
    }

    /// The problems of a content that the content before did not have.
    async fn prove(
        &self,
        store: &FencedStore,
        contents: Contents<'_>,
        held: &[Problem],
    ) -> anyhow::Result<ProofResult> {
        let digests = [digest(contents.before)?, digest(contents.after)?];
        if let Some(known) = self.known_result(contents, digests) {
            return Ok(known);
        }
        let begun = self.clock.instant();
        let found = match self.look(store, contents).await? {
            Ok(problems) => ProofResult { problems, unproven: String::new() },
            Err(error) => ProofResult { problems: Vec::new(), unproven: error.to_string() },
        };
        let took = self.clock.instant() - begun;
        let Contents { target, channel, .. } = contents;
        let all: Vec<Problem> = held.iter().chain(&found.problems).cloned().collect();
        if !all.is_empty() || !found.unproven.is_empty() {
            let (target, problems) = (&target.name, all.len());
            tracing::warn!(target, channel, problems, reason = found.unproven, "problems found");
        }
        let row = ProofRow {
            target: target.name.clone(),
            channel: channel.to_owned(),
            at: self.clock.time(),
            content: digests[1],
            took,
            total: all.len(),
            problems: all.into_iter().take(MAX_PROBLEMS).collect(),
            unproven: found.unproven.clone(),
        };
        store.proof_insert(&row).await?;
        self.keep(contents, KnownProof { contents: digests, at: begun, found: found.clone() });
        Ok(found)
    }

    fn known_result(&self, contents: Contents<'_>, digests: [Sha256; 2]) -> Option<ProofResult> {
        let key = (contents.target.name.clone(), contents.channel.to_owned());
        let now = self.clock.instant();
        let known = self.known.0.lock();
        let is_it = |one: &&KnownProof| {
            one.contents == digests && now.saturating_duration_since(one.at) < LOOK_AGAIN
        };
        known.get(&key)?.iter().find(is_it).map(|one| one.found.clone())
    }

    fn keep(&self, contents: Contents<'_>, proof: KnownProof) {
        let key = (contents.target.name.clone(), contents.channel.to_owned());
        let mut known = self.known.0.lock();
        let of_channel = known.entry(key).or_default();
        of_channel.retain(|one| one.contents != proof.contents);
        of_channel.insert(0, proof);
        of_channel.truncate(REMEMBERED);
    }

    /// Looks at both contents on all architectures.
    async fn look(
        &self,
        store: &Store,
        contents: Contents<'_>,
    ) -> anyhow::Result<Result<Vec<Problem>, ResolveError>> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for arch in &contents.target.arches {
            let question = question(contents, *arch);
            if question.before == question.after {
                continue;
            }
            let now = self.clock.system();
            let found = self.resolver.prove(contents.target, *arch, store, question, now).await;
            let found = match found {
                Ok(found) => found,
                Err(error) => return Ok(Err(error)),
            };
            let ContentFindings { before: old, after: new, shared } = found;
            before.extend(old);
            after.extend(new);
            after.extend(self.file_conflicts(contents, *arch, shared).await?);
            after.extend(self.foreign_names(store, contents, *arch).await?);
        }
        Ok(Ok(new_problems(&before, after)))
    }

    /// New packages whose names other source packages have in the channel, but for those that the
    /// target allows, or a person approved.
    async fn foreign_names(
        &self,
        store: &Store,
        contents: Contents<'_>,
        arch: Arch,
    ) -> anyhow::Result<Vec<Problem>> {
        let before: HashSet<&Nevra> = shown_on(contents.before, arch).map(|p| &p.nevra).collect();
        let members = shown_on(contents.after, arch).map(|package| {
            let is_old = before.contains(&package.nevra);
            (&package.nevra, package.source.name.as_str(), is_old)
        });
        let mut found = foreign_names(members, arch);
        if !found.is_empty() {
            let approved = store.claim_list_approved(&contents.target.name).await?;
            let sources = sources(contents);
            found.retain(|Problem { package, .. }| {
                let source = sources.get(package).copied().unwrap_or_default();
                let mut allowed = contents.target.may_own(source).iter();
                !allowed.any(|pattern| glob::is_like(pattern, &package.name))
                    && !approved.iter().any(|claim| claim.what == package.name)
            });
        }
        Ok(found)
    }
}

/// The name of the source package of each package of either content.
fn sources(contents: Contents<'_>) -> HashMap<&Nevra, &str> {
    let all = contents.before.packages().iter().chain(contents.after.packages());
    all.map(|package| (&package.nevra, package.source.name.as_str())).collect()
}

fn digest(snapshot: &Snapshot) -> anyhow::Result<Sha256> {
    Ok(Sha256::compute(&serde_json::to_vec(snapshot)?))
}

/// The packages that clients of an architecture see, without source packages.
fn shown_on(snapshot: &Snapshot, arch: Arch) -> impl Iterator<Item = &SnapshotPackage> {
    snapshot.packages().iter().filter(move |package| {
        !package.nevra.is_source() && package.is_meant_for(arch) && !package.without.contains(arch)
    })
}

/// What the solver of an architecture is asked.
fn question(contents: Contents<'_>, arch: Arch) -> ContentProof {
    let packages = contents.packages;
    let side = |snapshot| -> HashSet<Nevra> {
        let names = shown_on(snapshot, arch).map(|package| &package.nevra);
        names.filter(|nevra| packages.contains_key(*nevra)).cloned().collect()
    };
    let (before, after) = (side(contents.before), side(contents.after));
    let both = before.union(&after).filter_map(|nevra| packages.get(nevra).cloned());
    ContentProof {
        packages: both.collect(),
        // Without external repositories the farm cannot know what its users have beside it.
        is_closed: !contents.target.repositories.is_empty(),
        before,
        after,
    }
}
