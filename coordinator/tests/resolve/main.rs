//! Resolving against real repositories: createrepo_c makes them, gpg and rpmsign sign them, and a
//! server that can misbehave serves them.
#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

#[path = "../common/builds.rs"]
mod builds;
mod clashes;
#[path = "../common/farms.rs"]
mod farms;
mod fetch;
mod locks;
mod metadata;
mod mirrors;
mod modular;
mod order;
mod plan;
mod scene;
mod solver;
