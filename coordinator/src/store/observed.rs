//! Counts for metrics, each by one query over what is open.

use super::{Result, Store, Task};

/// The tasks of one architecture that wait for a worker.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Queue {
    /// The architecture.
    pub arch: String,
    /// The priority.
    pub priority: String,
    /// How many.
    pub tasks: i64,
    /// Since when the first of them is ready.
    pub oldest_us: i64,
}

impl Store {
    /// The queues, by architecture.
    ///
    /// # Errors
    /// Database errors.
    pub async fn queues(&self, now_us: i64) -> Result<Vec<Queue>> {
        let query = "SELECT t.arch AS arch, 'interactive' AS priority, COUNT(*) AS tasks,
                     COALESCE(MIN(l.at_us), 0) AS oldest_us
                     FROM open_builds o JOIN tasks t ON t.build = o.build
                     JOIN locks l ON l.task = t.id AND l.round = 0
                     WHERE NOT EXISTS (SELECT 1 FROM acceptances a WHERE a.task = t.id)
                     AND NOT EXISTS (SELECT 1 FROM live_attempts v WHERE v.task = t.id)
                     AND NOT EXISTS (SELECT 1 FROM attempts p JOIN attempt_ends e
                                     ON e.attempt = p.id
                                     WHERE p.task = t.id AND e.outcome = 'succeeded')
                     AND NOT EXISTS (SELECT 1 FROM failures f WHERE f.build = t.build
                                     AND f.task = t.id AND f.retry_us > $1)
                     GROUP BY t.arch ORDER BY t.arch";
        Ok(sqlx::query_as(query).bind(now_us).fetch_all(self.read()).await?)
    }

    /// Since when a task can be given to a worker: since its lock, or the end of its last pause.
    ///
    /// # Errors
    /// Database errors.
    pub async fn ready_us(&self, task: &Task) -> Result<i64> {
        let query = "SELECT MAX(since) FROM (SELECT COALESCE(MAX(at_us), 0) AS since
                     FROM locks WHERE task = $1 UNION ALL
                     SELECT COALESCE(MAX(retry_us), 0) FROM failures
                     WHERE build = $2 AND task = $1) AS ready";
        Ok(sqlx::query_scalar(query)
            .bind(task.id.0)
            .bind(task.build.0)
            .fetch_one(self.read())
            .await?)
    }

    /// How many builds are in each state.
    ///
    /// # Errors
    /// Database errors.
    pub async fn build_states(&self) -> Result<Vec<(&'static str, i64)>> {
        let open = "SELECT COALESCE(SUM(CASE WHEN i.build IS NULL THEN 1 ELSE 0 END), 0),
                    COALESCE(SUM(CASE WHEN i.build IS NOT NULL AND s.build IS NULL
                                      THEN 1 ELSE 0 END), 0),
                    COALESCE(SUM(CASE WHEN s.build IS NOT NULL AND EXISTS
                        (SELECT 1 FROM tasks t WHERE t.build = o.build AND NOT EXISTS
                         (SELECT 1 FROM acceptances a WHERE a.task = t.id))
                         THEN 1 ELSE 0 END), 0),
                    COUNT(*)
                    FROM open_builds o LEFT JOIN imports i ON i.build = o.build
                    LEFT JOIN srpms s ON s.build = o.build";
        let ended = "SELECT (SELECT COUNT(*) FROM builds),
                     (SELECT COUNT(DISTINCT build) FROM publications),
                     (SELECT COUNT(DISTINCT c.build) FROM cancellations c
                      WHERE NOT EXISTS (SELECT 1 FROM open_builds o WHERE o.build = c.build)
                      AND NOT EXISTS (SELECT 1 FROM publications p WHERE p.build = c.build))";
        // A build is in one of the two at any time, whichever is read first.
        let (importing, srpm, building, open): (i64, i64, i64, i64) =
            sqlx::query_as(open).fetch_one(self.read()).await?;
        let (all, published, cancelled): (i64, i64, i64) =
            sqlx::query_as(ended).fetch_one(self.read()).await?;
        Ok(vec![
            ("importing", importing),
            ("srpm", srpm),
            ("building", building),
            ("finishing", open - importing - srpm - building),
            ("published", published),
            ("cancelled", cancelled),
            ("failed", (all - open - published - cancelled).max(0)),
        ])
    }
}
