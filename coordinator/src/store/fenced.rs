//! The store for the work of a stage: each of its transactions fails when the stage's lease is no
//! longer under the epoch with which the work began.
//!
//! Owns that such a store exists only with the lease: only [`Store::stage_lease_acquire`] makes a
//! [`Fence`], and only a fence makes a [`FencedStore`]. A pass requires the fenced store by its
//! type, so that a stage that writes without a fence does not compile:
//!
//! ```compile_fail,E0308
//! use rpmfarm_coordinator::store::{FencedStore, Store};
//!
//! async fn pass(store: &FencedStore) {
//!     let _ = store.check_fence().await;
//! }
//!
//! async fn unfenced(store: &Store) {
//!     pass(store).await;
//! }
//! ```
//!
//! Functions that stages share with the API take a [`Store`], to which a fenced one dereferences
//! with its fence inside:
//!
//! ```
//! use rpmfarm_coordinator::store::{FencedStore, Store};
//!
//! async fn shared(store: &Store) {
//!     let _ = store.ping().await;
//! }
//!
//! async fn pass(store: &FencedStore) {
//!     shared(store).await;
//! }
//! ```

use std::ops::Deref;
use std::sync::Arc;

use rpmfarm_core::{Stage, StageEpoch};

use super::{Result, Store};

/// The right to write for a stage: under a stage lease with this epoch. The database has granted it
/// once; whether it still holds is compared in each transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    stage: Stage,
    holder: String,
    epoch: StageEpoch,
}

impl Fence {
    /// Only for [`Store::stage_lease_acquire`], which has just obtained the lease.
    pub(super) fn granted(stage: Stage, holder: &str, epoch: StageEpoch) -> Self {
        Self { stage, holder: holder.to_owned(), epoch }
    }

    #[must_use]
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// The coordinator that has the lease.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    #[must_use]
    pub const fn epoch(&self) -> StageEpoch {
        self.epoch
    }
}

/// A store each of whose transactions compares the fence. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FencedStore {
    store: Store,
    fence: Arc<Fence>,
}

impl FencedStore {
    /// The store for work under this fence.
    #[must_use]
    pub fn new(store: &Store, fence: Fence) -> Self {
        let fence = Arc::new(fence);
        Self { store: store.with_fence(fence.clone()), fence }
    }

    /// The fence that each of its transactions compares.
    #[must_use]
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Whether the fence still holds.
    ///
    /// # Errors
    /// [`StoreError::Fenced`](super::StoreError::Fenced) when it does not; database errors.
    pub async fn check_fence(&self) -> Result<()> {
        // Each transaction begins with the comparison.
        drop(self.store.write().await?);
        Ok(())
    }
}

impl Deref for FencedStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}
