//! The plans of the databases for each query of the store: they use indexes, and do not read the
//! whole of a table that grows with the work of the farm.
//!
//! SQLite plans without statistics, since a farm never has it gather any. PostgreSQL gathers them
//! by itself. It is asked for plans that hold for all values, and without those that read a whole
//! table because it is still small; a whole table in the remaining plans lacks an index.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::Store;
use rpmfarm_lab::farm::Postgres;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use super::queries::{self, Query};

/// Builds in the databases, enough for PostgreSQL to take an index.
const BUILDS: i64 = 3_000;

/// Tables that do not grow with the farm's history or queue: with its coordinators, stages,
/// workers, targets, submitters and kinds of needs; and requests that are to be made in this
/// moment.
const SMALL: &[&str] = &[
    "coordinators",
    "counters",
    "pool_states",
    "pools",
    "push_requests",
    "queue_lines",
    "ready_queues",
    "stage_leases",
    "worker_owners",
];

/// Queries that go through a whole table, by a part of their text, and why they may.
const WHOLE: &[(&str, &str, &str)] = &[
    ("live_attempts", "t.id = a.task ORDER BY v.attempt", "all that workers have, after a start"),
    ("live_attempts", "COALESCE(n.needs, '') FROM live_attempts v", "all leases, to count them"),
    ("live_attempts", "SELECT DISTINCT worker FROM live_attempts", "as many as there are slots"),
    (
        "live_attempts",
        "AS takes_us FROM live_attempts v",
        "for a person who asks how long it takes",
    ),
    ("notes", "DELETE FROM notes WHERE coordinator", "once when a coordinator starts or is gone"),
    ("worker_certificates", "MAX(CASE WHEN e.fingerprint IS NULL", "for a list of all workers"),
    ("ready_tasks", "COUNT(*) AS tasks", "counts for metrics, kept for some seconds"),
    ("open_builds", "FROM open_builds o LEFT JOIN imports", "counts for metrics"),
    ("batch_heads", "SELECT batch, seq FROM batch_heads", "all that is open, one for each batch"),
    ("open_builds", "SELECT (SELECT COUNT(*) FROM open_builds)", "once at a start"),
    ("build_ends", "DELETE FROM build_ends WHERE (SELECT", "once after an older coordinator"),
    ("builds", "SELECT b.id, b.target, CASE", "once after an older coordinator"),
    (
        "open_pushes",
        "SELECT DISTINCT p.target FROM open_pushes o",
        "all that is open is to be done",
    ),
    ("claims", "SELECT DISTINCT k.build FROM claims k", "for a person, of what people decided"),
    ("ready_tasks", "ORDER BY r.rank, r.task LIMIT $1", "only tests ask that"),
    ("tracked", "FROM tracked ORDER BY target, package", "for a list of all that is followed"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_query_finds_its_rows_along_an_index() {
    check(BUILDS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "filling both databases takes some minutes and gigabytes"]
async fn every_query_finds_its_rows_along_an_index_with_a_million_builds() {
    check(1_000_000).await;
}

async fn check(builds: i64) {
    let queries = queries::all();
    let mut found = in_sqlite(&queries, builds).await;
    found.extend(in_postgres(&queries, builds).await);
    let is_allowed = |(query, table): &(usize, String), (of, part, _): &(&str, &str, &str)| {
        table == of && queries[*query].text.contains(part)
    };
    let allowed = |whole: &(usize, String)| WHOLE.iter().any(|one| is_allowed(whole, one));
    let wrong: Vec<String> = found
        .iter()
        .filter(|&whole| !allowed(whole))
        .map(|(query, table)| {
            let Query { place, text } = &queries[*query];
            format!("{place} goes through all of {table}: {text}")
        })
        .collect();
    assert!(wrong.is_empty(), "{}\nan index is missing, or a row of WHOLE", wrong.join("\n"));
    for one in WHOLE {
        assert!(found.iter().any(|whole| is_allowed(whole, one)), "{one:?} is not needed any more");
    }
}

/// The statements that fill a database.
fn filled(builds: i64) -> AssertSqlSafe<String> {
    let text = concat!(include_str!("filled.sql"), include_str!("filled_later.sql"));
    AssertSqlSafe(text.replace(":builds", &builds.to_string()))
}

/// The queries that go through a table on SQLite, by their place in the list, with the table.
async fn in_sqlite(queries: &[Query], builds: i64) -> BTreeSet<(usize, String)> {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("farm.db").display());
    Store::open(&url, Bus::default()).await.unwrap().close().await;
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(filled(builds)).execute(&mut connection).await.unwrap();
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
    let tables: BTreeSet<String> = tables.into_iter().collect();
    let mut found = BTreeSet::new();
    for (number, query) in queries.iter().enumerate() {
        // SQLite's writer has the whole database, and no words for a lock.
        if query.text.ends_with(" FOR UPDATE") {
            continue;
        }
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", query.text));
        let rows: Result<Vec<(i64, i64, i64, String)>, _> =
            sqlx::query_as(explain).fetch_all(&mut connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{}: {error}: {}", query.place, query.text));
        for (_, _, _, step) in rows {
            let whole = whole_in_sqlite(&step, query, &tables);
            found.extend(whole.into_iter().map(|table| (number, table)));
        }
    }
    found
}

/// The tables that a step of SQLite's plan may go through as a whole: `SCAN alias …`, also of an
/// index. <https://www.sqlite.org/eqp.html>
fn whole_in_sqlite(step: &str, query: &Query, tables: &BTreeSet<String>) -> Vec<String> {
    assert!(!step.contains("AUTOMATIC"), "{}: an index made for it: {step}", query.place);
    let Some(scanned) = step.strip_prefix("SCAN ") else { return Vec::new() };
    let alias = scanned.split(' ').next().unwrap();
    let text = &query.text;
    let meant = tables_called(alias, text, tables);
    let is_made = text.contains(&format!("{alias}(")) || text.contains(&format!(") {alias}"));
    // Rows whose key a new row mends: searched for only while a key is broken.
    let is_key = tables.contains(alias) && text.starts_with("INSERT ");
    let is_known = !meant.is_empty() || is_made || is_key || scanned.contains("CONSTANT ROW");
    assert!(is_known, "{}: it is not known what `{step}` goes through", query.place);
    meant.into_iter().filter(|table| !SMALL.contains(&table.as_str())).collect()
}

/// The tables that have a name in a query.
fn tables_called(alias: &str, text: &str, tables: &BTreeSet<String>) -> Vec<String> {
    let words: Vec<&str> = text.split([' ', '(', ')', ',']).filter(|it| !it.is_empty()).collect();
    let mut found = BTreeSet::new();
    for (at, word) in words.iter().enumerate() {
        let table = words.get(at + 1).filter(|table| tables.contains(**table));
        let Some(table) = table.filter(|_| ["FROM", "JOIN", "INTO", "UPDATE"].contains(word))
        else {
            continue;
        };
        if alias == *table || words.get(at + 2) == Some(&alias) {
            found.insert((*table).to_owned());
        }
    }
    found.into_iter().collect()
}

/// The same on PostgreSQL.
async fn in_postgres(queries: &[Query], builds: i64) -> BTreeSet<(usize, String)> {
    let postgres = Postgres::start().unwrap();
    let url = postgres.database("farm").unwrap();
    Store::open(&url, Bus::default()).await.unwrap().close().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(filled(builds)).execute(&mut connection).await.unwrap();
    let settings = "ANALYZE; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;
                    SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off";
    for setting in settings.split(';') {
        sqlx::raw_sql(AssertSqlSafe(setting)).execute(&mut connection).await.unwrap();
    }
    let indexes = "SELECT indexname::text, tablename::text FROM pg_indexes";
    let indexes: Vec<(String, String)> =
        sqlx::query_as(indexes).fetch_all(&mut connection).await.unwrap();
    let indexes: BTreeMap<String, String> = indexes.into_iter().collect();
    let mut found = BTreeSet::new();
    for (number, query) in queries.iter().enumerate() {
        let plan = explained(&mut connection, number, query).await;
        let whole = whole_in_postgres(&plan, &indexes);
        found.extend(whole.into_iter().map(|table| (number, table)));
    }
    found
}

/// The lines of PostgreSQL's plan of a query.
async fn explained(connection: &mut PgConnection, number: usize, query: &Query) -> Vec<String> {
    let prepare = AssertSqlSafe(format!("PREPARE q{number} AS {}", query.text));
    let prepared = sqlx::raw_sql(prepare).execute(&mut *connection).await;
    prepared.unwrap_or_else(|error| panic!("{}: {error}: {}", query.place, query.text));
    let values = vec!["NULL"; last_placeholder(&query.text)].join(", ");
    let values = if values.is_empty() { values } else { format!("({values})") };
    let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE q{number}{values}"));
    sqlx::query_scalar(explain).fetch_all(connection).await.unwrap()
}

/// The highest number of a placeholder.
fn last_placeholder(text: &str) -> usize {
    let numbers = text.split('$').skip(1).map(|rest| {
        let digits = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        rest[..digits].parse().unwrap()
    });
    numbers.max().unwrap_or(0)
}

/// The tables that a plan reads as a whole, or through a whole index. A search in an index has the
/// condition in the next line.
fn whole_in_postgres(plan: &[String], indexes: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let next = plan.iter().skip(1).map(String::as_str).chain([""]);
    for (line, next) in plan.iter().zip(next) {
        let first = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
        if let Some((_, table)) = line.split_once("Seq Scan on ") {
            found.insert(first(table));
        }
        let scan = line.contains("Index Scan") || line.contains("Index Only Scan");
        let index = line.split_once("Bitmap Index Scan on ").or_else(|| line.split_once(" using "));
        if let Some((_, index)) = index.filter(|_| scan && !next.contains("Index Cond:")) {
            found.insert(indexes[&first(index)].clone());
        }
    }
    found.retain(|table| !SMALL.contains(&table.as_str()));
    found
}
