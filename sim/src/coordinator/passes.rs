//! How passes run: each looks when something was written, and now and then. The pass of a stage
//! looks where the stage is held.

use rpmfarm_core::Stage;

use super::{Fence, Step, Stop};
use crate::planted::PlantedBug;
use crate::trace::note;
use crate::world::{Event, MS, S, World};

/// A pass looks at least so often.
const PERIOD: u64 = S;
/// How long what failed rests.
pub(super) const REST: u64 = S;

/// The passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pass {
    Import,
    Plan,
    Resolve,
    Dispatch,
    Leases,
    Accept,
    Sign,
    Publish,
}

impl Pass {
    pub(super) const ALL: [Self; 8] = [
        Self::Import,
        Self::Plan,
        Self::Resolve,
        Self::Dispatch,
        Self::Leases,
        Self::Accept,
        Self::Sign,
        Self::Publish,
    ];

    /// The stage that it is of: that runs on one coordinator at a time. The others run on each.
    const fn stage(self) -> Option<Stage> {
        match self {
            Self::Import => Some(Stage::Import),
            Self::Plan => Some(Stage::Plan),
            Self::Resolve => Some(Stage::Resolve),
            Self::Accept => Some(Stage::Accept),
            Self::Sign => Some(Stage::Sign),
            Self::Publish => Some(Stage::Publish),
            Self::Dispatch | Self::Leases => None,
        }
    }
}

impl World {
    pub(super) fn pass_in(&mut self, c: usize, pass: Pass, delay: u64) {
        let at = self.now + delay;
        let coordinator = &mut self.coordinators[c];
        if coordinator.due.get(&pass).is_some_and(|due| *due <= at && *due >= self.now) {
            return;
        }
        coordinator.due.insert(pass, at);
        let life = coordinator.life;
        self.after(delay, Event::Pass(c, life, pass));
    }

    /// Something was written: every pass looks soon.
    pub(crate) fn ring(&mut self, c: usize) {
        if !self.coordinators[c].up {
            return;
        }
        for pass in Pass::ALL {
            let coordinator = &self.coordinators[c];
            let rests = coordinator.rests_until.get(&pass).is_some_and(|at| *at > self.now);
            let here = pass.stage().is_none_or(|stage| coordinator.peers.holds(stage));
            if here && !rests && coordinator.due.contains_key(&pass) {
                let delay = self.rng.below(10) * MS;
                self.pass_in(c, pass, delay);
            }
        }
    }

    pub(crate) fn pass_comes(&mut self, c: usize, life: u64, pass: Pass) {
        if self.is_void(c, life, || Event::Pass(c, life, pass)) {
            return;
        }
        if self.coordinators[c].due.get(&pass).is_none_or(|due| *due > self.now) {
            // It was brought forward, and has been; or it is under way.
            return;
        }
        self.coordinators[c].due.remove(&pass);
        let goes_on = match pass.stage() {
            Some(stage) => match self.fence(c, stage) {
                Some(fence) => self.stage_pass(fence, pass),
                None => Ok(false),
            },
            None if pass == Pass::Dispatch => self.dispatch_pass(c),
            None => self.lease_pass(c).map(|()| false),
        };
        match goes_on {
            Ok(true) => {}
            done => self.pass_done(c, pass, done.map(|_| ())),
        }
    }

    /// The pass of a stage. True when it goes on with what it has begun.
    fn stage_pass(&mut self, f: Fence, pass: Pass) -> Step<bool> {
        match pass {
            Pass::Import => self.import_pass(f)?,
            Pass::Plan => self.plan_pass(f)?,
            Pass::Resolve => self.resolve_pass(f)?,
            Pass::Accept => self.accept_pass(f)?,
            Pass::Sign => self.sign_pass(f)?,
            Pass::Publish => return self.publish_pass(f),
            Pass::Dispatch | Pass::Leases => {}
        }
        Ok(false)
    }

    /// A pass has ended; it looks again when a bell rings, or when its period is over.
    pub(super) fn pass_done(&mut self, c: usize, pass: Pass, done: Step) {
        match done {
            Err(Stop::Dead) => {}
            Err(Stop::Error) => {
                note!(self, "c{c}: {pass:?} rests");
                let until = self.now + REST;
                self.coordinators[c].rests_until.insert(pass, until);
                self.pass_in(c, pass, REST);
            }
            Ok(()) if self.planted(PlantedBug::NoPoll) => {
                self.coordinators[c].due.insert(pass, u64::MAX);
            }
            // With nothing to do its looks see nothing, so there are fewer.
            Ok(()) if self.store.open_builds.is_empty() => self.pass_in(c, pass, 5 * PERIOD),
            Ok(()) => self.pass_in(c, pass, PERIOD),
        }
    }
}
