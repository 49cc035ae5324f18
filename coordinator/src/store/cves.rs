//! The CVEs that builds fix, and whether their fixes are published.

use std::collections::BTreeSet;

use rpmfarm_core::{BuildId, Timestamp};

use super::{Build, Result, Store, json, unjson};

impl Store {
    /// Records which CVEs a build's sources fix. Recording them again changes nothing.
    pub async fn cve_insert(
        &self,
        build: BuildId,
        ids: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO build_cves (build, ids, at_us) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(build.0)
        .bind(json(ids))
        .bind(now.as_us())
        .execute(tx.conn())
        .await?;
        tx.commit_without_wake().await
    }

    /// The CVEs that a build's sources fix; empty when they were not checked.
    pub async fn cve_list(&self, build: BuildId) -> Result<Vec<String>> {
        let query = "SELECT ids FROM build_cves WHERE build = $1";
        let row: Option<String> =
            sqlx::query_scalar(query).bind(build.0).fetch_optional(self.read_pool()).await?;
        row.map_or_else(|| Ok(Vec::new()), |ids| unjson("build_cves", "a list", &ids))
    }

    /// The build whose sources a build's sources are compared with: the newest earlier build of the
    /// package that is published, or may still be. A failed build is skipped, since its changes
    /// reached nobody.
    pub async fn build_fetch_predecessor(&self, build: &Build) -> Result<Option<BuildId>> {
        let query = "SELECT b.id FROM builds b JOIN imports i ON i.build = b.id
                     WHERE b.target = $1 AND b.package = $2 AND b.id < $3
                     AND (EXISTS (SELECT 1 FROM publications p WHERE p.build = b.id)
                          OR EXISTS (SELECT 1 FROM open_builds n WHERE n.build = b.id))
                     ORDER BY CASE WHEN EXISTS
                         (SELECT 1 FROM publications p WHERE p.build = b.id) THEN 0 ELSE 1 END,
                     b.id DESC LIMIT 1";
        let id: Option<i64> = sqlx::query_scalar(query)
            .bind(&build.target)
            .bind(&build.package)
            .bind(build.id.0)
            .fetch_optional(self.read_pool())
            .await?;
        Ok(id.map(BuildId))
    }

    /// The CVEs that earlier builds of the package fix and whose fix is not published by any later
    /// build. Builds that a person cancelled do not count.
    pub async fn cve_list_pending(&self, build: &Build) -> Result<BTreeSet<String>> {
        let query = "SELECT c.ids FROM build_cves c JOIN builds b ON b.id = c.build
                     WHERE b.target = $1 AND b.package = $2 AND b.id < $3
                     AND NOT EXISTS (SELECT 1 FROM cancellations x WHERE x.build = b.id)
                     AND NOT EXISTS (SELECT 1 FROM builds n JOIN publications p ON p.build = n.id
                         WHERE n.target = b.target AND n.package = b.package
                         AND n.id >= b.id AND n.id < $3)";
        let rows: Vec<String> = sqlx::query_scalar(query)
            .bind(&build.target)
            .bind(&build.package)
            .bind(build.id.0)
            .fetch_all(self.read_pool())
            .await?;
        let lists = rows.iter().map(|ids| unjson::<Vec<String>>("build_cves", "a list", ids));
        Ok(lists.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}
