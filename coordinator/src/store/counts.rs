//! Counts for metrics, by queries over open builds and tasks and from stored counts of ended
//! builds.

use rpmfarm_core::Timestamp;
use rpmfarm_core::status::CountedState;

use super::{Result, Store};

/// The tasks of one architecture and priority that wait for a worker.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct QueueCount {
    pub arch: String,
    pub priority: String,
    pub tasks: i64,
    /// When the first of them was locked.
    #[sqlx(rename = "oldest_us", try_from = "i64")]
    pub oldest: Timestamp,
}

impl Store {
    /// The queues, by architecture and priority.
    pub async fn queue_list(&self) -> Result<Vec<QueueCount>> {
        let query = "SELECT r.arch AS arch, r.class AS priority, COUNT(*) AS tasks,
                     COALESCE(MIN(l.at_us), 0) AS oldest_us
                     FROM ready_tasks r LEFT JOIN locks l ON l.task = r.task AND l.round = 0
                     GROUP BY r.arch, r.class ORDER BY r.arch, r.class";
        Ok(sqlx::query_as(query).fetch_all(self.read_pool()).await?)
    }

    /// How many builds are in each counted state. The query computes for all builds at once what
    /// `core::status` derives for each, which a test checks.
    pub async fn build_count_by_state(&self) -> Result<Vec<(CountedState, i64)>> {
        let open = "SELECT COALESCE(SUM(CASE WHEN i.build IS NULL THEN 1 ELSE 0 END), 0),
                    COALESCE(SUM(CASE WHEN i.build IS NOT NULL AND s.build IS NULL
                                      THEN 1 ELSE 0 END), 0),
                    COALESCE(SUM(CASE WHEN i.build IS NOT NULL AND s.build IS NOT NULL AND EXISTS
                        (SELECT 1 FROM tasks t WHERE t.build = o.build AND NOT EXISTS
                         (SELECT 1 FROM acceptances a WHERE a.task = t.id))
                         THEN 1 ELSE 0 END), 0),
                    COUNT(*)
                    FROM open_builds o LEFT JOIN imports i ON i.build = o.build
                    LEFT JOIN srpms s ON s.build = o.build";
        let (importing, srpm, building, open): (i64, i64, i64, i64) =
            sqlx::query_as(open).fetch_one(self.read_pool()).await?;
        let ended = self.build_end_count().await?.into_iter();
        let ended = ended.map(|(end, count)| (end.state().counted(), count));
        let open = [
            (CountedState::Importing, importing),
            (CountedState::Srpm, srpm),
            (CountedState::Building, building),
            (CountedState::Finishing, open - importing - srpm - building),
        ];
        Ok(open.into_iter().chain(ended).collect())
    }
}
