//! Users, upstream and readers: requests that are repeated when their answer is lost, cancels and
//! retries of any build, batches that are paused, changes of packages, clients that read the
//! repository.

use rpmfarm_core::{BatchId, BuildId};

use crate::scenario::Defect;
use crate::trace::note;
use crate::world::{Event, MS, S, World};

/// How long a user waits for an answer.
const PATIENCE: u64 = 8 * S;

/// How long a batch is paused.
const PAUSE: u64 = 15 * S;

/// Days on which somebody pauses a batch, per mille.
const PAUSES: u32 = 250;

/// An action of somebody outside of the farm.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Requests builds, under a key, until an answer arrives.
    Build(String, Vec<String>),
    Cancel,
    /// Cancels a build that may be published at this moment.
    CancelAccepted,
    Retry,
    /// Pauses a batch: no more tasks of it begin.
    Pause,
    /// Resumes all batches, repeatedly, because a pause may come late and a call may be lost.
    Resume,
    /// Upstream commits a change.
    Moves,
    /// A client reads `repomd.xml`.
    Reads,
}

impl World {
    pub(crate) fn first_actions(&mut self) {
        let (faulty_s, all) = {
            let truth = self.outside.lock();
            let names = truth.scenario.sources.iter().map(|source| source.name.clone());
            (truth.scenario.faulty_s, names.collect::<Vec<_>>())
        };
        self.after(S, Event::User(Action::Build("first".into(), all.clone())));
        let minutes = faulty_s / 60 + 1;
        for _ in 0..self.profile.actions * minutes {
            let action = match self.rng.below(8) {
                0 | 1 => Action::Cancel,
                2 | 3 => Action::Retry,
                4 => Action::Moves,
                _ => {
                    self.requests += 1;
                    let wanted = all.iter().filter(|_| self.rng.chance(400)).cloned().collect();
                    Action::Build(format!("request {}", self.requests), wanted)
                }
            };
            let at = self.rng.range(2 * S, faulty_s * S);
            self.after(at, Event::User(action));
        }
        self.after(S, Event::User(Action::Reads));
        // A copy of the generator decides, so that days without a pause stay what they were.
        let mut rng = self.rng.clone();
        if rng.chance(PAUSES) {
            let at = rng.range(2 * S, faulty_s * S);
            self.after(at, Event::User(Action::Pause));
        }
    }

    pub(crate) fn act(&mut self, action: Action) {
        let c = self.any_coordinator();
        let up = self.coordinators[c].is_up() && self.coordinators[c].frozen_until <= self.now;
        match action {
            Action::Build(key, packages) => {
                if packages.is_empty() || self.answered.contains(&key) {
                    return;
                }
                self.wanted.insert(key.clone());
                if up {
                    self.request(c, &key, &packages);
                }
                let pause = if up { PATIENCE } else { self.rng.range(S / 2, 3 * S) };
                self.after(pause, Event::User(Action::Build(key, packages)));
            }
            Action::Cancel if up => {
                if let Some(build) = self.any_build() {
                    self.cancel(c, build);
                }
            }
            Action::CancelAccepted if up => {
                let accepted = self.facts.open.iter().find(|build| self.facts.is_accepted(**build));
                if let Some(build) = accepted.copied() {
                    self.cancel(c, build);
                }
            }
            Action::Retry if up => {
                if let Some(build) = self.any_build() {
                    self.retry(c, build);
                }
            }
            Action::Cancel | Action::CancelAccepted | Action::Retry => {}
            Action::Pause => {
                if up && let Some(batch) = self.any_batch() {
                    self.pause_batch(c, batch);
                }
                self.after(PAUSE, Event::User(Action::Resume));
            }
            Action::Resume => {
                if up {
                    for batch in self.facts.paused.clone() {
                        self.resume_batch(c, batch);
                    }
                }
                self.after(PAUSE, Event::User(Action::Resume));
            }
            Action::Moves => self.move_on(),
            Action::Reads => self.read(),
        }
    }

    fn move_on(&mut self) {
        let mut truth = self.outside.lock();
        let count = truth.scenario.sources.len() as u64;
        let index = usize::try_from(self.rng.below(count)).unwrap_or(0);
        let source = &mut truth.scenario.sources[index];
        source.version += 1;
        let (name, version) = (source.name.clone(), source.version);
        drop(truth);
        note!(self, "upstream moves {name} to {version}");
    }

    fn any_build(&mut self) -> Option<BuildId> {
        let newest = self.facts.builds.keys().next_back().map_or(0, |id| id.0.unsigned_abs());
        (newest > 0).then(|| BuildId(self.rng.range(1, newest + 1).cast_signed()))
    }

    fn any_batch(&mut self) -> Option<BatchId> {
        let build = self.any_build()?;
        self.facts.builds.get(&build).map(|row| BatchId(row.batch))
    }

    /// A request was answered.
    pub(crate) fn request_answered(&mut self, key: &str, answer: Option<(Vec<BuildId>, bool)>) {
        let Some((ids, new)) = answer else { return };
        let shown: Vec<i64> = ids.iter().map(|id| id.0).collect();
        note!(self, "a user asked for `{key}`: {shown:?}, new: {new}");
        if let Some(violation) = self.monitor.answered(key, &ids) {
            return self.violated(violation.invariant, violation.message);
        }
        if self.faulty && self.rng.chance(150) {
            note!(self, "the answer is lost");
            return;
        }
        self.acknowledged.extend(ids);
        self.wanted.remove(key);
        self.answered.insert(key.to_owned());
    }

    /// A client reads the number of the published generation, and its documents a moment later.
    fn read(&mut self) {
        if let Some(shown) = self.tree.shown_generation() {
            let delay = self.rng.below(1_500) * MS;
            self.after(delay, Event::Reads(shown));
        }
        if self.faulty {
            let pause = self.rng.range(100 * MS, 4 * S);
            self.after(pause, Event::User(Action::Reads));
        }
    }

    /// Whether a package has a defect.
    pub(crate) fn is_bad(&self, package: &str) -> bool {
        let truth = self.outside.lock();
        let defect = truth.scenario.source(package).defect;
        !matches!(defect, Defect::None | Defect::KillsWorkers)
    }
}
