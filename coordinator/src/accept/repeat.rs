//! Repetitions: a sample of builds is built again by another worker, and compared before the build
//! is accepted.
//!
//! Owns whether a task is repeated and how the packages of both workers are read. What a difference
//! means is decided in [`rpmfarm_core::repeat`].

use std::collections::HashMap;
use std::time::Instant;

use rpm::PackageMetadata;
use rpmfarm_core::owners::Claim;
use rpmfarm_core::repeat::{WorkerPackages, claims, has_other, is_drawn};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, Nevra, Sha256, Target};

use crate::blobs::Blobs;
use crate::fleet::Fleet;
use crate::noarch;
use crate::random::RandomSource;
use crate::store::{AcceptedTask, ResultPackage, Task};

/// Whether a task whose packages a worker has just delivered is repeated: it was drawn, and another
/// worker that runs the architecture natively is connected now.
pub(super) fn is_due(
    (fleet, now): (&Fleet, Instant),
    random: RandomSource,
    task: &Task,
    target: &Target,
    package: &str,
    maker: &str,
) -> bool {
    let percent = target.repeat_percent(package);
    task.kind == TaskKind::Build
        && is_drawn(percent, random.draw_percent())
        && has_repeater((fleet, now), task.arch, maker)
}

fn has_repeater((fleet, now): (&Fleet, Instant), arch: Arch, maker: &str) -> bool {
    let connected = fleet.connected(now);
    let workers = connected.iter().map(|(name, view)| {
        (name.as_str(), view.state.arches.as_slice(), view.state.emulated.as_slice())
    });
    has_other(workers, arch, maker)
}

/// The differences between the packages of the first worker and those of the second. Slow: reads
/// the headers of all packages whose digests differ, which most do because of their build times.
///
/// # Errors
/// When a header cannot be read.
pub(super) fn differences(
    blobs: &Blobs,
    (maker, first): (&str, &AcceptedTask),
    (repeater, second): (&str, &[ResultPackage]),
) -> anyhow::Result<Vec<Claim>> {
    let digests = |made: &[ResultPackage]| -> HashMap<Nevra, Sha256> {
        made.iter().map(|one| (one.package.nevra.clone(), one.package.digest)).collect()
    };
    let (one, other) = (digests(&first.packages), digests(second));
    let side = |worker: &str, own: &HashMap<Nevra, Sha256>, others: &HashMap<Nevra, Sha256>| {
        let mut packages = HashMap::new();
        for (nevra, digest) in own {
            let content = match others.get(nevra) {
                Some(theirs) if theirs != digest => {
                    Some(noarch::content(&PackageMetadata::open(blobs.path(*digest))?)?)
                }
                _ => None,
            };
            packages.insert(nevra.clone(), content);
        }
        anyhow::Ok(WorkerPackages { worker: worker.to_owned(), packages })
    };
    Ok(claims(&side(maker, &one, &other)?, &side(repeater, &other, &one)?))
}
