//! Who is followed: orders of maintainers, when each package is looked at, what was seen last.

use rpmfarm_core::track::policy::{Freeze, Order, Policy};
use rpmfarm_core::track::seen::TrackRef;
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::{Columns, Flag};
use super::{Result, Store, StoreError, Tx};

/// A package to follow from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTracked {
    /// Its name.
    pub package: String,
    /// The branch or tag; empty for the target's own.
    pub git_ref: String,
    /// Whether what is there at the first look is built as well.
    pub build_first: bool,
    /// When it is looked at first.
    pub due_us: i64,
}

/// A package that is followed.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Tracked {
    /// Name of the target.
    pub target: String,
    /// Name of the package.
    pub package: String,
    /// The branch or tag; empty for the target's own.
    pub git_ref: String,
    /// Whether what is there at the first poll is built as well.
    #[sqlx(try_from = "Flag")]
    pub build_first: bool,
    /// Since when it is followed.
    pub added_us: i64,
    /// When it is looked at next; 0 for at once.
    pub due_us: i64,
    /// The time between looks.
    pub interval_us: i64,
    /// When it was looked at last.
    pub looked_us: i64,
    /// How often it was looked at.
    pub looks: i64,
    /// How often in a row it could not be read.
    pub failures: i64,
    /// Why, the last time.
    pub problem: String,
    /// When a webhook told of a push that was not seen yet; 0 when none did.
    pub hint_us: i64,
    /// The commit that it told of; empty for none.
    pub hint_commit: String,
    /// The commit of the modifications that it told of; empty for none.
    pub hint_modification: String,
}

/// Reads what was last seen of a branch.
struct TrackRefRow(TrackRef);

impl FromRow<'_, AnyRow> for TrackRefRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("track_refs", row);
        Ok(Self(TrackRef {
            package: row.string("package")?,
            repository: row.string("repository")?,
            branch: row.string("branch")?,
            commit_id: row.string("commit_id")?,
            at_us: row.number("at_us")?,
        }))
    }
}

fn seen(rows: Vec<TrackRefRow>) -> Vec<TrackRef> {
    rows.into_iter().map(|TrackRefRow(seen)| seen).collect()
}

/// What a maintainer has said.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct OrderRow {
    /// Name of the package; empty for the whole target.
    pub package: String,
    /// add, remove, default, automatic, propose, hold, freeze.
    pub word: String,
    /// Why.
    pub reason: String,
    /// When a freeze ends.
    pub until_us: i64,
    /// Who said it.
    pub who: String,
    /// When.
    pub at_us: i64,
}

impl OrderRow {
    /// The order, if it is one about policy.
    ///
    /// # Errors
    /// When the row holds no order.
    pub fn order(&self) -> Result<Option<Order>> {
        Ok(Some(match self.word.as_str() {
            "add" | "remove" => return Ok(None),
            "default" => Order::Default,
            "freeze" => {
                Order::Freeze(Freeze { reason: self.reason.clone(), until_us: self.until_us })
            }
            word => {
                let corrupt = |_| StoreError::Corrupt {
                    table: "track_orders",
                    value: word.to_owned(),
                    expected: "an order",
                };
                Order::Policy(word.parse::<Policy>().map_err(corrupt)?, self.reason.clone())
            }
        }))
    }
}

/// The columns of a [`Tracked`].
const TRACKED: &str = "target, package, git_ref, build_first, added_us, due_us, interval_us,
                       looked_us, looks, failures, problem, hint_us, hint_commit,
                       hint_modification";

impl Store {
    /// Follows packages. Returns those that were not followed before.
    pub async fn track(
        &self,
        target: &str,
        packages: &[NewTracked],
        who: &str,
        now_us: i64,
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
            .bind(now_us)
            .bind(new.due_us)
            .execute(tx.on())
            .await?;
            if result.rows_affected() > 0 {
                let row = order(&new.package, "add", who, now_us);
                tx.add_track_order(target, &row).await?;
                added.push(new.package.clone());
            }
        }
        tx.commit().await?;
        Ok(added)
    }

    /// Follows a package no longer. False when it was not followed.
    pub async fn untrack(
        &self,
        target: &str,
        package: &str,
        who: &str,
        now_us: i64,
    ) -> Result<bool> {
        let mut tx = self.write().await?;
        let removed = sqlx::query("DELETE FROM tracked WHERE target = $1 AND package = $2")
            .bind(target)
            .bind(package)
            .execute(tx.on())
            .await?;
        if removed.rows_affected() == 0 {
            return Ok(false);
        }
        // Followed again, it begins anew.
        sqlx::query("DELETE FROM track_refs WHERE target = $1 AND package = $2")
            .bind(target)
            .bind(package)
            .execute(tx.on())
            .await?;
        tx.add_track_order(target, &order(package, "remove", who, now_us)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Records what a maintainer says of a package, or of the whole target.
    pub async fn add_track_order(&self, target: &str, row: &OrderRow) -> Result<()> {
        let mut tx = self.write().await?;
        tx.add_track_order(target, row).await?;
        tx.commit().await
    }

    /// The newest order about policy of each package of a target, and of the target itself.
    pub async fn track_orders(&self, target: &str) -> Result<Vec<OrderRow>> {
        let query = "SELECT package, word, reason, until_us, who, at_us FROM track_orders o
                     WHERE target = $1 AND id = (SELECT MAX(n.id) FROM track_orders n
                         WHERE n.target = o.target AND n.package = o.package
                         AND n.word NOT IN ('add', 'remove'))";
        Ok(sqlx::query_as(query).bind(target).fetch_all(self.read()).await?)
    }

    /// Everything that was said of a package, newest first, at most 50.
    pub async fn track_history(&self, target: &str, package: &str) -> Result<Vec<OrderRow>> {
        let query = "SELECT package, word, reason, until_us, who, at_us FROM track_orders
                     WHERE target = $1 AND package = $2 ORDER BY id DESC LIMIT 50";
        Ok(sqlx::query_as(query).bind(target).bind(package).fetch_all(self.read()).await?)
    }

    /// One package that is followed.
    pub async fn tracked(&self, target: &str, package: &str) -> Result<Option<Tracked>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {TRACKED} FROM tracked WHERE target = $1 AND package = $2"
        ));
        Ok(sqlx::query_as(query).bind(target).bind(package).fetch_optional(self.read()).await?)
    }

    /// All that are followed for a target, or for all with an empty name, by name.
    pub async fn all_tracked(&self, target: &str) -> Result<Vec<Tracked>> {
        if target.is_empty() {
            let query = format!("SELECT {TRACKED} FROM tracked ORDER BY target, package");
            let query = sqlx::query_as(sqlx::AssertSqlSafe(query));
            return Ok(query.fetch_all(self.read()).await?);
        }
        let query = format!("SELECT {TRACKED} FROM tracked WHERE target = $1 ORDER BY package");
        let query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(target);
        Ok(query.fetch_all(self.read()).await?)
    }

    /// What changes when a package of a target is followed, or no longer.
    pub async fn tracked_state(&self, target: &str) -> Result<(i64, i64)> {
        let query = "SELECT COUNT(*), COALESCE(MAX(added_us), 0) FROM tracked WHERE target = $1";
        Ok(sqlx::query_as(query).bind(target).fetch_one(self.read()).await?)
    }

    /// Packages of a target whose look is due, the longest due first.
    pub async fn tracked_due(
        &self,
        target: &str,
        now_us: i64,
        most: usize,
    ) -> Result<Vec<Tracked>> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {TRACKED} FROM tracked WHERE target = $1 AND due_us <= $2
             ORDER BY due_us LIMIT $3"
        ));
        Ok(sqlx::query_as(query)
            .bind(target)
            .bind(now_us)
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(self.read())
            .await?)
    }

    /// Has a package looked at, at once. False when it is not followed.
    pub async fn look_now(&self, target: &str, package: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let result =
            sqlx::query("UPDATE tracked SET due_us = 0 WHERE target = $1 AND package = $2")
                .bind(target)
                .bind(package)
                .execute(tx.on())
                .await?;
        tx.commit_quietly().await?;
        Ok(result.rows_affected() > 0)
    }

    /// What was last seen of a package's branches.
    pub async fn seen(&self, target: &str, package: &str) -> Result<Vec<TrackRef>> {
        let query = "SELECT package, repository, branch, commit_id, at_us FROM track_refs
                     WHERE target = $1 AND package = $2 ORDER BY repository, branch";
        let query = sqlx::query_as(query).bind(target).bind(package);
        Ok(seen(query.fetch_all(self.read()).await?))
    }

    /// What was last seen of all packages of a target.
    pub async fn seen_of_target(&self, target: &str) -> Result<Vec<TrackRef>> {
        let query = "SELECT package, repository, branch, commit_id, at_us FROM track_refs
                     WHERE target = $1";
        Ok(seen(sqlx::query_as(query).bind(target).fetch_all(self.read()).await?))
    }

    /// What was last seen of the packages of a target that have open pushes.
    pub async fn seen_of_pushed(&self, target: &str) -> Result<Vec<TrackRef>> {
        let query = "SELECT package, repository, branch, commit_id, at_us FROM track_refs
                     WHERE target = $1 AND package IN (SELECT p.package FROM open_pushes o
                         JOIN pushes p ON p.id = o.push WHERE p.target = $1)";
        Ok(seen(sqlx::query_as(query).bind(target).fetch_all(self.read()).await?))
    }
}

fn order(package: &str, word: &str, who: &str, at_us: i64) -> OrderRow {
    OrderRow {
        package: package.to_owned(),
        word: word.to_owned(),
        reason: String::new(),
        until_us: 0,
        who: who.to_owned(),
        at_us,
    }
}

impl Tx {
    async fn add_track_order(&mut self, target: &str, row: &OrderRow) -> Result<()> {
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
        .bind(row.until_us)
        .bind(&row.who)
        .bind(row.at_us)
        .execute(self.on())
        .await?;
        Ok(())
    }
}
