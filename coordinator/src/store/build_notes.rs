//! Notes on a build, for people: accepted differences, and packages that are left out of the
//! repositories of an architecture.

use rpmfarm_core::missing_requirements::LackingPackage;
use rpmfarm_core::{Arch, BuildId};

use super::transaction_retry::again;
use super::{Result, Store, Tx, parsed};

impl Store {
    /// The notes on a build, which are made when its last task is accepted.
    pub async fn build_note_list(&self, build: BuildId) -> Result<Vec<String>> {
        let query = "SELECT note FROM build_notes WHERE build = $1 ORDER BY position";
        Ok(sqlx::query_scalar(query).bind(build.0).fetch_all(self.read_pool()).await?)
    }

    /// Records which requirements packages of a channel lack in its newest publication, in place of
    /// earlier ones.
    pub async fn lacking_replace(
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
                .execute(tx.conn())
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
                .execute(tx.conn())
                .await?;
            }
            tx.commit().await
        })
        .await
    }

    /// Requirements of a build's packages that no package provides in the repositories of its
    /// target.
    pub async fn lacking_list(&self, build: BuildId) -> Result<Vec<LackingPackage>> {
        let query = "SELECT l.nevra, l.arch, l.requirement FROM packages p
                     JOIN lacking_packages l ON l.target = p.target AND l.nevra = p.nevra
                     WHERE p.build = $1 ORDER BY l.nevra, l.arch, l.requirement";
        let rows: Vec<(String, String, String)> =
            sqlx::query_as(query).bind(build.0).fetch_all(self.read_pool()).await?;
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
    /// Appends notes to a build; a note that exists is not added again.
    pub async fn build_note_insert(&mut self, build: BuildId, notes: &[String]) -> Result<()> {
        for note in notes {
            // The build's row is locked, so that two transactions never use the same position.
            sqlx::query(
                "INSERT INTO build_notes (build, position, note)
                 SELECT $1, (SELECT COUNT(*) FROM build_notes WHERE build = $1), $2
                 WHERE NOT EXISTS (SELECT 1 FROM build_notes WHERE build = $1 AND note = $2)",
            )
            .bind(build.0)
            .bind(note)
            .execute(self.conn())
            .await?;
        }
        Ok(())
    }
}
