//! Tracked packages: policy overrides, when each package is polled, and the refs of the last poll.

use std::time::Duration;

use rpmfarm_core::Timestamp;
use rpmfarm_core::track::policy::{Freeze, Policy, PolicyOverride};
use rpmfarm_core::track::seen::TrackRef;
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::{Columns, Flag, OrNone};
use super::{Result, Store, StoreError, Tx};

/// A package to be tracked from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTracked {
    pub package: String,
    /// The branch or tag; empty for the target's default branch.
    pub git_ref: String,
    /// Whether the commit of the first poll is built as well.
    pub build_first: bool,
    /// When it is first polled.
    pub due: Timestamp,
}

/// A tracked package.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TrackedPackage {
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// The branch or tag; empty for the target's default branch.
    pub git_ref: String,
    /// Whether the commit of the first poll is built as well.
    #[sqlx(try_from = "Flag")]
    pub build_first: bool,
    /// Since when it is tracked.
    #[sqlx(rename = "added_us", try_from = "i64")]
    pub added: Timestamp,
    /// When it is polled next; [`Timestamp::ZERO`] for at once.
    #[sqlx(rename = "due_us", try_from = "i64")]
    pub due: Timestamp,
    /// The time between polls; `None` before the first.
    #[sqlx(rename = "interval_us", try_from = "OrNone")]
    pub interval: Option<Duration>,
    /// When it was polled last.
    #[sqlx(rename = "looked_us", try_from = "OrNone")]
    pub polled_at: Option<Timestamp>,
    /// How often it was polled.
    #[sqlx(rename = "looks")]
    pub polls: i64,
    /// How often in a row it could not be read.
    pub failures: i64,
    /// The reason of the last failure.
    pub problem: String,
    /// When a webhook announced a push that no poll has observed yet.
    #[sqlx(rename = "hint_us", try_from = "OrNone")]
    pub hinted_at: Option<Timestamp>,
    /// The commit that the webhook named; empty for none.
    pub hint_commit: String,
    /// The commit of the modifications that the webhook named; empty for none.
    pub hint_modification: String,
}

/// Reads the commit at which a branch was last observed.
struct TrackRefRow(TrackRef);

impl FromRow<'_, AnyRow> for TrackRefRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("track_refs", row);
        Ok(Self(TrackRef {
            package: row.string("package")?,
            repository: row.string("repository")?,
            branch: row.string("branch")?,
            commit_id: row.string("commit_id")?,
            since: row.time("at_us")?,
        }))
    }
}

fn seen(rows: Vec<TrackRefRow>) -> Vec<TrackRef> {
    rows.into_iter().map(|TrackRefRow(seen)| seen).collect()
}

/// A maintainer's policy override.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct PolicyOverrideRow {
    /// Name of the package; empty for the whole target.
    pub package: String,
    /// add, remove, default, automatic, propose, hold, freeze.
    pub word: String,
    pub reason: String,
    /// When a freeze ends.
    #[sqlx(rename = "until_us", try_from = "OrNone")]
    pub until: Option<Timestamp>,
    pub who: String,
    #[sqlx(rename = "at_us", try_from = "i64")]
    pub at: Timestamp,
}

impl PolicyOverrideRow {
    /// The policy override, if the row is one.
    ///
    /// # Errors
    /// When the row is malformed.
    pub fn policy_override(&self) -> Result<Option<PolicyOverride>> {
        Ok(Some(match self.word.as_str() {
            "add" | "remove" => return Ok(None),
            "default" => PolicyOverride::Default,
            "freeze" => {
                // A freeze without an end has ended.
                let until = Timestamp::or_zero(self.until);
                PolicyOverride::Freeze(Freeze { reason: self.reason.clone(), until })
            }
            word => {
                let corrupt = |_| StoreError::Corrupt {
                    table: "track_orders",
                    value: word.to_owned(),
                    expected: "an order",
                };
                PolicyOverride::Policy(
                    word.parse::<Policy>().map_err(corrupt)?,
                    self.reason.clone(),
                )
            }
        }))
    }
}

/// The columns of a [`TrackedPackage`].
const TRACKED: &str = "target, package, git_ref, build_first, added_us, due_us, interval_us,
                       looked_us, looks, failures, problem, hint_us, hint_commit,
                       hint_modification";

impl Store {
    /// Tracks packages. Returns those that were not tracked before.
    pub async fn tracked_insert(
        &self,
        target: &str,
        packages: &[NewTracked],
        who: &str,
        now: Timestamp,
    ) -> Result<Vec<String>> {
        let mut tx = self.write().await?;
        let mut added = Vec::new();
        for new in packages {
            let result = sqlx::query(
                "INSERT INTO tracked (target, package, git_ref, build_first, added_us, due_us,
                 interval_us, looked_us, looks, failures, problem, hint_us, hint_commit)
                 VALUES ($1, $2, $3, $4, $5, $6, 0, 0, 0, 0, '', 0, '') ON CONFLICT DO NOTHING",
            )
            .bind(target)
            .bind(&new.package)
            .bind(&new.git_ref)
            .bind(i64::from(new.build_first))
            .bind(now.as_us())
            .bind(new.due.as_us())
            .execute(tx.conn())
            .await?;
            if result.rows_affected() > 0 {
                let row = order(&new.package, "add", who, now);
                tx.policy_override_insert(target, &row).await?;
                added.push(new.package.clone());
            }
        }
        tx.commit().await?;
        Ok(added)
    }

    /// Stops tracking a package. False when it was not tracked.
    pub async fn tracked_delete(
        &self,
        target: &str,
        package: &str,
        who: &str,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.write().await?;
        let removed = sqlx::query("DELETE FROM tracked WHERE target = $1 AND package = $2")
            .bind(target)
            .bind(package)
            .execute(tx.conn())
            .await?;
        if removed.rows_affected() == 0 {
            return Ok(false);
        }
        // If it is tracked again, it starts without observed refs.
        sqlx::query("DELETE FROM track_refs WHERE target = $1 AND package = $2")
            .bind(target)
            .bind(package)
            .execute(tx.conn())
            .await?;
        tx.policy_override_insert(target, &order(package, "remove", who, now)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Records a maintainer's decision on a package, or on the whole target.
    pub async fn policy_override_insert(
        &self,
        target: &str,
        row: &PolicyOverrideRow,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        tx.policy_override_insert(target, row).await?;
        tx.commit().await
    }

    /// The newest policy override of each package of a target, and of the target itself.
    pub async fn policy_override_list(&self, target: &str) -> Result<Vec<PolicyOverrideRow>> {
        let query = "SELECT package, word, reason, until_us, who, at_us FROM track_orders o
                     WHERE target = $1 AND id = (SELECT MAX(n.id) FROM track_orders n
                         WHERE n.target = o.target AND n.package = o.package
                         AND n.word NOT IN ('add', 'remove'))";
        Ok(sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?)
    }

    /// All decisions on a package, newest first, at most 50.
    pub async fn policy_override_list_history(
        &self,
        target: &str,
        package: &str,
    ) -> Result<Vec<PolicyOverrideRow>> {
        let query = "SELECT package, word, reason, until_us, who, at_us FROM track_orders
                     WHERE target = $1 AND package = $2 ORDER BY id DESC LIMIT 50";
        Ok(sqlx::query_as(query).bind(target).bind(package).fetch_all(self.read_pool()).await?)
    }

    /// One tracked package.
    pub async fn tracked_fetch(
        &self,
        target: &str,
        package: &str,
    ) -> Result<Option<TrackedPackage>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {TRACKED} FROM tracked WHERE target = $1 AND package = $2"
        ));
        Ok(sqlx::query_as(query)
            .bind(target)
            .bind(package)
            .fetch_optional(self.read_pool())
            .await?)
    }

    /// All tracked packages of a target, or of all targets when the name is empty, by name.
    pub async fn tracked_list(&self, target: &str) -> Result<Vec<TrackedPackage>> {
        if target.is_empty() {
            let query = format!("SELECT {TRACKED} FROM tracked ORDER BY target, package");
            let query = sqlx::query_as(sqlx::AssertSqlSafe(query));
            return Ok(query.fetch_all(self.read_pool()).await?);
        }
        let query = format!("SELECT {TRACKED} FROM tracked WHERE target = $1 ORDER BY package");
        let query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(target);
        Ok(query.fetch_all(self.read_pool()).await?)
    }

    /// At most so many packages that are tracked for a target, in the order of their names, from
    /// the one that follows `after` on.
    pub async fn tracked_list_page(
        &self,
        target: &str,
        after: &str,
        most: usize,
    ) -> Result<Vec<TrackedPackage>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {TRACKED} FROM tracked WHERE target = $1 AND package > $2
             ORDER BY package LIMIT $3"
        ));
        Ok(sqlx::query_as(query)
            .bind(target)
            .bind(after)
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(self.read_pool())
            .await?)
    }

    /// A value that changes when a package of a target is tracked or untracked.
    pub async fn tracked_fetch_generation(&self, target: &str) -> Result<(i64, i64)> {
        let query = "SELECT COUNT(*), COALESCE(MAX(added_us), 0) FROM tracked WHERE target = $1";
        Ok(sqlx::query_as(query).bind(target).fetch_one(self.read_pool()).await?)
    }

    /// Packages of a target whose poll is due, the longest due first.
    pub async fn tracked_list_due(
        &self,
        target: &str,
        now: Timestamp,
        most: usize,
    ) -> Result<Vec<TrackedPackage>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {TRACKED} FROM tracked WHERE target = $1 AND due_us <= $2
             ORDER BY due_us LIMIT $3"
        ));
        Ok(sqlx::query_as(query)
            .bind(target)
            .bind(now.as_us())
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(self.read_pool())
            .await?)
    }

    /// Has a package polled at once. False when it is not tracked.
    pub async fn tracked_poll_now(&self, target: &str, package: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let result =
            sqlx::query("UPDATE tracked SET due_us = 0 WHERE target = $1 AND package = $2")
                .bind(target)
                .bind(package)
                .execute(tx.conn())
                .await?;
        tx.commit_without_wake().await?;
        Ok(result.rows_affected() > 0)
    }

    /// The commits that a package's branches had when they were last polled.
    pub async fn track_ref_list(&self, target: &str, package: &str) -> Result<Vec<TrackRef>> {
        let query = "SELECT package, repository, branch, commit_id, at_us FROM track_refs
                     WHERE target = $1 AND package = $2 ORDER BY repository, branch";
        let query = sqlx::query_as(query).bind(target).bind(package);
        Ok(seen(query.fetch_all(self.read_pool()).await?))
    }

    /// The same for the packages of a target from one name to another.
    pub async fn track_ref_list_between(
        &self,
        target: &str,
        (first, last): (&str, &str),
    ) -> Result<Vec<TrackRef>> {
        let query = "SELECT package, repository, branch, commit_id, at_us FROM track_refs
                     WHERE target = $1 AND package >= $2 AND package <= $3";
        let query = sqlx::query_as(query).bind(target).bind(first).bind(last);
        Ok(seen(query.fetch_all(self.read_pool()).await?))
    }

    /// The same for the packages of a target that have open pushes.
    pub async fn track_ref_list_of_pushed(&self, target: &str) -> Result<Vec<TrackRef>> {
        let query = "SELECT package, repository, branch, commit_id, at_us FROM track_refs
                     WHERE target = $1 AND package IN (SELECT p.package FROM open_pushes o
                         JOIN pushes p ON p.id = o.push WHERE p.target = $1)";
        Ok(seen(sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?))
    }
}

fn order(package: &str, word: &str, who: &str, at: Timestamp) -> PolicyOverrideRow {
    PolicyOverrideRow {
        package: package.to_owned(),
        word: word.to_owned(),
        reason: String::new(),
        until: None,
        who: who.to_owned(),
        at,
    }
}

impl Tx {
    async fn policy_override_insert(
        &mut self,
        target: &str,
        row: &PolicyOverrideRow,
    ) -> Result<()> {
        let id = self.next_id("track_order").await?;
        sqlx::query(
            "INSERT INTO track_orders (id, target, package, word, reason, until_us, who, at_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id)
        .bind(target)
        .bind(&row.package)
        .bind(&row.word)
        .bind(&row.reason)
        .bind(Timestamp::or_zero(row.until).as_us())
        .bind(&row.who)
        .bind(row.at.as_us())
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
