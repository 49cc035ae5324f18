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
    /// How many attempts a task gets when all fail with this fault. Attempts that ended by other
    /// faults are not counted.
    #[must_use]
    pub const fn attempts(self) -> u32 {
        match self {
            Self::Package => 1,
            Self::Worker => 4,
            Self::Farm => 8,
        }
    }
}

words! {
    /// Where something failed: a stage of the farm, a phase or a part of an attempt, or how it was
    /// cut short.
    pub enum FailureStage {
        /// The sources could not be fetched.
        Import = "import",
        /// There is no build root.
        Resolve = "resolve",
        /// No assignment could be made for a worker.
        Dispatch = "dispatch",
        /// The worker could not fetch packages or sources.
        Fetch = "fetch",
        /// The worker could not make the root.
        Root = "root",
        /// rpm refuses the root of the lock: it refuses a package, a scriptlet fails, or a
        /// requirement is not met by what was installed. The report of one worker is no proof,
        /// since its copy of the root may be damaged; when a second attempt ends the same way, the
        /// lock is the cause, and so the package or its requirements: see
        /// [`crate::status::confirmed`].
        Transaction = "transaction",
        /// The modifications cannot be applied, or one of their scripts failed.
        Modify = "modify",
        /// The SRPM could not be written.
        Srpm = "srpm",
        /// rpm cannot read the spec.
        Spec = "spec",
        /// `%prep`.
        Prep = "prep",
        /// `%generate_buildrequires`.
        Requires = "requires",
        /// `%build`, or the run of rpmbuild as a whole.
        Build = "build",
        /// `%install`.
        Install = "install",
        /// `%check`.
        Check = "check",
        /// The packages could not be written, or rpmbuild found an error in the installed files.
        Files = "files",
        /// The results could not be uploaded.
        Upload = "upload",
        /// The results are refused.
        Accept = "accept",
        /// The packages could not be signed.
        Sign = "sign",
        /// The packages could not be published.
        Publish = "publish",
        /// The farm took the attempt from its worker, which was silent or came back without it.
        Lease = "lease",
        /// Its worker gave the attempt up, because the coordinator was silent.
        Connection = "connection",
        /// The worker was stopped by its operator, which is not counted against the worker.
        Shutdown = "shutdown",
    }
    or
    /// The word of another version of the program.
    Other
}

/// A failure as it is recorded and shown: whose fault, at which stage, the message, and lines of
/// the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub fault: Fault,
    pub stage: FailureStage,
    /// One line, with the thing, the value and, where there is one, the remedy.
    pub message: String,
    /// Up to ten lines of the log that show it.
    pub excerpt: Vec<String>,
}

impl Failure {
    /// A failure without an excerpt.
    pub fn new(fault: Fault, stage: FailureStage, message: impl Into<String>) -> Self {
        Self { fault, stage, message: message.into(), excerpt: Vec::new() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_another_program_is_read_and_written_as_it_was() {
        for stage in ["lease", "%triggerin"] {
            let json = format!(
                r#"{{"fault":"worker","stage":"{stage}","message":"m","excerpt":["a line"]}}"#
            );
            let failure: Failure = serde_json::from_str(&json).unwrap();
            assert_eq!(failure.stage.as_str(), stage);
            assert_eq!(serde_json::to_string(&failure).unwrap(), json);
            assert_eq!(failure.to_string(), format!("m (worker's fault, at {stage})"));
        }
        assert_eq!(FailureStage::from_word("lease"), FailureStage::Lease);
    }
}
