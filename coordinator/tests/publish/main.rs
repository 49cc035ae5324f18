//! Publishing, checked by readers: dnf, rpm, gpg, and clients that read while the content changes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bucket;
mod clients;
mod crashes;
mod farm;
mod readers;
mod refusals;
mod speed;
