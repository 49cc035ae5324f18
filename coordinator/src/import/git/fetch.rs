//! Fetching one commit: which commit is meant, whether it is cached already, and if not, its tree
//! alone (depth 1).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use git2::{AutotagOption, Direction, FetchOptions, Oid, RemoteCallbacks, Repository};

use rpmfarm_core::track::TagPattern;

use super::FetchSession;
use crate::import::failure::ImportError;

/// The ref of the commit that was fetched last, which the next fetch announces as known.
const LAST: &str = "refs/rpmfarm/last";

/// How many packs a cache may have before it is made anew; each fetch adds one.
const MAX_PACKS: usize = 64;

/// libgit2's error for a server that serves no commits by their ids, as git's own server does
/// unless it is configured to (`uploadpack.allowReachableSHA1InWant`).
const NO_IDS: &str = "cannot fetch a specific object";

/// How many branches an error lists.
const SHOWN_BRANCHES: usize = 12;

/// A repository with a commit whose tree is complete.
pub(crate) struct Checkout {
    pub(crate) repository: Repository,
    pub(crate) commit: Oid,
    pub(crate) url: String,
    /// The branch, tag or commit id that was fetched; for a pattern of tags, the newest tag.
    pub(crate) git_ref: String,
}

/// How much of a repository is fetched. One cache holds one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchDepth {
    Tip,
    /// With its whole history.
    History,
}

impl FetchDepth {
    /// The depth in the terms of the protocol: a number of commits, or 0 for all.
    const fn commits(self) -> i32 {
        match self {
            Self::Tip => 1,
            Self::History => 0,
        }
    }
}

/// All commits, also the parents of those that were fetched without: what libgit2 calls
/// "unshallow".
const DEEPENED: i32 = i32::MAX;

/// Fetches a branch, tag or commit, or the newest tag of a pattern, into the bare repository at
/// `cache`.
///
/// # Errors
/// When it does not exist, or the server or the cache fails.
pub(crate) fn fetch(
    session: &Arc<FetchSession>,
    cache: &Path,
    url: &str,
    git_ref: &str,
    depth: FetchDepth,
) -> Result<Checkout, ImportError> {
    let tried = fetch_into(session, cache, url, git_ref, depth);
    let Err(ImportError::Git { source, .. }) = &tried else { return tried };
    // The cache is only that: when it cannot be used, a fresh one can.
    tracing::warn!(url, error = %source, "the cached repository is recreated");
    remove(cache)?;
    fetch_into(session, cache, url, git_ref, depth)
}

fn fetch_into(
    session: &Arc<FetchSession>,
    cache: &Path,
    url: &str,
    git_ref: &str,
    depth: FetchDepth,
) -> Result<Checkout, ImportError> {
    let failed = |source| ImportError::Git { url: url.to_owned(), source };
    let repository = open(cache).map_err(failed)?;
    let asked = full_id(git_ref);
    if let Some(commit) = asked.and_then(|id| commit_of(&repository, id)) {
        let (url, git_ref) = (url.to_owned(), git_ref.to_owned());
        return Ok(Checkout { repository, commit, url, git_ref });
    }
    let (commit, git_ref) = session.watch.retry(|| match asked {
        Some(id) => {
            let commit = fetch_id(session, &repository, url, id, depth)?;
            Ok((commit, git_ref.to_owned()))
        }
        None => fetch_ref(session, &repository, url, git_ref, depth),
    })?;
    repository
        .reference(LAST, commit, true, "fetched")
        .map_err(|source| ImportError::Git { url: url.to_owned(), source })?;
    Ok(Checkout { repository, commit, url: url.to_owned(), git_ref })
}

/// Fetches a commit by its id.
fn fetch_id(
    session: &Arc<FetchSession>,
    repository: &Repository,
    url: &str,
    id: Oid,
    depth: FetchDepth,
) -> Result<Oid, ImportError> {
    let no_commit =
        |why: String| ImportError::NoCommit { url: url.to_owned(), commit: id.to_string(), why };
    let fetched = session.run(|| {
        let mut remote = repository.remote_anonymous(url)?;
        let mut connection = remote.connect_auth(Direction::Fetch, None, None)?;
        let heads = connection.list()?.iter();
        let tip = heads.filter(|head| head.oid() == id).find_map(|head| branch_or_tag(head.name()));
        let wanted = tip.unwrap_or_else(|| id.to_string());
        let options = &mut options(session, depth.commits());
        match connection.remote().download(&[wanted.as_str()], Some(options)) {
            Err(error) if error.message().contains(NO_IDS) => Ok(false),
            result => result.map(|()| true),
        }
    })?;
    let named = |error: git2::Error| no_commit(error.message().to_owned());
    let by_id = fetched.map_err(named)?;
    if !by_id {
        // A commit that is no tip any more is in the history of a branch, so all branches are
        // fetched.
        tracing::info!(url, commit = %id, "the server gives no commits by their ids: all branches");
        let branches = ["+refs/heads/*:refs/rpmfarm/heads/*"];
        session
            .run(|| {
                let mut remote = repository.remote_anonymous(url)?;
                remote.download(&branches, Some(&mut options(session, DEEPENED)))
            })?
            .map_err(named)?;
    }
    let why = if by_id { "it sent something else" } else { "no branch has it" };
    commit_of(repository, id).ok_or_else(|| no_commit(why.to_owned()))
}

/// The full name of a ref: that of a branch or of a tag, without the suffix by which servers list
/// the commit of an annotated tag.
fn branch_or_tag(name: &str) -> Option<String> {
    let name = name.strip_suffix("^{}").unwrap_or(name);
    let known = name.starts_with("refs/heads/") || name.starts_with("refs/tags/");
    known.then(|| name.to_owned())
}

/// Fetches the commit that a branch or tag points to now, and returns the ref. A branch comes
/// before a tag of the same name; a pattern stands for the newest tag.
fn fetch_ref(
    session: &Arc<FetchSession>,
    repository: &Repository,
    url: &str,
    git_ref: &str,
    depth: FetchDepth,
) -> Result<(Oid, String), ImportError> {
    let pattern = TagPattern::parse(git_ref);
    let candidates = [format!("refs/heads/{git_ref}"), format!("refs/tags/{git_ref}")];
    let mut branches = Vec::new();
    let fetched = session.run(|| {
        let mut remote = repository.remote_anonymous(url)?;
        let mut connection = remote.connect_auth(Direction::Fetch, None, None)?;
        let heads: Vec<_> =
            connection.list()?.iter().map(|head| (head.name().to_owned(), head.oid())).collect();
        let newest = pattern.as_ref().and_then(|pattern| {
            let tags = heads.iter().filter_map(|(name, _)| name.strip_prefix("refs/tags/"));
            pattern.newest(&session.package, tags).map(|tag| format!("refs/tags/{tag}"))
        });
        let found = candidates
            .iter()
            .chain(&newest)
            .find_map(|name| heads.iter().find(|(head, _)| head == name));
        let Some((name, id)) = found else {
            branches.extend(heads.into_iter().map(|(name, _)| name));
            return Ok(None);
        };
        if commit_of(repository, *id).is_none() {
            connection.remote().download(&[name], Some(&mut options(session, depth.commits())))?;
        }
        let tag = newest.as_ref().and_then(|name| name.strip_prefix("refs/tags/"));
        Ok(Some((*id, tag.unwrap_or(git_ref).to_owned())))
    })?;
    let git = |source| ImportError::Git { url: url.to_owned(), source };
    match fetched.map_err(git)? {
        Some((id, git_ref)) => match commit_of(repository, id) {
            Some(commit) => Ok((commit, git_ref)),
            None => Err(ImportError::NoCommit {
                url: url.to_owned(),
                commit: id.to_string(),
                why: format!("`{git_ref}` points to no commit"),
            }),
        },
        None => Err(ImportError::NoRef {
            url: url.to_owned(),
            git_ref: git_ref.to_owned(),
            known: shown(&branches),
        }),
    }
}

/// The options of a fetch: no other refs, the depth in commits (0 for all), and a stop at the limit
/// of objects.
fn options(session: &Arc<FetchSession>, depth: i32) -> FetchOptions<'static> {
    let session = Arc::clone(session);
    let mut callbacks = RemoteCallbacks::new();
    callbacks.transfer_progress(move |progress| session.admits(progress.total_objects()));
    let mut options = FetchOptions::new();
    options
        .depth(depth)
        .download_tags(AutotagOption::None)
        .update_fetchhead(false)
        .remote_callbacks(callbacks);
    options
}

/// The commit that an object is or, for an annotated tag, points to; `None` when it was not
/// fetched.
fn commit_of(repository: &Repository, id: Oid) -> Option<Oid> {
    let commit = repository.find_object(id, None).ok()?.peel_to_commit().ok()?;
    Some(commit.id())
}

/// A full commit id; a shorter one could be the name of a branch.
fn full_id(git_ref: &str) -> Option<Oid> {
    (git_ref.len() == 40).then(|| Oid::from_str(git_ref).ok()).flatten()
}

/// Opens the cache, or creates it.
fn open(cache: &Path) -> Result<Repository, git2::Error> {
    let packs = fs::read_dir(cache.join("objects/pack")).map_or(0, Iterator::count);
    if packs > 2 * MAX_PACKS {
        // A cache with many packs is fetched anew, which bounds its size.
        let _ = fs::remove_dir_all(cache);
    }
    match Repository::open_bare(cache) {
        Ok(repository) => Ok(repository),
        Err(_) => Repository::init_bare(cache),
    }
}

fn remove(cache: &Path) -> Result<(), ImportError> {
    fs::remove_dir_all(cache)
        .map_err(|source| ImportError::Disk { path: cache.display().to_string(), source })
}

/// Some branches, for the error message.
fn shown(names: &[String]) -> Vec<String> {
    names
        .iter()
        .filter_map(|name| name.strip_prefix("refs/heads/"))
        .take(SHOWN_BRANCHES)
        .map(rpmfarm_core::name::shown)
        .collect()
}
