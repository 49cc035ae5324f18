//! Following upstream: facts on both databases, webhooks, polls of correct and faulty servers, and
//! the verdicts on pushes. The tests run the passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../common/mod.rs"]
mod common;

mod facts;
mod following;
#[path = "../import/upstream.rs"]
#[allow(dead_code, reason = "it can do more than is needed here")]
mod git;
mod hooks;
mod modifications;
mod polls;
mod scene;
mod tags;
mod upstream;
mod version_check;
