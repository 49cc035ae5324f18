//! Accepted packages and their signed forms.

use std::collections::{BTreeSet, HashMap};

use rpmfarm_core::next_step::NextStep;
use rpmfarm_core::noarch::NOARCH;
use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Arch, BuildId, BuildOptions, Nevra, Sha256, TaskId, Timestamp};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::lists::{digests, numbers, rows};
use super::pool_packages::PoolCandidates;
use super::transaction_retry::again;
use super::{Result, Store, StoreError, Tx, parsed, unjson};
use crate::blobs::FileStamp;
use crate::commands::option_words;
use crate::planted_bugs::{PlantedBug, is_planted};

/// A package of an accepted attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPackage {
    pub nevra: Nevra,
    /// SHA-256 of the file, by which the blob store has it.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The blob of its repodata, for the solver.
    pub repodata: Sha256,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub nevra: Nevra,
    /// The build that made it.
    pub build: BuildId,
    /// Architecture of the task that made it.
    pub arch: Arch,
    /// SHA-256 of the file, by which the blob store has it.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The blob of its repodata, for the solver.
    pub repodata: Sha256,
}

/// The signed form of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The signed file's blob.
    pub signed_digest: Sha256,
    /// Its size in bytes.
    pub signed_size: u64,
    /// The blob of its repodata, for publishing.
    pub repodata: Sha256,
}

/// A package with its signed form, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPackage {
    /// The package as it was accepted.
    pub package: Package,
    pub signature: Option<Signature>,
}

impl FromRow<'_, AnyRow> for NewPackage {
    /// Reads a row of `results`.
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("results", row);
        Ok(Self {
            nevra: row.parsed("nevra", "a NEVRA")?,
            digest: row.parsed("digest", "a digest")?,
            size: row.size("size")?,
            repodata: row.parsed("repodata", "a digest")?,
        })
    }
}

impl FromRow<'_, AnyRow> for Package {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("packages", row);
        Ok(Self {
            nevra: row.parsed("nevra", "a NEVRA")?,
            build: row.id("build")?,
            arch: row.parsed("arch", "an architecture")?,
            digest: row.parsed("digest", "a digest")?,
            size: row.size("size")?,
            repodata: row.parsed("repodata", "a digest")?,
        })
    }
}

/// Packages, each with its copy that was signed with the key `$2`, or NULLs if there is none.
const SIGNED: &str = "SELECT p.nevra, p.build, p.arch, p.digest, p.size, p.repodata,
    COALESCE(s.signed_digest, '') AS signed_digest, COALESCE(s.signed_size, 0) AS signed_size,
    COALESCE(s.repodata, '') AS published
    FROM packages p LEFT JOIN signatures s ON s.digest = p.digest AND s.key_name = $2";

impl FromRow<'_, AnyRow> for SignedPackage {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let columns = Columns::of("signatures", row);
        let signature = match columns.parsed_or_none("signed_digest", "a digest")? {
            Some(signed_digest) => Some(Signature {
                signed_digest,
                signed_size: columns.size("signed_size")?,
                repodata: columns.parsed("published", "a digest")?,
            }),
            None => None,
        };
        Ok(Self { package: Package::from_row(row)?, signature })
    }
}

/// Names of packages that one query asks for.
const PAGE: usize = 500;

/// The digest and the name of each file that an accepted attempt announced.
type AnnouncedFiles = Vec<(Sha256, String)>;

/// Whether a package is a file that an attempt announced. A `noarch` package may be the one of
/// another architecture or build, so it is compared by its name.
fn is_it(package: &Package, (digest, name): &(Sha256, String)) -> bool {
    package.digest == *digest
        || (package.nevra.arch == NOARCH && *name == package.nevra.file_name())
}

impl Store {
    /// All accepted packages of a target.
    pub async fn package_list(&self, target: &str) -> Result<Vec<Package>> {
        let query = "SELECT nevra, build, arch, digest, size, repodata FROM packages
                     WHERE target = $1 ORDER BY nevra";
        Ok(sqlx::query_as(query).bind(target).fetch_all(self.read_pool()).await?)
    }

    /// The package of a target with this NEVRA.
    pub async fn package_fetch(&self, target: &str, nevra: &Nevra) -> Result<Option<Package>> {
        let query = "SELECT nevra, build, arch, digest, size, repodata FROM packages
                     WHERE target = $1 AND nevra = $2";
        let query = sqlx::query_as(query).bind(target).bind(nevra.to_string());
        Ok(query.fetch_optional(self.read_pool()).await?)
    }

    /// Packages of a build with their signed copies for a key: those that the build was the first
    /// to make, and those that an earlier build of the target made with the same content.
    pub async fn package_list_of_build(
        &self,
        build: BuildId,
        key: &str,
    ) -> Result<Vec<SignedPackage>> {
        let query = "SELECT target FROM builds WHERE id = $1";
        let target: Option<String> =
            sqlx::query_scalar(query).bind(build.0).fetch_optional(self.read_pool()).await?;
        let Some(target) = target else { return Ok(Vec::new()) };
        let mut packages = self.package_list_of_builds(&target, &[build], key).await?;
        Ok(packages.remove(&build).unwrap_or_default())
    }

    /// The same for several builds of a target, with as many queries as for one.
    pub async fn package_list_of_builds(
        &self,
        target: &str,
        builds: &[BuildId],
        key: &str,
    ) -> Result<HashMap<BuildId, Vec<SignedPackage>>> {
        let ids = numbers(builds.iter().copied());
        let mut all = HashMap::<BuildId, Vec<SignedPackage>>::new();
        let own =
            self.package_list_signed_where(target, key, &format!("p.build IN ({ids})")).await?;
        for row in own {
            all.entry(row.package.build).or_default().push(row);
        }
        let mut others = self.upload_list_of_builds(&ids).await?;
        for (build, files) in &mut others {
            let own = all.get(build).map(Vec::as_slice).unwrap_or_default();
            files.retain(|file| !own.iter().any(|row| is_it(&row.package, file)));
        }
        others.retain(|_, files| !files.is_empty());
        if others.is_empty() {
            return Ok(all);
        }
        let wanted: BTreeSet<Sha256> =
            others.values().flatten().map(|(digest, _)| *digest).collect();
        let mut found = self
            .package_list_signed_where(target, key, &format!("p.digest IN ({})", digests(&wanted)))
            .await?;
        // Instead of a `noarch` package of the build, an earlier one with the same content may have
        // been kept, whose header differs; an earlier build of the same package made it.
        let ids = numbers(others.keys().copied());
        let among = format!(
            "p.nevra LIKE '%.{NOARCH}' AND p.build IN (SELECT e.id FROM builds e JOIN builds b
             ON b.target = e.target AND b.package = e.package WHERE b.id IN ({ids}))"
        );
        let known: BTreeSet<String> =
            found.iter().map(|row| row.package.nevra.to_string()).collect();
        let earlier = self.package_list_signed_where(target, key, &among).await?;
        found.extend(
            earlier.into_iter().filter(|row| !known.contains(&row.package.nevra.to_string())),
        );
        for (build, files) in others {
            let packages = all.entry(build).or_default();
            let is_other = |row: &&SignedPackage| row.package.build != build;
            let made = found
                .iter()
                .filter(is_other)
                .filter(|row| files.iter().any(|file| is_it(&row.package, file)));
            packages.extend(made.cloned());
            packages.sort_by_cached_key(|row| row.package.nevra.to_string());
        }
        Ok(all)
    }

    /// The packages of a target with their signed copies, for which a condition on `packages p`
    /// holds.
    async fn package_list_signed_where(
        &self,
        target: &str,
        key: &str,
        which: &str,
    ) -> Result<Vec<SignedPackage>> {
        // No index is of use for that expression: SQLite would take all packages of the target for
        // fewer than those of some builds or digests.
        let query = sqlx::AssertSqlSafe(format!(
            "{SIGNED} WHERE p.target || '' = $1 AND {which} ORDER BY p.nevra"
        ));
        let query = sqlx::query_as(query).persistent(false).bind(target).bind(key);
        Ok(query.fetch_all(self.read_pool()).await?)
    }

    /// Digests and names of all files that the accepted attempts of builds announced.
    async fn upload_list_of_builds(
        &self,
        builds: &str,
    ) -> Result<HashMap<BuildId, AnnouncedFiles>> {
        let query = format!(
            "SELECT t.build, e.report FROM tasks t JOIN acceptances c ON c.task = t.id
             JOIN attempt_ends e ON e.attempt = c.attempt WHERE t.build IN ({builds})"
        );
        let mut files = HashMap::<BuildId, AnnouncedFiles>::new();
        for (build, report) in rows!(self, (i64, String), query) {
            if let Some(Outcome::Succeeded(success)) = unjson("attempt_ends", "a report", &report)?
            {
                let announced = success.files.into_iter().map(|file| (file.digest, file.name));
                files.entry(BuildId(build)).or_default().extend(announced);
            }
        }
        Ok(files)
    }

    /// Those of these packages of a target that are signed with a key.
    pub async fn package_list_signed(
        &self,
        target: &str,
        key: &str,
        packages: &[&Nevra],
    ) -> Result<Vec<SignedPackage>> {
        let mut signed = Vec::with_capacity(packages.len());
        for page in packages.chunks(PAGE) {
            let places: Vec<String> =
                (3..3 + page.len()).map(|place| format!("(${place})")).collect();
            let places = places.join(", ");
            // A step along the index for each name, in this order: of a list, SQLite would rather
            // read all packages of the target.
            let query = sqlx::AssertSqlSafe(format!(
                "WITH n(nevra) AS (VALUES {places})
                 SELECT p.nevra, p.build, p.arch, p.digest, p.size, p.repodata,
                 s.signed_digest, s.signed_size, s.repodata AS published
                 FROM n CROSS JOIN packages p CROSS JOIN signatures s
                 WHERE p.target = $1 AND p.nevra = n.nevra
                 AND s.digest = p.digest AND s.key_name = $2"
            ));
            let mut query = sqlx::query_as(query).persistent(false).bind(target).bind(key);
            for nevra in page {
                query = query.bind(nevra.to_string());
            }
            let rows: Vec<SignedPackage> = query.fetch_all(self.read_pool()).await?;
            signed.extend(rows);
        }
        Ok(signed)
    }

    /// Those of these packages that are signed with another key than this one.
    pub async fn package_list_signed_otherwise(
        &self,
        packages: &[Sha256],
        key: &str,
    ) -> Result<BTreeSet<Sha256>> {
        let list = digests(&packages.iter().copied().collect());
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT DISTINCT digest FROM signatures WHERE key_name <> $1 AND digest IN ({list})"
        ));
        let rows: Vec<String> = sqlx::query_scalar(query)
            .persistent(false)
            .bind(key)
            .fetch_all(self.read_pool())
            .await?;
        rows.iter().map(|digest| parsed("signatures", "a digest", digest)).collect()
    }

    /// Records signed copies, and those of them that were proved, with what their files were like.
    pub async fn signature_insert(
        &self,
        key: &str,
        signatures: &[(Sha256, Signature)],
        proofs: &[(Sha256, FileStamp)],
        now: Timestamp,
    ) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            tx.wake_for([NextStep::Finish]);
            for (digest, signature) in signatures {
                sqlx::query(
                "INSERT INTO signatures (digest, key_name, signed_digest, signed_size, repodata,
                 at_us) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            )
            .bind(digest.hex())
            .bind(key)
            .bind(signature.signed_digest.hex())
            .bind(signature.signed_size.cast_signed())
            .bind(signature.repodata.hex())
            .bind(now.as_us())
            .execute(tx.conn())
            .await?;
            }
            tx.blob_proof_insert(proofs, now).await?;
            tx.commit().await
        })
        .await
    }
}

impl Tx {
    /// Records accepted packages. Answers how many the target did not have.
    ///
    /// # Errors
    /// [`StoreError::SameNevra`] for a NEVRA that the target has with another digest; then the
    /// transaction must not be committed.
    pub async fn package_insert(
        &mut self,
        target: &str,
        build: BuildId,
        task: TaskId,
        arch: Arch,
        packages: &[NewPackage],
    ) -> Result<i64> {
        let mut added = 0;
        let again = match is_planted(PlantedBug::TwoDigests) {
            false => "DO NOTHING",
            true => "(target, nevra) DO UPDATE SET digest = excluded.digest",
        };
        for package in packages {
            let nevra = package.nevra.to_string();
            self.package_check_withdrawn(target, build, &nevra).await?;
            let result = sqlx::query(sqlx::AssertSqlSafe(format!(
                "INSERT INTO packages (target, nevra, build, task, arch, digest, size, repodata)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT {again}"
            )))
            .bind(target)
            .bind(&nevra)
            .bind(build.0)
            .bind(task.0)
            .bind(arch.as_str())
            .bind(package.digest.hex())
            .bind(package.size.cast_signed())
            .bind(package.repodata.hex())
            .execute(self.conn())
            .await?;
            if result.rows_affected() == 0 {
                self.package_check_same(target, &nevra, package.digest).await?;
            } else {
                added += 1;
            }
        }
        if added > 0 {
            self.pool_raise(target, added).await?;
        }
        Ok(added)
    }

    /// Enters the packages of a build into the target, so many of them new: they are added to the
    /// solver's pools, and the packages that they replace are removed.
    pub async fn pool_enter(&mut self, target: &str, build: BuildId, added: i64) -> Result<()> {
        self.pool_settle(target, &[build], added, PoolCandidates::Present).await
    }

    /// Refuses a source package whose name the target has already, before anything is built from
    /// it: with another content, with other options (which change what is built from the same
    /// sources), or with another epoch, whose file would have the same path.
    ///
    /// # Errors
    /// [`StoreError::SameNevra`], [`StoreError::SameFile`], [`StoreError::OtherOptions`]; database
    /// errors.
    pub async fn package_check_unused(
        &mut self,
        build: BuildId,
        package: &NewPackage,
    ) -> Result<()> {
        let query = "SELECT p.target, p.nevra, p.build, p.digest
                     FROM builds t JOIN builds b ON b.target = t.target AND b.package = t.package
                     JOIN packages p ON p.build = b.id
                     WHERE t.id = $1 AND p.nevra LIKE '%src'";
        let rows: Vec<(String, String, i64, String)> =
            sqlx::query_as(query).bind(build.0).fetch_all(self.conn()).await?;
        let query = "SELECT target FROM builds WHERE id = $1";
        let target: Option<String> =
            sqlx::query_scalar(query).bind(build.0).fetch_optional(self.conn()).await?;
        if let Some(target) = target {
            self.package_check_withdrawn(&target, build, &package.nevra.to_string()).await?;
        }
        for (target, existing, by, digest) in rows {
            let by = BuildId(by);
            let nevra: Nevra = parsed("packages", "a NEVRA", &existing)?;
            if nevra.file_name() != package.nevra.file_name() {
                continue;
            }
            let new = package.nevra.to_string();
            if nevra != package.nevra {
                return Err(StoreError::SameFile { nevra: new, existing, target, build: by });
            }
            let (before, now) =
                (self.build_fetch_options(by).await?, self.build_fetch_options(build).await?);
            if before != now {
                let words = |options: &BuildOptions| match option_words(options) {
                    words if words.is_empty() => "no options".to_owned(),
                    words => words.join(" "),
                };
                let (existing, options) = (words(&before), words(&now));
                return Err(StoreError::OtherOptions {
                    nevra: new,
                    target,
                    build: by,
                    existing,
                    new: options,
                });
            }
            if digest != package.digest.hex() && !is_planted(PlantedBug::TwoDigests) {
                let (existing, nevra) = (digest, new);
                let new = package.digest.hex();
                return Err(StoreError::SameNevra { nevra, target, build: by, existing, new });
            }
        }
        Ok(())
    }

    /// Refuses a NEVRA of the same source package that was withdrawn: clients that have it
    /// installed would not update to another package of that name.
    async fn package_check_withdrawn(
        &mut self,
        target: &str,
        build: BuildId,
        nevra: &str,
    ) -> Result<()> {
        let query = "SELECT p.build, w.who, w.reason FROM withdrawn_packages p
                     JOIN withdrawals w ON w.id = p.withdrawal AND w.target = p.target
                         AND w.nevra = p.nevra
                     JOIN builds b ON b.id = p.build JOIN builds t ON t.package = b.package
                     WHERE p.target = $1 AND p.nevra = $2 AND t.id = $3";
        let row: Option<(i64, String, String)> = sqlx::query_as(query)
            .bind(target)
            .bind(nevra)
            .bind(build.0)
            .fetch_optional(self.conn())
            .await?;
        let Some((build, who, reason)) = row else { return Ok(()) };
        let (nevra, target, build) = (nevra.to_owned(), target.to_owned(), BuildId(build));
        Err(StoreError::Withdrawn { nevra, target, build, who, reason })
    }

    async fn package_check_same(
        &mut self,
        target: &str,
        nevra: &str,
        digest: Sha256,
    ) -> Result<()> {
        let query = "SELECT build, digest FROM packages WHERE target = $1 AND nevra = $2";
        let (build, existing): (i64, String) =
            sqlx::query_as(query).bind(target).bind(nevra).fetch_one(self.conn()).await?;
        if existing == digest.hex() {
            return Ok(());
        }
        Err(StoreError::SameNevra {
            nevra: nevra.into(),
            target: target.into(),
            build: BuildId(build),
            existing,
            new: digest.hex(),
        })
    }
}
