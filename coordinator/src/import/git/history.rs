//! Reading the history of a commit: what `%autorelease` and `%autochangelog` are made of.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use git2::{Oid, Sort};
use rpmfarm_sources::autospec::{Commit, History, SpecState};

use super::Checkout;
use crate::import::failure::ImportError;
use crate::import::watch::Watch;

/// The most commits of a history that are read.
const MAX_COMMITS: usize = 20_000;

/// The file whose content ends a generated changelog.
const CHANGELOG: &str = "changelog";

impl Checkout {
    /// The history of this commit, with what the spec at `path` said at each.
    ///
    /// # Errors
    /// When it is too long, or the repository cannot be read.
    pub(in crate::import) fn history(
        &self,
        path: &str,
        macros: &[(String, String)],
        watch: &Watch,
    ) -> Result<History, ImportError> {
        let git = |source| ImportError::Git { url: self.url.clone(), source };
        let limits = watch.limits();
        let mut walk = self.repository.revwalk().map_err(git)?;
        walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME).map_err(git)?;
        walk.push(self.commit).map_err(git)?;
        let mut ids = Vec::new();
        for id in walk {
            ids.push(id.map_err(git)?);
            if ids.len() > MAX_COMMITS {
                return Err(ImportError::TooMuch {
                    what: self.url.clone(),
                    found: "more commits in the history".to_owned(),
                    limit: MAX_COMMITS as u64,
                    unit: "commits",
                });
            }
        }
        let places: HashMap<Oid, usize> =
            ids.iter().enumerate().map(|(at, id)| (*id, at)).collect();
        // Most commits have the spec of the one before.
        let mut specs: HashMap<Oid, SpecState> = HashMap::new();
        let mut history = History::default();
        for id in ids {
            watch.check()?;
            let commit = self.repository.find_commit(id).map_err(git)?;
            let tree = commit.tree().map_err(git)?;
            let entry = |path: &str| tree.get_path(std::path::Path::new(path)).ok().map(|e| e.id());
            let spec = match entry(path) {
                Some(blob) => {
                    let state = match specs.entry(blob) {
                        Entry::Occupied(known) => known.get().clone(),
                        Entry::Vacant(place) => {
                            let bytes = self.content(path, blob, limits.spec)?;
                            let text = String::from_utf8_lossy(&bytes);
                            place.insert(SpecState::of(&text, macros)).clone()
                        }
                    };
                    Some(state)
                }
                None => None,
            };
            let changelog = match entry(CHANGELOG) {
                Some(blob) => {
                    let name = blob.to_string();
                    if history.commits.last().is_none_or(|newer| newer.changelog != name) {
                        let bytes = self.content(CHANGELOG, blob, limits.spec)?;
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        history.changelogs.insert(name.clone(), text);
                    }
                    name
                }
                None => String::new(),
            };
            let author = commit.author();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
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
}
