//! What a person says of a build's claims.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::owners::{self, Claim};
use rpmfarm_core::{BuildId, Failure, FailureStage, Fault, Lock, Target};

use super::{Claims, MAX_LOCK, Verdict, accepted, enter};
use crate::plan;
use crate::store::{Build, Store, StoreError, Withdraw};

/// How often an approval is tried while the target's packages change.
const TRIES: usize = 16;

/// What came of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It counts.
    Done,
    /// The build is not claimed any more, or has ended.
    NotClaimed,
    /// The build claims more by now than was shown.
    More(Vec<Claim>),
}

/// Why a decision could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotDecided {
    /// A name of the build is taken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Who owns what is not known now.
    #[error("{0:#}")]
    Unknown(anyhow::Error),
}

impl From<anyhow::Error> for NotDecided {
    fn from(error: anyhow::Error) -> Self {
        Self::Unknown(error)
    }
}

impl Claims {
    /// Approves what a build claims: its packages enter the pool, and what they own is its source's.
    ///
    /// # Errors
    /// A name that is taken; database errors.
    pub async fn approve(
        &self,
        store: &Store,
        build: &Build,
        said: (&str, &str),
    ) -> Result<Decided, NotDecided> {
        let target = self.targets.of_build(store, build).await?;
        for _ in 0..TRIES {
            let shown = store.open_claims(build.id()).await?;
            if shown.is_empty() || !store.is_open(build.id()).await? {
                return Ok(Decided::NotClaimed);
            }
            let packages = store.made_packages(build.id()).await?;
            let found = self.verdict(store, build, &packages).await?;
            let more = owners::beyond(&found.claims, &shown);
            if !more.is_empty() {
                self.claim(store, build, found.claims).await?;
                return Ok(Decided::More(more));
            }
            if let Some(decided) = self.let_in(store, build, &target, &found, said).await? {
                return Ok(decided);
            }
        }
        Err(NotDecided::Unknown(anyhow::anyhow!(
            "the packages of {} change all the time; try again",
            build.target
        )))
    }

    /// Records what a build claims by now.
    async fn claim(
        &self,
        store: &Store,
        build: &Build,
        mut claims: Vec<Claim>,
    ) -> Result<(), StoreError> {
        let mut tx = store.write().await?;
        if tx.hold_open(build.id()).await? {
            claims.extend(tx.repeat_claims(build.id()).await?);
            tx.set_claims(build.id(), &claims, self.clock.now_us()).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Enters the packages of a build whose claims are approved, in place of those whose names they take.
    /// `None` when the target's packages are not those any more that the claims were found with.
    async fn let_in(
        &self,
        store: &Store,
        build: &Build,
        target: &Target,
        found: &Verdict,
        (who, reason): (&str, &str),
    ) -> Result<Option<Decided>, NotDecided> {
        let taken = owners::holders(&found.claims);
        let replaced = format!("replaced by build {}: {reason}", build.id);
        let away = Withdraw {
            target: &build.target,
            packages: &taken,
            roots: &[],
            impacts: &[],
            who,
            reason: &replaced,
        };
        let mut tx = store.write().await?;
        // Held before, so that the generation is compared under the lock.
        tx.hold_open(build.id()).await?;
        if tx.hold_pool(&build.target).await? != found.generation {
            return Ok(None);
        }
        if !taken.is_empty() {
            tx.withdraw(&away, self.clock.now_us()).await?;
        }
        if !tx.decide_claims(build.id(), ("approved", who, reason), self.clock.now_us()).await? {
            return Ok(Some(Decided::NotClaimed));
        }
        let made = accepted(&mut tx, build.id()).await?;
        enter(&mut tx, build, &plan::arches(store, build, target).await?, &made).await?;
        tx.commit().await?;
        self.mark(store, &build.target, &taken).await?;
        Ok(Some(Decided::Done))
    }

    /// Refuses what a build claims: it has failed.
    ///
    /// # Errors
    /// Database errors.
    pub async fn refuse(
        &self,
        store: &Store,
        build: &Build,
        (who, reason): (&str, &str),
    ) -> Result<Decided, NotDecided> {
        let claims = store.open_claims(build.id()).await?;
        let Some(first) = claims.first() else { return Ok(Decided::NotClaimed) };
        let mut tx = store.write().await?;
        if !tx.decide_claims(build.id(), ("refused", who, reason), self.clock.now_us()).await? {
            return Ok(Decided::NotClaimed);
        }
        let message = format!("{who} refused that it {first}: {reason}");
        let excerpt = claims.iter().take(10).map(ToString::to_string).collect();
        let failure =
            Failure::new(Fault::Package, FailureStage::Accept, message).with_excerpt(excerpt);
        tx.fail(build.id(), &failure, self.clock.now_us()).await?;
        tx.commit().await?;
        Ok(Decided::Done)
    }

    /// The packages whose newest root holds what is claimed: which, and in which build.
    ///
    /// # Errors
    /// Database errors; a lock that cannot be read.
    pub async fn affected(
        &self,
        store: &Store,
        target: &str,
        claims: Vec<Claim>,
    ) -> anyhow::Result<BTreeMap<String, (BuildId, BTreeSet<String>)>> {
        let roots = store.roots(target).await?;
        let blobs = self.blobs.clone();
        let look = move || {
            let (mut all, mut seen) = (BTreeMap::new(), BTreeMap::<String, BuildId>::new());
            for root in roots {
                // Newest first: of a package only the newest build counts, with all its roots.
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
        tokio::task::spawn_blocking(look).await?
    }
}
