//! Modifications with scripts: carried out before the SRPM is made.
//!
//! A plan is steps over two trees, the package's sources and its modifications. The worker takes
//! the steps of `core` itself, on files of its own. Each script runs in a fresh cage, on a copy of
//! both trees, as the unprivileged user and without a network; what it leaves is read from
//! outside, without following a link, and copied out. So the worker never writes where a script
//! has been.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rpmfarm_core::diagnosis::RunEnd;
use rpmfarm_core::{Allowed, Failure, FailureStage, Fault, Sha256};
use rpmfarm_sources::distgit::{CommittedFile, Layout, LookasideFile, MAX_FILES};
use rpmfarm_sources::modify::{
    self, ChangelogNote, MAX_PLAN, Node, PlannedNode, ReadFiles, RunScript, ScriptPlan, Step, Tree,
    WorkingDirectory,
};

use super::caged::{CagedCommand, CagedRun};
use super::engine::{EarlyEnd, Engine, RequiresRound, worker};
use super::folder::{SourceTree, TreeItem, copy_out};
use super::home::owned_directory;
use crate::cages::cage::BUILDER_ID;
use crate::cages::confined_dir::{ConfinedDir, DirEntryKind};
use crate::files::WantedFile;
use crate::roots::RootHandle;
use crate::trees;

/// The directory of both trees in the cage. Their names are those of the autopatch tool, so that a
/// script finds one tree from the other.
const PLACE: &str = "builddir/modify";
const RPMS: &str = "rpms-namespace";
const AUTOPATCH: &str = "autopatch-namespace";

/// The resulting spec and sources, by their names in the input directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModifiedSources {
    pub(super) spec: ModifiedFile,
    pub(super) sources: Vec<ModifiedFile>,
}

/// A file of the input directory that goes into the source package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModifiedFile {
    pub(super) name: String,
    /// Whether it is a program (git's mode 100755).
    pub(super) executable: bool,
}

/// A plan that is being carried out.
struct ScriptRun<'a> {
    engine: &'a Engine,
    round: &'a RequiresRound<'a>,
    lease: &'a RootHandle,
    plan: &'a ScriptPlan,
    /// The worker's own files.
    directory: PathBuf,
    rpms: SourceTree,
    autopatch: SourceTree,
    /// Entries for the changelog.
    notes: Vec<ChangelogNote>,
    /// Names files of the worker's own.
    next: usize,
}

impl Engine {
    /// Carries out the plan in the input directory, and puts the resulting spec and sources there.
    pub(super) fn carry_out(
        &self,
        round: &RequiresRound<'_>,
        lease: &RootHandle,
        input: &Path,
        plan: &str,
    ) -> Result<ModifiedSources, EarlyEnd> {
        let failed = worker(FailureStage::Modify, "read the plan of the modifications");
        let bytes = fs::File::open(input.join(plan)).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MAX_PLAN).read_to_end(&mut bytes).map(|_| bytes)
        });
        let plan = ScriptPlan::from_bytes(&bytes.map_err(failed)?).map_err(|error| {
            Failure::new(Fault::Farm, FailureStage::Modify, format!("the plan: {error}"))
        })?;
        let directory = round.directory.join("modify");
        let blobs = directory.join("blobs");
        let _ = trees::remove(&directory);
        fs::create_dir_all(&blobs).map_err(worker(FailureStage::Modify, "make a directory"))?;
        self.place(round, &wanted(&plan), &blobs)?;
        let mut work = ScriptRun {
            engine: self,
            round,
            lease,
            plan: &plan,
            rpms: SourceTree::planned(&plan.tree, &blobs),
            autopatch: SourceTree::planned(&plan.modifications, &blobs),
            directory,
            notes: plan.notes.clone(),
            next: 0,
        };
        for step in &plan.steps {
            match step {
                Step::Script(script) => work.script(script)?,
                step => work.step(step)?,
            }
        }
        let ready = work.finish(input, &blobs)?;
        let _ = trees::remove(&work.directory);
        Ok(ready)
    }
}

/// Every file of a plan, each digest once.
fn wanted(plan: &ScriptPlan) -> Vec<WantedFile> {
    let trees = plan.tree.iter().chain(&plan.modifications).filter_map(|file| match file.node {
        PlannedNode::File { digest, size, .. } => Some((digest, size)),
        PlannedNode::Link(_) => None,
    });
    let lookaside = plan.lookaside.iter().map(|(_, file)| (file.digest, file.size));
    let all: BTreeMap<_, _> =
        trees.chain(lookaside).map(|(d, size)| (d.hex(), (d, size))).collect();
    all.into_iter().map(|(name, (digest, size))| WantedFile { digest, size, name }).collect()
}

fn of_package(message: String) -> EarlyEnd {
    EarlyEnd::Failed(Failure::new(Fault::Package, FailureStage::Modify, message))
}

/// The failure of a script: by its own exit status, if it reached no limit.
fn script_failure(name: &str, run: &CagedRun<'_>, ending: RunEnd) -> Failure {
    let evidence = run.evidence(ending);
    let failure = run.diagnose(&evidence);
    let ended_itself = evidence.oom_kills + evidence.forks_refused == 0
        && !evidence.disk_filled
        && !evidence.inodes_filled;
    let message = match ending {
        RunEnd::Status(code) if ended_itself => {
            format!("the modifications' script {name} ended with exit status {code}")
        }
        _ => format!("the modifications' script {name}: {}", failure.message),
    };
    Failure { message, stage: FailureStage::Modify, ..failure }
}

impl ScriptRun<'_> {
    /// A new file of the worker's own.
    fn fresh(&mut self) -> PathBuf {
        self.next += 1;
        self.directory.join(format!("{}.file", self.next))
    }

    /// Takes a step that is not a script.
    fn step(&mut self, step: &Step) -> Result<(), EarlyEnd> {
        let (rpms, autopatch) = (self.rpms.clone(), self.autopatch.clone());
        let mut tree = Tree::from_entries(&rpms.entries(), &rpms).with_spec(&self.spec_names());
        let modifications = Tree::from_entries(&autopatch.entries(), &autopatch);
        let ScriptPlan { parameters, context, .. } = self.plan;
        modify::apply_step(step, parameters, &mut tree, &modifications, context, &mut self.notes)
            .map_err(|error| of_package(format!("modifications: {error}")))?;
        let mut after = SourceTree::default();
        for (path, node) in tree.nodes() {
            let item = match (node, rpms.0.get(path)) {
                (Node::Changed(bytes), _) => {
                    let file = self.fresh();
                    fs::write(&file, bytes)
                        .map_err(worker(FailureStage::Modify, "write a changed file"))?;
                    TreeItem::File(file, tree.is_executable(path))
                }
                (_, Some(item)) => item.clone(),
                (_, None) => continue,
            };
            after.0.insert(path.to_owned(), item);
        }
        self.rpms = after;
        Ok(())
    }

    /// Runs a script in a cage of its own.
    fn script(&mut self, script: &RunScript) -> Result<(), EarlyEnd> {
        let name = &script.script;
        if self.autopatch.file(&format!("scripts/{name}")).is_none() {
            return Err(of_package(format!("scripts/{name} is not in the modifications")));
        }
        let assignment = self.round.assignment;
        let scratch = self
            .engine
            .scratch
            .acquire(assignment.limits.disk_mib)
            .map_err(worker(FailureStage::Modify, "make scratch space"))?;
        let package = assignment.package.as_str();
        let home = scratch.path().join("upper/builddir");
        self.furnish(scratch.path(), package)
            .map_err(worker(FailureStage::Modify, "prepare a script"))?;
        let command = self.caged(script, package);
        let run = self.engine.run_caged(self.round, self.lease, &scratch, command)?;
        if let Some(ending) = run.failed {
            return Err(EarlyEnd::Failed(script_failure(name, &run, ending)));
        }
        let left = ConfinedDir::open(&home)
            .map_err(worker(FailureStage::Modify, "open the scratch space"))?;
        self.rpms = self.collect(&left, RPMS, package)?;
        self.autopatch = self.collect(&left, AUTOPATCH, package)?;
        Ok(())
    }

    /// Fills an empty upper layer with copies of both trees.
    fn furnish(&self, scratch: &Path, package: &str) -> io::Result<()> {
        let base = self.engine.sandbox.uid_base();
        let upper = scratch.join("upper");
        owned_directory(&upper, base)?;
        fs::create_dir(scratch.join("work"))?;
        let owner = base + BUILDER_ID;
        owned_directory(&upper.join("builddir"), owner)?;
        let place = upper.join(PLACE);
        owned_directory(&place, owner)?;
        for (namespace, folder) in [(RPMS, &self.rpms), (AUTOPATCH, &self.autopatch)] {
            let namespace = place.join(namespace);
            owned_directory(&namespace, owner)?;
            let top = namespace.join(package);
            owned_directory(&top, owner)?;
            copy_out(folder, &top, owner)?;
        }
        Ok(())
    }

    fn caged(&self, script: &RunScript, package: &str) -> CagedCommand {
        let assignment = self.round.assignment;
        let tree = |namespace: &str| format!("/{PLACE}/{namespace}/{package}");
        let directory = match script.cwd {
            WorkingDirectory::Rpms => tree(RPMS),
            WorkingDirectory::Autopatch => tree(AUTOPATCH),
        };
        let program = format!("{}/scripts/{}", tree(AUTOPATCH), script.script);
        CagedCommand {
            name: format!("modify-{}-{}-{}", assignment.attempt, assignment.epoch, self.next),
            stage: FailureStage::Modify,
            heading: vec![format!("+ modifications: script {}", script.script)],
            binds: Vec::new(),
            command: vec!["/bin/bash".to_owned(), program],
            directory: PathBuf::from(directory),
            environment: Vec::new(),
            allow: Allowed::new(),
        }
    }

    /// Copies the tree that a script has left.
    fn collect(
        &mut self,
        home: &ConfinedDir,
        namespace: &str,
        package: &str,
    ) -> Result<SourceTree, EarlyEnd> {
        let refused = |error: io::Error| {
            of_package(format!("what a script of the modifications left is refused: {error}"))
        };
        let top = home.directory(&format!("modify/{namespace}/{package}")).map_err(refused)?;
        let mut folder = SourceTree::default();
        for (path, found) in top.tree(MAX_FILES).map_err(refused)? {
            let item = match found {
                DirEntryKind::Link(target) => TreeItem::Link(target),
                DirEntryKind::File { size, executable } => {
                    let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
                    let from =
                        top.directory(dir).and_then(|dir| dir.file(name)).map_err(refused)?;
                    let to = self.fresh();
                    let copied = fs::File::create(&to)
                        .and_then(|mut to| io::copy(&mut from.take(size), &mut to));
                    copied.map_err(worker(FailureStage::Modify, "copy what a script left"))?;
                    TreeItem::File(to, executable)
                }
            };
            folder.0.insert(path, item);
        }
        Ok(folder)
    }

    /// The names that the spec may have if there are several.
    fn spec_names(&self) -> Vec<String> {
        match self.plan.context.spec_names.as_slice() {
            // A coordinator of an older version sends none.
            [] => vec![format!("{}.spec", self.round.assignment.package)],
            names => names.to_vec(),
        }
    }

    /// Puts the spec and the sources of the final tree into the input directory.
    fn finish(&self, input: &Path, blobs: &Path) -> Result<ModifiedSources, EarlyEnd> {
        let package = &self.round.assignment.package;
        let failed = |error: String| of_package(format!("after the modifications: {error}"));
        let layout = Layout::detect(package, &self.spec_names(), &self.rpms.entries())
            .map_err(|error| failed(error.to_string()))?;
        let lookaside = match &layout.list {
            Some((path, _)) => {
                let bytes = self.rpms.read(path).map_err(|error| failed(error.to_string()))?;
                LookasideFile::parse_list(path, &String::from_utf8_lossy(&bytes))
                    .map_err(|error| failed(error.to_string()))?
            }
            None => Vec::new(),
        };
        // The target's policy on digests was applied when the files were imported.
        let both =
            layout.check_list(&lookaside, true).map_err(|error| failed(error.to_string()))?;
        let both: Vec<String> = both.into_iter().map(|(file, _)| file.name.clone()).collect();
        let mut sources = Vec::new();
        let put = |from: &Path, name: &str| {
            fs::copy(from, input.join(name))
                .map_err(worker(FailureStage::Modify, "put a source in its place"))
        };
        let committed = |file: &CommittedFile| -> Result<ModifiedFile, EarlyEnd> {
            let from = self.rpms.file(&file.path);
            let from = from.ok_or_else(|| failed(format!("{} is not a file", file.path)))?;
            put(from, &file.name)?;
            Ok(ModifiedFile { name: file.name.clone(), executable: file.executable })
        };
        for file in &layout.sources {
            sources.push(committed(file)?);
        }
        for file in lookaside {
            let known = self.plan.lookaside.iter().find(|(listed, _)| *listed == file);
            let Some((_, source)) = known else {
                return Err(failed(format!(
                    "the list names {} ({}), which was not fetched: a script cannot add \
                     look-aside files, add_files or the package's own list can",
                    file.name, file.checksum
                )));
            };
            if both.contains(&file.name) {
                // The file and its digest matched when they were imported.
                let now = fs::read(input.join(&file.name))
                    .map_err(worker(FailureStage::Modify, "read a source"))?;
                if Sha256::compute(&now) != source.digest {
                    return Err(failed(format!(
                        "{} was changed, but {} still lists it with {}; take it from the list",
                        file.name,
                        layout.list_name(),
                        file.checksum
                    )));
                }
                continue;
            }
            put(&blobs.join(source.digest.hex()), &file.name)?;
            sources.push(ModifiedFile { name: file.name, executable: false });
        }
        Ok(ModifiedSources { spec: committed(&layout.spec)?, sources })
    }
}
