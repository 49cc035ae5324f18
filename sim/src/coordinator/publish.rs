//! The last stages: packages are signed, and a new generation of the channel is shown. Every
//! step of a publication is an event of its own, between which anything can happen.

use std::num::NonZeroUsize;

use rpmfarm_core::snapshot::{Snapshot, SnapshotPackage};
use rpmfarm_core::{BuildId, Sha256};

use super::{Crew, Fence, Pass, Piece, Step, Stop};
use crate::planted::PlantedBug;
use crate::repo::{Generation, KEEP};
use crate::scenario::{CHANNEL, KEY, TARGET};
use crate::store::{Revision, Signature, SignedPackage, Store};
use crate::trace::note;
use crate::world::{MS, World};

/// A publication between two of its steps.
#[derive(Debug, Clone)]
pub(crate) struct Publishing {
    step: At,
    builds: Vec<(BuildId, Vec<SignedPackage>)>,
    /// The generation that was shown when the packages were chosen.
    based_on: Option<u64>,
    /// The revision that the snapshot adds to.
    recorded: i64,
    snapshot: Snapshot,
    generation: u64,
}

/// Which step comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Choose,
    Write,
    Sign,
    /// The lock is taken.
    Settle,
    /// Whether anything may be shown.
    Ask,
    Place,
    Show,
    Record,
}

impl World {
    pub(super) fn sign_pass(&mut self, f: Fence) -> Step {
        self.database()?;
        for build in self.store.build_list_accepted() {
            let delay = self.rng.range(5 * MS, 500 * MS);
            self.crew_start(f, Crew::Sign, build.id, delay, Piece::Sign(build.id()));
        }
        Ok(())
    }

    pub(super) fn sign(&mut self, f: Fence, build: BuildId) -> Step {
        self.database()?;
        let rows = self.store.package_list_of_build(build, KEY);
        let unsigned: Vec<Sha256> = rows
            .iter()
            .filter(|row| row.signature.is_none())
            .map(|row| row.package.digest)
            .collect();
        if unsigned.is_empty() {
            return Ok(());
        }
        if self.now < self.signer_down_until {
            return Err(Stop::Error);
        }
        self.disk()?;
        let signed: Vec<(Sha256, Signature)> = unsigned
            .into_iter()
            .map(|digest| (digest, Signature { signed_digest: signed(digest), signed_size: 2 }))
            .collect();
        note!(self, "c{} build {build}: {} packages are signed", f.c, signed.len());
        let now_us = self.wall_us(f.c);
        self.commit_behind(f, |store| store.signature_insert(KEY, &signed, now_us))
    }

    /// True when a publication is under way.
    pub(super) fn publish_pass(&mut self, f: Fence) -> Step<bool> {
        self.database()?;
        let mut builds = Vec::new();
        for build in self.store.build_list_accepted() {
            let of_build = self.store.package_list_of_build(build.id(), KEY);
            let all = of_build.iter().all(|row| row.signature.is_some());
            if all || self.planted(PlantedBug::PublishUnsigned) {
                builds.push((build.id(), of_build));
            }
        }
        if builds.is_empty() && !self.is_ahead() {
            return Ok(false);
        }
        let publishing = Publishing {
            step: At::Choose,
            builds,
            based_on: None,
            recorded: 0,
            snapshot: Snapshot::default(),
            generation: 0,
        };
        self.publish_later(f, publishing);
        Ok(true)
    }

    /// Whether clients see what was never recorded: whoever showed it died before, or one of its
    /// builds had ended.
    pub(crate) fn is_ahead(&self) -> bool {
        let recorded = self.store.channel_fetch(TARGET, CHANNEL).map_or(0, |row| row.revision);
        self.repo.shown.is_some_and(|shown| i64::try_from(shown).is_ok_and(|s| s > recorded))
    }

    fn publish_later(&mut self, f: Fence, publishing: Publishing) {
        let longest = if self.rng.chance(150) { 4_000 } else { 200 };
        let delay = self.rng.range(1, longest) * MS;
        self.piece_in(f, delay, Piece::Publish(Box::new(publishing)));
    }

    pub(super) fn publish(&mut self, f: Fence, mut publishing: Publishing) {
        let step = publishing.step;
        match self.publish_step(f, &mut publishing) {
            Ok(true) => self.publish_later(f, publishing),
            done => {
                if self.repo.lock == Some((f.c, self.coordinators[f.c].life)) {
                    self.repo.lock = None;
                }
                if done == Err(Stop::Error) {
                    note!(self, "c{} cannot publish, at {step:?}", f.c);
                }
                self.pass_done(f.c, Pass::Publish, done.map(|_| ()));
            }
        }
    }

    /// True when more steps follow.
    fn publish_step(&mut self, f: Fence, p: &mut Publishing) -> Step<bool> {
        let first = self.planted(PlantedBug::ShowFirst);
        match p.step {
            At::Choose => {
                self.choose(p)?;
                p.step = At::Write;
            }
            At::Write => self.write(p)?,
            At::Sign => {
                if self.now < self.signer_down_until {
                    return Err(Stop::Error);
                }
                self.disk()?;
                p.step = At::Settle;
            }
            At::Settle => {
                self.settle(f, p)?;
                p.step = At::Ask;
            }
            At::Ask => {
                self.may_show(f, p)?;
                p.step = if first { At::Show } else { At::Place };
            }
            At::Place => {
                self.place(p)?;
                p.step = if first { At::Record } else { At::Show };
            }
            At::Show => {
                note!(self, "c{} shows generation {}", f.c, p.generation);
                self.repo.changes += 1;
                self.repo.shown = Some(p.generation);
                self.repo.lock = None;
                let keep = if self.planted(PlantedBug::ForgetAtOnce) { 1 } else { KEEP };
                let shown = p.generation;
                self.repo.generations.retain(|number, _| number + keep > shown);
                p.step = if first { At::Place } else { At::Record };
            }
            At::Record => {
                self.record_revision(f, p)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the channel shows, and what it is to show.
    fn choose(&mut self, p: &mut Publishing) -> Step {
        self.database()?;
        p.based_on = self.repo.shown;
        let mut snapshot = Snapshot::default();
        if let Some(revision) = self.store.channel_fetch(TARGET, CHANNEL) {
            p.recorded = revision.revision;
            snapshot = self.snapshots.get(&revision.snapshot).cloned().ok_or(Stop::Error)?;
        }
        for (_, rows) in &p.builds {
            let source =
                rows.iter().find(|row| row.package.nevra.is_source()).ok_or(Stop::Error)?;
            let unsigned = self.planted(PlantedBug::PublishUnsigned);
            let digest = |row: &SignedPackage| match &row.signature {
                Some(signature) => Some(signature.signed_digest),
                None => unsigned.then_some(row.package.digest),
            };
            let package = |row: &SignedPackage| {
                Some(SnapshotPackage {
                    nevra: row.package.nevra.clone(),
                    digest: digest(row)?,
                    source: source.package.nevra.clone(),
                    without: Default::default(),
                })
            };
            let added: Vec<SnapshotPackage> = rows.iter().filter_map(package).collect();
            snapshot = snapshot.with_build(&added, NonZeroUsize::MIN).map_err(|_| Stop::Error)?;
        }
        p.snapshot = snapshot;
        Ok(())
    }

    /// Everything before the signatures. The lock is held for the look and the cleaning only.
    fn write(&mut self, p: &mut Publishing) -> Step {
        let blind = self.planted(PlantedBug::PublishBlind);
        if self.repo.lock.is_some() && !blind {
            return Err(Stop::Error);
        }
        let shown = self.repo.shown;
        let before = shown.and_then(|number| self.repo.generations.get(&number));
        if let (Some(shown), Some(before)) = (shown, before)
            && before.packages == p.snapshot
        {
            p.generation = shown;
            p.step = At::Record;
            return Ok(());
        }
        if shown != p.based_on && !blind {
            return Err(Stop::Error);
        }
        self.disk()?;
        if !blind {
            self.repo.changes += 1;
            self.repo.generations.retain(|number, _| Some(*number) <= shown);
        }
        p.generation = p.based_on.unwrap_or(0) + 1;
        p.step = At::Sign;
        Ok(())
    }

    /// Takes the lock for what is left to do, unless another was faster.
    fn settle(&mut self, f: Fence, p: &Publishing) -> Step {
        let moved = self.repo.lock.is_some() || self.repo.shown != p.based_on;
        if moved && !self.planted(PlantedBug::PublishBlind) {
            return Err(Stop::Error);
        }
        self.repo.lock = Some((f.c, self.coordinators[f.c].life));
        Ok(())
    }

    /// The last word before anybody sees anything: the stage must still be this coordinator's,
    /// and the channel where the files say that it is.
    fn may_show(&mut self, f: Fence, p: &Publishing) -> Step {
        if self.planted(PlantedBug::PublishBlind) {
            return Ok(());
        }
        self.check_fence(f)?;
        let recorded = self.store.channel_fetch(TARGET, CHANNEL).map_or(0, |row| row.revision);
        let based_on = i64::try_from(p.based_on.unwrap_or(0)).unwrap_or(i64::MAX);
        if recorded > based_on { Err(Stop::Error) } else { Ok(()) }
    }

    /// The generation comes to its place, whole.
    fn place(&mut self, p: &Publishing) -> Step {
        let mut packages = p.snapshot.clone();
        if self.disk().is_err() {
            if !self.planted(PlantedBug::ShowHalf) {
                return Err(Stop::Error);
            }
            let all = packages.packages();
            packages = Snapshot::from_packages(all[..all.len().saturating_sub(1)].to_vec())
                .map_err(|_| Stop::Error)?;
        }
        self.repo.changes += 1;
        self.repo.generations.insert(p.generation, Generation { packages, signed: true });
        Ok(())
    }

    fn record_revision(&mut self, f: Fence, p: &Publishing) -> Step {
        // The snapshot is a blob.
        self.disk()?;
        let digest = Sha256::compute(format!("{:?}", p.snapshot).as_bytes());
        self.snapshots.insert(digest, p.snapshot.clone());
        let revision = Revision {
            target: TARGET.into(),
            channel: CHANNEL.into(),
            revision: i64::try_from(p.generation).unwrap_or(i64::MAX),
            snapshot: digest,
            packages: i64::try_from(p.snapshot.packages().len()).unwrap_or(0),
            at_us: self.wall_us(f.c),
        };
        let builds: Vec<BuildId> = p.builds.iter().map(|(build, _)| *build).collect();
        let add = |store: &mut Store| store.revision_insert(&revision, &builds);
        // The fence stands before the rule that this plant breaks: it is taken away, too.
        let recorded = if self.planted(PlantedBug::RevisionBack) {
            self.commit(f.c, add)?
        } else {
            self.commit_behind(f, add)?
        };
        note!(self, "c{} records revision {} with {builds:?}: {recorded}", f.c, p.generation);
        if recorded { Ok(()) } else { Err(Stop::Error) }
    }
}

/// The signed form of a file.
pub(crate) fn signed(digest: Sha256) -> Sha256 {
    Sha256::compute(format!("signed {digest}").as_bytes())
}
