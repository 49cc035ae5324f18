//! Publishing, judged by those who read what it writes: dnf, rpm, gpg, and readers who are in
//! the middle when it changes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clients;
mod crashes;
mod farm;
mod readers;
mod refusals;
mod speed;
