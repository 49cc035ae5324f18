//! The plan of a request for builds, from the facts that are known before any of them is built.
//!
//! Owns the input of a plan: the newest SRPM of each package, and a root solved for each of its
//! architectures with the present packages. It must not record anything, nor know how builds that
//! have begun are ordered.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, stream};
use rpmfarm_core::batch::{self, BatchGraph, Lacking, Needed, OrderMode, Slots};
use rpmfarm_core::time::span_us;
use rpmfarm_core::{Arch, BuildId, BuildOptions, Fault, Lock, Target};
use rpmfarm_proto::v1;

use crate::blocking;
use crate::resolve::{FarmPackages, Requirements, ResolveError, Resolver};
use crate::store::Srpm;

/// How many roots are solved at once. Each architecture of a target solves one root after the
/// other.
const AT_ONCE: usize = 4;

/// The largest number of roots that are solved for one plan: each takes 10 to 30 ms, and the caller
/// waits for all.
const MAX_SOLVED: usize = 5_000;

/// The known facts of a package before it is built again.
#[derive(Debug, Clone)]
pub struct PackageFacts {
    pub package: String,
    /// How long it takes; `None` when that is not known.
    pub takes: Option<Duration>,
    /// The newest accepted SRPM of the package; `None` for a package that was never built.
    pub srpm: Option<Srpm>,
    /// The requested architectures.
    pub arches: Vec<Arch>,
    /// The requirements of its root in addition to those of its spec.
    pub additional: Vec<String>,
}

/// Makes the plan of one request.
#[derive(Debug)]
pub struct Planner<F> {
    pub resolver: Resolver,
    pub target: Arc<Target>,
    /// The farm's own packages.
    pub farm: F,
    pub order: OrderMode,
    pub options: BuildOptions,
    /// The roots that are solved at most; more are ordered by the names of requirements alone.
    pub max_solved: usize,
    pub now: SystemTime,
}

/// A task whose root is to be solved.
#[derive(Debug)]
struct PlannedTask {
    build: BuildId,
    package: String,
    arch: Arch,
    requires: Vec<String>,
    conflicts: Vec<String>,
}

/// The names of the packages that every root of a target has.
type BaseNames = HashSet<String>;

impl<F> Planner<F> {
    /// A planner that solves as many roots as a plan may take.
    pub fn new(
        (resolver, farm): (Resolver, F),
        target: Arc<Target>,
        (order, options): (OrderMode, BuildOptions),
        now: SystemTime,
    ) -> Self {
        Self { resolver, target, farm, order, options, max_solved: MAX_SOLVED, now }
    }
}

impl<F: FarmPackages + Send + 'static> Planner<F> {
    /// Makes the plan.
    ///
    /// # Errors
    /// When the farm cannot make a plan, for example because the metadata of a repository are older
    /// than the target allows. Missing requirements of packages are part of the plan.
    pub async fn plan(
        self,
        packages: Vec<PackageFacts>,
        slots: Slots,
    ) -> Result<v1::BatchPlan, ResolveError> {
        let planner = Arc::new(self);
        let (mut graph, tasks) = planner.graph(&packages);
        // Repositories that cannot be used are reported before the first root of a package is
        // solved.
        let base = planner.base(&tasks).await?;
        let is_solved = tasks.len() <= planner.max_solved;
        if is_solved {
            solve_all(&planner, tasks, &mut graph).await?;
        } else {
            tasks.iter().for_each(|task| planner.set_names(&mut graph, task, &base));
        }
        let notes = planner.notes(&packages, is_solved, &slots);
        let (copy, target) = (slots.clone(), planner.target.name.clone());
        let made = blocking::run(move || batch::plan(&graph, &copy)).await;
        let made = made.expect("a plan is made without a panic");
        let packages: Vec<String> = packages.into_iter().map(|facts| facts.package).collect();
        let plan = v1::BatchPlan::new(&made, &packages, &slots);
        Ok(v1::BatchPlan { target, notes, ..plan })
    }

    /// The graph of the packages, whose builds are numbered from 1, and the tasks whose roots it
    /// does not know.
    fn graph(&self, packages: &[PackageFacts]) -> (BatchGraph, Vec<PlannedTask>) {
        let mut graph = BatchGraph::new(self.order);
        let mut tasks = Vec::new();
        for (build, facts) in (1..).map(BuildId).zip(packages) {
            graph.add_member(build, &facts.package, span_us(facts.takes.unwrap_or_default()));
            let Some(srpm) = &facts.srpm else { continue };
            let arches = arches(srpm, &facts.arches);
            if arches.is_empty() {
                continue;
            }
            let names = srpm.predicts_anywhere();
            graph.set_srpm(build, &arches, names.iter().map(String::as_str));
            tasks.extend(arches.into_iter().map(|arch| PlannedTask {
                build,
                package: facts.package.clone(),
                arch,
                requires: [srpm.requires_on(arch), facts.additional.as_slice()].concat(),
                conflicts: srpm.conflicts_with(arch.as_str()).to_vec(),
            }));
        }
        (graph, tasks)
    }

    /// Solves the base root of each architecture that is built for.
    async fn base(&self, tasks: &[PlannedTask]) -> Result<BaseNames, ResolveError> {
        let arches: BTreeSet<Arch> = tasks.iter().map(|task| task.arch).collect();
        let mut names = BaseNames::new();
        for arch in arches {
            let modules = self.target.modules_of("");
            let wanted = Requirements { modules, ..Requirements::default() };
            let lock =
                self.resolver.resolve(&self.target, arch, &self.farm, wanted, self.now).await?;
            names.extend(lock.packages().map(|package| package.nevra.name.clone()));
        }
        Ok(names)
    }

    /// The root of a task, or the requirements that nothing provides: none when the root fails for
    /// another reason.
    async fn solve(&self, task: &PlannedTask) -> Result<Result<Lock, Vec<String>>, ResolveError> {
        let wanted = Requirements {
            layers: vec![task.requires.clone()],
            conflicts: task.conflicts.clone(),
            modules: self.target.modules_of(&task.package),
        };
        let target = &*self.target;
        match self.resolver.resolve(target, task.arch, &self.farm, wanted, self.now).await {
            Ok(lock) => Ok(Ok(lock)),
            Err(error) if error.fault() == Fault::Package => Ok(Err(error.missing())),
            Err(error) => Err(error),
        }
    }

    /// Passes the result of solving a root to the graph.
    fn set_solved(
        &self,
        graph: &mut BatchGraph,
        task: &PlannedTask,
        solved: &Result<Lock, Vec<String>>,
    ) {
        let PlannedTask { build, arch, requires, .. } = task;
        match solved {
            Ok(lock) => {
                let needed = Needed::new(lock, requires, self.order);
                graph.set_solved(*build, *arch, 0, &needed);
            }
            Err(missing) if missing.is_empty() => {
                graph.set_lacking(*build, *arch, 0, Lacking::Other);
            }
            Err(missing) => {
                graph.set_lacking(*build, *arch, 0, Lacking::Requirements(missing));
            }
        }
    }

    /// Passes the needs of a task to the graph, by the names of its requirements.
    fn set_names(&self, graph: &mut BatchGraph, task: &PlannedTask, base: &BaseNames) {
        let names = task.requires.iter().filter_map(|text| text.split_whitespace().next());
        let is_counted = |name: &&str| self.order == OrderMode::Bootstrap || !base.contains(*name);
        let mut needed = Needed { names: names.filter(is_counted).collect(), sources: Vec::new() };
        if self.order == OrderMode::Bootstrap {
            needed.names.extend(base.iter().map(String::as_str));
        }
        graph.set_solved(task.build, task.arch, 0, &needed);
    }

    /// How the plan was made, and which influences it ignores.
    fn notes(&self, packages: &[PackageFacts], is_solved: bool, slots: &Slots) -> Vec<String> {
        let mut notes = vec![
            "made of the newest SRPM that the farm has of each package; what is new in its sources \
             is not known yet"
                .to_owned(),
        ];
        notes.push(if is_solved {
            "each build root was solved with the packages that are there now".to_owned()
        } else {
            format!(
                "by the names of requirements alone, for more than {} build roots would have to be \
                 solved: what requirements pull in is not counted",
                self.max_solved
            )
        });
        let is_dynamic =
            |facts: &&PackageFacts| facts.srpm.as_ref().is_some_and(|srpm| srpm.dynamic);
        let dynamic = packages.iter().filter(is_dynamic).count();
        if dynamic > 0 {
            notes.push(format!(
                "what %generate_buildrequires finds while {} built is not counted",
                if dynamic == 1 {
                    "1 package is".into()
                } else {
                    format!("{dynamic} packages are")
                }
            ));
        }
        let BuildOptions { with, without, define, repositories, .. } = &self.options;
        if !(with.is_empty() && without.is_empty() && define.is_empty()) {
            notes.push("what bconds and macros of the request change is not counted".to_owned());
        }
        if !repositories.is_empty() {
            notes.push("repositories of the request alone are not asked".to_owned());
        }
        let idle = slots.iter().filter(|(_, slots)| **slots == 0);
        notes.extend(idle.map(|(arch, _)| {
            format!("no worker takes work for {arch} now: what is built for it never starts")
        }));
        notes
    }
}

/// Solves the roots of all tasks and passes the results to the graph.
async fn solve_all<F: FarmPackages + Send + 'static>(
    planner: &Arc<Planner<F>>,
    tasks: Vec<PlannedTask>,
    graph: &mut BatchGraph,
) -> Result<(), ResolveError> {
    let solver = Arc::clone(planner);
    let solves = stream::iter(tasks).map(move |task| {
        let solver = Arc::clone(&solver);
        async move {
            let solved = solver.solve(&task).await;
            (task, solved)
        }
    });
    let mut solves = std::pin::pin!(solves.buffer_unordered(AT_ONCE));
    while let Some((task, solved)) = solves.next().await {
        planner.set_solved(graph, &task, &solved?);
    }
    Ok(())
}

/// The wanted architectures on which a package is built: one for a `noarch` package, and the first
/// one for a package that none of them builds, which its build will report.
fn arches(srpm: &Srpm, wanted: &[Arch]) -> Vec<Arch> {
    let terms = |arch: &Arch| srpm.terms(arch.as_str());
    let builds = |arch: &&Arch| terms(arch).is_none_or(|terms| terms.builds_on(**arch));
    let mut arches: Vec<Arch> = wanted.iter().filter(builds).copied().collect();
    if arches.is_empty() {
        arches.extend(wanted.first());
    }
    if arches.iter().all(|arch| terms(arch).is_some_and(|terms| terms.noarch)) {
        arches.truncate(1);
    }
    arches
}

#[cfg(test)]
mod tests {
    use rpmfarm_core::Sha256;
    use rpmfarm_core::terms::Terms;

    use super::*;

    fn srpm(terms: &[(Arch, Terms)]) -> Srpm {
        let terms = terms.iter().map(|(arch, terms)| (arch.to_string(), terms.clone()));
        Srpm {
            digest: Sha256::compute(b"srpm"),
            size: 1,
            nevra: "p-1-1.src".parse().expect("a NEVRA"),
            requires: Vec::new(),
            conflicts: Vec::new(),
            predicts: Vec::new(),
            dynamic: false,
            terms: terms.collect(),
        }
    }

    #[test]
    fn a_package_is_planned_where_it_is_built() {
        let wanted = [Arch::X86_64, Arch::Aarch64];
        assert_eq!(arches(&srpm(&[]), &wanted), wanted, "nothing is known");
        let only = |words: &[&str]| Terms {
            exclusive: words.iter().map(ToString::to_string).collect(),
            ..Terms::default()
        };
        let both = |terms: &Terms| srpm(&wanted.map(|arch| (arch, terms.clone())));
        assert_eq!(arches(&both(&only(&["aarch64"])), &wanted), [Arch::Aarch64]);
        assert_eq!(arches(&both(&only(&["s390x"])), &wanted), [Arch::X86_64]);
        let noarch = Terms { noarch: true, ..Terms::default() };
        assert_eq!(arches(&both(&noarch), &wanted), [Arch::X86_64]);
        assert!(arches(&both(&noarch), &[]).is_empty());
    }
}
