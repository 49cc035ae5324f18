//! Invitations, enrolments and certificates of workers.
//!
//! A transaction that adds a certificate locks the sequence `fleet`, so that none is added for a
//! worker that is being revoked.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_core::enrolment::TokenUse;
use rpmfarm_core::worker_standing::Standing;
use rpmfarm_core::{Arch, Sha256, Timestamp};
use sqlx::FromRow;
use sqlx::any::AnyRow;

use super::columns::Columns;
use super::{Result, Store, Tx, json, parsed, unjson};

/// A token that makes a host a worker, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The name that the worker gets.
    pub worker: String,
    /// The architectures that it may build for; empty for all.
    pub arches: Vec<Arch>,
    pub created: Timestamp,
    pub expires: Timestamp,
    /// When the token was used, and the fingerprint of the certificate that was given for it.
    pub used: Option<(TokenUse, Sha256)>,
}

/// A certificate of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of its DER.
    pub fingerprint: Sha256,
    pub worker: String,
    /// Its serial number, in hex.
    pub serial: String,
    pub pem: String,
    pub issued: Timestamp,
    pub ends: Timestamp,
}

/// A certificate, and why it is no longer valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    pub certificate: Certificate,
    /// Why it was revoked; `None` when it was not.
    pub ended: Option<String>,
}

impl FromRow<'_, AnyRow> for CertificateRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let row = Columns::of("worker_certificates", row);
        let certificate = Certificate {
            fingerprint: row.parsed("fingerprint", "a digest")?,
            worker: row.string("worker")?,
            serial: row.string("serial")?,
            pem: row.string("pem")?,
            issued: row.time("issued_us")?,
            ends: row.time("ends_us")?,
        };
        let ended = row.string("ended")?;
        Ok(Self { certificate, ended: (!ended.is_empty()).then_some(ended) })
    }
}

impl FromRow<'_, AnyRow> for Invitation {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let (row, used) = (Columns::of("invitations", row), Columns::of("enrolments", row));
        let used = match used.parsed_or_none("key_digest", "a digest")? {
            Some(key) => {
                let at = used.time("at_us")?;
                Some((TokenUse { key, at }, used.parsed("certificate", "a digest")?))
            }
            None => None,
        };
        Ok(Self {
            worker: row.string("worker")?,
            arches: row.json("arches", "a list of architectures")?,
            created: row.time("created_us")?,
            expires: row.time("expires_us")?,
            used,
        })
    }
}

impl Store {
    /// Records an invitation by the digest of its token.
    pub async fn invitation_insert(&self, digest: Sha256, invitation: &Invitation) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO invitations (digest, worker, arches, created_us, expires_us)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(digest.hex())
        .bind(&invitation.worker)
        .bind(json(&invitation.arches))
        .bind(invitation.created.as_us())
        .bind(invitation.expires.as_us())
        .execute(tx.conn())
        .await?;
        tx.commit().await
    }

    /// The invitation of a token.
    pub async fn invitation_fetch(&self, digest: Sha256) -> Result<Option<Invitation>> {
        let query = "SELECT i.worker, i.arches, i.created_us, i.expires_us,
                     COALESCE(e.key_digest, '') AS key_digest,
                     COALESCE(e.certificate, '') AS certificate, COALESCE(e.at_us, 0) AS at_us
                     FROM invitations i LEFT JOIN enrolments e ON e.invitation = i.digest
                     WHERE i.digest = $1";
        Ok(sqlx::query_as(query).bind(digest.hex()).fetch_optional(self.read_pool()).await?)
    }

    /// Uses an invitation. The worker's earlier certificates are revoked, and a revoked worker is
    /// active again. False when the invitation was used in the meantime; then nothing is changed.
    pub async fn worker_enrol(
        &self,
        invitation: Sha256,
        arches: &[Arch],
        key: Sha256,
        certificate: &Certificate,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.write().await?;
        let id = tx.next_id("fleet").await?;
        let used = sqlx::query(
            "INSERT INTO enrolments
             (invitation, id, worker, arches, key_digest, certificate, at_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        )
        .bind(invitation.hex())
        .bind(id)
        .bind(&certificate.worker)
        .bind(json(&arches))
        .bind(key.hex())
        .bind(certificate.fingerprint.hex())
        .bind(now.as_us())
        .execute(tx.conn())
        .await?;
        if used.rows_affected() == 0 {
            return Ok(false);
        }
        let worker = &certificate.worker;
        tx.certificate_end_all(worker, "the worker was enrolled again", now).await?;
        if tx.standing_fetch(worker).await? == Standing::Revoked {
            tx.standing_insert(id, worker, Standing::Active, "enrolled again", now).await?;
        }
        tx.certificate_insert(certificate).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Gives a worker a new certificate. False when the one that it showed is no longer valid; then
    /// nothing is changed.
    pub async fn certificate_renew(
        &self,
        shown: Sha256,
        certificate: &Certificate,
    ) -> Result<bool> {
        let mut tx = self.write().await?;
        tx.next_id("fleet").await?;
        let query = "SELECT COUNT(*) FROM worker_certificates c WHERE c.fingerprint = $1
                     AND c.worker = $2 AND NOT EXISTS
                     (SELECT 1 FROM certificate_ends e WHERE e.fingerprint = c.fingerprint)";
        let counts: i64 = sqlx::query_scalar(query)
            .bind(shown.hex())
            .bind(&certificate.worker)
            .fetch_one(tx.conn())
            .await?;
        if counts == 0 || !tx.standing_fetch(&certificate.worker).await?.may_connect() {
            return Ok(false);
        }
        tx.certificate_insert(certificate).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A certificate by its fingerprint.
    pub async fn certificate_fetch(&self, fingerprint: Sha256) -> Result<Option<CertificateRow>> {
        let query = "SELECT c.fingerprint, c.worker, c.serial, c.pem, c.issued_us, c.ends_us,
                     COALESCE(e.reason, '') AS ended FROM worker_certificates c
                     LEFT JOIN certificate_ends e ON e.fingerprint = c.fingerprint
                     WHERE c.fingerprint = $1";
        Ok(sqlx::query_as(query).bind(fingerprint.hex()).fetch_optional(self.read_pool()).await?)
    }

    /// The last certificates of a worker, newest first.
    pub async fn certificate_list(&self, worker: &str, limit: u32) -> Result<Vec<CertificateRow>> {
        let query = "SELECT c.fingerprint, c.worker, c.serial, c.pem, c.issued_us, c.ends_us,
                     COALESCE(e.reason, '') AS ended FROM worker_certificates c
                     LEFT JOIN certificate_ends e ON e.fingerprint = c.fingerprint
                     WHERE c.worker = $1 ORDER BY c.issued_us DESC, c.fingerprint LIMIT $2";
        let query = sqlx::query_as(query).bind(worker).bind(i64::from(limit));
        Ok(query.fetch_all(self.read_pool()).await?)
    }

    /// Every worker that was ever enrolled, with the expiry of its newest valid certificate; `None`
    /// when it has none.
    pub async fn enrolment_list(&self) -> Result<BTreeMap<String, Option<Timestamp>>> {
        let query =
            "SELECT c.worker, MAX(CASE WHEN e.fingerprint IS NULL THEN c.ends_us ELSE 0 END)
                     FROM worker_certificates c
                     LEFT JOIN certificate_ends e ON e.fingerprint = c.fingerprint
                     GROUP BY c.worker";
        let rows: Vec<(String, i64)> = sqlx::query_as(query).fetch_all(self.read_pool()).await?;
        let ends = |(worker, ends)| (worker, Timestamp::from_us(ends).known());
        Ok(rows.into_iter().map(ends).collect())
    }

    /// Revoked certificates, until they expire.
    pub async fn certificate_list_ended(&self, now: Timestamp) -> Result<BTreeSet<Sha256>> {
        let query = "SELECT e.fingerprint FROM certificate_ends e JOIN worker_certificates c
                     ON c.fingerprint = e.fingerprint WHERE c.ends_us > $1";
        let found: Vec<String> =
            sqlx::query_scalar(query).bind(now.as_us()).fetch_all(self.read_pool()).await?;
        found.iter().map(|text| parsed("certificate_ends", "a digest", text)).collect()
    }

    /// The architectures that an enrolled worker may build for: `None` when it was not enrolled,
    /// empty for all.
    pub async fn enrolment_fetch_arches(&self, worker: &str) -> Result<Option<Vec<Arch>>> {
        let query = "SELECT arches FROM enrolments WHERE worker = $1 ORDER BY id DESC LIMIT 1";
        let found: Option<String> =
            sqlx::query_scalar(query).bind(worker).fetch_optional(self.read_pool()).await?;
        found.map(|text| unjson("enrolments", "a list of architectures", &text)).transpose()
    }
}

impl Tx {
    async fn certificate_insert(&mut self, certificate: &Certificate) -> Result<()> {
        sqlx::query(
            "INSERT INTO worker_certificates (fingerprint, worker, serial, pem, issued_us, ends_us)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(certificate.fingerprint.hex())
        .bind(&certificate.worker)
        .bind(&certificate.serial)
        .bind(&certificate.pem)
        .bind(certificate.issued.as_us())
        .bind(certificate.ends.as_us())
        .execute(self.conn())
        .await?;
        Ok(())
    }

    /// Revokes all valid certificates of a worker.
    pub(super) async fn certificate_end_all(
        &mut self,
        worker: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<()> {
        sqlx::query(
            "INSERT INTO certificate_ends (fingerprint, reason, at_us)
             SELECT fingerprint, $2, $3 FROM worker_certificates WHERE worker = $1
             ON CONFLICT DO NOTHING",
        )
        .bind(worker)
        .bind(reason)
        .bind(now.as_us())
        .execute(self.conn())
        .await?;
        Ok(())
    }
}
