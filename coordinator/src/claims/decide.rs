//! A person's decision on a build's claims.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::owners::{self, Claim};
use rpmfarm_core::{BuildId, Failure, FailureStage, Fault, Lock, Target};

use super::{Claims, ClaimsVerdict, MAX_LOCK, accepted, enter};
use crate::plan;
use crate::store::{Build, Store, StoreError, Withdrawal};

/// How often an approval is repeated because the target's packages changed meanwhile.
const TRIES: usize = 16;

/// The result of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecisionOutcome {
    Done,
    /// The build is not claimed any more, or has ended.
    NotClaimed,
    /// The build claims more now than the person was shown.
    More(Vec<Claim>),
}

/// Why a decision could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// A name of the build is taken by another build.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The owners cannot be determined now.
    #[error("{0:#}")]
    Unknown(anyhow::Error),
}

impl From<anyhow::Error> for DecisionError {
    fn from(error: anyhow::Error) -> Self {
        Self::Unknown(error)
    }
}

impl Claims {
    /// Approves the claims of a build: its packages enter the pool, and its source package owns
    /// their names.
    ///
    /// # Errors
    /// A name that is taken; database errors.
    pub async fn approve(
        &self,
        store: &Store,
        build: &Build,
        decided_by: (&str, &str),
    ) -> Result<DecisionOutcome, DecisionError> {
        let target = self.targets.of_build(store, build).await?;
        for _ in 0..TRIES {
            let shown = store.claim_list_open(build.id).await?;
            if shown.is_empty() || !store.build_is_open(build.id).await? {
                return Ok(DecisionOutcome::NotClaimed);
            }
            let packages = store.result_list_packages(build.id).await?;
            let found = self.verdict(store, build, &packages).await?;
            let more = owners::beyond(&found.claims, &shown);
            if !more.is_empty() {
                self.claim(store, build, found.claims).await?;
                return Ok(DecisionOutcome::More(more));
            }
            if let Some(decided) = self.let_in(store, build, &target, &found, decided_by).await? {
                return Ok(decided);
            }
        }
        Err(DecisionError::Unknown(anyhow::anyhow!(
            "the packages of {} change all the time; try again",
            build.target
        )))
    }

    /// Records the claims of a build.
    async fn claim(
        &self,
        store: &Store,
        build: &Build,
        mut claims: Vec<Claim>,
    ) -> Result<(), StoreError> {
        let mut tx = store.write().await?;
        if tx.build_lock_open(build.id).await? {
            claims.extend(tx.claim_list_of_repeats(build.id).await?);
            tx.claim_replace(build.id, &claims, self.clock.time()).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Enters the packages of a build whose claims are approved, and withdraws those whose full
    /// names they take. `None` when the target's packages have changed since the claims were
    /// computed.
    async fn let_in(
        &self,
        store: &Store,
        build: &Build,
        target: &Target,
        found: &ClaimsVerdict,
        (who, reason): (&str, &str),
    ) -> Result<Option<DecisionOutcome>, DecisionError> {
        let taken = owners::holders(&found.claims);
        let replaced = format!("replaced by build {}: {reason}", build.id);
        let away = Withdrawal {
            target: &build.target,
            packages: &taken,
            roots: &[],
            impacts: &[],
            who,
            reason: &replaced,
        };
        let mut tx = store.write().await?;
        // Locked first, so that the generation is compared under the lock.
        tx.build_lock_open(build.id).await?;
        if tx.pool_lock(&build.target).await? != found.generation {
            return Ok(None);
        }
        if !taken.is_empty() {
            tx.withdrawal_insert(&away, self.clock.time()).await?;
        }
        if !tx.claim_decide(build.id, ("approved", who, reason), self.clock.time()).await? {
            return Ok(Some(DecisionOutcome::NotClaimed));
        }
        let made = accepted(&mut tx, build.id).await?;
        enter(&mut tx, build, &plan::arches(store, build, target).await?, &made).await?;
        tx.commit().await?;
        self.mark(store, &build.target, &taken).await?;
        Ok(Some(DecisionOutcome::Done))
    }

    /// Refuses the claims of a build, which makes the build fail.
    pub async fn refuse(
        &self,
        store: &Store,
        build: &Build,
        (who, reason): (&str, &str),
    ) -> Result<DecisionOutcome, DecisionError> {
        let claims = store.claim_list_open(build.id).await?;
        let Some(first) = claims.first() else { return Ok(DecisionOutcome::NotClaimed) };
        let mut tx = store.write().await?;
        if !tx.claim_decide(build.id, ("refused", who, reason), self.clock.time()).await? {
            return Ok(DecisionOutcome::NotClaimed);
        }
        let message = format!("{who} refused that it {first}: {reason}");
        let excerpt = claims.iter().take(10).map(ToString::to_string).collect();
        let failure =
            Failure::new(Fault::Package, FailureStage::Accept, message).with_excerpt(excerpt);
        tx.failure_insert_final(build.id, &failure, self.clock.time()).await?;
        tx.commit().await?;
        Ok(DecisionOutcome::Done)
    }

    /// The packages whose newest root holds a claimed package: the package's name, and the build of
    /// the root.
    ///
    /// # Errors
    /// Database errors; a lock that cannot be read.
    pub async fn affected(
        &self,
        store: &Store,
        target: &str,
        claims: Vec<Claim>,
    ) -> anyhow::Result<BTreeMap<String, (BuildId, BTreeSet<String>)>> {
        let roots = store.root_list(target).await?;
        let blobs = self.blobs.clone();
        let find = move || {
            let (mut all, mut seen) = (BTreeMap::new(), BTreeMap::<String, BuildId>::new());
            for root in roots {
                // Ordered newest first: only the newest build of each package counts, with all its
                // roots.
                if *seen.entry(root.package.clone()).or_insert(root.build) != root.build {
                    continue;
                }
                let Ok(bytes) = blobs.read_small(root.lock, MAX_LOCK) else { continue };
                let lock = Lock::from_bytes(&bytes)?;
                let has = owners::in_root(&claims, lock.packages());
                if !has.is_empty() {
                    let entry = all.entry(root.package).or_insert((root.build, BTreeSet::new()));
                    entry.1.extend(has);
                }
            }
            anyhow::Ok(all)
        };
        tokio::task::spawn_blocking(find).await?
    }
}
