//! The domain of rpmfarm: what the words mean and what is decided.
//!
//! Owns every rule of the farm, as pure functions and small types. It must not know of
//! tokio, SQL, gRPC, git, files, sockets, processes or clocks: time is an argument, and
//! whoever calls does the IO.

#[macro_use]
pub mod words;

pub mod allowance;
pub mod announce;
pub mod arch;
pub mod batch;
pub mod diagnosis;
pub mod digest;
pub mod enrolment;
pub mod excerpt;
pub mod fault;
pub mod fleet;
pub mod glob;
pub mod id;
pub mod id_ranges;
pub mod kept;
pub mod lacking;
pub mod learned;
pub mod lease;
pub mod limits;
pub mod lock;

pub mod matching;
pub mod modules;
pub mod name;
pub mod near;
pub mod needs;
pub mod nevra;
pub mod next_step;
pub mod noarch;
pub mod options;
pub mod order;
pub mod owners;
pub mod placement;
pub mod quarantine;
pub mod queue;
pub mod reach;
pub mod reconcile;
pub mod relation;
pub mod repeat;
pub mod report;
pub mod results;
pub mod signing;
pub mod snapshot;
pub mod source;
pub mod stage;
pub mod statement;
pub mod status;
pub mod target;
pub mod task;
pub mod tenure;
pub mod terms;
pub mod time;
pub mod track;
pub mod transaction;
pub mod unexpanded;
pub mod why;

pub use allowance::{Allowance, Allowed};
pub use arch::Arch;
pub use digest::Sha256;
pub use fault::{Failure, FailureStage, Fault};
pub use id::{AttemptId, BuildId, Epoch, TaskId};
pub use lock::Lock;
pub use needs::Needs;
pub use nevra::{Evr, Nevra};
pub use options::BuildOptions;
pub use snapshot::Snapshot;
pub use stage::Stage;
pub use target::Target;
pub use time::Timestamp;
