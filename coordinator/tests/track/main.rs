//! Following upstream: facts on both databases, webhooks, looks at servers good and bad, and what
//! becomes of pushes. Passes are driven by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../common/mod.rs"]
mod common;

mod facts;
mod following;
mod hooks;
mod looks;
mod scene;
mod upstream;
