//! The coordinator's memory while it imports a package with a tarball of 300 MB.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use sha2::Digest as _;

use super::{IMPORT, farm, wait};
use crate::bench::figure::Figure;
use crate::bench::memory::peak_mib;
use crate::distgit::{BRANCH, Commit, Entry, append, create};
use crate::farm::{Farm, TARGET, World};

const MEGABYTES: usize = 300;
const PACKAGE: &str = "large";

pub(super) fn measure(directory: &Path, world: &World) -> anyhow::Result<Figure> {
    std::fs::create_dir_all(directory)?;
    let tarball = directory.join("large-1.tar");
    let hash = write_tarball(&tarball)?;
    let place = world.lookaside(&hash);
    std::fs::rename(&tarball, &place)?;
    let spec = |release: u32| {
        format!(
            "Name: {PACKAGE}\nVersion: 1\nRelease: {release}%{{?dist}}\nSummary: Large\n\
             License: MIT\nSource0: large-1.tar\n\n%description\nLarge.\n\n%files\n"
        )
    };
    let sources = format!("SHA512 (large-1.tar) = {hash}\n");
    let repository = world.repository_of(PACKAGE);
    let (first, second) = (spec(1), spec(2));
    create(&repository, BRANCH, &[commit("Begin", &first, &sources)])?;
    let farm = farm(&directory.join("farm"), world, 0, |target| {
        target.upstream.max_file_mib = 400;
    })?;
    let before = farm.coordinator.rss_kib()? as f64 / 1024.0;
    // Resets the peak.
    std::fs::write(format!("/proc/{}/clear_refs", farm.coordinator.pid()), "5")?;
    import(&farm)?;
    let held = peak_mib(farm.coordinator.pid())? - before;

    // A stored blob is not fetched again; removing the file proves it.
    std::fs::remove_file(&place)?;
    append(&repository, BRANCH, &commit("Release 2", &second, &sources))?;
    let again = import(&farm)?;
    Ok(Figure {
        name: IMPORT,
        value: held,
        unit: "MiB",
        budget: 32.0,
        peer: format!("the tarball itself: {MEGABYTES} MB"),
        ratio: Some(held * 1.048_576 / MEGABYTES as f64),
        note: format!(
            "the coordinator's peak over what it had before; a new commit of the same tarball was \
             imported in {again:.2} s after the look-aside cache had lost it"
        ),
    })
}

fn commit<'a>(message: &'a str, spec: &'a str, sources: &'a str) -> Commit<'a> {
    let tree = BTreeMap::from([
        ("large.spec", Entry::File(spec.as_bytes())),
        ("sources", Entry::File(sources.as_bytes())),
    ]);
    Commit { message, tree }
}

/// Writes a file of incompressible bytes; returns its digest.
fn write_tarball(path: &Path) -> anyhow::Result<String> {
    let mut random = BufReader::new(File::open("/dev/urandom")?);
    let mut file = File::create(path)?;
    let mut hasher = sha2::Sha512::new();
    let mut block = vec![0; 1_000_000];
    for _ in 0..MEGABYTES {
        random.read_exact(&mut block)?;
        hasher.update(&block);
        file.write_all(&block)?;
    }
    Ok(hex::encode(hasher.finalize()))
}

/// Asks for a build and waits until its sources are there; the seconds of the import.
fn import(farm: &Farm) -> anyhow::Result<f64> {
    let client = farm.client();
    let build = client.json(&["build", PACKAGE, "--target", TARGET])?;
    let id = build["builds"][0]["id"].as_i64().context("no number")?;
    wait(|| {
        let shown = client.show(id)?;
        ensure!(shown["state"] != "failed", "not imported: {shown:#}");
        let stage = shown["stages"].as_array().and_then(|stages| stages.first()).cloned();
        let done = stage.filter(|stage| stage["stage"] == "import" && !stage["done_at"].is_null());
        Ok(done.and_then(|stage| stage["took_ms"].as_f64()).map(|ms| ms / 1000.0))
    })
}
