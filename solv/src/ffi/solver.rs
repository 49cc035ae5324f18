//! A run of the solver, and the rules of its problems.

use std::ptr::NonNull;

use super::queue::Queue;
use super::sys::*;
use super::{Id, RawPool, text};

/// A rule that is part of a problem.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) kind: RuleKind,
    /// libsolv's text of the rule.
    pub(crate) text: String,
    /// The packages that conflict with each other, for a rule about a conflict.
    pub(crate) clash: Vec<Id>,
}

/// The kinds of rules that messages distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleKind {
    /// Nothing provides what a package requires.
    NothingProvides { package: Id, dep: Id },
    /// A package requires something that exists.
    Requires,
    /// A request of the caller.
    Job,
    /// Nothing provides what the caller requested.
    JobNothingProvides { dep: Id },
    /// Conflicts, obsoletes, two versions of one name, …
    Conflict,
}

/// A run of the solver on a pool.
pub(super) struct Solver<'a> {
    solver: NonNull<CSolver>,
    pool: &'a RawPool,
}

impl Drop for Solver<'_> {
    fn drop(&mut self) {
        // SAFETY: made by solver_create, freed once, before its pool.
        unsafe { solver_free(self.solver.as_ptr()) };
    }
}

impl<'a> Solver<'a> {
    /// A solver with dnf's settings, and weak dependencies off.
    pub(super) fn new(pool: &'a mut RawPool) -> Self {
        // SAFETY: the pool is live and stays borrowed; libsolv aborts rather than returning null.
        let solver = unsafe { NonNull::new(solver_create(pool.pool.as_ptr())) }
            .expect("libsolv aborts when out of memory");
        for flag in [
            farm_flag_ignore_recommended,
            farm_flag_best_obey_policy,
            farm_flag_yum_obsoletes,
            farm_flag_urpm_reorder,
        ] {
            // SAFETY: the solver is live.
            unsafe { solver_set_flag(solver.as_ptr(), flag, 1) };
        }
        Self { solver, pool }
    }

    pub(super) fn solve(&mut self, jobs: &[Id]) -> Result<Vec<Id>, Vec<Vec<Rule>>> {
        let mut jobs = Queue::from_ids(jobs);
        // SAFETY: the solver and the queue are live; the queue is copied.
        let problems = unsafe { solver_solve(self.solver.as_ptr(), &mut jobs.0) };
        if problems != 0 {
            return Err(self.problems());
        }
        let mut decisions = Queue::new();
        // SAFETY: as above.
        unsafe { solver_get_decisionqueue(self.solver.as_ptr(), &mut decisions.0) };
        let chosen = |id: &Id| self.pool.repo_of(*id).is_some();
        Ok(decisions.to_vec().into_iter().filter(chosen).collect())
    }

    /// Whether there is a solution.
    pub(super) fn can_solve(&mut self, jobs: &[Id]) -> bool {
        let mut jobs = Queue::from_ids(jobs);
        // SAFETY: the solver and the queue are live; the queue is copied.
        unsafe { solver_solve(self.solver.as_ptr(), &mut jobs.0) == 0 }
    }

    fn problems(&mut self) -> Vec<Vec<Rule>> {
        // SAFETY: the solver is live.
        let count = unsafe { solver_problem_count(self.solver.as_ptr()) };
        (1..=Id::try_from(count).unwrap_or(Id::MAX))
            .map(|problem| {
                let mut rules = Queue::new();
                // SAFETY: problems are numbered from 1 to their count.
                unsafe {
                    solver_findallproblemrules(self.solver.as_ptr(), problem, &mut rules.0);
                }
                rules.to_vec().into_iter().map(|rule| self.rule(rule)).collect()
            })
            .collect()
    }

    fn rule(&mut self, rule: Id) -> Rule {
        let (mut source, mut target, mut dep) = (0, 0, 0);
        // SAFETY: the rule comes from this live solver; what it says is handed back to it.
        let (kind, text) = unsafe {
            let solver = self.solver.as_ptr();
            let kind = solver_ruleinfo(solver, rule, &mut source, &mut target, &mut dep);
            (kind, text(solver_problemruleinfo2str(solver, kind, source, target, dep)))
        };
        let clash = if [farm_rule_conflicts, farm_rule_same_name].contains(&kind) {
            vec![source, target]
        } else if kind == farm_rule_self_conflict {
            vec![source]
        } else {
            Vec::new()
        };
        let kind = if kind == farm_rule_nothing_provides {
            RuleKind::NothingProvides { package: source, dep }
        } else if kind == farm_rule_requires {
            RuleKind::Requires
        } else if kind == farm_rule_job {
            RuleKind::Job
        } else if [farm_rule_job_nothing_provides, farm_rule_job_unknown_package].contains(&kind) {
            RuleKind::JobNothingProvides { dep }
        } else {
            RuleKind::Conflict
        };
        Rule { kind, text: text.unwrap_or_default(), clash }
    }
}
