//! Fills a database with builds that wait for workers, for benchmarks of dispatch.
//!
//! It writes the facts and indexes that a farm would have written for builds whose SRPM is
//! accepted and whose root is locked: `--queued` open ones of class mass, which wait, and `--ended`
//! ones of another architecture, which failed and can be tried again at once.

use clap::Parser;
use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::Store;
use rpmfarm_daemon::now_us;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, ConnectOptions as _, Executor as _};

#[derive(Debug, Parser)]
struct Options {
    /// The database's URL.
    #[arg(long)]
    database: String,
    /// Name of the target.
    #[arg(long, default_value = "lab")]
    target: String,
    /// Number of builds that wait for a worker.
    #[arg(long, default_value_t = 100_000)]
    queued: i64,
    /// Architecture of the builds that wait.
    #[arg(long, default_value = "x86_64")]
    arch: String,
    /// Number of builds that failed.
    #[arg(long, default_value_t = 1_000)]
    ended: i64,
    /// Architecture of the builds that failed.
    #[arg(long, default_value = "aarch64")]
    ended_arch: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    Store::open(&options.database, Bus::default()).await?.close().await;
    sqlx::any::install_default_drivers();
    let mut connection = options.database.parse::<AnyConnectOptions>()?.connect().await?;
    connection.execute("BEGIN").await?;
    let (queued, all) = (options.queued, options.queued + options.ended);
    let target = &options.target;
    if queued > 0 {
        fill(&mut connection, target, &options.arch, "mass", 1, queued).await?;
        open(&mut connection, &options.arch, 1, queued).await?;
    }
    if options.ended > 0 {
        fill(&mut connection, target, &options.ended_arch, "security", queued + 1, all).await?;
        fail(&mut connection, queued + 1, all).await?;
    }
    for counter in ["build", "batch", "task"] {
        let query = format!("UPDATE counters SET value = {all} WHERE name = '{counter}'");
        sqlx::query(sqlx::AssertSqlSafe(query)).execute(&mut connection).await?;
    }
    connection.execute("COMMIT").await?;
    // A farm that has run for a while has statistics of its tables, which the planner needs.
    connection.execute("ANALYZE").await?;
    Ok(())
}

/// Runs `INSERT INTO … SELECT …` over the numbers `i` from `first` to `last`.
async fn insert(
    connection: &mut AnyConnection,
    first: i64,
    last: i64,
    into: &str,
    select: &str,
) -> anyhow::Result<()> {
    let query = format!(
        "WITH RECURSIVE n(i) AS (SELECT CAST({first} AS BIGINT) UNION ALL
         SELECT i + 1 FROM n WHERE i < {last}) INSERT INTO {into} SELECT {select} FROM n"
    );
    sqlx::query(sqlx::AssertSqlSafe(query)).execute(connection).await?;
    Ok(())
}

/// Builds with sources, SRPM, one task and its lock.
async fn fill(
    connection: &mut AnyConnection,
    target: &str,
    arch: &str,
    class: &str,
    first: i64,
    last: i64,
) -> anyhow::Result<()> {
    let (now, digest) = (now_us(), "c".repeat(64));
    let name = "'p' || CAST(i AS TEXT)";
    let rows = [
        (
            "builds (id, batch, target, package, git_ref, submitter, request_key, created_us, \
             priority)",
            format!(
                "i, i, '{target}', {name}, '', 'user' || CAST(i % 7 AS TEXT), '', {now}, '{class}'"
            ),
        ),
        (
            "imports (build, url, commit_id, subject, bundle, at_us)",
            format!("i, 'http://git', 'c0ffee', '', '{digest}', {now}"),
        ),
        (
            "srpms (build, digest, size, nevra, requires, conflicts, predicts, dynamic)",
            format!("i, '{digest}', 1, {name} || '-1-1.src', '[]', '[]', '[]', 0"),
        ),
        ("tasks (id, build, kind, arch, created_us)", format!("i, i, 'build', '{arch}', {now}")),
        ("locks (task, round, digest, at_us)", format!("i, 0, '{digest}', {now}")),
        ("task_ranks (task, class, rank)", format!("i, '{class}', {now} + i * 1000")),
    ];
    for (into, select) in rows {
        insert(connection, first, last, into, &select).await?;
    }
    Ok(())
}

/// The builds become open, and their tasks enter the queue.
async fn open(
    connection: &mut AnyConnection,
    arch: &str,
    first: i64,
    last: i64,
) -> anyhow::Result<()> {
    insert(connection, first, last, "open_builds (build)", "i").await?;
    let row = format!("i, i, '{arch}', '', 'mass', {} + i * 1000", now_us());
    let into = "ready_tasks (task, build, arch, needs, class, rank)";
    insert(connection, first, last, into, &row).await?;
    let query = format!("INSERT INTO ready_queues (arch, needs) VALUES ('{arch}', '')");
    sqlx::query(sqlx::AssertSqlSafe(query)).execute(connection).await?;
    Ok(())
}

/// The builds fail, finally.
async fn fail(connection: &mut AnyConnection, first: i64, last: i64) -> anyhow::Result<()> {
    let failure = r#"{"fault":"package","stage":"build","message":"it did","excerpt":[]}"#;
    let row = format!("i, {}, i, 'build', '{failure}', 0", now_us());
    let into = "failures (build, at_us, task, stage, failure, retry_us)";
    insert(connection, first, last, into, &row).await
}
