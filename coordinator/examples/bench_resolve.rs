//! How long the coordinator waits for a lock from the solver's process whose pool is loaded:
//! `bench_resolve TARGET_FILE ARCH REQUIREMENT…`
//!
//! Prints one JSON object with times in milliseconds.

#![allow(clippy::print_stdout, reason = "printing is its purpose")]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use rpmfarm_coordinator::blobs::Blobs;
use rpmfarm_coordinator::resolve::{
    DownloadTimeouts, FarmPackages, FarmUpdate, Requirements, Resolver, solver,
};
use rpmfarm_coordinator::store::StoreError;
use rpmfarm_core::{Arch, Target};

/// A farm that has built nothing.
struct Empty;

impl FarmPackages for Empty {
    async fn generation(&self, _: &str) -> Result<i64, StoreError> {
        Ok(0)
    }

    async fn update(&self, _: &str, since: Option<i64>) -> Result<FarmUpdate, StoreError> {
        Ok(FarmUpdate { is_whole: since.is_none(), ..FarmUpdate::default() })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, arch, requirements @ ..] = &arguments[..] else {
        anyhow::bail!("usage: bench_resolve TARGET_FILE ARCH REQUIREMENT…");
    };
    let target = Target::parse(file, &std::fs::read_to_string(file)?)?;
    let arch: Arch = arch.parse()?;
    let directory = tempfile::tempdir()?;
    let resolver = Resolver::new(
        directory.path().join("metadata"),
        Path::new(file).parent().context("a file lies in a directory")?,
        Blobs::open(directory.path().join("blobs"))?,
        DownloadTimeouts::default(),
        solver::program()?,
    )?;
    let wanted = Requirements { layers: vec![requirements.to_vec()], ..Requirements::default() };
    let mut times = Vec::new();
    let mut packages = 0;
    for _ in 0..41 {
        let start = Instant::now();
        let now = SystemTime::now();
        let lock = resolver.resolve(&target, arch, &Empty, wanted.clone(), now).await?;
        times.push(start.elapsed());
        packages = lock.layers.iter().map(|layer| layer.packages().len()).sum::<usize>();
    }
    // Not counted: the first answer includes fetching and loading the metadata.
    let first = times.remove(0);
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{{\"packages\": {packages}, \"first_ms\": {:.1}, \"resolve_ms\": {:.3}}}",
        ms(first),
        ms(times[times.len() / 2])
    );
    Ok(())
}
