//! The domain of rpmfarm: its types and its decisions.
//!
//! Owns every rule of the farm, as pure functions and small types. It must not know of
//! tokio, SQL, gRPC, git, files, sockets, processes, clocks or commands: time is an argument,
//! whoever calls does the IO, and whoever shows a [`remedy`] writes the command.
//!
//! The modules below stand in the order in which a build meets them, from a push to the repository
//! that users have.

#[macro_use]
pub mod words;

// Words that all stages share: names of things, versions, times, whose fault something is.
pub mod arch;
pub mod digest;
pub mod fault;
pub mod glob;
pub mod id;
pub mod name;
pub mod nevra;
pub mod relation;
pub mod suggestions;
pub mod time;

// Targets, sources and roots.
pub mod allowance;
pub mod limits;
pub mod modules;
pub mod needs;
pub mod options;
pub mod target;

// Following upstream, and importing.
pub mod source;
pub mod terms;
pub mod track;
pub mod unexpanded;

// Where a build stands, what happens next, and why it waits.
pub mod next_step;
pub mod remedy;
pub mod stage;
pub mod status;
pub mod task;
pub mod why;

// Build roots: the order of a batch, and the packages of each root.
pub mod batch;
pub mod lock;
pub mod pool_content;
pub mod transaction;

// Giving tasks to workers, and taking them back.
pub mod attempt_news;
pub mod learned_needs;
pub mod lease;
pub mod matching;
pub mod placement;
pub mod quarantine;
pub mod queue;
pub mod stage_lease;
pub mod worker_standing;

// On the worker: what it runs, and what the end of a build means.
pub mod announce;
pub mod diagnosis;
pub mod excerpt;
pub mod id_ranges;
pub mod kept_files;
pub mod reconcile;

// Accepting results, and who owns which name.
pub mod noarch;
pub mod owners;
pub mod repeat;
pub mod results;
pub mod statement;

// Signing and publishing.
pub mod missing_requirements;
pub mod proof;
pub mod publish_time;
pub mod published_repositories;
pub mod signing;
pub mod snapshot;

// Who may be a worker.
pub mod enrolment;

pub use allowance::{Allowance, Allowed};
pub use arch::Arch;
pub use digest::Sha256;
pub use fault::{Failure, FailureStage, Fault};
pub use id::{AttemptId, BatchId, BuildId, Epoch, PushId, StageEpoch, StormId, TaskId};
pub use lock::Lock;
pub use needs::Needs;
pub use nevra::{Evr, Nevra};
pub use options::BuildOptions;
pub use snapshot::Snapshot;
pub use stage::Stage;
pub use target::Target;
pub use time::Timestamp;
