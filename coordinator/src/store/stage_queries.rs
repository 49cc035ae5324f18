//! The rows that a stage reads: the most urgent and oldest of each target, so that builds of a
//! target that cannot continue do not hide those of another target.
//!
//! It must not know what the rows mean to the stage.

use rpmfarm_core::Timestamp;
use rpmfarm_core::next_step::NextStep;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::{Result, Store, latest_due};

/// How the rows of a stage are read from its entries `w` in `stage_work`.
#[derive(Debug, Clone, Copy)]
pub(super) struct StageQuery {
    pub(super) stage: NextStep,
    /// The columns of the row.
    pub(super) columns: &'static str,
    /// The tables that are joined to an entry.
    pub(super) joins: &'static str,
    /// The order of one build's rows.
    pub(super) within: &'static str,
}

/// Of a batch that is paused, nothing begins.
const UNPAUSED: &str = " AND NOT EXISTS (SELECT 1 FROM builds p JOIN batches q ON q.id = p.batch
     WHERE p.id = w.build AND q.paused_us <> 0)";

/// A row, with its rank and build, by which the rows of all targets are sorted.
struct RankedRow<T> {
    place: (i64, i64),
    row: T,
}

impl<'r, T: FromRow<'r, AnyRow>> FromRow<'r, AnyRow> for RankedRow<T> {
    fn from_row(row: &'r AnyRow) -> sqlx::Result<Self> {
        let place = (row.try_get("at_rank")?, row.try_get("at_build")?);
        Ok(Self { place, row: T::from_row(row)? })
    }
}

impl Store {
    /// The rows on which a stage can work now, the most urgent and oldest first, at most `each`
    /// rows of a target.
    pub(super) async fn stage_list_next_per_target<T>(
        &self,
        stage_query: &StageQuery,
        now: Timestamp,
        each: i64,
    ) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        let mut heads: Vec<RankedRow<T>> = Vec::new();
        for target in self.target_list_at_stage(stage_query.stage).await? {
            heads.extend(self.stage_list_ranked(stage_query, &target, now, each).await?);
        }
        // A stable sort: a build's rows are of one target, and keep their order.
        heads.sort_by_key(|head| head.place);
        Ok(heads.into_iter().map(|head| head.row).collect())
    }

    /// The same for one target.
    pub(super) async fn stage_list_next_of_target<T>(
        &self,
        stage_query: &StageQuery,
        target: &str,
        now: Timestamp,
        each: i64,
    ) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        let rows = self.stage_list_ranked(stage_query, target, now, each).await?;
        Ok(rows.into_iter().map(|ranked| ranked.row).collect())
    }

    async fn stage_list_ranked<T>(
        &self,
        stage_query: &StageQuery,
        target: &str,
        now: Timestamp,
        each: i64,
    ) -> Result<Vec<RankedRow<T>>>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        let StageQuery { stage, columns, joins, within } = stage_query;
        let unpaused = if stage.begins() { UNPAUSED } else { "" };
        let query = format!(
            "SELECT {columns}, w.rank AS at_rank, w.build AS at_build FROM stage_work w {joins}
             WHERE w.stage = $1 AND w.target = $2 AND (w.due_us <= $3 OR w.due_us > $4){unpaused}
             ORDER BY w.rank, w.build, {within} LIMIT $5"
        );
        let query = sqlx::query_as(sqlx::AssertSqlSafe(query.as_str()))
            .bind(stage.as_str())
            .bind(target)
            .bind(now.as_us())
            .bind(latest_due(now).as_us())
            .bind(each);
        Ok(query.fetch_all(self.read_pool()).await?)
    }

    /// The targets for which a stage has work. One step along the index for each.
    pub(super) async fn target_list_at_stage(&self, stage: NextStep) -> Result<Vec<String>> {
        let query = "WITH RECURSIVE t(name) AS (
                         SELECT MIN(target) FROM stage_work WHERE stage = $1
                         UNION ALL
                         SELECT (SELECT MIN(w.target) FROM stage_work w
                                 WHERE w.stage = $1 AND w.target > t.name)
                         FROM t WHERE t.name IS NOT NULL)
                     SELECT name FROM t WHERE name IS NOT NULL";
        Ok(sqlx::query_scalar(query).bind(stage.as_str()).fetch_all(self.read_pool()).await?)
    }
}
