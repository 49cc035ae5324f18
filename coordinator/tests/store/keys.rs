//! Foreign keys: both databases refuse a fact without the fact that it belongs to, and the upgrade
//! of an older farm keeps its facts.

use std::collections::{BTreeMap, BTreeSet};

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::{Store, explain};
use rpmfarm_core::BuildId;
use rpmfarm_lab::farm::Postgres;
use sqlx::any::{AnyConnectOptions, AnyRow};
use sqlx::{
    AnyConnection, AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Row as _,
};

use super::NOW;
use super::common::builds::import;
use super::common::on_both;

/// The last migration before facts had keys.
const BEFORE_KEYS: i64 = 37;

/// Columns that name a row of another table and have no key, with the reason.
const WITHOUT_KEY: &[(&str, &str, &str)] = &[
    ("build_ends", "build", INDEX),
    ("failures", "task", "0 before there was a task"),
    ("live_attempts", "attempt", INDEX),
    ("live_attempts", "task", INDEX),
    ("measures", "attempt", "only says which measure is newer"),
    ("open_builds", "build", INDEX),
    ("open_pushes", "push", INDEX),
    ("push_ends", "build", "0 for a push that leads to a build yet to be made"),
    ("ready_tasks", "build", INDEX),
    ("ready_tasks", "task", INDEX),
    ("results", "build", "that of its task, which has a key"),
    ("returning_packages", "build", INDEX),
    ("stage_work", "build", INDEX),
    ("stage_work", "task", INDEX),
    ("task_ranks", "task", "written with each task that gets into its queue, from that task's row"),
];

const INDEX: &str = "an index, which is made from facts in the transaction that changes them";

/// Names of columns that name a row of another table.
const OWNERS: &[&str] = &["attempt", "build", "push", "storm", "task"];

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_without_its_owner_is_refused() {
    on_both(|store| async move {
        let refused = store.import_insert(BuildId(99), &import(NOW)).await.unwrap_err();
        assert!(refused.to_string().to_lowercase().contains("foreign key"), "{refused}");
        assert!(!refused.is_outage() && !refused.may_have_happened());
        assert_eq!(store.source_record_fetch(BuildId(99)).await.unwrap(), None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reference_has_a_key_or_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("farm.db").display());
    Store::open(&url, Bus::default()).await.unwrap().close().await;
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let query = "SELECT t.name, c.name, EXISTS (SELECT 1 FROM pragma_foreign_key_list(t.name) k
                                                WHERE k.\"from\" = c.name)
                 FROM sqlite_master t JOIN pragma_table_info(t.name) c
                 WHERE t.type = 'table' ORDER BY t.name, c.name";
    let columns: Vec<(String, String, bool)> =
        sqlx::query_as(query).fetch_all(&mut connection).await.unwrap();
    let without: Vec<(&str, &str)> = columns
        .iter()
        .filter(|(_, column, has_key)| OWNERS.contains(&column.as_str()) && !has_key)
        .map(|(table, column, _)| (table.as_str(), column.as_str()))
        .collect();
    let expected: Vec<(&str, &str)> =
        WITHOUT_KEY.iter().map(|(table, column, _)| (*table, *column)).collect();
    assert_eq!(without, expected);
}

/// Runs a test with the addresses of an empty database of each kind.
pub(crate) async fn on_empty(test: impl AsyncFn(String)) {
    sqlx::any::install_default_drivers();
    let dir = tempfile::tempdir().unwrap();
    test(format!("sqlite://{}?mode=rwc", dir.path().join("farm.db").display())).await;
    let postgres = Postgres::start().unwrap();
    test(postgres.database("farm").unwrap()).await;
}

/// A connection to a database whose schema is that of an older version.
pub(crate) async fn older(url: &str, migration: i64) -> AnyConnection {
    let mut connection = connect(url).await;
    sqlx::migrate!("./migrations").run_to(migration, &mut connection).await.unwrap();
    connection
}

async fn connect(url: &str) -> AnyConnection {
    url.parse::<AnyConnectOptions>().unwrap().connect().await.unwrap()
}

pub(crate) async fn run(connection: &mut AnyConnection, statements: String) {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.unwrap();
}

/// The tables that `filled.sql` fills, each with its columns.
async fn columns(connection: &mut AnyConnection) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let tables = include_str!("filled.sql").split("INSERT INTO ").skip(1);
    for table in tables.map(|rest| rest.split(' ').next().unwrap()) {
        let query = AssertSqlSafe(format!("SELECT * FROM {table} LIMIT 1"));
        let found = sqlx::query(query).fetch_optional(&mut *connection).await.unwrap();
        let found = found.unwrap_or_else(|| panic!("{table} is empty"));
        let names: Vec<&str> = found.columns().iter().map(|column| column.name()).collect();
        all.insert(table.to_owned(), names.join(", "));
    }
    all
}

/// All different rows of these columns.
async fn rows(
    connection: &mut AnyConnection,
    columns: &BTreeMap<String, String>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for (table, columns) in columns {
        let query = AssertSqlSafe(format!("SELECT {columns} FROM {table}"));
        let found = sqlx::query(query).fetch_all(&mut *connection).await.unwrap();
        all.insert(table.clone(), found.iter().map(shown).collect());
    }
    all
}

fn shown(row: &AnyRow) -> String {
    let column = |at: usize| {
        let number = row.try_get::<i64, _>(at).map(|number| number.to_string());
        number.unwrap_or_else(|_| row.get(at))
    };
    (0..row.len()).map(column).collect::<Vec<String>>().join("|")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farm_from_before_the_keys_keeps_all_its_facts() {
    on_empty(async |url| {
        let mut connection = older(&url, BEFORE_KEYS).await;
        run(&mut connection, include_str!("filled.sql").replace(":builds", "300")).await;
        let columns = columns(&mut connection).await;
        let before = rows(&mut connection, &columns).await;
        connection.close().await.unwrap();

        let store = Store::open(url.trim_end_matches("?mode=rwc"), Bus::default()).await.unwrap();
        assert!(store.import_insert(BuildId(999), &import(NOW)).await.is_err(), "it has keys");
        store.close().await;
        assert_eq!(rows(&mut connect(&url).await, &columns).await, before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_belong_to_nothing_are_named_and_kept() {
    on_empty(async |url| {
        let mut connection = older(&url, BEFORE_KEYS).await;
        let lock = "INSERT INTO locks (task, round, digest, at_us) VALUES (7, 0, 'd', 1)";
        run(&mut connection, lock.to_owned()).await;
        connection.close().await.unwrap();

        let opened = Store::open(url.trim_end_matches("?mode=rwc"), Bus::default()).await;
        let explained = explain(&opened.unwrap_err(), &url);
        assert!(explained.contains("rows of locks whose task is not in tasks"), "{explained}");
        let mut connection = connect(&url).await;
        let kept = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM locks");
        assert_eq!(kept.fetch_one(&mut connection).await.unwrap(), 1);
    })
    .await;
}
