//! What a new content of a channel would break for its users, on one architecture.
//!
//! Owns the comparison of two contents of a channel in one pool: requirements that nothing
//! provides (here), what cannot be installed or upgraded (`installs`), and packages that share
//! files (`files`). Both contents are in the pool, and each check sees only one of them. It must
//! not know which of the problems count (`rpmfarm_core::proof`).

mod files;
mod installs;

use std::collections::{HashMap, HashSet};

use rpmfarm_core::Nevra;
use rpmfarm_core::proof::{Problem, ProblemKind};
use rpmfarm_core::snapshot::RepositoryKind;

use crate::ffi::Id;
use crate::{Package, Pool, SolveError};

/// Two contents of a channel that are to be compared.
#[derive(Debug, Clone, Copy)]
pub struct ProofQuestion<'a> {
    /// The repositories that have the packages of both contents, and perhaps more.
    pub repositories: &'a [&'a str],
    /// The content that users have now.
    pub before: &'a HashSet<Nevra>,
    /// The content that they would get.
    pub after: &'a HashSet<Nevra>,
    /// Whether all that packages may require is in the pool. Otherwise only what the content before
    /// provided can be missing.
    pub is_closed: bool,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProofFindings {
    /// Problems of the content before, as far as `after` has problems to compare them with.
    pub before: Vec<Problem>,
    /// Problems of the new content.
    pub after: Vec<Problem>,
    /// Pairs of packages, at least one of them new, that have a path in common which is no
    /// directory of files.
    pub shared: Vec<SharedFiles>,
}

/// Two packages that have a path in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFiles {
    /// The new package.
    pub package: Nevra,
    /// The other one, of the same content or of a repository that does not belong to the channel.
    pub other: Nevra,
    /// The other one, when it is not of the channel.
    pub external: Option<Package>,
}

/// A package of one of the contents.
#[derive(Debug)]
struct Member {
    nevra: Nevra,
    id: Id,
    /// Name of its source package.
    source: String,
    before: bool,
    after: bool,
    /// Whether it is in the repository of debug symbols, which few users have.
    is_debug: bool,
}

impl Member {
    const fn is_new(&self) -> bool {
        self.after && !self.before
    }

    const fn is_gone(&self) -> bool {
        self.before && !self.after
    }

    const fn is_in(&self, side: Side) -> bool {
        match side {
            Side::Before => self.before,
            Side::After => self.after,
        }
    }
}

/// One of the contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

impl Pool {
    /// Makes the pool ready for [`Self::prove`]: file lists are read, which takes time once.
    ///
    /// # Errors
    /// When file lists cannot be read.
    pub fn prepare_for_proof(&mut self) -> Result<(), crate::PoolError> {
        self.prepare()?;
        if self.lacks_filelists() {
            self.read_filelists()?;
            self.prepare()?;
        }
        Ok(())
    }

    /// Compares two contents of a channel. Users are taken to have the external repositories of the
    /// pool beside it; what debug packages provide counts for debug packages only.
    ///
    /// # Errors
    /// When there is no such repository, file lists cannot be read, or metadata of a package lack
    /// its digest.
    pub fn prove(&mut self, question: &ProofQuestion<'_>) -> Result<ProofFindings, SolveError> {
        self.prepare_for_proof()?;
        let members = self.members(question)?;
        let mut found = ProofFindings::default();
        if !members.iter().any(|member| member.before != member.after) {
            return Ok(found);
        }
        found.after = self.missing(&members, Side::After, question.is_closed);
        if !found.after.is_empty() {
            found.before = self.missing(&members, Side::Before, true);
        }
        if question.is_closed {
            self.prove_installs(&members, &mut found);
        }
        found.shared = self.shared_files(&members, question)?;
        Ok(found)
    }

    /// The packages of both contents, without source packages.
    fn members(&mut self, question: &ProofQuestion<'_>) -> Result<Vec<Member>, SolveError> {
        let mut members = Vec::new();
        for repository in question.repositories {
            for (nevra, id) in self.added(repository)? {
                if nevra.is_source() {
                    continue;
                }
                let before = question.before.contains(&nevra);
                let after = question.after.contains(&nevra);
                let is_debug = RepositoryKind::for_package(&nevra) == RepositoryKind::Debug;
                let source = self.source_of(id, &nevra);
                members.push(Member { nevra, id, source, before, after, is_debug });
            }
        }
        Ok(members)
    }

    /// The requirements of the packages of a content that nothing provides. With `is_closed` false
    /// only those that the content before provides.
    fn missing(&mut self, members: &[Member], side: Side, is_closed: bool) -> Vec<Problem> {
        let absent = |with_debug: bool| -> HashSet<Id> {
            let is_absent =
                |member: &&Member| !member.is_in(side) || (member.is_debug && !with_debug);
            members.iter().filter(is_absent).map(|member| member.id).collect()
        };
        let absent = [absent(false), absent(true)];
        let gone: HashMap<Id, &Member> =
            members.iter().filter(|m| m.is_gone()).map(|m| (m.id, m)).collect();
        // A requirement is looked up once, however many packages have it.
        let mut known = HashMap::new();
        let mut found = Vec::new();
        for member in members.iter().filter(|member| member.is_in(side)) {
            let absent = &absent[usize::from(member.is_debug)];
            for dep in self.raw.requires(member.id) {
                let missing = *known
                    .entry((dep, member.is_debug))
                    .or_insert_with(|| self.is_missing_without(dep, absent));
                if missing {
                    found.extend(self.missing_requirement(member, dep, side, &gone, is_closed));
                }
            }
        }
        found
    }

    /// The problem of a package with a requirement that nothing provides.
    fn missing_requirement(
        &mut self,
        member: &Member,
        dep: Id,
        side: Side,
        gone: &HashMap<Id, &Member>,
        is_closed: bool,
    ) -> Option<Problem> {
        let text = self.raw.dependency_text(dep);
        let arch = self.arch;
        let problem = |kind| Problem::new(kind, member.nevra.clone(), &text, arch);
        let providers = self.raw.providers(dep);
        let lost = providers
            .iter()
            .filter_map(|id| gone.get(id))
            .find(|lost| side == Side::After && (member.is_debug || !lost.is_debug));
        match lost.map(|lost| &lost.nevra) {
            Some(lost) => {
                let chain = vec![
                    format!("{} requires {text}", member.nevra),
                    format!("{lost} provides {text}"),
                    format!("{lost} is not in the new content, and nothing else provides it"),
                ];
                Some(problem(ProblemKind::Lost).with_other(lost.clone()).with_chain(chain))
            }
            None if is_closed => {
                let chain = [format!("{} requires {text}", member.nevra)];
                Some(problem(ProblemKind::Requires).with_chain(chain))
            }
            None => None,
        }
    }
}
