//! How a build ends, and how many did so in a transaction.

use rpmfarm_core::status::BuildState;

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BuildEnd {
    Published,
    Cancelled,
    Failed,
}

impl BuildEnd {
    /// All variants, in their order.
    pub(super) const ALL: [Self; 3] = [Self::Published, Self::Cancelled, Self::Failed];

    /// The state of a build that ended so.
    #[must_use]
    pub const fn state(self) -> BuildState {
        match self {
            Self::Published => BuildState::Published,
            Self::Cancelled => BuildState::Cancelled,
            Self::Failed => BuildState::Failed,
        }
    }

    /// The end whose state this is; `None` for one that is no end.
    #[must_use]
    pub fn of(state: BuildState) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.state() == state)
    }

    /// The name of its count.
    pub(super) const fn counter(self) -> &'static str {
        match self {
            Self::Published => "ended_published",
            Self::Cancelled => "ended_cancelled",
            Self::Failed => "ended_failed",
        }
    }
}

/// How many more builds have ended in each way, by their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct EndCounts([i64; 3]);

impl EndCounts {
    pub(super) const fn add(&mut self, end: BuildEnd, count: i64) {
        self.0[end as usize] += count;
    }

    /// Each way with its count.
    pub(super) fn each(self) -> impl Iterator<Item = (BuildEnd, i64)> {
        BuildEnd::ALL.into_iter().zip(self.0)
    }
}
