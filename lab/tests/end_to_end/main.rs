//! Whole farms of real processes, judged by real rpm and dnf.
#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod arches;
mod batches;
mod coordinators;
mod crashes;
mod enrolment;
mod faults;
mod following;
mod modifications;
mod names;
mod rebuilds;
mod refusals;
mod rot;
mod scene;

use scene::{PATIENCE, Scene, target, warm_roots};
