//! Farms whose passes the test runs itself.

#![allow(dead_code, reason = "not each test opens one")]

use std::path::Path;

use clap::Parser as _;
use rpmfarm_coordinator::config::Config;
use rpmfarm_coordinator::parts::Parts;
use rpmfarm_coordinator::start;

/// Opens a farm that has its data in `data` of a directory and its targets in `targets`, with
/// further options of the command line. Its messages to other coordinators are dropped.
pub async fn open(dir: &Path, options: &[&str]) -> Parts {
    let path = |name: &str| dir.join(name).display().to_string();
    let (data, targets) = (path("data"), path("targets"));
    let own = ["rpmfarm-coordinator", "--data", &data, "--targets", &targets];
    let config = Config::parse_from([&own[..], options].concat());
    start::open(&config, "http://127.0.0.1:1").await.unwrap().0
}
