//! The modifications of a package: fetched like its dist-git, read, and applied as far as no
//! script is needed. Scripts never run here: what is left from the first one on becomes a plan
//! for the build cage.

use std::collections::BTreeSet;
use std::sync::Arc;

use rpmfarm_core::source::Modification;
use rpmfarm_core::target::{MODIFICATIONS_CONFIG, is_modifications_config};
use rpmfarm_sources::autospec::Generated;
use rpmfarm_sources::distgit::EntryKind;
use rpmfarm_sources::modify::{
    self, Config, Context, Node, Note, Parameters, PlannedFile, PlannedNode, Step, Tree,
};

use super::commit::{Job, Shared, cache_name};
use super::failure::ImportError;
use super::git::{self, Checkout, Depth, Files, Said, Session};
use super::sources::Sources;
use super::watch::Watch;

/// Modifications that have been fetched.
pub(super) struct Changes {
    pub(super) modification: Modification,
    /// The first line of the commit's message.
    pub(super) subject: String,
    /// The CVE ids in that message.
    pub(super) cves: BTreeSet<String>,
    /// The committer's time in seconds since 1970.
    pub(super) committed_at: i64,
    pub(super) config: Config,
    pub(super) steps: Vec<Step>,
    checkout: Checkout,
    files: Files,
}

impl Changes {
    /// Fetches a package's modifications; nothing when it has none.
    ///
    /// # Errors
    /// When they are there and cannot be read, or when it is not clear whether they are there.
    pub(super) fn fetch(
        job: &Job,
        shared: &Shared,
        watch: &Watch,
    ) -> Result<Option<Self>, ImportError> {
        let Job { target, package, .. } = job;
        let Some((url, branch)) = target.modifications_of(package) else { return Ok(None) };
        let asked = job.modification_ref.as_deref();
        let session = Session::new(
            Arc::clone(&shared.http),
            target.private_hosts.clone(),
            watch.clone(),
            package.clone(),
        );
        // For each repository that they modify, as only that one's imports wait for each other.
        let both = format!("{url} for {}", job.repository());
        let cache = shared.repositories.join(cache_name(package, &both));
        match git::fetch(&session, &cache, &url, asked.unwrap_or(&branch), Depth::Tip) {
            Ok(checkout) => Self::read(job, checkout, watch).map(Some),
            Err(ImportError::NoRepository { status: 404 | 410, .. }) if asked.is_none() => Ok(None),
            Err(ImportError::NoRef { .. }) if asked.is_none() => Ok(None),
            Err(ImportError::NoRepository { url, status, package }) => {
                Err(ImportError::HiddenModifications { url, status, package })
            }
            Err(error) => Err(error),
        }
    }

    fn read(job: &Job, checkout: Checkout, watch: &Watch) -> Result<Self, ImportError> {
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
        let Said { subject, at: committed_at, cves } = checkout.said()?;
        let modification = Modification {
            url: checkout.url.clone(),
            commit: checkout.commit.to_string(),
            config: name,
        };
        Ok(Self { modification, subject, cves, committed_at, config, steps, checkout, files })
    }

    /// The files of the modifications.
    pub(super) fn sources(&self, limit: u64) -> Sources<'_> {
        Sources { checkout: &self.checkout, files: &self.files, limit }
    }
}

/// What the changes of an import may need to know.
pub(super) fn context(job: &Job, committed_at: i64, changes: Option<&Changes>) -> Context {
    Context {
        package: job.package.clone(),
        time: changes.map_or(committed_at, |changes| changes.committed_at.max(committed_at)),
        macros: job.target.macros_of(&job.package),
        built: job.built.clone(),
        spec_names: job.target.spec_names(&job.package),
    }
}

/// All steps of an import: the modifications', and those of the farm's own after them.
pub(super) fn all_steps(
    job: &Job,
    changes: Option<&Changes>,
    generated: Option<Generated>,
) -> Vec<Step> {
    let mut steps = changes.map_or_else(Vec::new, |changes| changes.steps.clone());
    if job.bump {
        steps.push(Step::Bump(generated.as_ref().map(|generated| generated.release)));
    }
    steps.extend(generated.map(Step::Autospec));
    steps
}

/// Takes the steps before the first script. Returns the others.
///
/// # Errors
/// The first change that does not fit.
pub(super) fn take_pure(
    steps: &[Step],
    parameters: &Parameters,
    tree: &mut Tree<'_>,
    modifications: &Tree<'_>,
    context: &Context,
) -> Result<(Vec<Note>, Vec<Step>), ImportError> {
    let first = steps.iter().position(|step| matches!(step, Step::Script(_)));
    let (pure, rest) = steps.split_at(first.unwrap_or(steps.len()));
    let mut notes = Vec::new();
    for step in pure {
        modify::take(step, parameters, tree, modifications, context, &mut notes)?;
    }
    Ok((notes, rest.to_vec()))
}

/// Stores a whole tree for a plan.
///
/// # Errors
/// When a file cannot be read or stored.
pub(super) fn planned(
    sources: &Sources<'_>,
    tree: &Tree<'_>,
    shared: &Shared,
    watch: &Watch,
) -> Result<Vec<PlannedFile>, ImportError> {
    let mut files = Vec::new();
    for (path, node) in tree.nodes() {
        watch.check()?;
        // What is a source has a plain name; scripts have no use for the others.
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

fn stored(shared: &Shared, bytes: &[u8], executable: bool) -> Result<PlannedNode, ImportError> {
    let (digest, size) = (shared.blobs.put(bytes)?, bytes.len() as u64);
    Ok(PlannedNode::File { digest, size, executable })
}
