//! The import of one commit and of its package's modifications, from the fetch to the stored
//! bundle. Blocks, so it runs on an import lane.
//!
//! Modifications are fetched like the dist-git, read, and applied up to the first script. Scripts
//! never run here: the modifications from the first script on become a plan for the build cage.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpmfarm_core::digest::Checksum;
use rpmfarm_core::name::{check_git_ref, check_package};
use rpmfarm_core::source::{Modification, SourceBundle, SourceFile, SourceOrigin, SourceRecord};
use rpmfarm_core::target::{MODIFICATIONS_CONFIG, is_modifications_config};
use rpmfarm_core::{Sha256, Target};
use rpmfarm_sources::autospec::{self, AutospecValues, History, MacroUse};
use rpmfarm_sources::distgit::{CommittedFile, EntryKind, Layout, LookasideFile};
use rpmfarm_sources::modify::{
    self, ChangelogNote, Config, Context, Node, Parameters, PlannedFile, PlannedNode, ScriptPlan,
    Step, Tree,
};

use super::failure::ImportError;
use super::git::{self, Checkout, CommitFiles, CommitMeta, FetchDepth, FetchSession};
use super::index::ChecksumIndex;
use super::lookaside::{LookasideClient, check_same};
use super::sources::CommitSources;
use super::watch::ImportTimer;
use super::{ImportRequest, ImportedCommit};
use crate::blobs::Blobs;
use crate::http::Http;

/// Committed sources that are searched for what a spec includes.
const INCLUDED: usize = 500;

/// The parts that all imports share.
pub(super) struct ImportContext {
    pub(super) http: Arc<Http>,
    pub(super) blobs: Blobs,
    pub(super) index: ChecksumIndex,
    /// The directory with a bare repository for each upstream one.
    pub(super) repositories: PathBuf,
}

pub(super) struct ImportJob {
    pub(super) target: Target,
    pub(super) package: String,
    pub(super) git_ref: String,
    /// The modifications' branch, tag or commit, when it is not the target's.
    pub(super) modification_ref: Option<String>,
    /// Whether the release is raised for a rebuild without a change.
    pub(super) bump: bool,
    /// `VERSION-RELEASE` of earlier builds of the package.
    pub(super) built: Vec<String>,
}

impl ImportJob {
    /// Checks the request.
    ///
    /// # Errors
    /// [`ImportError::Name`].
    pub(super) fn new(order: ImportRequest<'_>) -> Result<Self, ImportError> {
        let ImportRequest { target, package, git_ref, modification_ref, bump, built } = order;
        check_package(package)?;
        let git_ref = target.git_ref(package, git_ref)?;
        modification_ref.map_or(Ok(()), check_git_ref)?;
        Ok(Self {
            target: target.clone(),
            package: package.to_owned(),
            git_ref,
            modification_ref: modification_ref.map(str::to_owned),
            bump,
            built,
        })
    }

    /// The URL of the package's repository.
    pub(super) fn repository(&self) -> String {
        self.target.git_url(&self.package)
    }

    /// Fetches the package's commit.
    ///
    /// # Errors
    /// When it is not there, or the server fails.
    pub(super) fn checkout(
        &self,
        shared: &ImportContext,
        watch: &ImportTimer,
    ) -> Result<Checkout, ImportError> {
        self.fetch(shared, watch, &self.git_ref, FetchDepth::Tip)
    }

    fn fetch(
        &self,
        shared: &ImportContext,
        watch: &ImportTimer,
        git_ref: &str,
        depth: FetchDepth,
    ) -> Result<Checkout, ImportError> {
        let url = self.repository();
        let session = FetchSession::new(
            Arc::clone(&shared.http),
            self.target.private_hosts.clone(),
            watch.clone(),
            self.package.clone(),
        );
        let name = cache_name(&self.package, &url);
        let cache = match depth {
            FetchDepth::Tip => shared.repositories.join(name),
            FetchDepth::History => shared.repositories.join(format!("history-{name}")),
        };
        git::fetch(&session, &cache, &url, git_ref, depth)
    }

    /// The history of a commit, for which the whole repository is fetched.
    fn history(
        &self,
        shared: &ImportContext,
        watch: &ImportTimer,
        checkout: &Checkout,
        spec: &str,
    ) -> Result<History, ImportError> {
        // The branch may have moved meanwhile; its history still contains the commit.
        let mut fetched = self.fetch(shared, watch, &self.git_ref, FetchDepth::History)?;
        if fetched.repository.find_commit(checkout.commit).is_err() {
            let commit = checkout.commit.to_string();
            fetched = self.fetch(shared, watch, &commit, FetchDepth::History)?;
        }
        fetched.commit = checkout.commit;
        fetched.history(spec, &self.target.macros_of(&self.package), watch)
    }

    /// Imports it.
    ///
    /// # Errors
    /// Why it cannot be imported.
    pub(super) fn run(
        &self,
        shared: &ImportContext,
        watch: &ImportTimer,
    ) -> Result<ImportedCommit, ImportError> {
        let checkout = self.checkout(shared, watch)?;
        let changes = FetchedModifications::fetch(self, shared, watch)?;
        let meta = checkout.meta()?;
        let import = CommitImport { job: self, shared, watch, checkout: &checkout };
        let made = import.bundle(changes.as_ref(), meta.at)?;
        let digest = shared.blobs.put(&made.bundle.to_bytes())?;
        let git_ref = checkout.git_ref.clone();
        let record = SourceRecord { git_ref: git_ref.clone(), ..made.record };
        let mut cves = meta.cves;
        cves.extend(changes.into_iter().flat_map(|changes| changes.cves));
        let (bundle, subject, committed_at) = (made.bundle, meta.subject, meta.at);
        Ok(ImportedCommit { bundle, digest, git_ref, subject, cves, committed_at, record })
    }
}

/// A name for the cached repository that tells packages and servers apart.
fn cache_name(package: &str, url: &str) -> String {
    format!("{package}-{}.git", &Sha256::compute(url.as_bytes()).hex()[..16])
}

/// An import whose commit was fetched.
struct CommitImport<'a> {
    job: &'a ImportJob,
    shared: &'a ImportContext,
    watch: &'a ImportTimer,
    checkout: &'a Checkout,
}

/// A bundle that is not stored yet.
struct UnstoredBundle {
    bundle: SourceBundle,
    record: SourceRecord,
}

/// The files that a look-aside list names.
struct Listed {
    /// Files that are also committed.
    committed: Vec<(CommittedFile, LookasideFile)>,
    /// The others, which are fetched.
    lookaside: Vec<LookasideFile>,
}

/// The files of a bundle, which are stored.
struct Collected {
    spec: SourceFile,
    sources: Vec<SourceFile>,
    /// Where each file is from.
    origins: Vec<SourceOrigin>,
    /// The entries of the look-aside list, each with its stored file.
    lookaside: Vec<(LookasideFile, SourceFile)>,
}

impl CommitImport<'_> {
    fn bundle(
        &self,
        changes: Option<&FetchedModifications>,
        committed_at: i64,
    ) -> Result<UnstoredBundle, ImportError> {
        let limits = self.watch.limits();
        let files = self.checkout.files()?;
        let of_package =
            CommitSources { checkout: self.checkout, files: &files, limit: limits.committed_file };
        let of_changes = changes.map(|changes| changes.sources(limits.committed_file));
        let spec_names = self.job.target.spec_names(&self.job.package);
        let mut tree = of_package.tree().with_spec(&spec_names);
        let nothing = std::collections::BTreeMap::new();
        let modifications =
            of_changes.as_ref().map_or_else(|| Tree::new([], &nothing), CommitSources::tree);
        let context = context(self.job, committed_at, changes);
        let parameters = changes.map_or_else(Parameters::default, |c| c.config.parameters.clone());
        let generated = self.generated(&of_package, &tree)?;
        let steps = all_steps(self.job, changes, generated);
        let (notes, rest) = take_pure(&steps, &parameters, &mut tree, &modifications, &context)?;

        let layout = Layout::detect(&self.job.package, &spec_names, &of_package.entries(&tree))?;
        let listed = self.listed(&layout, &tree, &files)?;
        let mut collected = self.collect(&layout, listed, &tree, &files)?;
        let plan = match (&of_changes, rest.is_empty()) {
            (Some(of_changes), false) => Some(self.plan(ScriptPlan {
                parameters,
                context,
                tree: planned(&of_package, &tree, self.shared, self.watch)?,
                modifications: planned(of_changes, &modifications, self.shared, self.watch)?,
                lookaside: std::mem::take(&mut collected.lookaside),
                notes,
                steps: rest.clone(),
            })?),
            _ => None,
        };
        Ok(self.made(changes, &layout, &rest, collected, plan))
    }

    /// Reads the look-aside list, and checks the number of source files.
    fn listed(
        &self,
        layout: &Layout,
        tree: &Tree<'_>,
        files: &CommitFiles,
    ) -> Result<Listed, ImportError> {
        let mut lookaside = self.list(layout, tree, files)?;
        let both = layout.check_list(&lookaside, self.job.target.upstream.allow_md5)?;
        let committed: Vec<(CommittedFile, LookasideFile)> =
            both.into_iter().map(|(committed, file)| (committed.clone(), file.clone())).collect();
        lookaside.retain(|file| committed.iter().all(|(_, listed)| listed != file));
        let count = layout.sources.len() + lookaside.len();
        let limit = self.watch.limits().files;
        if count > limit {
            return Err(self.too_much(format!("{count} source files"), limit as u64, "files"));
        }
        Ok(Listed { committed, lookaside })
    }

    /// Stores the spec and all sources.
    fn collect(
        &self,
        layout: &Layout,
        listed: Listed,
        tree: &Tree<'_>,
        files: &CommitFiles,
    ) -> Result<Collected, ImportError> {
        let limits = self.watch.limits();
        let (spec, from) = self.tree_file(&layout.spec, tree, files, limits.spec)?;
        let mut origins = vec![origin(&spec, from, None)];
        let mut total = spec.size;
        let mut sources = Vec::with_capacity(layout.sources.len() + listed.lookaside.len());
        for file in &layout.sources {
            let (source, from) = self.tree_file(file, tree, files, limits.committed_file)?;
            origins.push(origin(&source, from, None));
            sources.push(source);
            total = self.add(total, &sources)?;
        }
        let mut lookaside = self.check_committed(layout, listed.committed, &sources)?;
        for file in listed.lookaside {
            let (source, url) = self.lookaside_file(&file)?;
            origins.push(origin(&source, &url, Some(&file.checksum)));
            sources.push(source.clone());
            lookaside.push((file, source));
            total = self.add(total, &sources)?;
        }
        sources.sort_by(|a, b| a.name.cmp(&b.name));
        origins.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Collected { spec, sources, origins, lookaside })
    }

    /// Checks that committed files match their entries in the look-aside list.
    fn check_committed(
        &self,
        layout: &Layout,
        listed: Vec<(CommittedFile, LookasideFile)>,
        sources: &[SourceFile],
    ) -> Result<Vec<(LookasideFile, SourceFile)>, ImportError> {
        let mut checked = Vec::with_capacity(listed.len());
        for (committed, file) in listed {
            let source = sources.iter().find(|source| source.name == committed.name);
            let source = source.expect("all committed sources are there").clone();
            let content = self.shared.blobs.read_small(source.digest, source.size)?;
            check_same(&content, &committed, layout.list_name(), &file)?;
            checked.push((file, source));
        }
        Ok(checked)
    }

    /// The bundle, and the record of its sources. `steps` are left for the cage.
    fn made(
        &self,
        changes: Option<&FetchedModifications>,
        layout: &Layout,
        steps: &[Step],
        collected: Collected,
        plan: Option<SourceFile>,
    ) -> UnstoredBundle {
        let Collected { spec, sources, origins, .. } = collected;
        let modification = changes.map(|changes| changes.modification.clone());
        let record = SourceRecord {
            git_ref: String::new(),
            modification: modification.clone(),
            modification_subject: changes.map_or_else(String::new, |c| c.subject.clone()),
            scripts: scripts(steps),
            bump: self.job.bump,
            files: origins,
            notes: other_specs(layout).into_iter().collect(),
        };
        let bundle = SourceBundle {
            package: self.job.package.clone(),
            url: self.checkout.url.clone(),
            commit: self.checkout.commit.to_string(),
            spec,
            sources,
            modification,
            plan,
        };
        UnstoredBundle { bundle, record }
    }

    /// The values of `%autorelease` and `%autochangelog`, when the spec uses one of them.
    fn generated(
        &self,
        sources: &CommitSources<'_>,
        tree: &Tree<'_>,
    ) -> Result<Option<AutospecValues>, ImportError> {
        // With several specs or none, the layout reports the error later.
        let Ok(path) = tree.spec() else { return Ok(None) };
        let Ok(text) = tree.text(&path) else { return Ok(None) };
        let lines = rpmfarm_sources::spec::lines(&text);
        if lines.iter().any(|line| autospec::defines_autorelease(line)) {
            return Ok(None);
        }
        let included = self.includes_autospec(&text, tree);
        if autospec::uses(&lines) == MacroUse::default() && !included {
            return Ok(None);
        }
        let history = self.job.history(self.shared, self.watch, sources.checkout, &path)?;
        Ok(Some(AutospecValues { included, ..autospec::generate(&history) }))
    }

    /// Whether a spec uses the macros in committed sources that it includes.
    fn includes_autospec(&self, spec: &str, tree: &Tree<'_>) -> bool {
        if !["%include", "%load", "%{load:"].iter().any(|word| spec.contains(word)) {
            return false;
        }
        let is_source = |path: &str| {
            !path.strip_prefix("SOURCES/").unwrap_or(path).contains('/') && !path.ends_with(".spec")
        };
        let paths = tree.nodes().map(|(path, _)| path).filter(|path| is_source(path));
        // A file that cannot be read is reported when it is collected.
        paths
            .take(INCLUDED)
            .any(|path| tree.text(path).is_ok_and(|text| autospec::names_any(&text)))
    }

    /// Stores the plan of the steps that are left for the cage.
    fn plan(&self, plan: ScriptPlan) -> Result<SourceFile, ImportError> {
        let bytes = plan.to_bytes();
        let digest = self.shared.blobs.put(&bytes)?;
        let (name, size) = ("plan.json".to_owned(), bytes.len() as u64);
        Ok(SourceFile { name, digest, size, executable: false })
    }

    fn list(
        &self,
        layout: &Layout,
        tree: &Tree<'_>,
        files: &CommitFiles,
    ) -> Result<Vec<LookasideFile>, ImportError> {
        let Some((path, _)) = &layout.list else { return Ok(Vec::new()) };
        let text = match changed(tree, path) {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => self.checkout.text(path, files[path].1, self.watch.limits().list)?,
        };
        Ok(LookasideFile::parse_list(path, &text)?)
    }

    /// Stores a file of the tree. Also returns whether it is as in git.
    fn tree_file(
        &self,
        file: &CommittedFile,
        tree: &Tree<'_>,
        files: &CommitFiles,
        limit: u64,
    ) -> Result<(SourceFile, &'static str), ImportError> {
        self.watch.check()?;
        let stored = |content: &[u8]| -> Result<SourceFile, ImportError> {
            let digest = self.shared.blobs.put(content)?;
            let (name, size) = (file.name.clone(), content.len() as u64);
            Ok(SourceFile { name, digest, size, executable: file.executable })
        };
        match changed(tree, &file.path) {
            Some(content) => Ok((stored(content)?, "modifications")),
            None => {
                let content = self.checkout.content(&file.path, files[&file.path].1, limit)?;
                Ok((stored(&content)?, "git"))
            }
        }
    }

    /// Finds a look-aside file in the store, or fetches it. Also returns the URL that it came from.
    fn lookaside_file(&self, file: &LookasideFile) -> Result<(SourceFile, String), ImportError> {
        let ImportContext { http, blobs, index, .. } = self.shared;
        let ImportJob { target, package, .. } = self.job;
        let known = index.find(&file.checksum, blobs);
        let (digest, size, url) = match known {
            Some(known) => known,
            None => {
                let urls =
                    target.lookaside_urls(package, &self.branch(), &file.name, &file.checksum);
                if urls.is_empty() {
                    let (file, target) = (file.name.clone(), target.name.clone());
                    return Err(ImportError::NoLookaside { file, target });
                }
                let lookaside = LookasideClient {
                    http,
                    allowed: &target.private_hosts,
                    blobs,
                    watch: self.watch,
                    limit: target.upstream.max_file_mib.saturating_mul(1024 * 1024),
                };
                let (digest, size, url) = lookaside.fetch(file, &urls)?;
                index.note(&file.checksum, digest, size, &url)?;
                (digest, size, url)
            }
        };
        // Not executable, as a download: the look-aside cache has no file modes.
        Ok((SourceFile { name: file.name.clone(), digest, size, executable: false }, url))
    }

    /// The value of `{branch}`: a commit id may be on any branch, so the target's default is taken.
    fn branch(&self) -> String {
        let ImportJob { target, package, .. } = self.job;
        let git_ref = &self.checkout.git_ref;
        if *git_ref != self.checkout.commit.to_string() {
            return git_ref.clone();
        }
        target.git_ref(package, None).unwrap_or_else(|_| git_ref.clone())
    }

    fn add(&self, total: u64, sources: &[SourceFile]) -> Result<u64, ImportError> {
        let total = total + sources.last().map_or(0, |file| file.size);
        let limit = self.watch.limits().bundle;
        if total > limit {
            return Err(self.too_much(format!("{total} bytes of sources"), limit, "bytes"));
        }
        Ok(total)
    }

    fn too_much(&self, found: String, limit: u64, unit: &'static str) -> ImportError {
        ImportError::TooMuch { what: self.job.package.clone(), found, limit, unit }
    }
}

/// The modifications of a package, fetched.
pub(super) struct FetchedModifications {
    pub(super) modification: Modification,
    /// The first line of the commit's message.
    pub(super) subject: String,
    /// The CVE ids in the commit's message.
    pub(super) cves: BTreeSet<String>,
    /// The committer's time in seconds since 1970.
    pub(super) committed_at: i64,
    pub(super) config: Config,
    pub(super) steps: Vec<Step>,
    checkout: Checkout,
    files: CommitFiles,
}

impl FetchedModifications {
    /// Fetches a package's modifications; `None` when the package has none.
    ///
    /// # Errors
    /// When modifications exist and cannot be read, or when the server does not say whether they
    /// exist.
    pub(super) fn fetch(
        job: &ImportJob,
        shared: &ImportContext,
        watch: &ImportTimer,
    ) -> Result<Option<Self>, ImportError> {
        let ImportJob { target, package, .. } = job;
        let Some((url, branch)) = target.modifications_of(package) else { return Ok(None) };
        let asked = job.modification_ref.as_deref();
        let session = FetchSession::new(
            Arc::clone(&shared.http),
            target.private_hosts.clone(),
            watch.clone(),
            package.clone(),
        );
        // Named by both URLs, so that imports of one package wait for each other only.
        let both = format!("{url} for {}", job.repository());
        let cache = shared.repositories.join(cache_name(package, &both));
        match git::fetch(&session, &cache, &url, asked.unwrap_or(&branch), FetchDepth::Tip) {
            Ok(checkout) => Self::read(job, checkout, watch).map(Some),
            Err(ImportError::NoRepository { status: 404 | 410, .. }) if asked.is_none() => Ok(None),
            Err(ImportError::NoRef { .. }) if asked.is_none() => Ok(None),
            Err(ImportError::NoRepository { url, status, package }) => {
                Err(ImportError::HiddenModifications { url, status, package })
            }
            Err(error) => Err(error),
        }
    }

    fn read(job: &ImportJob, checkout: Checkout, watch: &ImportTimer) -> Result<Self, ImportError> {
        let name = match &job.target.modifications {
            Some(modifications) => modifications.config.clone(),
            None => MODIFICATIONS_CONFIG.to_owned(),
        };
        let files = checkout.files()?;
        let found = files.get(&name).filter(|(kind, _)| kind.is_file());
        let Some((_, id)) = found else {
            let known =
                files.keys().filter(|path| is_modifications_config(path)).cloned().collect();
            let url = checkout.url.clone();
            return Err(ImportError::NoConfig { url, config: name, known });
        };
        let text = checkout.text(&name, *id, watch.limits().list)?;
        let config = Config::parse(&name, &text)?;
        let steps = modify::steps(&config.changes)?;
        let CommitMeta { subject, at: committed_at, cves } = checkout.meta()?;
        let modification = Modification {
            url: checkout.url.clone(),
            commit: checkout.commit.to_string(),
            config: name,
        };
        Ok(Self { modification, subject, cves, committed_at, config, steps, checkout, files })
    }

    /// The files of the modifications.
    pub(super) fn sources(&self, limit: u64) -> CommitSources<'_> {
        CommitSources { checkout: &self.checkout, files: &self.files, limit }
    }
}

/// The values that the changes of an import use: package, time, macros.
pub(super) fn context(
    job: &ImportJob,
    committed_at: i64,
    changes: Option<&FetchedModifications>,
) -> Context {
    Context {
        package: job.package.clone(),
        time: changes.map_or(committed_at, |changes| changes.committed_at.max(committed_at)),
        macros: job.target.macros_of(&job.package),
        built: job.built.clone(),
        spec_names: job.target.spec_names(&job.package),
    }
}

/// All steps of an import: those of the modifications, and those of the farm after them.
fn all_steps(
    job: &ImportJob,
    changes: Option<&FetchedModifications>,
    generated: Option<AutospecValues>,
) -> Vec<Step> {
    let mut steps = changes.map_or_else(Vec::new, |changes| changes.steps.clone());
    if job.bump {
        steps.push(Step::Bump(generated.as_ref().map(|generated| generated.release)));
    }
    steps.extend(generated.map(Step::Autospec));
    steps
}

/// Applies the steps before the first script. Returns the others.
///
/// # Errors
/// The first change that cannot be applied.
fn take_pure(
    steps: &[Step],
    parameters: &Parameters,
    tree: &mut Tree<'_>,
    modifications: &Tree<'_>,
    context: &Context,
) -> Result<(Vec<ChangelogNote>, Vec<Step>), ImportError> {
    let first = steps.iter().position(|step| matches!(step, Step::Script(_)));
    let (pure, rest) = steps.split_at(first.unwrap_or(steps.len()));
    let mut notes = Vec::new();
    for step in pure {
        modify::apply_step(step, parameters, tree, modifications, context, &mut notes)?;
    }
    Ok((notes, rest.to_vec()))
}

/// Stores a whole tree for a plan.
///
/// # Errors
/// When a file cannot be read or stored.
fn planned(
    sources: &CommitSources<'_>,
    tree: &Tree<'_>,
    shared: &ImportContext,
    watch: &ImportTimer,
) -> Result<Vec<PlannedFile>, ImportError> {
    let mut files = Vec::new();
    for (path, node) in tree.nodes() {
        watch.check()?;
        // Source files have plain names; scripts have no use for others.
        if path.split('/').any(|part| rpmfarm_core::name::check_part(part).is_err()) {
            continue;
        }
        let node = match (node, sources.files.get(path)) {
            (Node::Link(_), Some((EntryKind::Symlink(target), _))) => {
                PlannedNode::Link(target.clone())
            }
            (Node::Changed(bytes), _) => stored(shared, bytes, tree.is_executable(path))?,
            (_, Some((_, id))) => {
                let content = sources.checkout.content(path, *id, sources.limit)?;
                stored(shared, &content, tree.is_executable(path))?
            }
            (_, None) => continue,
        };
        files.push(PlannedFile { path: path.to_owned(), node });
    }
    Ok(files)
}

fn stored(
    shared: &ImportContext,
    bytes: &[u8],
    executable: bool,
) -> Result<PlannedNode, ImportError> {
    let (digest, size) = (shared.blobs.put(bytes)?, bytes.len() as u64);
    Ok(PlannedNode::File { digest, size, executable })
}

/// A note about spec files beside the one that is built.
fn other_specs(layout: &Layout) -> Option<String> {
    let others = layout.other_specs.join(", ");
    let one = &layout.spec.path;
    (!others.is_empty()).then(|| {
        format!(
            "{one} is built; the repository has other spec files beside it, which are not: {others}"
        )
    })
}

/// The new content of a file, if modifications changed it.
fn changed<'t>(tree: &'t Tree<'_>, path: &str) -> Option<&'t [u8]> {
    match tree.node(path) {
        Some(Node::Changed(bytes)) => Some(bytes),
        _ => None,
    }
}

fn origin(file: &SourceFile, from: &str, checksum: Option<&Checksum>) -> SourceOrigin {
    SourceOrigin {
        name: file.name.clone(),
        digest: file.digest,
        size: file.size,
        from: from.to_owned(),
        checksum: checksum.map(ToString::to_string).unwrap_or_default(),
    }
}

fn scripts(steps: &[Step]) -> Vec<String> {
    let script = |step: &Step| match step {
        Step::Script(script) => Some(script.script.clone()),
        _ => None,
    };
    steps.iter().filter_map(script).collect()
}

/// Makes a directory of the importer.
pub(super) fn make_dir(path: &Path) -> Result<(), ImportError> {
    std::fs::create_dir_all(path)
        .map_err(|source| ImportError::Disk { path: path.display().to_string(), source })
}
