//! Measures loading metadata and solving: `bench_solve ARCH REPODATA_DIR REQUIREMENT…`
//!
//! Prints one JSON object with times in milliseconds.

#![allow(clippy::print_stdout, reason = "printing is its purpose")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use rpmfarm_solv::{Pool, Repository, SolveRequest};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [arch, repodata, requirements @ ..] = &arguments[..] else {
        return Err("usage: bench_solve ARCH REPODATA_DIR REQUIREMENT…".into());
    };
    let primary = find(repodata, "primary.xml")?.ok_or("no primary.xml* in that directory")?;
    let filelists = find(repodata, "filelists.xml")?;

    let mut pool = Pool::new(arch.parse()?);
    let start = Instant::now();
    let about = Repository { id: "bench".into(), ..Repository::default() };
    pool.load_repository(about, &primary, filelists.as_deref())?;
    let load = start.elapsed();
    let start = Instant::now();
    pool.prepare()?;
    let prepare = start.elapsed();

    let install: Vec<&str> = requirements.iter().map(String::as_str).collect();
    let request = SolveRequest { install, ..SolveRequest::default() };
    let mut times = Vec::new();
    let mut chosen = 0;
    for _ in 0..11 {
        let start = Instant::now();
        chosen = pool.solve(&request)?.packages.len();
        times.push(start.elapsed());
    }
    let first = times[0];
    times.sort_unstable();
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{{\"packages\": {}, \"chosen\": {chosen}, \"load_ms\": {:.1}, \"prepare_ms\": {:.1}, \"first_solve_ms\": {:.2}, \"solve_ms\": {:.2}}}",
        pool.len(),
        ms(load),
        ms(prepare),
        ms(first),
        ms(times[times.len() / 2]),
    );
    Ok(())
}

/// The file of that kind, whatever its digest prefix and compression.
fn find(repodata: impl AsRef<Path>, kind: &str) -> std::io::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(repodata)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(kind) || name.contains(&format!("-{kind}")) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
