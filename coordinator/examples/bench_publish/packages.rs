//! Generated packages: small files with the metadata of usual ones, signed, in the blob store.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, anyhow};
use parking_lot::Mutex;
use rpm::signature::pgp::Signer;
use rpm::{BuildConfig, CompressionType, Dependency, FileOptions, PackageBuilder};
use rpmfarm_coordinator::blobs::Blobs;
use rpmfarm_coordinator::publish::describe;
use rpmfarm_core::{Arch, Nevra, Sha256};

/// Packages that a build makes for each architecture.
pub(crate) const PER_BUILD: usize = 3;

/// Files of a package.
const FILES: usize = 20;

/// Entries of its changelog.
const CHANGES: usize = 10;

/// A build that is to be recorded as accepted and signed.
pub(crate) struct MadeBuild {
    /// The name of its source package.
    pub(crate) name: String,
    pub(crate) packages: Vec<MadePackage>,
}

/// A signed package.
pub(crate) struct MadePackage {
    pub(crate) nevra: Nevra,
    pub(crate) arch: Arch,
    /// Of the signed file.
    pub(crate) digest: Sha256,
    pub(crate) size: u64,
    /// The blob of its fragments.
    pub(crate) repodata: Sha256,
}

/// Makes builds with these numbers, on all cores.
pub(crate) fn make(
    numbers: std::ops::Range<usize>,
    arches: &[Arch],
    blobs: &Blobs,
    signer: &Signer,
) -> anyhow::Result<Vec<MadeBuild>> {
    let (next, made) = (AtomicUsize::new(numbers.start), Mutex::new(Vec::new()));
    let work = || -> anyhow::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return Ok(());
            }
            made.lock().push((number, build(number, arches, blobs, signer)?));
        }
    };
    let cores = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow!("a thread that makes packages panicked"))?
        })
    })?;
    let mut made = made.into_inner();
    made.sort_by_key(|(number, _)| *number);
    Ok(made.into_iter().map(|(_, build)| build).collect())
}

fn build(
    number: usize,
    arches: &[Arch],
    blobs: &Blobs,
    signer: &Signer,
) -> anyhow::Result<MadeBuild> {
    let name = format!("p{number:05}");
    let mut packages = Vec::new();
    for arch in arches {
        for suffix in ["", "-libs", "-devel"] {
            let made = package(&format!("{name}{suffix}"), &name, *arch, blobs, signer);
            packages.push(made.with_context(|| format!("{name}{suffix}.{arch}"))?);
        }
    }
    Ok(MadeBuild { name, packages })
}

fn package(
    name: &str,
    source: &str,
    arch: Arch,
    blobs: &Blobs,
    signer: &Signer,
) -> anyhow::Result<MadePackage> {
    let mut builder = PackageBuilder::new(name, "1.0", "MIT", arch.as_str(), "A package");
    builder
        .using_config(BuildConfig::v4().compression(CompressionType::None))
        .description("A generated package with as many files and changes as usual ones have.");
    for other in ["bash", "glibc", "libgcc", "openssl-libs"] {
        builder.requires(Dependency::any(other));
    }
    for symbol in 0..4 {
        builder.provides(Dependency::any(format!("lib{name}.so.{symbol}()(64bit)")));
    }
    for file in 0..FILES {
        let path = format!("/usr/share/{source}/{name}/file-{file:03}.txt");
        builder.with_file_contents(format!("{name} {file}\n"), FileOptions::new(path))?;
    }
    for change in 0..CHANGES {
        let who = format!("Somebody <somebody@example.org> - 1.0-{change}");
        let at = 1_700_000_000 + u32::try_from(change)? * 86_400;
        builder.add_changelog_entry(who, format!("- Change {change} of {source}"), at);
    }
    let package = builder.build_and_sign(signer)?;
    let mut bytes = Vec::new();
    package.write(&mut bytes)?;
    let mut writer = blobs.writer(u64::MAX)?;
    writer.append(&bytes)?;
    let (digest, size) = writer.finish(name, None)?;
    let nevra: Nevra = format!("{name}-1.0-1.{arch}").parse()?;
    let repodata = describe(blobs, &nevra, digest, size)?;
    Ok(MadePackage { nevra, arch, digest, size, repodata })
}
