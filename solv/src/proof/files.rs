//! Packages that have a path in common with a new package of a channel.
//!
//! File lists say nothing about the content of files: whoever asks compares the headers of the
//! pairs that are found.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Member, ProofQuestion, SharedFiles};
use crate::ffi::{Id, path_hash};
use crate::{Pool, SolveError};

/// How many pairs are found at most.
const MAX_PAIRS: usize = 20_000;

impl Pool {
    /// Pairs of a new package and another one that have a path in common, without those that
    /// replace or exclude each other.
    pub(super) fn shared_files(
        &mut self,
        members: &[Member],
        question: &ProofQuestion<'_>,
    ) -> Result<Vec<SharedFiles>, SolveError> {
        let mut wanted = HashMap::<u64, Vec<Id>>::new();
        for member in members.iter().filter(|member| member.is_new()) {
            for path in files_only(self.raw.files(member.id)) {
                wanted.entry(path_hash(&path)).or_default().push(member.id);
            }
        }
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut hashes: Vec<u64> = wanted.keys().copied().collect();
        hashes.sort_unstable();
        let after: HashMap<Id, &Member> =
            members.iter().filter(|member| member.after).map(|m| (m.id, m)).collect();
        let looked_at = self.visible_ids(&after, question);
        let mut pairs = BTreeSet::new();
        for (other, place) in self.raw.find_files(&looked_at, &hashes) {
            for id in &wanted[&hashes[place]] {
                // A pair of two new packages is found twice.
                let twice = *id > other && after.get(&other).is_some_and(|m| m.is_new());
                if *id != other && !twice && pairs.len() < MAX_PAIRS {
                    pairs.insert((*id, other));
                }
            }
        }
        self.conflicting(&pairs, &after)
    }

    /// The packages of the new content, and those of other repositories.
    fn visible_ids(
        &mut self,
        after: &HashMap<Id, &Member>,
        question: &ProofQuestion<'_>,
    ) -> Vec<Id> {
        (0..self.raw.end())
            .filter(|id| {
                after.contains_key(id)
                    || self
                        .repository_of(*id)
                        .is_some_and(|repository| !question.repositories.contains(&repository))
            })
            .collect()
    }

    /// The pairs that can be installed together, as far as their names and dependencies say.
    fn conflicting(
        &mut self,
        pairs: &BTreeSet<(Id, Id)>,
        after: &HashMap<Id, &Member>,
    ) -> Result<Vec<SharedFiles>, SolveError> {
        let names: HashSet<&str> = after.values().map(|member| &*member.nevra.name).collect();
        let mut replacing = Vec::new();
        for (id, member) in after {
            if !member.is_debug {
                replacing.extend(self.raw.obsoletes(*id));
            }
        }
        let mut shared = Vec::new();
        for (id, other) in pairs {
            let Some(new) = after.get(id) else { continue };
            let known = after.get(other);
            let Some(nevra) = self.nevra(*other).filter(|nevra| !nevra.is_source()) else {
                continue;
            };
            let is_external = known.is_none();
            // A package of the channel takes the place of an external one of its name.
            if nevra.name == new.nevra.name
                || (is_external && names.contains(&*nevra.name))
                || (is_external && replacing.iter().any(|dep| self.raw.matches(*other, *dep)))
                || self.excludes(*id, *other)
                || self.excludes(*other, *id)
            {
                continue;
            }
            let external = if is_external { Some(self.package(*other)?) } else { None };
            shared.push(SharedFiles { package: new.nevra.clone(), other: nevra, external });
        }
        Ok(shared)
    }

    /// Whether a package conflicts with another one, or replaces it.
    fn excludes(&mut self, id: Id, other: Id) -> bool {
        let conflicts = self.raw.conflicts(id);
        conflicts.into_iter().any(|dep| self.raw.providers(dep).contains(&other))
            || self.raw.obsoletes(id).into_iter().any(|dep| self.raw.matches(other, dep))
    }
}

/// The paths that are not directories of others: those are shared by many packages.
fn files_only(paths: Vec<String>) -> Vec<String> {
    let mut directories = HashSet::new();
    for path in &paths {
        let mut rest = path.as_str();
        while let Some((directory, _)) = rest.rsplit_once('/') {
            if directory.is_empty() || !directories.insert(directory.to_owned()) {
                break;
            }
            rest = directory;
        }
    }
    paths.into_iter().filter(|path| !directories.contains(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::files_only;

    #[test]
    fn directories_with_files_are_left_out() {
        let paths = ["/usr/lib/.build-id", "/usr/lib/.build-id/ab", "/usr/lib/.build-id/ab/c"];
        let more = ["/usr/share/empty", "/etc/x"];
        let all = paths.into_iter().chain(more).map(str::to_owned).collect();
        assert_eq!(files_only(all), ["/usr/lib/.build-id/ab/c", "/usr/share/empty", "/etc/x"]);
    }
}
