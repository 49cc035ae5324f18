//! Open pushes, and the builds that may already contain them.

use rpmfarm_core::track::push::{OpenPush, PushedBuild};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::{Result, Store};

/// Reads an open push.
struct OpenPushRow(OpenPush);

impl FromRow<'_, AnyRow> for OpenPushRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("pushes", row);
        Ok(Self(OpenPush {
            id: row.id("id")?,
            package: row.string("package")?,
            repository: row.string("repository")?,
            branch: row.string("branch")?,
            commit_id: row.string("commit_id")?,
            before_id: row.string("before_id")?,
            modifies: row.flag("modifies")?,
            told_by: row.string("told_by")?,
            seen_at: row.time("seen_us")?,
            approved_at: row.or_none("approved_us")?,
            storm: row.or_none("storm")?,
            started_at: row.or_none("started_us")?,
            left_by: row.or_none("left_by")?,
            followed: row.flag("followed")?,
            git_ref: row.string("git_ref")?,
        }))
    }
}

/// Reads a build that may contain what was pushed.
struct PushedBuildRow(PushedBuild);

impl FromRow<'_, AnyRow> for PushedBuildRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("builds", row);
        Ok(Self(PushedBuild {
            id: row.id("id")?,
            package: row.string("package")?,
            git_ref: row.string("git_ref")?,
            modification_ref: row.string("modification_ref")?,
            commit_id: row.string("commit_id")?,
            modification: row.string("modification")?,
            stands: row.flag("stands")?,
        }))
    }
}

impl Store {
    /// Open pushes of a target, oldest first.
    pub async fn push_list_open(&self, target: &str) -> Result<Vec<OpenPush>> {
        let query = "SELECT p.id, p.package, p.repository, p.branch, p.commit_id, p.before_id,
            p.modifies, p.told_by, p.seen_us,
            COALESCE((SELECT a.at_us FROM push_approvals a WHERE a.push = p.id), 0) AS approved_us,
            COALESCE((SELECT s.storm FROM storm_pushes s WHERE s.push = p.id), 0) AS storm,
            COALESCE((SELECT MAX(e.at_us) FROM pushes q JOIN push_ends e ON e.push = q.id
                      WHERE q.target = p.target AND q.package = p.package
                      AND e.verdict = 'build'), 0) AS started_us,
            COALESCE((SELECT MAX(q.id) FROM pushes q
                      WHERE q.target = p.target AND q.package = p.package AND q.id < p.id
                      AND q.repository = p.repository AND q.branch = p.branch
                      AND q.before_id = p.commit_id), 0) AS left_by,
            (SELECT COUNT(*) FROM tracked t
             WHERE t.target = p.target AND t.package = p.package) AS followed,
            COALESCE((SELECT t.git_ref FROM tracked t
                      WHERE t.target = p.target AND t.package = p.package), '') AS git_ref
            FROM open_pushes o JOIN pushes p ON p.id = o.push WHERE p.target = $1 ORDER BY p.id";
        let rows: Vec<OpenPushRow> =
            sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|OpenPushRow(push)| push).collect())
    }

    /// Builds of the packages of a target that have open pushes, oldest first: those that are open
    /// or have sources, and were not cancelled.
    pub async fn push_list_builds(&self, target: &str) -> Result<Vec<PushedBuild>> {
        // COUNT instead of EXISTS, because beside OR PostgreSQL would read the whole table.
        let query =
            "SELECT b.id, b.package, b.git_ref, COALESCE(m.git_ref, '') AS modification_ref,
            COALESCE(i.commit_id, '') AS commit_id, COALESCE(s.modification, '') AS modification,
            (SELECT COUNT(*) FROM open_builds n WHERE n.build = b.id)
            + (SELECT COUNT(*) FROM publications p WHERE p.build = b.id) AS stands
            FROM builds b LEFT JOIN imports i ON i.build = b.id
            LEFT JOIN source_records s ON s.build = b.id
            LEFT JOIN build_modifications m ON m.build = b.id
            WHERE b.target = $1 AND b.package IN (SELECT p.package FROM open_pushes o
                JOIN pushes p ON p.id = o.push WHERE p.target = $1)
            AND ((SELECT COUNT(*) FROM open_builds n WHERE n.build = b.id) > 0
                 OR (i.build IS NOT NULL
                     AND (SELECT COUNT(*) FROM cancellations c WHERE c.build = b.id) = 0))
            ORDER BY b.id";
        let rows: Vec<PushedBuildRow> =
            sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().map(|PushedBuildRow(build)| build).collect())
    }

    /// Names of the targets that have open pushes.
    pub async fn push_list_targets(&self) -> Result<Vec<String>> {
        // CROSS JOIN is an inner join whose order SQLite keeps; otherwise it would read all pushes.
        let query = "SELECT DISTINCT p.target FROM open_pushes o CROSS JOIN pushes p
                     WHERE p.id = o.push";
        Ok(sqlx::query_scalar(query).fetch_all(self.read_pool()).await?)
    }
}
