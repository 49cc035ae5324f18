//! Words of the domain as enums of the wire.
//!
//! Messages have such a word twice: as text, which every program of version 1 fills and reads, and
//! typed. The typed field is read, and the text where that is absent, as in the messages of an
//! older program.

use std::str::FromStr;

use rpmfarm_core::Timestamp;
use rpmfarm_core::fault::{Failure, FailureStage, Fault};
use rpmfarm_core::lease::Liveness;
use rpmfarm_core::stage::Milestone;
use rpmfarm_core::status::{BuildState, TaskState};
use rpmfarm_core::task::Phase;
use rpmfarm_core::track::PushVerdict;
use rpmfarm_core::worker_standing::Standing;

use super::clip;
use crate::v1;

/// Enums that have the same variants here and there; those of the wire have `Unspecified` beside
/// them.
macro_rules! typed {
    ($($core:ident = $wire:ident { $($variant:ident)+ })+) => {$(
        impl From<$core> for v1::$wire {
            fn from(word: $core) -> Self {
                match word {
                    $($core::$variant => Self::$variant,)+
                }
            }
        }

        impl v1::$wire {
            /// The word that it stands for; none when it is unspecified.
            #[must_use]
            pub const fn word(self) -> Option<$core> {
                match self {
                    Self::Unspecified => None,
                    $(Self::$variant => Some($core::$variant),)+
                }
            }
        }
    )+};
}

typed! {
    Fault = Fault { Package Worker Farm }
    BuildState = BuildState {
        Importing Srpm Waiting Queued Building Accepting Claimed Signing Publishing Published Failed
        Cancelled
    }
    TaskState = TaskState { Waiting Queued Running Accepting Succeeded Failed Cancelled }
    Phase = Phase { Fetch Root Requires Srpm Prep Build Install Check Package Upload }
    Milestone = BuildMilestone { Import Srpm Resolve Dispatch Build Accept Sign Publish }
    Standing = Standing { Active Drained Quarantined Revoked }
    PushVerdict = PushVerdict {
        Build Done Superseded Removed Importing Gathering Proposed Held Frozen Storm
    }
}

/// Failure stages have words of other programs, too, which the wire has as text alone.
macro_rules! failure_stages {
    ($($variant:ident)+) => {
        impl From<&FailureStage> for v1::FailureStage {
            fn from(stage: &FailureStage) -> Self {
                match stage {
                    $(FailureStage::$variant => Self::$variant,)+
                    FailureStage::Other(_) => Self::Unspecified,
                }
            }
        }

        impl v1::FailureStage {
            /// The stage that it stands for; none when it is unspecified.
            #[must_use]
            pub const fn word(self) -> Option<FailureStage> {
                match self {
                    Self::Unspecified => None,
                    $(Self::$variant => Some(FailureStage::$variant),)+
                }
            }
        }
    };
}

failure_stages! {
    Import Resolve Dispatch Fetch Root Transaction Modify Srpm Spec Prep Requires Build Install Check
    Files Upload Accept Sign Publish Lease Connection Shutdown
}

/// The liveness of a worker; `None` for one that was not heard since the coordinator started.
impl From<Option<Liveness>> for v1::Liveness {
    fn from(heard: Option<Liveness>) -> Self {
        match heard {
            Some(Liveness::Alive) => Self::Alive,
            Some(Liveness::Stale) => Self::Stale,
            Some(Liveness::Gone) => Self::Gone,
            None => Self::Never,
        }
    }
}

fn or_text<T: FromStr>(typed: Option<T>, text: &str) -> Option<T> {
    typed.or_else(|| text.parse().ok())
}

impl v1::Build {
    /// Where it is; none for a state that this program does not know.
    #[must_use]
    pub fn known_state(&self) -> Option<BuildState> {
        or_text(self.typed_state().word(), &self.state)
    }
}

impl v1::WhyReply {
    /// Where the build is; none for a state that this program does not know.
    #[must_use]
    pub fn known_state(&self) -> Option<BuildState> {
        or_text(self.typed_state().word(), &self.state)
    }
}

impl v1::ClaimedBuild {
    /// Where the build is; none for a state that this program does not know.
    #[must_use]
    pub fn known_state(&self) -> Option<BuildState> {
        or_text(self.typed_state().word(), &self.state)
    }
}

impl v1::ImpactedBuild {
    /// Where the build is; none for a state that this program does not know.
    #[must_use]
    pub fn known_state(&self) -> Option<BuildState> {
        or_text(self.typed_state().word(), &self.state)
    }
}

impl v1::Task {
    /// Where it is; none for a state that this program does not know.
    #[must_use]
    pub fn known_state(&self) -> Option<TaskState> {
        or_text(self.typed_state().word(), &self.state)
    }

    /// Where its running attempt is; none when none runs, and for a phase that this program does
    /// not know.
    #[must_use]
    pub fn known_phase(&self) -> Option<Phase> {
        or_text(self.typed_phase().word(), &self.phase)
    }
}

impl v1::Milestone {
    /// A milestone and when it was reached.
    #[must_use]
    pub fn new(stage: Milestone, at: Timestamp) -> Self {
        let at_us = at.as_us();
        let typed = v1::BuildMilestone::from(stage);
        Self { stage: stage.to_string(), at_us, typed_stage: typed.into() }
    }
}

impl v1::Worker {
    /// The decision about it; `None` for a word that this program does not know. A coordinator from
    /// before there were decisions sends nothing, and its workers work.
    #[must_use]
    pub fn known_standing(&self) -> Option<Standing> {
        match self.typed_state().word() {
            None if self.state.is_empty() => Some(Standing::Active),
            typed => or_text(typed, &self.state),
        }
    }

    /// Its liveness at the coordinator; `None` when the coordinator has not heard of it since its
    /// start, and for a word that this program does not know.
    #[must_use]
    pub fn known_liveness(&self) -> Option<Liveness> {
        match self.typed_liveness() {
            v1::Liveness::Alive => Some(Liveness::Alive),
            v1::Liveness::Stale => Some(Liveness::Stale),
            v1::Liveness::Gone => Some(Liveness::Gone),
            v1::Liveness::Never => None,
            v1::Liveness::Unspecified => self.liveness.parse().ok(),
        }
    }
}

impl v1::Failure {
    /// Whose fault it is; the farm's when the message names none.
    #[must_use]
    pub fn whose(&self) -> Fault {
        self.fault().word().unwrap_or(Fault::Farm)
    }

    /// Where it happened, from the enum or, of an older sender, from the text.
    #[must_use]
    pub fn known_stage(&self) -> FailureStage {
        let text = || FailureStage::from_word(&clip(&self.stage, 40));
        self.typed_stage().word().unwrap_or_else(text)
    }
}

impl From<&Failure> for v1::Failure {
    fn from(failure: &Failure) -> Self {
        let Failure { fault, stage, message, excerpt } = failure;
        Self {
            fault: v1::Fault::from(*fault).into(),
            stage: stage.to_string(),
            message: message.clone(),
            excerpt: excerpt.clone(),
            typed_stage: v1::FailureStage::from(stage).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an enum of the wire stands for each word, and is called as the word is.
    macro_rules! check {
        ($($core:ident = $wire:ident, $prefix:literal;)+) => {$(
            for word in $core::ALL {
                let wire = v1::$wire::from(word);
                assert_eq!(wire.word(), Some(word));
                let name = format!("{}{}", $prefix, word.as_str().to_uppercase());
                assert_eq!(wire.as_str_name(), name);
            }
            assert_eq!(v1::$wire::Unspecified.word(), None);
        )+};
    }

    #[test]
    fn each_word_has_a_value_of_its_name() {
        check! {
            Fault = Fault, "FAULT_";
            BuildState = BuildState, "BUILD_STATE_";
            TaskState = TaskState, "TASK_STATE_";
            Phase = Phase, "PHASE_";
            Milestone = BuildMilestone, "BUILD_MILESTONE_";
            Standing = Standing, "STANDING_";
            PushVerdict = PushVerdict, "PUSH_VERDICT_";
        }
        for stage in FailureStage::ALL {
            let wire = v1::FailureStage::from(&stage);
            let name = format!("FAILURE_STAGE_{}", stage.as_str().to_uppercase());
            assert_eq!(wire.as_str_name(), name);
            assert_eq!(wire.word(), Some(stage));
        }
        for liveness in Liveness::ALL {
            let typed = v1::Liveness::from(Some(liveness)).into();
            let worker = v1::Worker { typed_liveness: typed, ..v1::Worker::default() };
            assert_eq!(worker.known_liveness(), Some(liveness));
        }
    }

    #[test]
    fn an_older_program_has_the_text_alone_and_a_newer_one_other_words() {
        let build = |state: &str, typed: i32| {
            let state = state.to_owned();
            v1::Build { state, typed_state: typed, ..v1::Build::default() }.known_state()
        };
        assert_eq!(build("claimed", 0), Some(BuildState::Claimed));
        assert_eq!(build("", v1::BuildState::Claimed.into()), Some(BuildState::Claimed));
        assert_eq!(build("burning", 77), None);
        let failure = |stage: &str, typed_stage: i32| {
            let stage = stage.to_owned();
            v1::Failure { stage, typed_stage, ..v1::Failure::default() }.known_stage()
        };
        assert_eq!(failure("lease", 0), FailureStage::Lease);
        assert_eq!(failure("triggers", 77), FailureStage::Other("triggers".into()));
        let worker = |state: &str| {
            v1::Worker { state: state.into(), ..v1::Worker::default() }.known_standing()
        };
        assert_eq!(worker(""), Some(Standing::Active));
        assert_eq!(worker("revoked"), Some(Standing::Revoked));
        assert_eq!(worker("asleep"), None);
    }

    #[test]
    fn a_failure_is_sent_with_its_stage_in_both_forms() {
        let sent = v1::Failure::from(&Failure::new(Fault::Worker, FailureStage::Lease, "silent"));
        assert_eq!((sent.stage.as_str(), sent.typed_stage()), ("lease", v1::FailureStage::Lease));
        let other = FailureStage::Other("triggers".into());
        let failure = Failure::new(Fault::Package, other, "a trigger failed");
        let sent = v1::Failure::from(&failure);
        assert_eq!(sent.typed_stage(), v1::FailureStage::Unspecified);
        assert_eq!(Failure::try_from(sent), Ok(failure));
    }
}
