//! How long the coordinator waits for a lock from the solver's process whose pool is loaded:
//! `bench_resolve TARGET_FILE ARCH REQUIREMENT…`
//!
//! Prints one JSON object with times in milliseconds.

#![allow(clippy::print_stdout, reason = "printing is its purpose")]

#[path = "support/resolver.rs"]
mod resolver;

use std::time::{Duration, Instant, SystemTime};

use resolver::{NoPackages, Scene};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, arch, requirements @ ..] = &arguments[..] else {
        anyhow::bail!("usage: bench_resolve TARGET_FILE ARCH REQUIREMENT…");
    };
    let Scene { resolver, target, arch, wanted, .. } = &Scene::new(file, arch, requirements)?;
    let mut times = Vec::new();
    let mut packages = 0;
    for _ in 0..41 {
        let start = Instant::now();
        let now = SystemTime::now();
        let lock = resolver.resolve(target, *arch, &NoPackages, wanted.clone(), now).await?;
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
