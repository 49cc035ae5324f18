//! Sources of builds: the imported commit, and the SRPM that was made of it.

use std::collections::{BTreeSet, HashMap};

use rpmfarm_core::source::SourceRecord;
use rpmfarm_core::terms::{AllTerms, Terms};
use rpmfarm_core::{Arch, BuildId, Nevra, Sha256, Timestamp};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::lists::{numbers, rows};
use super::transaction_retry::again;
use super::{Build, Result, Store, Tx, json, parsed, unjson};

/// How many names one query may contain.
const NAMES: usize = 500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Where it was fetched from.
    pub url: String,
    /// Full commit id.
    pub commit: String,
    /// First line of the commit's message.
    pub subject: String,
    /// The source bundle's blob.
    pub bundle: Sha256,
    pub at: Timestamp,
}

/// A source package, as its header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srpm {
    /// SHA-256 of the file, by which the blob store has it.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Its name, with arch `src`.
    pub nevra: Nevra,
    /// Its build requirements, as rpm prints them, without those that rpm provides itself.
    pub requires: Vec<String>,
    /// Packages that must not be in its root (`BuildConflicts`).
    pub conflicts: Vec<String>,
    /// Names of the binary packages that its spec defines.
    pub predicts: Vec<String>,
    /// Whether its spec has `%generate_buildrequires`.
    pub dynamic: bool,
    /// The terms of its spec for each rpm target: those of the farm's target, and `noarch` where
    /// its `ExclusiveArch` names that. Empty for builds of older versions.
    pub terms: AllTerms,
}

/// An SRPM, and the build that made it.
#[derive(sqlx::FromRow)]
struct SrpmOfBuild {
    #[sqlx(try_from = "i64")]
    build: BuildId,
    #[sqlx(flatten)]
    srpm: Srpm,
}

/// An SRPM, and the package that it is of.
#[derive(sqlx::FromRow)]
struct SrpmOfPackage {
    package: String,
    #[sqlx(flatten)]
    srpm: Srpm,
}

impl FromRow<'_, AnyRow> for Import {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("imports", row);
        Ok(Self {
            url: row.string("url")?,
            commit: row.string("commit_id")?,
            subject: row.string("subject")?,
            bundle: row.parsed("bundle", "a digest")?,
            at: row.time("at_us")?,
        })
    }
}

impl FromRow<'_, AnyRow> for Srpm {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("srpms", row);
        Ok(Self {
            digest: row.parsed("digest", "a digest")?,
            size: row.size("size")?,
            nevra: row.parsed("nevra", "a NEVRA")?,
            requires: row.json("requires", "a list")?,
            conflicts: row.json("conflicts", "a list")?,
            predicts: row.json("predicts", "a list")?,
            dynamic: row.flag("dynamic")?,
            terms: row.json("terms", "terms")?,
        })
    }
}

impl Srpm {
    /// The terms for an rpm target; `None` when they are unknown.
    #[must_use]
    pub fn terms(&self, target: &str) -> Option<&Terms> {
        self.terms.get(target)
    }

    /// The build requirements on an architecture. Where rpm was not asked, or could not read the
    /// spec, they are those of the architecture on which the SRPM was made.
    #[must_use]
    pub fn requires_on(&self, arch: Arch) -> &[String] {
        self.requires_with(arch.as_str())
    }

    /// The build requirements for an rpm target ([`TaskKind::rpm_target`]).
    ///
    /// [`TaskKind::rpm_target`]: rpmfarm_core::task::TaskKind::rpm_target
    #[must_use]
    pub fn requires_with(&self, target: &str) -> &[String] {
        self.terms(target).map_or(&self.requires, |terms| &terms.requires)
    }

    /// The `BuildConflicts` for an rpm target.
    #[must_use]
    pub fn conflicts_with(&self, target: &str) -> &[String] {
        self.terms(target).map_or(&self.conflicts, |terms| &terms.conflicts)
    }

    /// The names of the packages that the spec makes on any architecture, and of their provides and
    /// obsoletes in the spec.
    #[must_use]
    pub fn predicts_anywhere(&self) -> Vec<String> {
        let terms = self.terms.values();
        let others = terms.flat_map(|terms| terms.predicts.iter().chain(&terms.provides));
        let all: BTreeSet<&String> = self.predicts.iter().chain(others).collect();
        all.into_iter().cloned().collect()
    }
}

impl Store {
    pub async fn import_insert(&self, build: BuildId, import: &Import) -> Result<()> {
        self.import_insert_with_record(build, import, &SourceRecord::default()).await
    }

    /// Records an import, with the record of where every file came from.
    pub async fn import_insert_with_record(
        &self,
        build: BuildId,
        import: &Import,
        record: &SourceRecord,
    ) -> Result<()> {
        again(|| async move {
            let mut tx = self.write().await?;
            sqlx::query(
                "INSERT INTO source_records (build, modification, record) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
            )
            .bind(build.0)
            .bind(record.modification.as_ref().map_or("", |modification| &modification.commit))
            .bind(json(record))
            .execute(tx.conn())
            .await?;
            for (n, note) in (0i64..).zip(&record.notes) {
                sqlx::query(
                    "INSERT INTO source_notes (build, n, note) VALUES ($1, $2, $3)
                     ON CONFLICT DO NOTHING",
                )
                .bind(build.0)
                .bind(n)
                .bind(note)
                .execute(tx.conn())
                .await?;
            }
            sqlx::query(
                "INSERT INTO imports (build, url, commit_id, subject, bundle, at_us)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            )
            .bind(build.0)
            .bind(&import.url)
            .bind(&import.commit)
            .bind(&import.subject)
            .bind(import.bundle.hex())
            .bind(import.at.as_us())
            .execute(tx.conn())
            .await?;
            tx.reindex(build, import.at).await?;
            tx.commit().await
        })
        .await
    }

    /// The import of a build.
    pub async fn import_fetch(&self, build: BuildId) -> Result<Option<Import>> {
        let query = "SELECT url, commit_id, subject, bundle, at_us FROM imports WHERE build = $1";
        Ok(sqlx::query_as(query).bind(build.0).fetch_optional(self.read_pool()).await?)
    }

    /// Where the sources of a build came from.
    pub async fn source_record_fetch(&self, build: BuildId) -> Result<Option<SourceRecord>> {
        let query = "SELECT record FROM source_records WHERE build = $1";
        let text: Option<String> =
            sqlx::query_scalar(query).bind(build.0).fetch_optional(self.read_pool()).await?;
        text.map(|text| unjson("source_records", "a record", &text)).transpose()
    }

    /// The newest earlier build of the same package and target that has sources.
    pub async fn import_fetch_previous(&self, build: &Build) -> Result<Option<BuildId>> {
        let query = "SELECT MAX(b.id) FROM builds b JOIN imports i ON i.build = b.id
                     WHERE b.target = $1 AND b.package = $2 AND b.id < $3";
        let found: Option<i64> = sqlx::query_scalar(query)
            .bind(&build.target)
            .bind(&build.package)
            .bind(build.id.0)
            .fetch_one(self.read_pool())
            .await?;
        Ok(found.map(BuildId))
    }

    /// The packages whose sources were imported for a target; if names are given, only those among
    /// them.
    pub async fn import_list_packages(
        &self,
        target: &str,
        among: &[&str],
    ) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        if among.is_empty() {
            let query = "SELECT DISTINCT b.package FROM builds b JOIN imports i ON i.build = b.id
                         WHERE b.target = $1";
            let all: Vec<String> =
                sqlx::query_scalar(query).bind(target).fetch_all(self.read_pool()).await?;
            found.extend(all);
        }
        for names in among.chunks(NAMES) {
            let places: Vec<String> = (0..names.len()).map(|at| format!("${}", at + 2)).collect();
            let places = places.join(", ");
            let query = sqlx::AssertSqlSafe(format!(
                "SELECT DISTINCT b.package FROM builds b JOIN imports i ON i.build = b.id
                 WHERE b.target = $1 AND b.package IN ({places})"
            ));
            let mut query = sqlx::query_scalar::<_, String>(query).persistent(false).bind(target);
            for name in names {
                query = query.bind(*name);
            }
            found.extend(query.fetch_all(self.read_pool()).await?);
        }
        Ok(found)
    }

    /// The packages that builds were requested for; of all targets when the name is empty.
    pub async fn build_list_packages(&self, target: &str) -> Result<BTreeSet<String>> {
        let targets = match target {
            "" => self.target_list_built().await?,
            name => vec![name.to_owned()],
        };
        // One step along the index for each package, however often it was built.
        let query = "WITH RECURSIVE p(name) AS (
                         SELECT MIN(package) FROM builds WHERE target = $1
                         UNION ALL
                         SELECT (SELECT MIN(b.package) FROM builds b
                                 WHERE b.target = $1 AND b.package > p.name)
                         FROM p WHERE p.name IS NOT NULL)
                     SELECT name FROM p WHERE name IS NOT NULL";
        let mut packages = BTreeSet::new();
        for target in targets {
            let rows: Vec<String> =
                sqlx::query_scalar(query).bind(target).fetch_all(self.read_pool()).await?;
            packages.extend(rows);
        }
        Ok(packages)
    }

    /// `VERSION-RELEASE` of every SRPM of a package for a target.
    pub async fn srpm_list_releases(&self, target: &str, package: &str) -> Result<Vec<String>> {
        let query = "SELECT s.nevra FROM srpms s JOIN builds b ON b.id = s.build
                     WHERE b.target = $1 AND b.package = $2 ORDER BY b.id";
        let rows: Vec<String> = sqlx::query_scalar(query)
            .bind(target)
            .bind(package)
            .fetch_all(self.read_pool())
            .await?;
        let release = |nevra: String| {
            let nevra: Nevra = parsed("srpms", "a NEVRA", &nevra)?;
            Ok(format!("{}-{}", nevra.evr.version, nevra.evr.release))
        };
        rows.into_iter().map(release).collect()
    }

    /// Whether the release of a build is raised.
    pub async fn build_is_bump(&self, build: BuildId) -> Result<bool> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM bumps WHERE build = $1")
            .bind(build.0)
            .fetch_one(self.read_pool())
            .await?;
        Ok(count > 0)
    }

    /// The SRPMs of those builds that have one.
    pub async fn srpm_list(&self, builds: &[BuildId]) -> Result<HashMap<BuildId, Srpm>> {
        let ids = numbers(builds.iter().copied());
        let query = format!(
            "SELECT build, digest, size, nevra, requires, conflicts, predicts, dynamic, terms
             FROM srpms WHERE build IN ({ids})"
        );
        let rows = rows!(self, SrpmOfBuild, query);
        Ok(rows.into_iter().map(|row| (row.build, row.srpm)).collect())
    }

    /// The newest SRPM that was accepted of each package of a target; packages without one are left
    /// out.
    pub async fn srpm_list_newest(
        &self,
        target: &str,
        packages: &[&str],
    ) -> Result<HashMap<String, Srpm>> {
        let mut found = HashMap::new();
        for names in packages.chunks(NAMES) {
            let places: Vec<String> = (0..names.len()).map(|at| format!("${}", at + 2)).collect();
            let places = places.join(", ");
            let query = sqlx::AssertSqlSafe(format!(
                "SELECT b.package, s.digest, s.size, s.nevra, s.requires, s.conflicts, s.predicts,
                 s.dynamic, s.terms FROM srpms s JOIN builds b ON b.id = s.build
                 WHERE s.build IN (SELECT MAX(n.id) FROM builds n JOIN srpms m ON m.build = n.id
                                   WHERE n.target = $1 AND n.package IN ({places})
                                   GROUP BY n.package)"
            ));
            let mut query = sqlx::query_as(query).persistent(false).bind(target);
            for name in names {
                query = query.bind(*name);
            }
            let rows: Vec<SrpmOfPackage> = query.fetch_all(self.read_pool()).await?;
            found.extend(rows.into_iter().map(|row| (row.package, row.srpm)));
        }
        Ok(found)
    }

    /// The SRPM of a build.
    pub async fn srpm_fetch(&self, build: BuildId) -> Result<Option<Srpm>> {
        let query = "SELECT digest, size, nevra, requires, conflicts, predicts, dynamic, terms
                     FROM srpms WHERE build = $1";
        Ok(sqlx::query_as(query).bind(build.0).fetch_optional(self.read_pool()).await?)
    }
}

impl Tx {
    /// Records the SRPM of a build.
    pub async fn srpm_insert(&mut self, build: BuildId, srpm: &Srpm) -> Result<()> {
        self.batch_note_changed(build);
        sqlx::query(
            "INSERT INTO srpms
             (build, digest, size, nevra, requires, conflicts, predicts, dynamic, terms)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(build.0)
        .bind(srpm.digest.hex())
        .bind(srpm.size.cast_signed())
        .bind(srpm.nevra.to_string())
        .bind(json(&srpm.requires))
        .bind(json(&srpm.conflicts))
        .bind(json(&srpm.predicts))
        .bind(i64::from(srpm.dynamic))
        .bind(json(&srpm.terms))
        .execute(self.conn())
        .await?;
        self.required_thing_insert(build, &srpm.requires).await?;
        for terms in srpm.terms.values() {
            self.required_thing_insert(build, &terms.requires).await?;
        }
        Ok(())
    }
}
