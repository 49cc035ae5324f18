//! Measures the proof of a channel's next content: `bench_proof REPODATA_DIR PACKAGES`
//!
//! The pool has the repository of that directory, with its file lists, and so many packages of the
//! farm on each of three architectures; all of the same kind, so that each is a pool of its own.
//! Prints one JSON object with times in milliseconds: of a first content, of one package more, and
//! of a single package that is installed.

#![allow(clippy::print_stdout, reason = "printing is its purpose")]

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rpmfarm_core::{Arch, Nevra};
use rpmfarm_solv::{Fragment, Pool, ProofQuestion, Repository, SolveRequest};

const FARM: &str = "farm";
/// Architectures of the target.
const ARCHES: u32 = 3;
/// Files of a package.
const FILES: u32 = 50;
/// Packages that one call adds to a pool.
const BATCH: usize = 256;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [repodata, count] = &arguments[..] else {
        return Err("usage: bench_proof REPODATA_DIR PACKAGES".into());
    };
    let count: u32 = count.parse()?;
    let (mut full, mut append, mut single) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut external = 0;
    for arch in 0..ARCHES {
        let mut pool = pool(repodata.as_ref())?;
        external = pool.len();
        let all: Vec<u32> = (0..count).collect();
        for batch in all.chunks(BATCH) {
            let fragments: Vec<Fragment> =
                batch.iter().map(|number| fragment(arch, *number, 1)).collect();
            pool.add_packages(FARM, &fragments)?;
        }
        pool.add_packages(FARM, &[fragment(arch, count / 2, 2)])?;
        pool.prepare_for_proof()?;
        let before: HashSet<Nevra> = all.iter().map(|number| nevra(*number, 1)).collect();
        full += proved(&mut pool, &HashSet::new(), &before)?;
        let mut after = before.clone();
        after.remove(&nevra(count / 2, 1));
        after.insert(nevra(count / 2, 2));
        append += proved(&mut pool, &before, &after)?;
        let begun = Instant::now();
        let install = format!("farm-package-{}", count / 3);
        pool.solve(&SolveRequest { install: vec![&install], ..SolveRequest::default() })?;
        single += begun.elapsed();
    }
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{{\"external\": {external}, \"full_ms\": {:.1}, \"append_ms\": {:.1}, \"single_ms\": {:.2}}}",
        ms(full),
        ms(append),
        ms(single / ARCHES),
    );
    Ok(())
}

/// A pool with the repository, ready for packages of the farm.
fn pool(repodata: &Path) -> Result<Pool, Box<dyn std::error::Error>> {
    let primary = find(repodata, "primary.xml")?.ok_or("no primary.xml* in that directory")?;
    let filelists = find(repodata, "filelists.xml")?;
    let mut pool = Pool::new(Arch::X86_64);
    let about = Repository { id: "bench".into(), ..Repository::default() };
    pool.load_repository(about, &primary, filelists.as_deref())?;
    pool.add_repository(Repository { id: FARM.into(), ..Repository::default() })?;
    pool.prepare_for_proof()?;
    Ok(pool)
}

/// How long a proof without problems takes.
fn proved(
    pool: &mut Pool,
    before: &HashSet<Nevra>,
    after: &HashSet<Nevra>,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let question = ProofQuestion { repositories: &[FARM], before, after, is_closed: true };
    let found = pool.prove(&question)?;
    let took = begun.elapsed();
    match found.after.first() {
        None => Ok(took),
        Some(problem) => Err(format!("an unexpected problem: {problem}").into()),
    }
}

fn nevra(number: u32, version: u32) -> Nevra {
    format!("farm-package-{number}-{version}-1.x86_64").parse().expect("it is a name")
}

/// A package that requires one of the repository, and some of those before it.
fn fragment(arch: u32, number: u32, version: u32) -> Fragment {
    let (name, id) =
        (format!("farm-package-{number}"), format!("{arch:08x}{number:028x}{version:028x}"));
    let mut primary = format!(
        "<package type=\"rpm\"><name>{name}</name><arch>x86_64</arch>\
         <version epoch=\"0\" ver=\"{version}\" rel=\"1\"/>\
         <checksum type=\"sha256\" pkgid=\"YES\">{id}</checksum><summary>A package</summary>\
         <description>A package of the farm</description><time file=\"1\" build=\"1\"/>\
         <size package=\"10000\" installed=\"20000\" archive=\"20000\"/>\
         <location href=\"{name}.rpm\"/><format><rpm:license>MIT</rpm:license>\
         <rpm:sourcerpm>farm-source-{}-1-1.src.rpm</rpm:sourcerpm><rpm:provides>\
         <rpm:entry name=\"{name}\" flags=\"EQ\" epoch=\"0\" ver=\"{version}\" rel=\"1\"/>\
         <rpm:entry name=\"libfarm{number}.so.1()(64bit)\"/></rpm:provides><rpm:requires>",
        number / 2
    );
    let _ = write!(primary, "<rpm:entry name=\"lib{number}.so.1(V_1)(64bit)\"/>");
    for step in (1..=8).map(|power| 3_u32.pow(power)).take_while(|step| *step <= number) {
        let _ = write!(primary, "<rpm:entry name=\"libfarm{}.so.1()(64bit)\"/>", number - step);
    }
    primary += "</rpm:requires></format></package>";
    let mut filelists = format!(
        "<package pkgid=\"{id}\" name=\"{name}\" arch=\"x86_64\">\
         <version epoch=\"0\" ver=\"{version}\" rel=\"1\"/>"
    );
    for file in 0..FILES {
        let folder = ["data", "doc", "locale/de", "locale/fr"][file as usize % 4];
        let _ = write!(filelists, "<file>/usr/share/{name}/{folder}/file-{file:05}.txt</file>");
    }
    filelists += "</package>";
    Fragment { primary, filelists }
}

/// The file of that kind, whatever its digest prefix and compression.
fn find(repodata: &Path, kind: &str) -> std::io::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(repodata)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(kind) || name.contains(&format!("-{kind}")) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
