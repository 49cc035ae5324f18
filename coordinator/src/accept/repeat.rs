//! A sample of builds is made once more by another worker, and compared before anything of it is accepted.
//!
//! Owns whether a task is repeated and how both workers' packages are read; what a difference means is
//! [`rpmfarm_core::repeat`]'s.

use std::collections::HashMap;
use std::time::Instant;

use rand::Rng as _;
use rpm::PackageMetadata;
use rpmfarm_core::owners::Claim;
use rpmfarm_core::repeat::{Side, claims, has_other, is_drawn};
use rpmfarm_core::task::TaskKind;
use rpmfarm_core::{Arch, Nevra, Sha256, Target};

use crate::blobs::Blobs;
use crate::fleet::Fleet;
use crate::noarch;
use crate::store::{AcceptedTask, MadePackage, Task};

/// Whether a task whose packages a worker has just delivered is repeated: the draw says so, and another
/// worker is connected now that runs the architecture itself.
pub(super) fn is_due(
    (fleet, now): (&Fleet, Instant),
    task: &Task,
    target: &Target,
    package: &str,
    maker: &str,
) -> bool {
    let percent = target.repeat_percent(package);
    task.kind == TaskKind::Build
        && is_drawn(percent, rand::thread_rng().gen_range(0..100))
        && has_repeater((fleet, now), task.arch, maker)
}

fn has_repeater((fleet, now): (&Fleet, Instant), arch: Arch, maker: &str) -> bool {
    let connected = fleet.connected(now);
    let workers = connected.iter().map(|(name, view)| {
        (name.as_str(), view.state.arches.as_slice(), view.state.emulated.as_slice())
    });
    has_other(workers, arch, maker)
}

/// What differs between the packages of the first worker and those of the second. Takes time: headers
/// are read of those that have other digests, as with other times of building.
///
/// # Errors
/// When a header cannot be read.
pub(super) fn differences(
    blobs: &Blobs,
    (maker, first): (&str, &AcceptedTask),
    (repeater, second): (&str, &[MadePackage]),
) -> anyhow::Result<Vec<Claim>> {
    let digests = |made: &[MadePackage]| -> HashMap<Nevra, Sha256> {
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
        anyhow::Ok(Side { worker: worker.to_owned(), packages })
    };
    Ok(claims(&side(maker, &one, &other)?, &side(repeater, &other, &one)?))
}
