//! The acceptance of uploads: real packages of a real rpmbuild, correct ones and ones that are
//! damaged in each way.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod accepted;
#[path = "../common/acceptor.rs"]
mod acceptor;
#[path = "../common/builds.rs"]
mod builds;
mod claims;
#[path = "../common/farms.rs"]
mod farms;
mod files;
mod names;
mod noarch;
mod repeat;
mod scene;
#[path = "../../../rpmfile/tests/support/mod.rs"]
mod support;
mod tags;
mod withdrawn;
