//! Resolving against real repositories: createrepo_c makes them, gpg and rpmsign sign them, and a
//! server that can misbehave serves them.
#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

mod clashes;
mod fetch;
mod locks;
mod metadata;
mod mirrors;
mod modular;
mod plan;
mod scene;
mod solver;
