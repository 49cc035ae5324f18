//! Which packages are tracked in which repository, to find those that a webhook is about.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rpmfarm_core::Target;
use rpmfarm_core::track::hook::RepositoryLookup;

use crate::store::{Store, StoreError};

/// A package, and whether the repository is that of its modifications.
pub(super) type PackageRef = (String, bool);

/// The repositories of one target, and the state that they were made from.
#[derive(Debug)]
struct CachedRepositories {
    target: Arc<Target>,
    /// See [`Store::tracked_fetch_generation`].
    state: (i64, i64),
    followed: Arc<RepositoryLookup<PackageRef>>,
}

/// The repositories of each target. Made again when the target or its tracked packages have
/// changed.
#[derive(Debug, Default)]
pub(super) struct TrackedRepositories(Mutex<HashMap<String, CachedRepositories>>);

impl TrackedRepositories {
    /// The tracked packages of a target, by their repositories.
    pub(super) async fn for_target(
        &self,
        store: &Store,
        target: &Arc<Target>,
    ) -> Result<Arc<RepositoryLookup<PackageRef>>, StoreError> {
        let state = store.tracked_fetch_generation(&target.name).await?;
        let kept = |map: &HashMap<String, CachedRepositories>| {
            let kept = map.get(&target.name)?;
            let is_same = Arc::ptr_eq(&kept.target, target) && kept.state == state;
            is_same.then(|| kept.followed.clone())
        };
        if let Some(followed) = kept(&self.0.lock()) {
            return Ok(followed);
        }
        let rows = store.tracked_list(&target.name).await?;
        let followed: RepositoryLookup<PackageRef> = rows
            .iter()
            .flat_map(|row| {
                let package = &row.package;
                let own = (target.git_url(package), (package.clone(), false));
                let modifications = target.modifications_of(package);
                let modifications = modifications.map(|(url, _)| (url, (package.clone(), true)));
                std::iter::once(own).chain(modifications)
            })
            .collect();
        let followed = Arc::new(followed);
        let kept = CachedRepositories { target: target.clone(), state, followed: followed.clone() };
        let mut map = self.0.lock();
        map.insert(target.name.clone(), kept);
        Ok(followed)
    }
}
