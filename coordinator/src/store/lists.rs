//! Queries with a list in them, as for the facts of some builds.
//!
//! Owns how a list is written into the text of a query, since a list cannot be bound alike in both
//! databases. It must not know any query.

use std::collections::BTreeSet;

use rpmfarm_core::{BuildId, Sha256};

/// Numbers as a list of SQL.
pub(super) fn list(ids: impl IntoIterator<Item = i64>) -> String {
    let ids: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    if ids.is_empty() { "NULL".to_owned() } else { ids.join(",") }
}

/// The numbers of builds as a list of SQL.
pub(super) fn numbers(builds: impl IntoIterator<Item = BuildId>) -> String {
    list(builds.into_iter().map(|id| id.0))
}

/// The texts of digests as a list of SQL.
pub(super) fn digests(of: &BTreeSet<Sha256>) -> String {
    let texts: Vec<String> = of.iter().map(|digest| format!("'{}'", digest.hex())).collect();
    if texts.is_empty() { "NULL".to_owned() } else { texts.join(",") }
}

/// Runs a query whose text is composed, and so is not cached.
macro_rules! rows {
    ($store:expr, $row:ty, $query:expr) => {{
        let query = sqlx::AssertSqlSafe($query);
        let rows: Vec<$row> =
            sqlx::query_as(query).persistent(false).fetch_all($store.read_pool()).await?;
        rows
    }};
}
pub(super) use rows;
