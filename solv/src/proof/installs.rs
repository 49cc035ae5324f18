//! What cannot be installed from a new content of a channel, and who cannot upgrade to it.
//!
//! The solver decides. Packages are tried together, since a set that can be installed proves it for
//! each of its packages; only a set that fails is split.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use rpmfarm_core::proof::{Problem, ProblemKind};

use super::{Member, ProofFindings, Side};
use crate::ffi::{Id, Job};
use crate::{Pool, UnsolvableError};

/// How many packages, or upgrades, are first tried together.
const TOGETHER: usize = 128;
/// How often one proof solves at most. More are needed only when hundreds fail.
const MAX_SOLVES: usize = 2048;

/// The upgrade of the packages of one source package.
#[derive(Debug, Default)]
struct Upgrade<'m> {
    /// The installed packages that are gone, each with the jobs that replace it.
    steps: Vec<(&'m Member, Vec<Job>)>,
    /// The installed packages that nothing replaces: they stay.
    staying: Vec<Id>,
}

impl Upgrade<'_> {
    fn jobs(&self) -> Vec<Job> {
        self.steps.iter().flat_map(|(_, jobs)| jobs.iter().copied()).collect()
    }

    /// The installed packages alone.
    fn installed(&self) -> Vec<Job> {
        self.steps.iter().map(|(old, _)| Job::Package(old.id)).collect()
    }
}

impl Pool {
    /// Adds what cannot be installed or upgraded. Packages with a missing requirement are left out:
    /// that is their problem, and is found before.
    pub(super) fn prove_installs(&mut self, members: &[Member], found: &mut ProofFindings) {
        let lacking: HashSet<_> =
            found.after.iter().map(|problem| problem.package.clone()).collect();
        let new: Vec<&Member> = members
            .iter()
            .filter(|member| member.is_new() && !member.is_debug)
            .filter(|member| !lacking.contains(&member.nevra))
            .collect();
        let upgrades = self.upgrades(members);
        let hidden = hidden(members, Side::After, &[]);
        let failed = self.within(&hidden, |pool| pool.failed_installs(&new));
        self.compare_installs(members, &failed, found);
        let mut broken: HashSet<Id> = failed.iter().map(|(member, _)| member.id).collect();
        broken.extend(members.iter().filter(|m| lacking.contains(&m.nevra)).map(|m| m.id));
        found.after.extend(
            failed.iter().map(|(member, error)| self.failure(ProblemKind::Install, member, error)),
        );
        let stays: Vec<Id> = upgrades.iter().flat_map(|one| one.staying.iter().copied()).collect();
        let is_sound = |one: &Upgrade<'_>| {
            !one.jobs().iter().any(|job| matches!(job, Job::Package(id) if broken.contains(id)))
        };
        let upgrades: Vec<Upgrade<'_>> = upgrades.into_iter().filter(is_sound).collect();
        self.prove_upgrades(members, &upgrades, &stays, found);
    }

    /// Asks the solver while these packages are hidden.
    fn within<T>(&mut self, hidden: &[Id], ask: impl FnOnce(&mut Self) -> T) -> T {
        self.hide_for_now(hidden, true);
        let answer = ask(self);
        self.hide_for_now(hidden, false);
        answer
    }

    fn failed_installs<'m>(&mut self, new: &[&'m Member]) -> Vec<(&'m Member, UnsolvableError)> {
        let jobs: Vec<Vec<Job>> = new.iter().map(|one| vec![Job::Package(one.id)]).collect();
        self.failing(&jobs)
            .into_iter()
            .filter_map(|place| Some((new[place], self.unsolvable(&jobs[place])?)))
            .collect()
    }

    /// Which of the packages that the failed ones replace could not be installed either.
    fn compare_installs(
        &mut self,
        members: &[Member],
        failed: &[(&Member, UnsolvableError)],
        found: &mut ProofFindings,
    ) {
        if failed.is_empty() {
            return;
        }
        let names: HashSet<_> =
            failed.iter().map(|(m, _)| (m.nevra.name.as_str(), m.nevra.arch.as_str())).collect();
        let is_asked = |member: &&Member| {
            member.before
                && names.contains(&(member.nevra.name.as_str(), member.nevra.arch.as_str()))
        };
        let old: Vec<&Member> = members.iter().filter(is_asked).collect();
        let hidden = hidden(members, Side::Before, &[]);
        let failed = self.within(&hidden, |pool| pool.failed_installs(&old));
        let problems =
            failed.iter().map(|(member, error)| self.failure(ProblemKind::Install, member, error));
        found.before.extend(problems.collect::<Vec<_>>());
    }

    /// The upgrades of all source packages that the new content has in another version.
    fn upgrades<'m>(&mut self, members: &'m [Member]) -> Vec<Upgrade<'m>> {
        let mut by_name = BTreeMap::<&str, Vec<&Member>>::new();
        for member in members.iter().filter(|m| !m.is_debug && (m.before || m.after)) {
            by_name.entry(&member.nevra.name).or_default().push(member);
        }
        let replacing: Vec<(Id, Vec<Id>)> = members
            .iter()
            .filter(|member| member.after && !member.is_debug)
            .map(|member| (member.id, self.raw.obsoletes(member.id)))
            .filter(|(_, obsoletes)| !obsoletes.is_empty())
            .collect();
        let mut by_source = BTreeMap::<&str, Upgrade<'m>>::new();
        for of_name in by_name.values() {
            let newest = |side| {
                let of_side = of_name.iter().copied().filter(|member| member.is_in(side));
                of_side.max_by(|a, b| a.nevra.evr.cmp(&b.nevra.evr))
            };
            let Some(old) = newest(Side::Before).filter(|old| old.is_gone()) else { continue };
            let upgrade = by_source.entry(&old.source).or_default();
            match newest(Side::After) {
                Some(new) if new.nevra.evr > old.nevra.evr => {
                    upgrade.steps.push((old, vec![Job::Package(new.id)]));
                }
                // A rollback: nobody upgrades to it.
                Some(_) => {}
                None => {
                    let mut by = Vec::new();
                    for (id, obsoletes) in &replacing {
                        if obsoletes.iter().any(|dep| self.raw.matches(old.id, *dep)) {
                            by.push(Job::Package(*id));
                        }
                    }
                    if by.is_empty() {
                        upgrade.staying.push(old.id);
                        by.push(Job::Package(old.id));
                    }
                    upgrade.steps.push((old, by));
                }
            }
        }
        // A source package that is gone as a whole is not upgraded.
        let is_upgrade = |one: &Upgrade<'_>| one.steps.len() > one.staying.len();
        by_source.into_values().filter(is_upgrade).collect()
    }

    fn prove_upgrades(
        &mut self,
        members: &[Member],
        upgrades: &[Upgrade<'_>],
        stays: &[Id],
        found: &mut ProofFindings,
    ) {
        let jobs: Vec<Vec<Job>> = upgrades.iter().map(Upgrade::jobs).collect();
        let hidden_after = hidden(members, Side::After, stays);
        let failing = self.within(&hidden_after, |pool| pool.failing(&jobs));
        if failing.is_empty() {
            return;
        }
        // Nobody has packages installed together that conflict with each other.
        let hidden_before = hidden(members, Side::Before, &[]);
        let installed: Vec<bool> = self.within(&hidden_before, |pool| {
            let together = failing.iter().map(|place| upgrades[*place].installed());
            together.collect::<Vec<_>>().iter().map(|jobs| pool.raw.can_solve(jobs)).collect()
        });
        let alone = |place: usize| {
            upgrades[place].steps.iter().map(|(old, jobs)| (*old, jobs.clone())).collect::<Vec<_>>()
        };
        let mut steps: Vec<(&Member, Vec<Job>)> = Vec::new();
        for (place, is_installed) in failing.into_iter().zip(installed) {
            if is_installed {
                let first = upgrades[place].steps.first().map(|(old, _)| *old);
                steps.extend(first.map(|old| (old, jobs[place].clone())));
            } else {
                steps.extend(alone(place));
            }
        }
        let problems = self.within(&hidden_after, |pool| {
            let failed = steps.iter().filter_map(|(old, jobs)| {
                let error = pool.unsolvable(jobs)?;
                Some(pool.failure(ProblemKind::Upgrade, old, &error))
            });
            failed.collect::<Vec<_>>()
        });
        found.after.extend(problems);
    }

    /// The places of jobs that cannot be done, in their order.
    fn failing(&mut self, jobs: &[Vec<Job>]) -> Vec<usize> {
        let mut ranges: Vec<Range<usize>> = (0..jobs.len())
            .step_by(TOGETHER)
            .map(|start| start..(start + TOGETHER).min(jobs.len()))
            .collect();
        let mut failing = Vec::new();
        for _ in 0..MAX_SOLVES {
            let Some(range) = ranges.pop() else { break };
            let together: Vec<Job> = jobs[range.clone()].iter().flatten().copied().collect();
            if self.raw.can_solve(&together) {
                continue;
            }
            if range.len() == 1 {
                failing.push(range.start);
            } else {
                let middle = range.start + range.len() / 2;
                ranges.extend([range.start..middle, middle..range.end]);
            }
        }
        failing.sort_unstable();
        failing
    }

    /// Why jobs cannot be done; `None` when they can.
    fn unsolvable(&mut self, jobs: &[Job]) -> Option<UnsolvableError> {
        let problems = self.raw.solve(jobs).err()?;
        Some(UnsolvableError::from_problems(self, &problems))
    }

    fn failure(&self, kind: ProblemKind, member: &Member, error: &UnsolvableError) -> Problem {
        let problem = Problem::new(kind, member.nevra.clone(), &error.to_string(), self.arch);
        problem.with_chain(error.details.iter().cloned())
    }
}

/// The packages that users of a content do not see. `stays` are seen as well.
fn hidden(members: &[Member], side: Side, stays: &[Id]) -> Vec<Id> {
    let is_hidden =
        |member: &&Member| (!member.is_in(side) || member.is_debug) && !stays.contains(&member.id);
    members.iter().filter(is_hidden).map(|member| member.id).collect()
}
