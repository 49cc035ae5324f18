//! The memory of the solver processes of several targets with the same repositories:
//! `bench_pools TARGET_FILE ARCH COUNT REQUIREMENT…`
//!
//! Prints one JSON object: proportional set sizes in MiB (a page that n processes map counts for
//! 1/n in each), and times in seconds.

#![allow(clippy::print_stdout, reason = "printing is its purpose")]

#[path = "support/resolver.rs"]
mod resolver;

use std::time::{Instant, SystemTime};

use anyhow::Context as _;
use resolver::{NoPackages, Scene};
use rpmfarm_core::Target;

/// The processes that threads of this one have started.
fn children() -> std::io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir("/proc/self/task")? {
        let list = std::fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    Ok(found)
}

/// The proportional set sizes of all these processes, in MiB.
fn memory() -> anyhow::Result<f64> {
    let mut kib = 0_u32;
    for process in children()? {
        let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
        kib += line.trim().trim_end_matches(" kB").parse::<u32>()?;
    }
    Ok(f64::from(kib) / 1024.0)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, arch, count, requirements @ ..] = &arguments[..] else {
        anyhow::bail!("usage: bench_pools TARGET_FILE ARCH COUNT REQUIREMENT…");
    };
    let Scene { resolver, target, arch, wanted, .. } = &Scene::new(file, arch, requirements)?;
    let start = Instant::now();
    let (mut first_s, mut one_mib) = (0.0, 0.0);
    for number in 1..=count.parse::<u32>()? {
        let target = Target { name: format!("{}-{number}", target.name), ..target.clone() };
        resolver.resolve(&target, *arch, &NoPackages, wanted.clone(), SystemTime::now()).await?;
        if number == 1 {
            (first_s, one_mib) = (start.elapsed().as_secs_f64(), memory()?);
        }
    }
    let all_mib = memory()?;
    println!(
        "{{\"pools\": {}, \"one_mib\": {one_mib:.1}, \"all_mib\": {all_mib:.1}, \
         \"first_s\": {first_s:.1}, \"all_s\": {:.1}}}",
        children()?.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
