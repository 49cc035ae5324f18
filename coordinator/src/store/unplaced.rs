//! Packages of channels that are in no repository, because no rule of their target names them.

use std::collections::BTreeSet;

use rpmfarm_core::Timestamp;
use rpmfarm_core::published_repositories::UnplacedPackage;
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::transaction_retry::again;
use super::{Result, Store, Tx};

/// A package of a channel that is in none of its repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnplacedRow {
    pub package: UnplacedPackage,
    /// When a publication first left it out.
    pub since: Timestamp,
}

impl FromRow<'_, AnyRow> for UnplacedRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("unplaced_packages", row);
        Ok(Self {
            package: UnplacedPackage {
                nevra: row.parsed("nevra", "a NEVRA")?,
                source: row.parsed("source", "a NEVRA")?,
            },
            since: row.time("since_us")?,
        })
    }
}

impl Store {
    /// The packages of a channel that are in none of its repositories, as its newest publication
    /// decided, sorted by their names.
    pub async fn unplaced_list(&self, target: &str, channel: &str) -> Result<Vec<UnplacedRow>> {
        let query = "SELECT nevra, source, since_us FROM unplaced_packages
                     WHERE target = $1 AND channel = $2 ORDER BY nevra";
        let query = sqlx::query_as(query).bind(target).bind(channel);
        Ok(query.fetch_all(self.read_pool()).await?)
    }

    /// Records which packages of a channel are in none of its repositories, in place of what was
    /// recorded before. Those that were left out before keep their time.
    pub async fn unplaced_replace(
        &self,
        target: &str,
        channel: &str,
        unplaced: &[UnplacedPackage],
        now: Timestamp,
    ) -> Result<()> {
        let before = self.unplaced_list(target, channel).await?;
        let known: BTreeSet<String> =
            before.iter().map(|row| row.package.nevra.to_string()).collect();
        let wanted: BTreeSet<String> = unplaced.iter().map(|one| one.nevra.to_string()).collect();
        if known == wanted {
            return Ok(());
        }
        again(|| async {
            let mut tx = self.write().await?;
            for gone in known.difference(&wanted) {
                tx.unplaced_delete(target, channel, gone).await?;
            }
            for new in unplaced.iter().filter(|one| !known.contains(&one.nevra.to_string())) {
                tx.unplaced_insert(target, channel, new, now).await?;
            }
            tx.commit().await
        })
        .await
    }
}

impl Tx {
    async fn unplaced_delete(&mut self, target: &str, channel: &str, nevra: &str) -> Result<()> {
        let query = "DELETE FROM unplaced_packages
                     WHERE target = $1 AND channel = $2 AND nevra = $3";
        sqlx::query(query).bind(target).bind(channel).bind(nevra).execute(self.conn()).await?;
        Ok(())
    }

    async fn unplaced_insert(
        &mut self,
        target: &str,
        channel: &str,
        package: &UnplacedPackage,
        now: Timestamp,
    ) -> Result<()> {
        let query = "INSERT INTO unplaced_packages (target, channel, nevra, source, since_us)
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        sqlx::query(query)
            .bind(target)
            .bind(channel)
            .bind(package.nevra.to_string())
            .bind(package.source.to_string())
            .bind(now.as_us())
            .execute(self.conn())
            .await?;
        Ok(())
    }
}
