//! Whose fault a failure is, and what follows from it.
//!
//! Classification comes first and the retry rule follows from it (invariant: a fault of the
//! infrastructure is never shown as a fault of the package).

use std::fmt;

use serde::{Deserialize, Serialize};

words! {
    /// Whose fault a failed attempt or stage is.
    pub enum Fault: "fault" {
        /// The package's: its spec, sources, requirements or tests. Trying again changes nothing.
        Package = "package",
        /// The worker's: space, memory, a lost connection, a crash. Another try may succeed.
        Worker = "worker",
        /// The farm's: an upstream server, a repository, the signer, the store. Tried again later.
        Farm = "farm",
    }
}

impl Fault {
    /// How many attempts a task gets when all fail with this fault. What other faults ended does
    /// not count among them.
    #[must_use]
    pub const fn attempts(self) -> u32 {
        match self {
            Self::Package => 1,
            Self::Worker => 4,
            Self::Farm => 8,
        }
    }
}

/// The stage of an attempt that the farm took from its worker, which was silent or came back
/// without it.
pub const LOST: &str = "lease";

/// The stage of an attempt that its worker gave up, because the coordinator was silent.
pub const CUT_OFF: &str = "connection";

/// The stage of an attempt that ended because somebody stopped its worker. That says nothing of
/// the worker.
pub const SHUTDOWN: &str = "shutdown";

/// The stage of an attempt whose root cannot be what its lock says: rpm refuses the packages of the
/// lock, a scriptlet fails, or a requirement is not met by what was installed. One worker's word is
/// no proof, since its copy of the root may be damaged; when a second attempt ends the same way, it
/// is the lock, and so the package or what it requires: see [`crate::status::confirmed`].
pub const TRANSACTION: &str = "transaction";

/// A failure as it is recorded and shown: whose, where, what, and the lines that matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault.
    pub fault: Fault,
    /// Where: `import`, `srpm`, `resolve`, `root`, `prep`, `build`, `install`, `check`,
    /// `files`, `accept`, `sign`, `publish`, …; [`LOST`], [`CUT_OFF`], [`SHUTDOWN`],
    /// [`TRANSACTION`].
    pub stage: String,
    /// One line that says what, with the thing, the value and, where there is one, the remedy.
    pub message: String,
    /// Up to ten lines of the log that show it.
    pub excerpt: Vec<String>,
}

impl Failure {
    /// A failure without an excerpt.
    pub fn new(fault: Fault, stage: impl Into<String>, message: impl Into<String>) -> Self {
        Self { fault, stage: stage.into(), message: message.into(), excerpt: Vec::new() }
    }

    /// The same with lines of a log.
    #[must_use]
    pub fn with_excerpt(mut self, excerpt: Vec<String>) -> Self {
        self.excerpt = excerpt;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}'s fault, at {})", self.message, self.fault, self.stage)
    }
}
