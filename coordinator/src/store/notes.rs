//! What whoever looks at a build should know of it beside its state: differences that were taken, and
//! packages that are kept from the repositories of an architecture.

use rpmfarm_core::lacking::LackingPackage;
use rpmfarm_core::{Arch, BuildId};

use super::again::again;
use super::{Result, Store, Tx, parsed};

impl Store {
    /// What was noted of a build when its last task was accepted.
    pub async fn build_notes(&self, build: BuildId) -> Result<Vec<String>> {
        let query = "SELECT note FROM build_notes WHERE build = $1 ORDER BY position";
        Ok(sqlx::query_scalar(query).bind(build.0).fetch_all(self.read()).await?)
    }

    /// Records what packages of a channel lack since its newest publication, in place of what they
    /// lacked before it.
    pub async fn set_lacking(
        &self,
        target: &str,
        channel: &str,
        lacking: &[LackingPackage],
    ) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            sqlx::query("DELETE FROM lacking_packages WHERE target = $1 AND channel = $2")
                .bind(target)
                .bind(channel)
                .execute(tx.on())
                .await?;
            for LackingPackage { nevra, arch, requirement } in lacking {
                sqlx::query(
                    "INSERT INTO lacking_packages (target, channel, nevra, arch, requirement)
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                )
                .bind(target)
                .bind(channel)
                .bind(nevra.to_string())
                .bind(arch.map_or("", Arch::as_str))
                .bind(requirement)
                .execute(tx.on())
                .await?;
            }
            tx.commit().await
        })
        .await
    }

    /// What packages of a build lack in the repositories of its target.
    pub async fn lacking(&self, build: BuildId) -> Result<Vec<LackingPackage>> {
        let query = "SELECT l.nevra, l.arch, l.requirement FROM packages p
                     JOIN lacking_packages l ON l.target = p.target AND l.nevra = p.nevra
                     WHERE p.build = $1 ORDER BY l.nevra, l.arch, l.requirement";
        let rows: Vec<(String, String, String)> =
            sqlx::query_as(query).bind(build.0).fetch_all(self.read()).await?;
        rows.into_iter()
            .map(|(nevra, arch, requirement)| {
                let arch = match arch.as_str() {
                    "" => None,
                    word => Some(parsed("lacking_packages", "an architecture", word)?),
                };
                let nevra = parsed("lacking_packages", "a NEVRA", &nevra)?;
                Ok(LackingPackage { nevra, arch, requirement })
            })
            .collect()
    }
}

impl Tx {
    /// Notes lines about a build, after those that are there; a line that is there is not noted again.
    pub async fn add_notes(&mut self, build: BuildId, notes: &[String]) -> Result<()> {
        for note in notes {
            // Only who holds the build adds notes, so that two never take the same position.
            sqlx::query(
                "INSERT INTO build_notes (build, position, note)
                 SELECT $1, (SELECT COUNT(*) FROM build_notes WHERE build = $1), $2
                 WHERE NOT EXISTS (SELECT 1 FROM build_notes WHERE build = $1 AND note = $2)",
            )
            .bind(build.0)
            .bind(note)
            .execute(self.on())
            .await?;
        }
        Ok(())
    }
}
