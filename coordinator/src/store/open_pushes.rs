//! Pushes of which nothing has become yet, and the builds that may have them.

use rpmfarm_core::track::push::Push;

use super::columns::Flag;
use super::{Result, Store};

/// A push of which nothing has become yet, with all that decides on it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct OpenPush {
    /// Its number.
    pub id: i64,
    /// Name of the package.
    pub package: String,
    /// Address of the repository.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The commit.
    pub commit_id: String,
    /// The commit before it; empty when none was seen.
    pub before_id: String,
    /// Whether it is a push to the package's modifications.
    #[sqlx(try_from = "Flag")]
    pub modifies: bool,
    /// webhook, poll.
    pub told_by: String,
    /// When it was seen.
    pub seen_us: i64,
    /// When a maintainer approved it; 0 when nobody has.
    pub approved_us: i64,
    /// The storm that holds it; 0 for none.
    pub storm: i64,
    /// When the package was last built because of a push; 0 for never.
    pub started_us: i64,
    /// Not 0 when the branch was at this commit before, and has left it: the push that led away.
    pub left_by: i64,
    /// Whether the package is followed.
    #[sqlx(try_from = "Flag")]
    pub followed: bool,
    /// What it is followed for; empty for the target's own.
    pub git_ref: String,
}

impl OpenPush {
    /// Whether it goes back to a commit that the branch has left.
    #[must_use]
    pub const fn returns(&self) -> bool {
        self.left_by != 0
    }

    /// Its identity.
    #[must_use]
    pub fn push(&self) -> Push {
        Push {
            repository: self.repository.clone(),
            branch: self.branch.clone(),
            commit: self.commit_id.clone(),
        }
    }
}

/// A build that may have what was pushed: it has its sources, or is to get them.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PushedBuild {
    /// Its number.
    pub id: i64,
    /// Name of the package.
    pub package: String,
    /// Branch, tag or commit that was asked for; empty for the target's own.
    pub git_ref: String,
    /// The commit of the modifications that was asked for; empty for what their branch has.
    pub modification_ref: String,
    /// The commit; empty while it is not known.
    pub commit_id: String,
    /// The commit of its modifications; empty when there are none, or they are not known yet.
    pub modification: String,
    /// Whether it is published, or may still be.
    #[sqlx(try_from = "Flag")]
    pub stands: bool,
}

impl Store {
    /// Pushes of a target of which nothing has become yet, oldest first.
    pub async fn open_pushes(&self, target: &str) -> Result<Vec<OpenPush>> {
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
        Ok(sqlx::query_as(query).bind(target).fetch_all(self.read()).await?)
    }

    /// Builds of the packages of a target that have open pushes, oldest first: those that are open
    /// or have sources, and were not cancelled.
    pub async fn builds_of_pushed(&self, target: &str) -> Result<Vec<PushedBuild>> {
        // Counts, since PostgreSQL reads the whole table for EXISTS beside OR.
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
        Ok(sqlx::query_as(query).bind(target).fetch_all(self.read()).await?)
    }

    /// Names of the targets that have open pushes.
    pub async fn targets_pushed(&self) -> Result<Vec<String>> {
        // CROSS JOIN is an inner one whose order SQLite keeps: else it goes through all pushes.
        let query = "SELECT DISTINCT p.target FROM open_pushes o CROSS JOIN pushes p
                     WHERE p.id = o.push";
        Ok(sqlx::query_scalar(query).fetch_all(self.read()).await?)
    }
}
