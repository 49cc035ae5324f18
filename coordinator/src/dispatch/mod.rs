//! The stage between a lock and a worker: leases granted, reports taken, silence judged.
//!
//! `fleet` is what was heard of workers and is lost with the process; every lease is in the
//! store, and `held` is a copy of them for counting. `pass` grants what
//! `heads` finds, `report` takes what workers
//! say, `assignment` says what they should have, `leases` takes attempts from workers that are
//! silent, `late` records what these still say.

pub mod assignment;
pub mod fleet;
pub mod heads;
pub mod held;
pub mod late;
pub mod leases;
pub mod pass;
pub mod quarantine;
pub mod report;

pub use fleet::Fleet;
