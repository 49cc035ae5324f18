//! Which packages are followed in which repository, to look up what a webhook tells of.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rpmfarm_core::Target;
use rpmfarm_core::track::hook::Followed;

use crate::store::{Store, StoreError};

/// A package, and whether the repository is that of its modifications.
pub(super) type Of = (String, bool);

/// The repositories of one target, and what they were made of.
#[derive(Debug)]
struct Kept {
    target: Arc<Target>,
    /// See [`Store::tracked_state`].
    state: (i64, i64),
    followed: Arc<Followed<Of>>,
}

/// The repositories of each target. Made anew when the target or what is followed has changed.
#[derive(Debug, Default)]
pub(super) struct Repositories(Mutex<HashMap<String, Kept>>);

impl Repositories {
    /// What is followed of a target.
    ///
    /// # Errors
    /// Database errors.
    pub(super) async fn of(
        &self,
        store: &Store,
        target: &Arc<Target>,
    ) -> Result<Arc<Followed<Of>>, StoreError> {
        let state = store.tracked_state(&target.name).await?;
        let kept = |map: &HashMap<String, Kept>| {
            let kept = map.get(&target.name)?;
            let is_same = Arc::ptr_eq(&kept.target, target) && kept.state == state;
            is_same.then(|| kept.followed.clone())
        };
        if let Some(followed) = kept(&self.0.lock()) {
            return Ok(followed);
        }
        let rows = store.all_tracked(&target.name).await?;
        let followed: Followed<Of> = rows
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
        let kept = Kept { target: target.clone(), state, followed: followed.clone() };
        let mut map = self.0.lock();
        map.insert(target.name.clone(), kept);
        Ok(followed)
    }
}
