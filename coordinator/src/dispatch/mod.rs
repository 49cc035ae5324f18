//! The stage between a lock and a worker: leases granted, reports taken, silence judged.
//!
//! Every lease is in the store. `pass` grants what `heads` finds, `report` takes what workers say,
//! `assignment` says what they should have, `leases` takes attempts from workers that are silent,
//! `late` records what these still say, `quarantine` gives no more work to those that fail. What was
//! heard of workers is [`crate::fleet`]'s.

pub mod assignment;
pub mod heads;
pub mod late;
pub mod leases;
pub mod pass;
pub mod quarantine;
pub mod report;
