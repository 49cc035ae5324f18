//! Several coordinators on one database: their heartbeats, the leases of stages, the owners of
//! workers, and the snapshots that they show for each other.

use std::collections::BTreeMap;

use rpmfarm_core::stage_lease::StageLease;
use rpmfarm_core::{AttemptId, Stage, StageEpoch, Timestamp};

use super::transaction_retry::again;
use super::{Fence, Result, Store, StoreError, Tx};

/// A coordinator whose row exists.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct CoordinatorRow {
    /// Its id, which it keeps over restarts.
    pub id: String,
    pub address: String,
    /// The address that users get.
    pub base_url: String,
    pub version: String,
    /// When it was started.
    #[sqlx(rename = "started_us", try_from = "i64")]
    pub started: Timestamp,
    /// The heartbeat: rises while the coordinator is alive.
    pub beat: i64,
}

/// A worker's new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerConnection {
    /// Rises with each connection of the worker, to any coordinator.
    pub session: i64,
    /// The newest attempt when the worker connected.
    pub newest_attempt: AttemptId,
}

/// The coordinator that a worker is connected to.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct WorkerOwner {
    pub worker: String,
    pub coordinator: String,
}

/// A snapshot that another coordinator wrote.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PeerSnapshotRow {
    pub coordinator: String,
    pub subject: String,
    pub text: String,
}

impl Store {
    /// Raises a coordinator's heartbeat, and inserts its row when there is none.
    pub async fn coordinator_raise_heartbeat(&self, row: &CoordinatorRow) -> Result<()> {
        sqlx::query(
            "INSERT INTO coordinators (id, address, base_url, version, started_us, beat)
             VALUES ($1, $2, $3, $4, $5, 1) ON CONFLICT (id) DO UPDATE SET
             address = excluded.address, base_url = excluded.base_url,
             version = excluded.version, started_us = excluded.started_us,
             beat = coordinators.beat + 1",
        )
        .bind(&row.id)
        .bind(&row.address)
        .bind(&row.base_url)
        .bind(&row.version)
        .bind(row.started.as_us())
        .execute(self.heartbeat_pool())
        .await?;
        Ok(())
    }

    /// All coordinators with their heartbeats.
    pub async fn coordinator_list(&self) -> Result<Vec<CoordinatorRow>> {
        let query = "SELECT id, address, base_url, version, started_us, beat FROM coordinators
                     ORDER BY id";
        Ok(sqlx::query_as(query).fetch_all(self.heartbeat_pool()).await?)
    }

    /// Removes a coordinator: its heartbeat, its snapshots, and its row. Its stages go to others at
    /// once.
    pub async fn coordinator_delete(&self, id: &str) -> Result<()> {
        // The coordinator's row comes last, so that after a crash in between it is removed again.
        for query in
            ["DELETE FROM notes WHERE coordinator = $1", "DELETE FROM coordinators WHERE id = $1"]
        {
            sqlx::query(query).bind(id).execute(self.heartbeat_pool()).await?;
        }
        Ok(())
    }

    /// The leases of all stages. A stage that only another version has is left out.
    pub async fn stage_lease_list(&self) -> Result<BTreeMap<Stage, StageLease>> {
        let query = "SELECT stage, holder, epoch FROM stage_leases ORDER BY stage";
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as(query).fetch_all(self.heartbeat_pool()).await?;
        let lease = |(stage, holder, epoch): (String, String, i64)| {
            let epoch = StageEpoch(epoch);
            Some((stage.parse::<Stage>().ok()?, StageLease { holder, epoch }))
        };
        Ok(rows.into_iter().filter_map(lease).collect())
    }

    /// Takes a stage for a coordinator, from a holder whose heartbeat is still `beat` (`None`: the
    /// holder has no row). Returns the fence for its work, under the new epoch; `None` when another
    /// coordinator was first or the holder's heartbeat has risen.
    pub async fn stage_lease_acquire(
        &self,
        stage: Stage,
        me: &str,
        before: Option<&StageLease>,
        beat: Option<i64>,
    ) -> Result<Option<Fence>> {
        let granted = |epoch: i64| Fence::granted(stage, me, StageEpoch(epoch));
        let Some(before) = before else {
            let query = "INSERT INTO stage_leases (stage, holder, epoch) VALUES ($1, $2, 1)
                         ON CONFLICT DO NOTHING RETURNING epoch";
            let taken = sqlx::query_scalar(query).bind(stage.as_str()).bind(me);
            return Ok(taken.fetch_optional(self.heartbeat_pool()).await?.map(granted));
        };
        // The statement compares the heartbeat that the decision was based on: a holder that has
        // raised it keeps the stage, and of several coordinators that take the stage one gets the
        // row.
        let query = "UPDATE stage_leases SET holder = $2, epoch = epoch + 1
                     WHERE stage = $1 AND holder = $3 AND epoch = $4 AND ($3 = $2 OR NOT EXISTS
                     (SELECT 1 FROM coordinators WHERE id = $3 AND beat <> $5))
                     RETURNING epoch";
        let taken = sqlx::query_scalar(query)
            .bind(stage.as_str())
            .bind(me)
            .bind(&before.holder)
            .bind(before.epoch.0)
            .bind(beat.unwrap_or(-1))
            .fetch_optional(self.heartbeat_pool())
            .await?;
        Ok(taken.map(granted))
    }

    /// Records that a worker has connected to a coordinator, which owns it from now on.
    pub async fn worker_owner_upsert(
        &self,
        worker: &str,
        coordinator: &str,
    ) -> Result<WorkerConnection> {
        again(|| async move {
            let mut tx = self.write().await?;
            let session: i64 = sqlx::query_scalar(
                "INSERT INTO worker_owners (worker, coordinator, session) VALUES ($1, $2, 1)
                 ON CONFLICT (worker) DO UPDATE SET coordinator = excluded.coordinator,
                 session = worker_owners.session + 1 RETURNING session",
            )
            .bind(worker)
            .bind(coordinator)
            .fetch_one(tx.conn())
            .await?;
            let query = "SELECT value FROM counters WHERE name = 'attempt'";
            let newest: i64 = sqlx::query_scalar(query).fetch_one(tx.conn()).await?;
            tx.commit().await?;
            Ok(WorkerConnection { session, newest_attempt: AttemptId(newest) })
        })
        .await
    }

    /// The coordinator that each worker is, or was last, connected to.
    pub async fn worker_owner_list(&self) -> Result<Vec<WorkerOwner>> {
        let query = "SELECT worker, coordinator FROM worker_owners ORDER BY worker";
        Ok(sqlx::query_as(query).fetch_all(self.read_pool()).await?)
    }

    /// Writes snapshots of a coordinator; `None` removes one.
    pub async fn peer_snapshot_write(
        &self,
        coordinator: &str,
        notes: &[(&'static str, String, Option<String>)],
    ) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            for (kind, subject, text) in notes {
                let query = match text {
                    Some(_) => {
                        "INSERT INTO notes (coordinator, kind, subject, text)
                         VALUES ($1, $2, $3, $4) ON CONFLICT (kind, subject, coordinator)
                         DO UPDATE SET text = excluded.text"
                    }
                    None => {
                        "DELETE FROM notes WHERE coordinator = $1 AND kind = $2 AND subject = $3
                         AND $4 = ''"
                    }
                };
                sqlx::query(query)
                    .bind(coordinator)
                    .bind(*kind)
                    .bind(subject)
                    .bind(text.as_deref().unwrap_or_default())
                    .execute(tx.conn())
                    .await?;
            }
            // No pass reads snapshots, so nothing is woken.
            tx.commit_without_wake().await
        })
        .await
    }

    /// The snapshots of a kind that the other coordinators wrote.
    pub async fn peer_snapshot_list(&self, kind: &str, me: &str) -> Result<Vec<PeerSnapshotRow>> {
        let query = "SELECT coordinator, subject, text FROM notes
                     WHERE kind = $1 AND coordinator <> $2 ORDER BY subject, coordinator";
        Ok(sqlx::query_as(query).bind(kind).bind(me).fetch_all(self.read_pool()).await?)
    }

    /// The snapshots of one subject that the other coordinators wrote.
    pub async fn peer_snapshot_list_of(
        &self,
        kind: &str,
        subject: &str,
        me: &str,
    ) -> Result<Vec<PeerSnapshotRow>> {
        let query = "SELECT coordinator, subject, text FROM notes
                     WHERE kind = $1 AND subject = $2 AND coordinator <> $3 ORDER BY coordinator";
        Ok(sqlx::query_as(query)
            .bind(kind)
            .bind(subject)
            .bind(me)
            .fetch_all(self.read_pool())
            .await?)
    }

    /// Removes all snapshots of a coordinator, as after its restart.
    pub async fn peer_snapshot_clear(&self, coordinator: &str) -> Result<()> {
        let query = "DELETE FROM notes WHERE coordinator = $1";
        sqlx::query(query).bind(coordinator).execute(self.heartbeat_pool()).await?;
        Ok(())
    }
}

impl Tx {
    /// Fails unless the fence holds, and keeps it valid until the transaction ends.
    pub(super) async fn assert_fence(&mut self, fence: &Fence) -> Result<()> {
        // On PostgreSQL, an update that changes nothing locks the row.
        let result = sqlx::query(
            "UPDATE stage_leases SET epoch = epoch WHERE stage = $1 AND holder = $2 AND epoch = $3",
        )
        .bind(fence.stage().as_str())
        .bind(fence.holder())
        .bind(fence.epoch().0)
        .execute(self.conn())
        .await?;
        if result.rows_affected() == 0 {
            return Err(StoreError::Fenced { stage: fence.stage(), epoch: fence.epoch() });
        }
        Ok(())
    }
}
