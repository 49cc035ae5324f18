//! The farm's decisions about a worker, and their consequences.
//!
//! A worker's standing is a fact of the store, so it survives restarts. Its liveness is not, see
//! [`crate::lease`].

use crate::lease::Liveness;
use crate::remedy::Remedy;
use crate::task::WorkerState;

/// The version of the protocol between worker and coordinator. It is raised when a worker that does
/// not know a change would do something wrong.
pub const PROTOCOL: u32 = 2;

/// The oldest protocol of a worker that still gets work. Workers without a number have 0. Those
/// before 2 do not report what a spec says on other architectures, and would build an
/// architecture's packages in a task for `noarch`.
pub const OLDEST_PROTOCOL: u32 = 2;

words! {
    /// The decision about a worker.
    #[derive(Default)]
    pub enum Standing: "state of a worker" {
        #[default]
        Active = "active",
        /// An administrator drained it: it finishes its attempts and takes no new ones.
        Drained = "drained",
        /// The farm gives it no new work, because it failed for reasons of its own.
        Quarantined = "quarantined",
        /// It no longer belongs to the farm, and may not connect.
        Revoked = "revoked",
    }
}

impl Standing {
    /// Whether it gets new work.
    #[must_use]
    pub const fn takes_work(self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether it may connect, and keep its attempts.
    #[must_use]
    pub const fn may_connect(self) -> bool {
        !matches!(self, Self::Revoked)
    }

    /// The change of this standing to a wanted one: the new standing, or `None` when nothing
    /// changes.
    ///
    /// A quarantine does not replace an administrator's decision: a drained worker is not
    /// quarantined.
    ///
    /// # Errors
    /// A revoked worker is only admitted again by a new enrolment.
    pub fn change(self, wanted: Self) -> Result<Option<Self>, StandingError> {
        match (self, wanted) {
            (from, to) if from == to => Ok(None),
            (Self::Revoked, _) => Err(StandingError::Revoked),
            (Self::Drained, Self::Quarantined) => Ok(None),
            (_, to) => Ok(Some(to)),
        }
    }
}

/// Why a standing is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StandingError {
    /// The worker was revoked.
    #[error("it is revoked; to admit it again, enrol it again")]
    Revoked,
}

impl StandingError {
    /// The remedy.
    #[must_use]
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::Revoked => Remedy::EnrolWorker,
        }
    }
}

/// Why a worker's version is too old, for its administrator; `None` when it is not.
#[must_use]
pub fn outdated(state: &WorkerState) -> Option<String> {
    (state.protocol < OLDEST_PROTOCOL).then(|| {
        format!(
            "this worker ({}) speaks protocol {}, the coordinator needs {OLDEST_PROTOCOL} or newer: \
             it finishes what it has and gets nothing new until a newer rpmfarm-worker is installed",
            state.version, state.protocol
        )
    })
}

/// Why a connected worker takes no new work: the decision about it with its reason, or else the
/// reason that it reported.
#[must_use]
pub fn holds_back(state: &WorkerState, standing: Standing, reason: &str) -> String {
    if !standing.takes_work() {
        let reason = if reason.is_empty() { "no reason given" } else { reason };
        return format!("is {standing}: {reason}");
    }
    if outdated(state).is_some() {
        return format!("is too old ({})", state.version);
    }
    if state.draining { "is stopping".to_owned() } else { "is not ready".to_owned() }
}

/// Whether a worker gets new work: it is alive, takes work, is not drained, quarantined or revoked,
/// and supports the protocol.
#[must_use]
pub fn takes_work(state: &WorkerState, liveness: Liveness, standing: Standing) -> bool {
    liveness == Liveness::Alive
        && !state.draining
        && state.unready.is_empty()
        && standing.takes_work()
        && outdated(state).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arch;

    fn state(protocol: u32, draining: bool) -> WorkerState {
        WorkerState {
            name: "w".into(),
            version: "0.1.0".into(),
            protocol,
            arches: vec![Arch::X86_64],
            emulated: Vec::new(),
            slots: 1,
            srpm_slots: 0,
            cpus: 1,
            memory_mib: 1,
            disk_free_mib: 1,
            labels: Vec::new(),
            draining,
            unready: String::new(),
            attempts: Vec::new(),
        }
    }

    #[test]
    fn standings_change_by_rule() {
        use Standing::{Active, Drained, Quarantined, Revoked};
        let cases = [
            (Active, Drained, Ok(Some(Drained))),
            (Active, Active, Ok(None)),
            (Drained, Active, Ok(Some(Active))),
            (Drained, Quarantined, Ok(None)),
            (Quarantined, Active, Ok(Some(Active))),
            (Quarantined, Drained, Ok(Some(Drained))),
            (Quarantined, Revoked, Ok(Some(Revoked))),
            (Revoked, Revoked, Ok(None)),
            (Revoked, Active, Err(StandingError::Revoked)),
            (Revoked, Drained, Err(StandingError::Revoked)),
        ];
        for (from, to, expected) in cases {
            assert_eq!(from.change(to), expected, "{from} to {to}");
        }
        for standing in Standing::ALL {
            assert_eq!(standing.as_str().parse(), Ok(standing));
            assert_eq!(standing.takes_work(), standing == Active);
            assert_eq!(standing.may_connect(), standing != Revoked);
        }
    }

    #[test]
    fn what_holds_a_worker_back_is_told_in_the_order_in_which_it_is_mended() {
        let text = |state: &WorkerState, standing, reason| holds_back(state, standing, reason);
        let old = state(0, true);
        assert_eq!(text(&old, Standing::Drained, "new disk"), "is drained: new disk");
        assert_eq!(text(&old, Standing::Quarantined, ""), "is quarantined: no reason given");
        assert_eq!(text(&old, Standing::Active, ""), "is too old (0.1.0)");
        assert_eq!(text(&state(PROTOCOL, true), Standing::Active, ""), "is stopping");
        assert_eq!(text(&state(PROTOCOL, false), Standing::Active, ""), "is not ready");
    }

    #[test]
    fn old_workers_get_nothing_and_newer_ones_do() {
        let works = |state| takes_work(&state, Liveness::Alive, Standing::Active);
        assert!(!works(state(0, false)));
        assert!(outdated(&state(0, false)).is_some_and(|text| text.contains("protocol 0")));
        assert!(works(state(PROTOCOL, false)));
        assert!(works(state(PROTOCOL + 7, false)));
        assert!(!works(state(PROTOCOL, true)));
        for standing in [Standing::Drained, Standing::Quarantined, Standing::Revoked] {
            assert!(!takes_work(&state(PROTOCOL, false), Liveness::Alive, standing));
        }
        assert!(!takes_work(&state(PROTOCOL, false), Liveness::Stale, Standing::Active));
        assert!(!works(WorkerState { unready: "disk full".into(), ..state(PROTOCOL, false) }));
    }
}
