//! Identifiers of the farm's own things. All are small integers that a person can type.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl From<i64> for $name {
            fn from(number: i64) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// One request to rebuild one package for one target.
    BuildId
}
id! {
    /// One piece of work of a build that a worker does: the SRPM, or one architecture.
    TaskId
}
id! {
    /// One try of a task by one worker.
    AttemptId
}
id! {
    /// The fencing number of an attempt's lease: each grant of a task has a higher one, and a write
    /// that carries an older one changes nothing.
    Epoch
}
id! {
    /// The fencing number of a stage's lease: one more for each change of its holder. A write under
    /// an older one changes nothing.
    StageEpoch
}
id! {
    /// The builds of one request together.
    BatchId
}
id! {
    /// One push to a tracked branch.
    PushId
}
id! {
    /// Builds from pushes that are held together, because they are too many at once.
    StormId
}
