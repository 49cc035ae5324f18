//! Accepted packages and their signed forms.

use rpmfarm_core::noarch::NOARCH;
use rpmfarm_core::task::Outcome;
use rpmfarm_core::{Arch, BuildId, BuildOptions, Nevra, Sha256, TaskId};

use super::again::again;
use super::{Result, Store, StoreError, Tx, parsed, unjson};

/// A package of an accepted attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPackage {
    /// Its full name.
    pub nevra: Nevra,
    /// Its blob.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The blob of its repodata, for the solver.
    pub repodata: Sha256,
}

/// An accepted package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its full name.
    pub nevra: Nevra,
    /// The build that made it.
    pub build: BuildId,
    /// Architecture of the task that made it.
    pub arch: Arch,
    /// Its blob.
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
    /// Its signed form.
    pub signature: Option<Signature>,
}

type Row = (String, i64, String, String, i64, String);

fn package((nevra, build, arch, digest, size, repodata): Row) -> Result<Package> {
    Ok(Package {
        nevra: parsed("packages", "a NEVRA", &nevra)?,
        build: BuildId(build),
        arch: parsed("packages", "an architecture", &arch)?,
        digest: parsed("packages", "a digest", &digest)?,
        size: size.unsigned_abs(),
        repodata: parsed("packages", "a digest", &repodata)?,
    })
}

/// A [`Row`], then digest, size and repodata of the signed form; empty when there is none.
type SignedRow = (String, i64, String, String, i64, String, String, i64, String);

/// Packages with their signed forms under the key `$2`.
const SIGNED: &str = "SELECT p.nevra, p.build, p.arch, p.digest, p.size, p.repodata,
    COALESCE(s.signed_digest, ''), COALESCE(s.signed_size, 0), COALESCE(s.repodata, '')
    FROM packages p LEFT JOIN signatures s ON s.digest = p.digest AND s.key_name = $2";

fn signed_package(row: SignedRow) -> Result<SignedPackage> {
    let (nevra, build, arch, digest, size, repodata, signed, signed_size, published) = row;
    let signature = if signed.is_empty() {
        None
    } else {
        Some(Signature {
            signed_digest: parsed("signatures", "a digest", &signed)?,
            signed_size: signed_size.unsigned_abs(),
            repodata: parsed("signatures", "a digest", &published)?,
        })
    };
    let package = package((nevra, build, arch, digest, size, repodata))?;
    Ok(SignedPackage { package, signature })
}

impl Store {
    /// All accepted packages of a target.
    ///
    /// # Errors
    /// Database errors.
    pub async fn packages(&self, target: &str) -> Result<Vec<Package>> {
        let query = "SELECT nevra, build, arch, digest, size, repodata FROM packages
                     WHERE target = $1 ORDER BY nevra";
        let rows: Vec<Row> = sqlx::query_as(query).bind(target).fetch_all(self.read()).await?;
        rows.into_iter().map(package).collect()
    }

    /// The package of a target with this NEVRA.
    ///
    /// # Errors
    /// Database errors.
    pub async fn package(&self, target: &str, nevra: &Nevra) -> Result<Option<Package>> {
        let query = "SELECT nevra, build, arch, digest, size, repodata FROM packages
                     WHERE target = $1 AND nevra = $2";
        let row: Option<Row> = sqlx::query_as(query)
            .bind(target)
            .bind(nevra.to_string())
            .fetch_optional(self.read())
            .await?;
        row.map(package).transpose()
    }

    /// How many packages of a target are accepted: it changes whenever the pool does.
    ///
    /// # Errors
    /// Database errors.
    pub async fn package_count(&self, target: &str) -> Result<i64> {
        Ok(sqlx::query_scalar("SELECT COUNT(*) FROM packages WHERE target = $1")
            .bind(target)
            .fetch_one(self.read())
            .await?)
    }

    /// Packages of a build with their signed forms under a key: those that it was the first to
    /// make, and those that are the same as another build of its target had made before.
    ///
    /// # Errors
    /// Database errors.
    pub async fn packages_of(&self, build: BuildId, key: &str) -> Result<Vec<SignedPackage>> {
        let query = sqlx::AssertSqlSafe(format!("{SIGNED} WHERE p.build = $1 ORDER BY p.nevra"));
        let rows: Vec<SignedRow> =
            sqlx::query_as(query).bind(build.0).bind(key).fetch_all(self.read()).await?;
        let mut packages: Vec<SignedPackage> =
            rows.into_iter().map(signed_package).collect::<Result<_>>()?;
        let mut others = self.announced_by(build).await?;
        others.retain(|(digest, _)| packages.iter().all(|row| row.package.digest != *digest));
        if others.is_empty() {
            return Ok(packages);
        }
        let query = sqlx::AssertSqlSafe(format!(
            "{SIGNED} WHERE p.target = (SELECT target FROM builds WHERE id = $1)
             AND p.build <> $1 ORDER BY p.nevra"
        ));
        let rows: Vec<SignedRow> =
            sqlx::query_as(query).bind(build.0).bind(key).fetch_all(self.read()).await?;
        for row in rows {
            let row = signed_package(row)?;
            let Package { nevra, digest, .. } = &row.package;
            // Of a package without architecture an earlier one with the same content may have
            // stayed, whose header has other bytes.
            let is_it = |(of, name): &(Sha256, String)| {
                of == digest || (nevra.arch == NOARCH && *name == nevra.file_name())
            };
            if others.iter().any(is_it) {
                packages.push(row);
            }
        }
        packages.sort_by_cached_key(|row| row.package.nevra.to_string());
        Ok(packages)
    }

    /// Digests and names of all files that the accepted attempts of a build announced.
    async fn announced_by(&self, build: BuildId) -> Result<Vec<(Sha256, String)>> {
        let query = "SELECT e.report FROM tasks t JOIN acceptances c ON c.task = t.id
                     JOIN attempt_ends e ON e.attempt = c.attempt WHERE t.build = $1";
        let reports: Vec<String> =
            sqlx::query_scalar(query).bind(build.0).fetch_all(self.read()).await?;
        let mut files = Vec::new();
        for report in reports {
            if let Some(Outcome::Succeeded(success)) = unjson("attempt_ends", "a report", &report)?
            {
                files.extend(success.files.into_iter().map(|file| (file.digest, file.name)));
            }
        }
        Ok(files)
    }

    /// Packages of a target that are signed with a key.
    ///
    /// # Errors
    /// Database errors.
    pub async fn signed_packages(&self, target: &str, key: &str) -> Result<Vec<SignedPackage>> {
        let query = "SELECT p.nevra, p.build, p.arch, p.digest, p.size, p.repodata,
                     s.signed_digest, s.signed_size, s.repodata
                     FROM packages p JOIN signatures s
                     ON s.digest = p.digest AND s.key_name = $2
                     WHERE p.target = $1 ORDER BY p.nevra";
        let rows: Vec<SignedRow> =
            sqlx::query_as(query).bind(target).bind(key).fetch_all(self.read()).await?;
        rows.into_iter().map(signed_package).collect()
    }

    /// When the last package of a build was signed with a key; 0 when none is.
    ///
    /// # Errors
    /// Database errors.
    pub async fn signed_us(&self, build: BuildId, key: &str) -> Result<i64> {
        let query = "SELECT MAX(s.at_us) FROM packages p JOIN signatures s
                     ON s.digest = p.digest AND s.key_name = $2 WHERE p.build = $1";
        let latest: Option<i64> =
            sqlx::query_scalar(query).bind(build.0).bind(key).fetch_one(self.read()).await?;
        Ok(latest.unwrap_or(0))
    }

    /// Records signed forms.
    ///
    /// # Errors
    /// Database errors.
    pub async fn add_signatures(
        &self,
        key: &str,
        signatures: &[(Sha256, Signature)],
        now_us: i64,
    ) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
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
            .bind(now_us)
            .execute(tx.on())
            .await?;
            }
            tx.commit().await
        })
        .await
    }
}

impl Tx {
    /// Records accepted packages.
    ///
    /// # Errors
    /// [`StoreError::SameNevra`] for a NEVRA that the target has with another digest; then the
    /// transaction must not be committed.
    pub async fn add_packages(
        &mut self,
        target: &str,
        build: BuildId,
        task: TaskId,
        arch: Arch,
        packages: &[NewPackage],
    ) -> Result<()> {
        for package in packages {
            let nevra = package.nevra.to_string();
            let result = sqlx::query(
                "INSERT INTO packages (target, nevra, build, task, arch, digest, size, repodata)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            )
            .bind(target)
            .bind(&nevra)
            .bind(build.0)
            .bind(task.0)
            .bind(arch.as_str())
            .bind(package.digest.hex())
            .bind(package.size.cast_signed())
            .bind(package.repodata.hex())
            .execute(self.on())
            .await?;
            if result.rows_affected() == 0 {
                self.check_same(target, &nevra, package.digest).await?;
            }
        }
        Ok(())
    }

    /// Refuses a source package whose name the target has already, before anything is built of it:
    /// with another content, built with other options (which change what is built of the same
    /// sources), or as the name of another epoch's file, which would be published at the
    /// same place.
    ///
    /// # Errors
    /// [`StoreError::SameNevra`], [`StoreError::SameFile`], [`StoreError::OtherOptions`]; database
    /// errors.
    pub async fn check_unused(&mut self, build: BuildId, package: &NewPackage) -> Result<()> {
        let query = "SELECT p.target, p.nevra, p.build, p.digest
                     FROM builds t JOIN builds b ON b.target = t.target AND b.package = t.package
                     JOIN packages p ON p.build = b.id
                     WHERE t.id = $1 AND p.nevra LIKE '%src'";
        let rows: Vec<(String, String, i64, String)> =
            sqlx::query_as(query).bind(build.0).fetch_all(self.on()).await?;
        for (target, existing, by, digest) in rows {
            let nevra: Nevra = parsed("packages", "a NEVRA", &existing)?;
            if nevra.file_name() != package.nevra.file_name() {
                continue;
            }
            let new = package.nevra.to_string();
            if nevra != package.nevra {
                return Err(StoreError::SameFile { nevra: new, existing, target, build: by });
            }
            let (before, now) =
                (self.build_options(BuildId(by)).await?, self.build_options(build).await?);
            if before != now {
                let words = |options: &BuildOptions| match options.to_string() {
                    words if words.is_empty() => "no options".to_owned(),
                    words => words,
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
            if digest != package.digest.hex() {
                let (existing, nevra) = (digest, new);
                let new = package.digest.hex();
                return Err(StoreError::SameNevra { nevra, target, build: by, existing, new });
            }
        }
        Ok(())
    }

    async fn check_same(&mut self, target: &str, nevra: &str, digest: Sha256) -> Result<()> {
        let query = "SELECT build, digest FROM packages WHERE target = $1 AND nevra = $2";
        let (build, existing): (i64, String) =
            sqlx::query_as(query).bind(target).bind(nevra).fetch_one(self.on()).await?;
        if existing == digest.hex() {
            return Ok(());
        }
        Err(StoreError::SameNevra {
            nevra: nevra.into(),
            target: target.into(),
            build,
            existing,
            new: digest.hex(),
        })
    }
}
