//! The time of a build task on the worker besides rpmbuild, with and without an existing root.

use std::path::Path;

use anyhow::Context as _;
use rpmfarm_core::Lock;
use rpmfarm_core::lock::Layer;

use super::bare::BareRoot;
use super::figure::{Figure, Report};
use super::once::{Run, SingleTaskWorker};
use super::spread::Spread;

pub(super) const WARM: &str = "build.overhead_warm";
pub(super) const COLD: &str = "build.cold_root";

/// Tasks and bare rebuilds alternate, so that a busy host is busy for both.
const TURNS: u32 = 3;
/// Tasks of a turn, one after the other in one worker.
const TASKS: u32 = 3;
const COLD_RUNS: u32 = 3;

/// The inputs of the tasks.
pub(super) struct Bench<'a> {
    /// The directory for all intermediate files.
    pub(super) directory: &'a Path,
    pub(super) lock: &'a Lock,
    pub(super) packages: &'a Path,
    /// The spec of the package, its sources beside it.
    pub(super) spec: &'a Path,
    /// The root to compare with.
    pub(super) bare: &'a BareRoot,
}

impl Bench<'_> {
    pub(super) fn measure(&self, report: &mut Report) -> anyhow::Result<()> {
        let lock = self.directory.join("tiny.lock");
        std::fs::write(&lock, self.lock.to_bytes())?;
        let out = self.directory.join("results");
        std::fs::create_dir_all(&out)?;
        let once = SingleTaskWorker { lock, packages: self.packages.into(), out };
        let warm = self.directory.join("warm");
        let srpm = once.srpm(self.spec, &warm).context("cannot make the source package")?;
        // The measured runs are neither the first to use the root nor the first to read its files.
        once.rebuild(&srpm, &warm, 1)?;
        self.bare.rebuild(&srpm)?;

        let (mut runs, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            runs.append(&mut once.rebuild(&srpm, &warm, TASKS)?);
            for _ in 0..TASKS {
                bare.push(self.bare.rebuild(&srpm)?);
            }
        }
        let bare = Spread::of(bare);
        report.add(warm_figure(&runs, bare));
        if report.wants(COLD) {
            report.add(self.cold(&once, &srpm, bare)?);
        }
        Ok(())
    }

    fn cold(&self, once: &SingleTaskWorker, srpm: &Path, bare: Spread) -> anyhow::Result<Figure> {
        let mut runs = Vec::new();
        for number in 0..COLD_RUNS {
            let data = self.directory.join(format!("cold{number}"));
            runs.append(&mut once.rebuild(srpm, &data, 1)?);
            std::fs::remove_dir_all(&data)?;
        }
        let total = Spread::of(runs.iter().map(|run| run.total));
        let count = self.lock.layers.iter().flat_map(Layer::packages).count();
        let caged = Spread::of(runs.iter().map(|run| run.rpmbuild));
        let value = total.median - bare.median.min(caged.median);
        Ok(Figure {
            name: COLD,
            value,
            unit: "s",
            budget: 5.0,
            peer: format!("dnf installing the same {count} packages: {:.3} s", self.bare.seconds),
            ratio: Some(value / self.bare.seconds),
            note: format!(
                "whole task {total}, less the smaller of bare rpmbuild {bare} and rpmbuild in the cage {caged}"
            ),
        })
    }
}

fn warm_figure(runs: &[Run], bare: Spread) -> Figure {
    let total = Spread::of(runs.iter().map(|run| run.total));
    let caged = Spread::of(runs.iter().map(|run| run.rpmbuild));
    // A cage on a disk of its own can be faster than the host, which is not the task's merit.
    let value = total.median - bare.median.min(caged.median);
    Figure {
        name: WARM,
        value,
        unit: "s",
        budget: 0.3,
        peer: format!("bare rpmbuild in the same root by chroot: {:.3} s", bare.median),
        ratio: Some(value / bare.median),
        note: format!(
            "whole task {total}, less the smaller of bare rpmbuild {bare} and rpmbuild in the cage {caged}"
        ),
    }
}
