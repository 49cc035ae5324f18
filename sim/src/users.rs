//! Users, upstream and readers: requests that are repeated when their answer is lost, cancels and
//! retries of whatever is there, packages that move on, clients that read the repository.

use rpmfarm_core::BuildId;

use crate::scenario::{Defect, TARGET};
use crate::store::NewBuild;
use crate::trace::note;
use crate::world::{Event, MS, S, World};

/// What somebody does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Asks for builds, under a key, until there is an answer.
    Build(String, Vec<String>),
    Cancel,
    Retry,
    /// Upstream commits a change.
    Moves,
    /// A client reads `repomd.xml`.
    Reads,
}

impl World {
    pub(crate) fn first_actions(&mut self) {
        let all: Vec<String> = self.scenario.sources.iter().map(|s| s.name.clone()).collect();
        self.after(S, Event::User(Action::Build("first".into(), all)));
        let minutes = self.scenario.faulty_s / 60 + 1;
        for _ in 0..self.profile.actions * minutes {
            let action = match self.rng.below(8) {
                0 | 1 => Action::Cancel,
                2 | 3 => Action::Retry,
                4 => Action::Moves,
                _ => {
                    self.requests += 1;
                    let wanted: Vec<String> = self
                        .scenario
                        .sources
                        .iter()
                        .map(|source| source.name.clone())
                        .filter(|_| self.rng.chance(400))
                        .collect();
                    Action::Build(format!("request {}", self.requests), wanted)
                }
            };
            let at = self.rng.range(2 * S, self.scenario.faulty_s * S);
            self.after(at, Event::User(action));
        }
        self.after(S, Event::User(Action::Reads));
    }

    pub(crate) fn act(&mut self, action: Action) {
        let c = self.any_coordinator();
        let up = self.coordinators[c].up && self.coordinators[c].frozen_until <= self.now;
        match action {
            Action::Build(key, packages) => {
                if packages.is_empty() {
                    return;
                }
                let answered = up && self.request(c, &key, &packages);
                if !answered {
                    let pause = self.rng.range(S / 2, 3 * S);
                    self.after(pause, Event::User(Action::Build(key, packages)));
                }
            }
            Action::Cancel if up => {
                if let Some(build) = self.any_build() {
                    let now_us = self.wall_us(c);
                    let done = self.commit(c, |store| store.build_cancel(build, now_us));
                    note!(self, "a user cancels build {build}: {done:?}");
                    self.poke_all(c);
                }
            }
            Action::Retry if up => {
                if let Some(build) = self.any_build() {
                    let now_us = self.wall_us(c);
                    let done = self.commit(c, |store| store.build_retry(build, now_us));
                    note!(self, "a user retries build {build}: {done:?}");
                }
            }
            Action::Cancel | Action::Retry => {}
            Action::Moves => {
                let index = self.rng.below(self.scenario.sources.len() as u64);
                let source = &mut self.scenario.sources[usize::try_from(index).unwrap_or(0)];
                source.version += 1;
                note!(self, "upstream moves {} to {}", source.name, source.version);
            }
            Action::Reads => self.read(),
        }
    }

    fn any_build(&mut self) -> Option<BuildId> {
        let newest = u64::try_from(self.store.next_build).unwrap_or(0);
        (newest > 0).then(|| BuildId(i64::try_from(self.rng.range(1, newest + 1)).unwrap_or(1)))
    }

    /// True when there was an answer.
    fn request(&mut self, c: usize, key: &str, packages: &[String]) -> bool {
        let builds: Vec<NewBuild> = packages
            .iter()
            .map(|package| NewBuild {
                target: TARGET.into(),
                package: package.clone(),
                git_ref: String::new(),
            })
            .collect();
        let now_us = self.wall_us(c);
        let Ok(started) = self.commit(c, |store| store.build_insert(&builds, "u", key, now_us))
        else {
            return false;
        };
        note!(self, "a user asks for {packages:?}: {:?}, new: {}", started.ids, started.new);
        if self.faulty && self.rng.chance(150) {
            note!(self, "the answer is lost");
            self.monitor.promised(key, &started.ids);
            return false;
        }
        self.acknowledged.extend(started.ids.iter().map(|id| id.0));
        if let Some(violation) = self.monitor.answered(key, &started.ids) {
            self.violated(violation.invariant, violation.message);
        }
        true
    }

    /// A client reads which generation is shown, and its documents a moment later.
    fn read(&mut self) {
        if let Some(shown) = self.repo.shown {
            let delay = self.rng.below(1_500) * MS;
            self.after(delay, Event::Reads(shown));
        }
        if self.faulty {
            let pause = self.rng.range(100 * MS, 4 * S);
            self.after(pause, Event::User(Action::Reads));
        }
    }

    /// Whether something is really wrong with a package.
    pub(crate) fn is_bad(&self, package: &str) -> bool {
        !matches!(self.scenario.source(package).defect, Defect::None | Defect::KillsWorkers)
    }
}
