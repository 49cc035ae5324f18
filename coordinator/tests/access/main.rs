//! Who may call what, and as whom: a whole coordinator on ports of its own, asked by everybody
//! who should be refused.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "../common/builds.rs"]
mod builds;
mod calls;
mod coordinator;
mod enrolment;
mod sessions;
mod strangers;
mod uploads;
