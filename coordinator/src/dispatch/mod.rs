//! Dispatch, between a lock and a worker: leases are granted, reports applied, silences judged.
//!
//! Every lease is in the store. `pass` grants the tasks that `queue_heads` finds, `report` applies
//! what workers report, `assignment` composes what they should have, `leases` takes attempts from
//! workers that are silent, `late_results` records what these still report, `quarantine` drains
//! workers that fail. What was heard of workers is in [`crate::fleet`].

pub mod assignment;
pub mod late_results;
pub mod leases;
pub mod pass;
pub mod quarantine;
pub mod queue_heads;
pub mod report;
