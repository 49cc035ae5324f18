//! Blobs that were read and proved, each with what its file was like then.

use std::collections::{BTreeSet, HashMap};

use rpmfarm_core::{Sha256, Timestamp};

use super::lists::digests;
use super::{Result, Store, Tx, parsed};
use crate::blobs::FileStamp;

impl Store {
    /// The properties of the files of these blobs when they were proved, for proofs since then.
    pub async fn blob_proof_list(
        &self,
        blobs: &BTreeSet<Sha256>,
        since: Timestamp,
    ) -> Result<HashMap<Sha256, FileStamp>> {
        let list = digests(blobs);
        let query = sqlx::AssertSqlSafe(format!(
            "SELECT digest, inode, size, mtime_ns FROM blob_proofs
             WHERE digest IN ({list}) AND at_us >= $1"
        ));
        let query = sqlx::query_as(query).persistent(false).bind(since.as_us());
        let rows: Vec<(String, i64, i64, i64)> = query.fetch_all(self.read_pool()).await?;
        rows.into_iter().map(proof).collect()
    }
}

impl Tx {
    /// Records that blobs were proved. The newest proof of a blob counts.
    pub(super) async fn blob_proof_insert(
        &mut self,
        proofs: &[(Sha256, FileStamp)],
        now: Timestamp,
    ) -> Result<()> {
        for (digest, stamp) in proofs {
            let query = "INSERT INTO blob_proofs (digest, inode, size, mtime_ns, at_us)
                         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (digest) DO UPDATE
                         SET inode = excluded.inode, size = excluded.size,
                         mtime_ns = excluded.mtime_ns, at_us = excluded.at_us";
            sqlx::query(query)
                .bind(digest.hex())
                .bind(stamp.inode.cast_signed())
                .bind(stamp.size.cast_signed())
                .bind(stamp.mtime_ns)
                .bind(now.as_us())
                .execute(self.conn())
                .await?;
        }
        Ok(())
    }
}

fn proof((digest, inode, size, mtime_ns): (String, i64, i64, i64)) -> Result<(Sha256, FileStamp)> {
    let (inode, size) = (inode.cast_unsigned(), size.cast_unsigned());
    let digest = parsed("blob_proofs", "a digest", &digest)?;
    Ok((digest, FileStamp { inode, size, mtime_ns }))
}
