//! The stage between a lock and a worker: leases granted, reports taken, silence judged.
//!
//! Every lease is in the store. `pass` grants what `queue_heads` finds, `report` takes what workers say,
//! `assignment` says what they should have, `leases` takes attempts from workers that are silent,
//! `late_results` records what these still say, `quarantine` gives no more work to those that fail. What was
//! heard of workers is [`crate::fleet`]'s.

pub mod assignment;
pub mod late_results;
pub mod leases;
pub mod pass;
pub mod quarantine;
pub mod queue_heads;
pub mod report;
