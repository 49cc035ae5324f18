//! Withdrawing packages, and finding the builds that were made with them.
//!
//! A withdrawal moves rows from `packages` to `withdrawn_packages`, so that no reader of `packages`
//! sees them; `withdrawals` has the history. In the same transaction the open builds of these
//! packages are cancelled, roots that hold them are forgotten and solved again, and `impacts` are
//! marked. A lock is recorded only while all of the farm's packages in it exist. When
//! `pools.withdrawn` is above `pools.shown`, the publish pass publishes the channel again, without
//! the withdrawn packages and with the restored ones (`returning_packages`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rpmfarm_core::owners::{self, BuildLink};
use rpmfarm_core::{BuildId, Lock, Nevra, Sha256, TaskId};

use super::{Claims, MAX_LOCK};
use crate::blobs::Blobs;
use crate::resolve::FARM;
use crate::store::{ImpactRow, RootRow, Store, Withdrawal};

/// The builds that were made with some packages, and the pending roots that hold them.
#[derive(Debug, Clone, Default)]
pub struct Impact {
    /// The builds, those first that used the packages directly.
    pub rows: Vec<ImpactRow>,
    /// The tasks with such a root of which no result is accepted yet.
    pub roots: Vec<(BuildId, TaskId)>,
}

impl Claims {
    /// Finds what was made with packages of a target, withdrawn or not.
    ///
    /// # Errors
    /// Database errors; a lock that cannot be read.
    pub async fn impact(
        &self,
        store: &Store,
        target: &str,
        packages: &[Nevra],
    ) -> anyhow::Result<Impact> {
        let made = store.package_list_digests(target).await?;
        let roots = store.root_list(target).await?;
        let (blobs, packages) = (self.blobs.clone(), packages.to_vec());
        tokio::task::spawn_blocking(move || read_roots(&blobs, &made, roots, &packages)).await?
    }

    /// Withdraws packages of a target. Returns the packages that were there, and the builds that
    /// were made with them.
    ///
    /// # Errors
    /// Database errors; a lock that cannot be read.
    pub async fn withdraw(
        &self,
        store: &Store,
        target: &str,
        packages: &[Nevra],
        (who, reason): (&str, &str),
    ) -> anyhow::Result<(Vec<Nevra>, Vec<ImpactRow>)> {
        let impact = self.impact(store, target, packages).await?;
        // Read before their attempts end, since afterwards nothing says which workers to notify.
        let mut workers = BTreeSet::new();
        let touched = impact.rows.iter().map(|row| row.build);
        for build in touched.chain(impact.roots.iter().map(|(build, _)| *build)) {
            workers.extend(store.worker_list_on_build(build).await?);
        }
        let what = Withdrawal {
            target,
            packages,
            roots: &impact.roots,
            impacts: &impact.rows,
            who,
            reason,
        };
        let gone = store.withdrawal_insert(&what, self.clock.time()).await?;
        for worker in workers {
            self.fleet.wake_session(&worker);
        }
        // Roots may have been recorded between the search and the transaction.
        let rows = self.mark(store, target, &gone).await?;
        tracing::warn!(
            target,
            who,
            reason,
            packages = gone.len(),
            impacts = rows.len(),
            "withdrawn"
        );
        Ok((gone, rows))
    }

    /// Marks the builds that were made with withdrawn packages, and has the roots that hold them
    /// solved again.
    ///
    /// # Errors
    /// Database errors; a lock that cannot be read.
    pub async fn mark(
        &self,
        store: &Store,
        target: &str,
        gone: &[Nevra],
    ) -> anyhow::Result<Vec<ImpactRow>> {
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let left = self.impact(store, target, gone).await?;
        if left.roots.is_empty() {
            store.impact_insert(target, &left.rows).await?;
            return Ok(left.rows);
        }
        let what = Withdrawal {
            target,
            packages: &[],
            roots: &left.roots,
            impacts: &left.rows,
            who: "",
            reason: "",
        };
        store.withdrawal_insert(&what, self.clock.time()).await?;
        Ok(left.rows)
    }
}

type DigestsByBuild = BTreeMap<BuildId, BTreeMap<Sha256, Nevra>>;

fn read_roots(
    blobs: &Blobs,
    made: &DigestsByBuild,
    roots: Vec<RootRow>,
    packages: &[Nevra],
) -> anyhow::Result<Impact> {
    let wanted: HashSet<&Nevra> = packages.iter().collect();
    let names: BTreeMap<Sha256, &Nevra> =
        made.values().flatten().map(|(digest, nevra)| (*digest, nevra)).collect();
    let digests: BTreeSet<Sha256> = names
        .iter()
        .filter(|(_, nevra)| wanted.contains(*nevra))
        .map(|(digest, _)| *digest)
        .collect();
    let (mut links, mut open) = (BTreeMap::<BuildId, BuildLink>::new(), Vec::new());
    for root in roots {
        let used = farm_packages(blobs, root.lock)?;
        if !root.accepted && !used.is_disjoint(&digests) {
            open.push((root.build, root.task));
        }
        let of = made.get(&root.build).into_iter().flatten().map(|(digest, _)| *digest);
        let link = || BuildLink { build: root.build, made: of.collect(), used: BTreeSet::new() };
        links.entry(root.build).or_insert_with(link).used.extend(used);
    }
    let links: Vec<BuildLink> = links.into_values().collect();
    let row = |one: owners::ImpactedBuild| {
        let nevra = (*names.get(&one.package)?).clone();
        Some(ImpactRow { build: one.build, nevra, digest: one.package, through: one.through })
    };
    let rows = owners::impact(&digests, &links).into_iter().filter_map(row).collect();
    Ok(Impact { rows, roots: open })
}

/// The digests of the farm's packages in a root.
fn farm_packages(blobs: &Blobs, lock: Sha256) -> anyhow::Result<BTreeSet<Sha256>> {
    // The lock's blob is gone, so its packages are unknown.
    if !blobs.contains(lock) {
        return Ok(BTreeSet::new());
    }
    let lock = Lock::from_bytes(&blobs.read_small(lock, MAX_LOCK)?)?;
    let own = lock.packages().filter(|package| package.origin == FARM);
    Ok(own.map(|package| package.digest).collect())
}
