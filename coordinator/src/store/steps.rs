//! The steps of the store: each query outside of a transaction is a step, and so is each
//! transaction. A simulation chooses which step is next, and whether the database answers; without
//! a simulation a step begins at once and costs nothing.

use rpmfarm_core::{Stage, StageEpoch};

/// The stage that a transaction writes for, with the epoch of its lease.
pub(super) type TransactionStage = Option<(Stage, StageEpoch)>;

/// A step that has begun; over when it is dropped.
#[cfg(not(feature = "simulation"))]
#[derive(Debug)]
pub(super) struct Step;

#[cfg(not(feature = "simulation"))]
impl Step {
    /// Begins a transaction.
    pub(super) async fn begin_transaction(_: TransactionStage) -> sqlx::Result<Self> {
        Ok(Self)
    }

    /// Reports that the transaction is committed. False when its answer gets lost.
    pub(super) async fn finish_commit(self) -> bool {
        true
    }
}

/// Whether a simulation chooses the steps.
#[cfg(not(feature = "simulation"))]
pub(super) const fn is_simulated() -> bool {
    false
}

#[cfg(feature = "simulation")]
pub(super) use crate::simulation::is_active as is_simulated;
#[cfg(feature = "simulation")]
pub(super) use simulated::{Step, SteppedPool};

#[cfg(feature = "simulation")]
mod simulated {
    use futures_util::StreamExt as _;
    use futures_util::future::BoxFuture;
    use futures_util::stream::{self, BoxStream};
    use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
    use sqlx::{Any, AnyPool, Describe, Either, Execute, Executor, SqlStr};

    use crate::simulation::{self, StepKind};
    use crate::store::steps::TransactionStage;

    /// A step that has begun; over when it is dropped.
    #[derive(Debug)]
    pub(crate) struct Step(simulation::Step);

    impl Step {
        /// Begins a transaction.
        pub(crate) async fn begin_transaction(of: TransactionStage) -> sqlx::Result<Self> {
            begin(StepKind::Transaction(of)).await.map(Self)
        }

        /// Reports that the transaction is committed. False when its answer gets lost.
        pub(crate) async fn finish_commit(self) -> bool {
            self.0.finish_commit().await
        }
    }

    async fn begin(kind: StepKind) -> sqlx::Result<simulation::Step> {
        let step = simulation::begin_step(kind).await;
        if step.is_refused() { Err(sqlx::Error::PoolTimedOut) } else { Ok(step) }
    }

    /// A pool, each of whose queries is a step.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct SteppedPool<'p> {
        pool: &'p AnyPool,
        kind: StepKind,
    }

    impl<'p> SteppedPool<'p> {
        /// A pool whose queries wait as steps of this kind.
        pub(crate) const fn new(pool: &'p AnyPool, kind: StepKind) -> Self {
            Self { pool, kind }
        }
    }

    impl<'p> Executor<'p> for SteppedPool<'p> {
        type Database = Any;

        fn fetch_many<'e, 'q: 'e, E>(
            self,
            query: E,
        ) -> BoxStream<'e, sqlx::Result<Either<AnyQueryResult, AnyRow>>>
        where
            'p: 'e,
            E: 'q + Execute<'q, Any>,
        {
            let Self { pool, kind } = self;
            let all = async move {
                match begin(kind).await {
                    Ok(_step) => pool.fetch_many(query).collect::<Vec<_>>().await,
                    Err(error) => vec![Err(error)],
                }
            };
            Box::pin(stream::once(all).flat_map(stream::iter))
        }

        fn fetch_optional<'e, 'q: 'e, E>(
            self,
            query: E,
        ) -> BoxFuture<'e, sqlx::Result<Option<AnyRow>>>
        where
            'p: 'e,
            E: 'q + Execute<'q, Any>,
        {
            let Self { pool, kind } = self;
            Box::pin(async move {
                let _step = begin(kind).await?;
                pool.fetch_optional(query).await
            })
        }

        fn prepare_with<'e>(
            self,
            sql: SqlStr,
            parameters: &'e [AnyTypeInfo],
        ) -> BoxFuture<'e, sqlx::Result<AnyStatement>>
        where
            'p: 'e,
        {
            self.pool.prepare_with(sql, parameters)
        }

        fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Any>>>
        where
            'p: 'e,
        {
            self.pool.describe(sql)
        }
    }
}
