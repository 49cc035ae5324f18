//! Fills a database with builds that have ended, for benchmarks of what must not depend on history.
//!
//! It writes the facts and indexes that a farm would have written for builds of 10,000 packages,
//! over and over: nine of ten were published, one failed. Their revisions are those of a channel of
//! their own, since no snapshot of it is stored.

use clap::Parser;
use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::Store;
use rpmfarm_daemon::now_us;
use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions as _, Executor as _};

#[derive(Debug, Parser)]
struct Options {
    /// The database's URL.
    #[arg(long)]
    database: String,
    /// Name of the target.
    #[arg(long, default_value = "lab")]
    target: String,
    /// The channel to which they were published.
    #[arg(long, default_value = "archive")]
    channel: String,
    /// How many there are.
    #[arg(long, default_value_t = 10_000)]
    builds: i64,
    /// Packages of which they are.
    #[arg(long, default_value_t = 10_000)]
    packages: i64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    Store::open(&options.database, Bus::default()).await?.close().await;
    sqlx::any::install_default_drivers();
    let mut connection = options.database.parse::<AnyConnectOptions>()?.connect().await?;
    connection.execute("BEGIN").await?;
    for (into, select, condition) in rows(&options) {
        let query = format!(
            "WITH RECURSIVE n(i) AS (SELECT CAST(1 AS BIGINT) UNION ALL
             SELECT i + 1 FROM n WHERE i < {}) INSERT INTO {into} SELECT {select} FROM n{condition}",
            options.builds
        );
        run(&mut connection, query).await?;
    }
    for (counter, value) in [
        ("build", options.builds),
        ("batch", options.builds / 10 + 1),
        ("task", 2 * options.builds),
        ("attempt", 2 * options.builds),
        ("ended_failed", options.builds / 10),
        ("ended_published", options.builds - options.builds / 10),
    ] {
        let query = format!("UPDATE counters SET value = {value} WHERE name = '{counter}'");
        run(&mut connection, query).await?;
    }
    connection.execute("COMMIT").await?;
    // A farm that has run for a while has statistics of its tables, which the planner needs.
    connection.execute("ANALYZE").await?;
    Ok(())
}

async fn run(connection: &mut AnyConnection, query: String) -> anyhow::Result<()> {
    sqlx::query(AssertSqlSafe(query)).execute(connection).await?;
    Ok(())
}

/// A digest for each `i`, others for each letter.
fn digest(letter: &str) -> String {
    format!("'{}' || CAST(100000000 + i AS TEXT)", letter.repeat(55))
}

/// Tables with their columns, what the row of build `i` has, and which builds have one.
fn rows(options: &Options) -> Vec<(&'static str, String, &'static str)> {
    let Options { target, channel, packages, .. } = options;
    let now = now_us();
    let name = format!("'old' || CAST(i % {packages} AS TEXT)");
    let nevra = format!("{name} || '-1-' || CAST(i AS TEXT)");
    let (bundle, srpm, lock) = (digest("b"), digest("5"), digest("c"));
    let (package, signed, repodata) = (digest("a"), digest("e"), digest("d"));
    let (made, published, failed) =
        (" WHERE i % 10 <> 0", " WHERE i % 10 <> 0", " WHERE i % 10 = 0");
    let failure = r#"{"fault":"package","stage":"build","message":"it did","excerpt":[]}"#;
    let tasks = "tasks (id, build, kind, arch, created_us)";
    let locks = "locks (task, round, digest, at_us)";
    let attempts = "attempts (id, task, epoch, worker, started_us)";
    let ends = "attempt_ends (attempt, outcome, report, at_us)";
    let acceptances = "acceptances (task, attempt, rpmbuild_ms, at_us)";
    let worker = "'w' || CAST(i % 50 AS TEXT)";
    vec![
        (
            "builds (id, batch, target, package, git_ref, submitter, request_key, created_us, \
             priority)",
            format!("i, 1 + i / 10, '{target}', {name}, '', 'ann', '', {now}, 'mass'"),
            "",
        ),
        ("build_ends (build, target, state)", format!("i, '{target}', 'published'"), published),
        ("build_ends (build, target, state)", format!("i, '{target}', 'failed'"), failed),
        (
            "imports (build, url, commit_id, subject, bundle, at_us)",
            format!("i, 'http://git', 'c0ffee', 'x', {bundle}, {now}"),
            "",
        ),
        (
            "srpms (build, digest, size, nevra, requires, conflicts, predicts, dynamic)",
            format!("i, {srpm}, 1, {nevra} || '.src', '[]', '[]', '[]', 0"),
            "",
        ),
        (tasks, format!("2 * i - 1, i, 'srpm', 'x86_64', {now}"), ""),
        (tasks, format!("2 * i, i, 'build', 'x86_64', {now}"), ""),
        (locks, format!("2 * i - 1, 0, {lock}, {now}"), ""),
        (locks, format!("2 * i, 0, {lock}, {now}"), ""),
        (attempts, format!("2 * i - 1, 2 * i - 1, 1, {worker}, {now}"), ""),
        (attempts, format!("2 * i, 2 * i, 1, {worker}, {now}"), ""),
        (ends, format!("2 * i - 1, 'succeeded', 'null', {now}"), ""),
        (ends, format!("2 * i, 'succeeded', 'null', {now}"), made),
        (ends, format!("2 * i, 'failed', 'null', {now}"), failed),
        (acceptances, format!("2 * i - 1, 2 * i - 1, 200, {now}"), ""),
        (acceptances, format!("2 * i, 2 * i, 200, {now}"), made),
        (
            "failures (build, at_us, task, stage, failure, retry_us)",
            format!("i, {now}, 2 * i, 'build', '{failure}', 0"),
            failed,
        ),
        (
            "results (task, nevra, build, arch, digest, size, repodata, content)",
            format!("2 * i, {nevra} || '.x86_64', i, 'x86_64', {package}, 7000, {repodata}, ''"),
            made,
        ),
        (
            "packages (target, nevra, build, task, arch, digest, size, repodata)",
            format!(
                "'{target}', {nevra} || '.x86_64', i, 2 * i, 'x86_64', {package}, 7000, {repodata}"
            ),
            made,
        ),
        (
            "signatures (digest, key_name, signed_digest, signed_size, repodata, at_us)",
            format!("{package}, 'lab', {signed}, 7200, {repodata}, {now}"),
            made,
        ),
        (
            "revisions (target, channel, revision, snapshot, packages, at_us)",
            format!("'{target}', '{channel}', i, {bundle}, {packages}, {now}"),
            published,
        ),
        (
            "publications (build, target, channel, revision, at_us)",
            format!("i, '{target}', '{channel}', i, {now}"),
            published,
        ),
    ]
}
