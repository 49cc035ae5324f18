//! The rights of callers: a whole coordinator on ports of its own, with calls of everybody who must
//! be refused.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "../common/builds.rs"]
mod builds;
mod calls;
mod coordinator;
mod enrolment;
mod sessions;
mod strangers;
mod uploads;
