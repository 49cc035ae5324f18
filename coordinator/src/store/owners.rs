//! Claims, the decisions on them, and the generation of a target's packages that they were computed
//! from.

use std::collections::BTreeSet;

use rpmfarm_core::owners::{ApprovedClaim, Claim, ClaimKind};
use rpmfarm_core::{BuildId, Nevra, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use super::builds::COLUMNS;
use super::{Build, NewPackage, Result, Store, Tx, json, parsed, unjson};

/// A person's decision on the claims of a build.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ClaimDecision {
    #[sqlx(rename = "at_us", try_from = "i64")]
    pub at: Timestamp,
    /// `approved` or `refused`.
    pub word: String,
    pub who: String,
    pub reason: String,
}

/// A package of the farm in a root, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarmReplacementRow {
    pub package: Nevra,
    /// The package of an external repository that the root would have had instead.
    pub instead: Option<Nevra>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub repository: String,
}

/// Up to which withdrawal or restoration a target's channel was published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct PoolRow {
    /// The value of `changes` at the last withdrawal or restoration.
    pub withdrawn: i64,
    pub shown: i64,
}

/// A build is claimed as long as it has claims and no decision has approved them.
const IS_CLAIMED: &str = "EXISTS (SELECT 1 FROM claims c WHERE c.build = b.id)
    AND NOT EXISTS (SELECT 1 FROM claim_decisions d WHERE d.build = b.id AND d.word = 'approved')";

const CLAIMS: &str =
    "SELECT kind, what, package, owners FROM claims WHERE build = $1 ORDER BY kind, what";

pub(super) fn claim(row: (String, String, String, String)) -> Result<Claim> {
    let (kind, what, package, owners) = row;
    Ok(Claim {
        kind: parsed("claims", "a kind", &kind)?,
        what,
        package: parsed("claims", "a NEVRA", &package)?,
        owners: unjson("claims", "owners", &owners)?,
    })
}

impl Store {
    /// A number that changes whenever the packages of a target change.
    pub async fn pool_fetch_generation(&self, target: &str) -> Result<i64> {
        let query = "SELECT changes FROM pools WHERE target = $1";
        let changes: Option<i64> =
            sqlx::query_scalar(query).bind(target).fetch_optional(self.read_pool()).await?;
        Ok(changes.unwrap_or(0))
    }

    /// Up to which withdrawal or restoration a target's channel was published.
    pub async fn pool_fetch(&self, target: &str) -> Result<PoolRow> {
        let query = "SELECT withdrawn, shown FROM pools WHERE target = $1";
        let row: Option<PoolRow> =
            sqlx::query_as(query).bind(target).fetch_optional(self.read_pool()).await?;
        Ok(row.unwrap_or_default())
    }

    /// All claims of a build.
    pub async fn claim_list(&self, build: BuildId) -> Result<Vec<Claim>> {
        type Row = (String, String, String, String);
        let rows: Vec<Row> =
            sqlx::query_as(CLAIMS).bind(build.0).fetch_all(self.read_pool()).await?;
        rows.into_iter().map(claim).collect()
    }

    /// The claims of a build that are not approved.
    pub async fn claim_list_open(&self, build: BuildId) -> Result<Vec<Claim>> {
        let approved =
            self.claim_decision_list(build).await?.iter().any(|one| one.word == "approved");
        if approved { Ok(Vec::new()) } else { self.claim_list(build).await }
    }

    /// The decisions on the claims of a build, oldest first.
    pub async fn claim_decision_list(&self, build: BuildId) -> Result<Vec<ClaimDecision>> {
        let query = "SELECT at_us, word, who, reason FROM claim_decisions
                     WHERE build = $1 ORDER BY at_us";
        Ok(sqlx::query_as(query).bind(build.0).fetch_all(self.read_pool()).await?)
    }

    /// The builds with claims, newest first: those that wait for a decision, or with `all` also
    /// decided ones, at most `limit`. An empty target stands for all.
    pub async fn build_list_with_claims(
        &self,
        target: &str,
        all: bool,
        limit: i64,
    ) -> Result<Vec<Build>> {
        // Starts from the claims, not from all builds.
        let claimed = if all {
            "SELECT DISTINCT k.build FROM claims k"
        } else {
            "SELECT DISTINCT w.build FROM stage_work w WHERE w.stage = 'claim'"
        };
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM ({claimed}) x JOIN builds b ON b.id = x.build
             WHERE ($1 = '' OR b.target = $1) ORDER BY b.id DESC LIMIT $2"
        ));
        Ok(sqlx::query_as(query).bind(target).bind(limit).fetch_all(self.read_pool()).await?)
    }

    /// The approved claims of a target, oldest first, without those of builds whose packages were
    /// withdrawn.
    pub async fn claim_list_approved(&self, target: &str) -> Result<Vec<ApprovedClaim>> {
        let query = "SELECT c.kind, c.what, b.package, b.id FROM claims c
                     JOIN builds b ON b.id = c.build
                     JOIN claim_decisions d ON d.build = b.id AND d.word = 'approved'
                     WHERE b.target = $1 AND NOT EXISTS
                         (SELECT 1 FROM withdrawn_packages w WHERE w.build = b.id)
                     ORDER BY d.at_us, b.id";
        let rows: Vec<(String, String, String, i64)> =
            sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?;
        rows.into_iter()
            .map(|(kind, what, source, build)| {
                let kind = parsed("claims", "a kind", &kind)?;
                Ok(ApprovedClaim { kind, what, source, build: BuildId(build) })
            })
            .collect()
    }

    /// The paths, and the capabilities that many packages have, that builds of a target have
    /// required.
    pub async fn required_thing_list(&self, target: &str) -> Result<BTreeSet<String>> {
        let query = "SELECT what FROM required_things WHERE target = $1";
        let rows: Vec<String> =
            sqlx::query_scalar(query).bind(target).fetch_all(self.read_pool()).await?;
        Ok(rows.into_iter().collect())
    }

    /// The packages that the accepted attempts of a build's tasks made, without the source package.
    pub async fn result_list_packages(&self, build: BuildId) -> Result<Vec<NewPackage>> {
        let query = "SELECT r.nevra, r.digest, r.size, r.repodata FROM results r
                     JOIN acceptances a ON a.task = r.task JOIN tasks t ON t.id = r.task
                     WHERE t.build = $1 AND t.kind <> 'srpm' ORDER BY r.task, r.nevra";
        Ok(sqlx::query_as(query).bind(build.0).fetch_all(self.read_pool()).await?)
    }

    /// Records which packages of the farm the newest root of a task contains.
    pub async fn taken_package_replace(
        &self,
        task: TaskId,
        taken: &[FarmReplacementRow],
    ) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO taken_packages (task, taken) VALUES ($1, $2)
             ON CONFLICT (task) DO UPDATE SET taken = excluded.taken",
        )
        .bind(task.0)
        .bind(json(&taken))
        .execute(tx.conn())
        .await?;
        // The lock that belongs to it wakes the passes.
        tx.commit_without_wake().await
    }
}

impl Tx {
    /// Locks the packages of a target until the transaction ends, and returns their generation. To
    /// be called after the rows of builds are locked.
    pub async fn pool_lock(&mut self, target: &str) -> Result<i64> {
        self.pool_raise(target, 0).await
    }

    /// The same, and raises the generation by the number of packages that came or went.
    pub(super) async fn pool_raise(&mut self, target: &str, by: i64) -> Result<i64> {
        if by != 0 {
            // Roots that could not be solved may be solvable now.
            self.wake_all();
        }
        // An update that changes nothing locks the row.
        let query = "INSERT INTO pools (target, changes, withdrawn, shown) VALUES ($1, $2, 0, 0)
                     ON CONFLICT (target) DO UPDATE SET changes = pools.changes + excluded.changes
                     RETURNING changes";
        Ok(sqlx::query_scalar(query).bind(target).bind(by).fetch_one(self.conn()).await?)
    }

    /// The differences between the results of a task and those of its repetition.
    pub async fn claim_list_of_repeats(&mut self, build: BuildId) -> Result<Vec<Claim>> {
        type Row = (String, String, String, String);
        let rows: Vec<Row> = sqlx::query_as(CLAIMS).bind(build.0).fetch_all(self.conn()).await?;
        let all: Vec<Claim> = rows.into_iter().map(claim).collect::<Result<_>>()?;
        Ok(all.into_iter().filter(|claim| claim.kind == ClaimKind::Repeat).collect())
    }

    /// Adds claims of a build.
    pub async fn claim_insert(
        &mut self,
        build: BuildId,
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<()> {
        for Claim { kind, what, package, owners } in claims {
            sqlx::query(
                "INSERT INTO claims (build, kind, what, package, owners, at_us)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            )
            .bind(build.0)
            .bind(kind.as_str())
            .bind(what)
            .bind(package.to_string())
            .bind(json(owners))
            .bind(now.as_us())
            .execute(self.conn())
            .await?;
        }
        self.batch_note_changed(build);
        self.reindex(build, now).await
    }

    /// Replaces the claims of a build.
    pub async fn claim_replace(
        &mut self,
        build: BuildId,
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<()> {
        let query = sqlx::query("DELETE FROM claims WHERE build = $1").bind(build.0);
        query.execute(self.conn()).await?;
        self.claim_insert(build, claims, now).await
    }

    /// Records a decision on a build's claims. False when the build is not claimed, or has ended;
    /// then nothing is recorded.
    pub async fn claim_decide(
        &mut self,
        build: BuildId,
        (word, who, reason): (&str, &str, &str),
        now: Timestamp,
    ) -> Result<bool> {
        if !self.build_lock_open(build).await? || !self.build_is_claimed(build).await? {
            return Ok(false);
        }
        let query = "SELECT MAX(at_us) FROM claim_decisions WHERE build = $1";
        let newest: Option<i64> =
            sqlx::query_scalar(query).bind(build.0).fetch_one(self.conn()).await?;
        let at = newest.map_or(now, |newest| now.max(Timestamp::from_us(newest).next()));
        sqlx::query(
            "INSERT INTO claim_decisions (build, at_us, word, who, reason)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(build.0)
        .bind(at.as_us())
        .bind(word)
        .bind(who)
        .bind(reason)
        .execute(self.conn())
        .await?;
        self.batch_note_changed(build);
        self.reindex(build, now).await?;
        Ok(true)
    }

    pub(super) async fn build_is_claimed(&mut self, build: BuildId) -> Result<bool> {
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT COUNT(*) FROM builds b WHERE b.id = $1 AND {IS_CLAIMED}"
        ));
        let count: i64 = sqlx::query_scalar(query).bind(build.0).fetch_one(self.conn()).await?;
        Ok(count > 0)
    }

    /// Records which of some requirements of a build are paths, or capabilities that many packages
    /// have.
    pub(super) async fn required_thing_insert(
        &mut self,
        build: BuildId,
        requires: &[String],
    ) -> Result<()> {
        for what in rpmfarm_core::owners::asked(requires) {
            sqlx::query(
                "INSERT INTO required_things (target, what)
                 SELECT target, $2 FROM builds WHERE id = $1 ON CONFLICT DO NOTHING",
            )
            .bind(build.0)
            .bind(what)
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }
}
