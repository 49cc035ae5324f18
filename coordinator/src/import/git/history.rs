//! Reads the history of a commit, from which the values of `%autorelease` and `%autochangelog` are
//! computed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use git2::{Oid, Sort, Tree};
use rpmfarm_sources::autospec::{Commit, History, SpecState};

use super::Checkout;
use crate::import::failure::ImportError;
use crate::import::watch::ImportTimer;

/// How many commits of a history are read at most.
const MAX_COMMITS: usize = 20_000;

/// The file whose content ends a generated changelog.
const CHANGELOG: &str = "changelog";

impl Checkout {
    /// The history of this commit, with the data of the spec at `path` in each commit.
    ///
    /// # Errors
    /// When the history is too long, or the repository cannot be read.
    pub(in crate::import) fn history(
        &self,
        path: &str,
        macros: &[(String, String)],
        watch: &ImportTimer,
    ) -> Result<History, ImportError> {
        let ids = self.ancestors()?;
        let places: HashMap<Oid, usize> =
            ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        let limit = watch.limits().spec;
        let mut specs = Specs { checkout: self, path, macros, limit, known: HashMap::new() };
        let mut history = History::default();
        for id in ids {
            watch.check()?;
            let commit = self.git(self.repository.find_commit(id))?;
            let tree = self.git(commit.tree())?;
            let spec = entry(&tree, path).map(|blob| specs.state(blob)).transpose()?;
            let changelog = match entry(&tree, CHANGELOG) {
                Some(blob) => self.add_changelog(&mut history, blob, limit)?,
                None => String::new(),
            };
            let author = commit.author();
            history.commits.push(Commit {
                author: format!("{} <{}>", text(author.name_bytes()), text(author.email_bytes())),
                time: commit.time().seconds(),
                message: text(commit.message_bytes()),
                tree: tree.id().to_string(),
                spec,
                changelog,
                parents: commit.parent_ids().filter_map(|id| places.get(&id).copied()).collect(),
            });
        }
        Ok(history)
    }

    /// This commit and all before it, newest first.
    fn ancestors(&self) -> Result<Vec<Oid>, ImportError> {
        let mut walk = self.git(self.repository.revwalk())?;
        self.git(walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME))?;
        self.git(walk.push(self.commit))?;
        let mut ids = Vec::new();
        for id in walk {
            ids.push(self.git(id)?);
            if ids.len() > MAX_COMMITS {
                return Err(ImportError::TooMuch {
                    what: self.url.clone(),
                    found: "more commits in the history".to_owned(),
                    limit: MAX_COMMITS as u64,
                    unit: "commits",
                });
            }
        }
        Ok(ids)
    }

    /// Adds the content of a changelog file, unless the commit that was read before has the same
    /// one. Returns its name in the history.
    fn add_changelog(
        &self,
        history: &mut History,
        blob: Oid,
        limit: u64,
    ) -> Result<String, ImportError> {
        let name = blob.to_string();
        if history.commits.last().is_none_or(|newer| newer.changelog != name) {
            let bytes = self.content(CHANGELOG, blob, limit)?;
            history.changelogs.insert(name.clone(), text(&bytes));
        }
        Ok(name)
    }
}

/// The specs of a history, each read once. Most commits have the same spec as the one before.
struct Specs<'a> {
    checkout: &'a Checkout,
    path: &'a str,
    macros: &'a [(String, String)],
    /// The largest spec that is read, in bytes.
    limit: u64,
    known: HashMap<Oid, SpecState>,
}

impl Specs<'_> {
    fn state(&mut self, blob: Oid) -> Result<SpecState, ImportError> {
        match self.known.entry(blob) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(place) => {
                let bytes = self.checkout.content(self.path, blob, self.limit)?;
                Ok(place.insert(SpecState::read(&text(&bytes), self.macros)).clone())
            }
        }
    }
}

/// The blob at a path of a tree.
fn entry(tree: &Tree<'_>, path: &str) -> Option<Oid> {
    tree.get_path(Path::new(path)).ok().map(|entry| entry.id())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
