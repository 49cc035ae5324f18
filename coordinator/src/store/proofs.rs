//! Proofs of the contents of channels, and the problems that persons accepted.

use std::time::Duration;

use rpmfarm_core::proof::{AcceptedProblem, MAX_PROBLEMS, Problem};
use rpmfarm_core::{Sha256, Timestamp, time};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::transaction_retry::again;
use super::{Result, Store, json};

/// How many accepted problems of a channel are read.
const MAX_ACCEPTED: i64 = 1000;

/// A proof of a content of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofRow {
    /// Name of the target.
    pub target: String,
    /// Name of the channel.
    pub channel: String,
    pub at: Timestamp,
    /// SHA-256 of all packages of the content as JSON.
    pub content: Sha256,
    pub took: Duration,
    /// How many problems were found.
    pub total: usize,
    /// The first of them, [`MAX_PROBLEMS`] at most.
    pub problems: Vec<Problem>,
    /// Why the closure could not be looked at; empty when it was.
    pub unproven: String,
}

/// A problem that a person accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedProblemRow {
    pub accepted: AcceptedProblem,
    pub who: String,
    pub reason: String,
    pub at: Timestamp,
}

impl FromRow<'_, AnyRow> for ProofRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("proofs", row);
        Ok(Self {
            target: row.string("target")?,
            channel: row.string("channel")?,
            at: row.time("at_us")?,
            content: row.parsed("content", "a digest")?,
            took: time::span(row.number("took_us")?),
            total: usize::try_from(row.number("total")?).unwrap_or_default(),
            problems: row.json("problems", "problems")?,
            unproven: row.string("unproven")?,
        })
    }
}

impl FromRow<'_, AnyRow> for AcceptedProblemRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("accepted_problems", row);
        Ok(Self {
            accepted: AcceptedProblem {
                kind: row.parsed("kind", "a kind of problem")?,
                package: row.string("package")?,
                what: row.string("what")?,
                until: row.or_none("until_us")?,
            },
            who: row.string("who")?,
            reason: row.string("reason")?,
            at: row.time("at_us")?,
        })
    }
}

impl Store {
    /// Records a proof. Of two at one time the first counts.
    pub async fn proof_insert(&self, proof: &ProofRow) -> Result<()> {
        let problems = &proof.problems[..proof.problems.len().min(MAX_PROBLEMS)];
        let problems = json(&problems);
        let took = i64::try_from(proof.took.as_micros()).unwrap_or(i64::MAX);
        let total = i64::try_from(proof.total).unwrap_or(i64::MAX);
        again(|| async {
            let mut tx = self.write().await?;
            let query = "INSERT INTO proofs (target, channel, at_us, content, took_us, total,
                         problems, unproven)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
            sqlx::query(query)
                .bind(&proof.target)
                .bind(&proof.channel)
                .bind(proof.at.as_us())
                .bind(proof.content.hex())
                .bind(took)
                .bind(total)
                .bind(&problems)
                .bind(&proof.unproven)
                .execute(tx.conn())
                .await?;
            // No pass waits for it.
            tx.commit_without_wake().await
        })
        .await
    }

    /// The newest proof of a channel.
    pub async fn proof_fetch(&self, target: &str, channel: &str) -> Result<Option<ProofRow>> {
        let query = "SELECT target, channel, at_us, content, took_us, total, problems, unproven
                     FROM proofs WHERE target = $1 AND channel = $2 ORDER BY at_us DESC LIMIT 1";
        let query = sqlx::query_as(query).bind(target).bind(channel);
        Ok(query.fetch_optional(self.read_pool()).await?)
    }

    /// Records that a person accepts a problem of a channel.
    pub async fn problem_accept_insert(
        &self,
        target: &str,
        channel: &str,
        row: &AcceptedProblemRow,
    ) -> Result<()> {
        again(|| async {
            let mut tx = self.write().await?;
            let query = "INSERT INTO accepted_problems (target, channel, at_us, kind, package,
                         what, until_us, who, reason)
                         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
            sqlx::query(query)
                .bind(target)
                .bind(channel)
                .bind(row.at.as_us())
                .bind(row.accepted.kind.as_str())
                .bind(&row.accepted.package)
                .bind(&row.accepted.what)
                .bind(row.accepted.until.map_or(0, Timestamp::as_us))
                .bind(&row.who)
                .bind(&row.reason)
                .execute(tx.conn())
                .await?;
            tx.commit().await
        })
        .await
    }

    /// When a person last accepted a problem of a channel.
    pub async fn problem_accept_newest(
        &self,
        target: &str,
        channel: &str,
    ) -> Result<Option<Timestamp>> {
        let query = "SELECT MAX(at_us) FROM accepted_problems WHERE target = $1 AND channel = $2";
        let query = sqlx::query_scalar(query).bind(target).bind(channel);
        let newest: Option<i64> = query.fetch_one(self.read_pool()).await?;
        Ok(newest.map(Timestamp::from_us))
    }

    /// The accepted problems of a channel, newest first.
    pub async fn problem_accept_list(
        &self,
        target: &str,
        channel: &str,
    ) -> Result<Vec<AcceptedProblemRow>> {
        let query = "SELECT at_us, kind, package, what, until_us, who, reason
                     FROM accepted_problems WHERE target = $1 AND channel = $2
                     ORDER BY at_us DESC LIMIT $3";
        let query = sqlx::query_as(query).bind(target).bind(channel).bind(MAX_ACCEPTED);
        Ok(query.fetch_all(self.read_pool()).await?)
    }
}
