//! docs/schema.md describes the tables that the migrations make.
//!
//! Owns the purpose of each table and the code that writes it; the rest of the page is read from a
//! database.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use rpmfarm_coordinator::bus::Bus;
use rpmfarm_coordinator::store::Store;
use sqlx::{Connection as _, SqliteConnection};

/// With this set the test writes the page.
const WRITE: &str = "RPMFARM_WRITE_DOCS";

/// A table: its name, the code that writes it, and the meaning of a row.
type Described = (&'static str, &'static str, &'static str);

/// Headings, each with its tables: name, the code that writes it, and the meaning of a row.
const TABLES: &[(&str, &[Described])] = &[
    (
        "Builds",
        &[
            (
                "builds",
                "the API and decide",
                "A request to rebuild one package for one target. The builds of one request \
                 share a batch; `request_key` is the idempotency key, empty for none.",
            ),
            (
                "batches",
                "the API and decide",
                "The builds of one request together: which needs put them in order, and since when \
                 nothing more of them begins, 0 while they go on. A request for a single build has \
                 its row when it is first paused.",
            ),
            (
                "open_builds",
                "the transaction that opens or ends the build",
                "Index: the builds that have not ended. Who changes facts of a build locks its \
                 row here first.",
            ),
            (
                "batch_heads",
                "the transaction that changes facts of a build",
                "Index: the open batches, each with how many transactions changed facts that \
                 the order of its builds depends on. Who adds an event locks the row, after all \
                 others. Removed when the batch has ended.",
            ),
            (
                "batch_events",
                "the transaction that changes facts of a build",
                "Index: the builds of open batches whose facts changed, by the number of the \
                 transaction in the batch. Who keeps the order of a batch reads the facts of \
                 these again. Removed when the batch has ended.",
            ),
            (
                "build_ends",
                "the transaction that opens or ends the build",
                "Index: how builds have ended (published, cancelled, failed), in which target. \
                 `counters` has how many of each.",
            ),
            (
                "build_arches",
                "the API",
                "The architectures that a build was requested for; no row for all of its \
                 target's.",
            ),
            (
                "build_options",
                "the API",
                "Options of single builds, as JSON (`rpmfarm_core::options`); no row for a \
                 build without any.",
            ),
            (
                "build_modifications",
                "the API and decide",
                "The commit of the modifications that a build is for; no row for what their \
                 branch has.",
            ),
            ("bumps", "the API", "Builds whose release is raised: rebuilds without a change."),
            (
                "priority_changes",
                "the API and decide",
                "Changes of a build's priority class. The newest counts.",
            ),
            (
                "cancellations",
                "the API",
                "Each cancellation of a build. Only a cancellation that is newer than the newest retry counts.",
            ),
            (
                "retries",
                "the API",
                "Each retry of a build. It opens the build again, and failures before it do not \
                 count.",
            ),
            (
                "failures",
                "every stage",
                "A failure of a build. `task` is 0 when it failed before it had one; `retry_us` \
                 is when it is tried again, 0 when it is not. `failure` is JSON \
                 (`rpmfarm_core::fault`).",
            ),
            (
                "build_notes",
                "accept",
                "What is shown of a build beside its state, as differences between packages \
                 that were accepted nevertheless.",
            ),
            (
                "build_cves",
                "import",
                "The CVE ids that a build's sources fix, as a JSON list; no row for a build \
                 that was not compared.",
            ),
        ],
    ),
    (
        "Sources",
        &[
            ("imports", "import", "The commit of a build and its source bundle, by digest."),
            (
                "source_records",
                "import",
                "Where each of a build's sources came from, as JSON. The commit of the \
                 modifications is a column of its own; with `imports.commit_id` it is the \
                 identity of the sources.",
            ),
            (
                "source_notes",
                "import",
                "What is shown of a build's sources, as which of several specs is built.",
            ),
            (
                "srpms",
                "accept",
                "The source package of a build, as its header says. Lists are JSON; `terms` is \
                 what the spec says on each architecture.",
            ),
        ],
    ),
    (
        "Tasks and roots",
        &[
            (
                "tasks",
                "plan, and accept",
                "A part of a build that one worker does. `kind` is `srpm`, `build`, `noarch` or \
                 `repeat`.",
            ),
            (
                "locks",
                "resolve",
                "The lock of a task's root, by digest. A higher round extends it by what \
                 `%generate_buildrequires` found.",
            ),
            (
                "dynamic_requires",
                "a worker's session",
                "What a running attempt found in a round: a JSON list of requirements.",
            ),
            (
                "postponements",
                "resolve",
                "Rounds whose requirements another build of the batch provides: locks up to the \
                 round do not count, and the task waits for its turn again.",
            ),
            (
                "taken_packages",
                "resolve",
                "What the newest root of a task took from the farm, and instead of what; JSON.",
            ),
            (
                "task_needs",
                "resolve",
                "What a task needs of a worker, as text; no row before it has a lock.",
            ),
            (
                "task_ranks",
                "the transaction that queues the task, and dispatch",
                "The rank of a task, given once, when it is first ready. It changes when the task \
                 swaps places with another of its batch.",
            ),
            (
                "task_urgencies",
                "resolve",
                "How long it is from the start of a task to the end of all that needs it in its \
                 batch, when it was locked. No row for a task that no batch has put in order.",
            ),
        ],
    ),
    (
        "Attempts",
        &[
            (
                "attempts",
                "dispatch",
                "A try of a task by a worker. The epoch is the fence: one more for each attempt \
                 of the task. `memory_mib` and `disk_mib` are what the worker had, 0 for \
                 unknown.",
            ),
            (
                "live_attempts",
                "dispatch, and whatever ends an attempt",
                "Index: the attempts that workers have. An attempt ends once, by leaving it.",
            ),
            (
                "attempt_ends",
                "a worker's session, dispatch, accept",
                "How an attempt ended (`succeeded`, `failed`, `cancelled`), with the report as \
                 JSON. A success that is refused becomes a failure.",
            ),
            (
                "uploads",
                "a worker's session",
                "Result files that an attempt has announced. Only these can be its results.",
            ),
            (
                "kept_files",
                "a worker's session",
                "Files of a failed attempt that are stored for its maintainer, by digest.",
            ),
            (
                "late_results",
                "a worker's session",
                "The first result of an attempt that came when it had ended: recorded, never \
                 applied.",
            ),
            (
                "measures",
                "accept",
                "What accepted attempts took: microseconds from the grant to the report, and \
                 MiB at most; 0 where it was not measured.",
            ),
            (
                "learned",
                "accept",
                "Index: what the next attempt is expected to take, from the last measures.",
            ),
        ],
    ),
    (
        "Acceptance, packages and names",
        &[
            ("acceptances", "accept", "The one attempt of a task whose results count."),
            (
                "signed_acceptances",
                "accept",
                "What the acceptor signed of a file, for the signer. The newest of each file.",
            ),
            (
                "results",
                "accept",
                "What accepted attempts of a build made, until all of its tasks are accepted. \
                 `content` describes a package of no architecture, for comparing; empty for \
                 others.",
            ),
            (
                "packages",
                "accept, and the API where a claim is approved",
                "Accepted packages, source and binary. One NEVRA in one target has one digest.",
            ),
            (
                "pools",
                "the transaction that changes the packages",
                "Index: the state of a target's packages. Its row is locked by who changes them \
                 or depends on them. `changes` counts; `withdrawn` is its value at the last \
                 withdrawal or return, `shown` the same as far as the channel was published \
                 with it.",
            ),
            (
                "pool_packages",
                "the transaction that changes the packages, publishes them, or ends what held them",
                "Index: what the solver's pools have of the packages, the present and not the \
                 history. A package has a row for each build that made it; `superseded` is 1 \
                 when that build alone would not keep it.",
            ),
            (
                "pool_changes",
                "the transaction that changes the pools",
                "Index: the log of what came into the pools and left them, by the version of the \
                 pools. Old rows are removed.",
            ),
            (
                "pool_holds",
                "lock, and publish",
                "Index: packages that a lock of an open batch names, which stay in the pools \
                 until the batch has ended.",
            ),
            (
                "pool_states",
                "the transaction that changes the pools",
                "Index: the version of a target's pools, that from which the log is whole, and \
                 the value of `pools.changes` that they belong to. Where that is another one \
                 they are made anew.",
            ),
            (
                "required_things",
                "accept",
                "Paths, and capabilities that many packages have, that builds of a target have \
                 required.",
            ),
            (
                "claims",
                "accept and the API",
                "What a build makes that other source packages own. The build waits until a \
                 decision approves.",
            ),
            (
                "claim_decisions",
                "the API",
                "What a person decided of the claims of a build: `approved` or `refused`.",
            ),
            (
                "withdrawn_packages",
                "the API",
                "Packages that are withdrawn: rows of `packages`, moved here, and back when \
                 they are restored.",
            ),
            ("withdrawals", "the API", "Each withdrawal and each return."),
            (
                "returning_packages",
                "the API, and publish",
                "Index: packages that were restored and are not in their channel again.",
            ),
            (
                "impacts",
                "the API",
                "Builds that were made with a package that is withdrawn. `through` is the build \
                 whose packages they were made with, 0 for the package itself.",
            ),
        ],
    ),
    (
        "Signing and publishing",
        &[
            ("signatures", "sign", "The signed form of a package under a key, by digest."),
            (
                "blob_proofs",
                "sign",
                "A blob that was read and proved, with what its file was like then: it is not \
                 read again to be published while it is like that.",
            ),
            (
                "revisions",
                "publish",
                "A channel's state, revision by revision. A revision only rises. `snapshot` is \
                 the digest of all its packages as JSON, which is a blob for each 256th revision \
                 and for those from before `channel_packages`.",
            ),
            (
                "channel_packages",
                "publish",
                "A package of a channel from `since_revision` on, until `until_revision` is \
                 shown without it; 0 while it is there. What was signed anew is another row.",
            ),
            (
                "channel_heads",
                "publish",
                "Index: the revision that the rows of a channel in `channel_packages` stand for.",
            ),
            ("publications", "publish", "The revision of a channel that first has a build."),
            (
                "lacking_packages",
                "publish",
                "Index: packages of a channel's newest revision whose requirement nobody \
                 provides on an architecture; `arch` is empty for all. Each publication makes \
                 it anew.",
            ),
            (
                "proofs",
                "publish",
                "What the proof of a content of a channel found before it was shown: how many \
                 problems that the content before did not have, and a bounded number of them as \
                 JSON (`rpmfarm_core::proof`). The newest of a channel counts; `unproven` says \
                 why requirements could not be checked, empty when they were.",
            ),
            (
                "accepted_problems",
                "the API",
                "Problems of a channel that a person accepted, by kind and name of the package; \
                 `what` is empty for any, `until_us` is 0 when the acceptance has no end.",
            ),
            (
                "unplaced_packages",
                "publish",
                "Index: packages of a channel that are in none of its repositories, because no \
                 rule of the target names them. Each publication brings it up to date.",
            ),
        ],
    ),
    (
        "What is to be done",
        &[
            (
                "stage_work",
                "the transaction that changes the facts",
                "Index: what each stage has to do. `task` is 0 where it works on whole builds; \
                 `due_us` is when it may try again.",
            ),
            (
                "ready_tasks",
                "the transaction that changes the facts, and dispatch",
                "Index: the tasks that wait for a worker, in the order of their ranks. `batch` is \
                 that of the build, 0 for one that is alone in it: tasks of one batch and class \
                 swap their ranks, so that the one with the longest `urgency_us` goes first. \
                 Tasks of SRPMs have queues of their own.",
            ),
            (
                "ready_queues",
                "the transaction that queues the task",
                "Index: the needs that tasks of an architecture ever had, those of SRPMs by \
                 themselves.",
            ),
            (
                "queue_lines",
                "the transaction that queues the task, and dispatch",
                "The virtual time of fair queueing, of each class and submitter; the row \
                 without these is how far the queue is ahead of the clock.",
            ),
            (
                "counters",
                "everybody",
                "The last number of each sequence; `ended_…` is how many builds ended in this way.",
            ),
        ],
    ),
    (
        "Following upstream",
        &[
            (
                "tracked",
                "the API, poll, webhooks",
                "The packages that are followed, and when each is polled next. `due_us` 0 is at \
                 once.",
            ),
            (
                "track_orders",
                "the API",
                "What maintainers said: `add`, `remove`, and policy overrides. An empty package \
                 stands for the whole target.",
            ),
            ("track_refs", "poll", "The commit that a branch was last seen at."),
            (
                "pushes",
                "poll",
                "A branch that pointed to another commit than before. `modifies` is not 0 for \
                 the modifications' repository.",
            ),
            ("open_pushes", "poll, and decide", "Index: pushes that nothing was decided on."),
            (
                "push_ends",
                "decide",
                "What became of a push: `build` (by the request of that key), `done` (by that \
                 build, which had the commit already), `superseded`, `removed`.",
            ),
            (
                "push_pairs",
                "decide",
                "What is built because of a push: the package's commit or tag, and the commit \
                 of its modifications.",
            ),
            (
                "push_requests",
                "decide",
                "Index: keys of requests that are decided on and not made yet.",
            ),
            ("push_approvals", "the API", "Pushes that a maintainer approved."),
            ("storms", "decide", "Too many builds at once, which wait for approval."),
            ("storm_pushes", "decide", "The pushes that a storm holds."),
            (
                "hooks",
                "webhooks",
                "Webhooks that came, kept for a time, to know those that are sent again.",
            ),
            (
                "hook_repositories",
                "webhooks",
                "Which packages a repository was known to be of, by the number that its forge \
                 gives it.",
            ),
        ],
    ),
    (
        "Workers",
        &[
            (
                "worker_states",
                "the API, and dispatch",
                "Decisions about workers: `active`, `drained`, `quarantined`, `revoked`. The \
                 newest of a worker counts.",
            ),
            (
                "invitations",
                "the API",
                "Tokens for a host to become a worker, by the digest of the secret. `arches` is \
                 a JSON list, empty for anything.",
            ),
            (
                "enrolments",
                "the API",
                "Invitations that were used, with the key and the certificate.",
            ),
            (
                "worker_certificates",
                "the API",
                "Certificates of workers by the SHA-256 of their DER.",
            ),
            ("certificate_ends", "the API", "Certificates that ended before their time."),
        ],
    ),
    (
        "Coordinators",
        &[
            (
                "coordinators",
                "each coordinator",
                "A coordinator. It raises its beat while it lives; others watch it by their own \
                 clocks.",
            ),
            (
                "stage_leases",
                "each coordinator",
                "Which coordinator runs a stage. The epoch is the fence of the stage's \
                 transactions.",
            ),
            ("worker_owners", "a worker's session", "Which coordinator a worker is connected to."),
            (
                "notes",
                "each coordinator",
                "What a coordinator has in memory and others show. It goes with the \
                 coordinator.",
            ),
        ],
    ),
];

const HEAD: &str = "\
# The schema of the store

Made from the migrated schema by `coordinator/tests/store/schema.rs`, which fails when this page is not up to date;
`RPMFARM_WRITE_DOCS=1 cargo nextest run -p rpmfarm-coordinator -E 'binary(store) & test(/^schema::/)'` writes it anew.

One schema for SQLite and PostgreSQL. Every column is BIGINT or TEXT and has a value: 0 or the empty text stand for
none. Times end in `_us` and are microseconds since 1970; digests are hex; booleans are 0 or 1; lists are JSON. A row is
a fact and stays, except where a table is an index, whose rows follow from facts and are kept in the transaction that
changes these. `→` is a foreign key. [How to change it](../coordinator/migrations/README.md).
";

#[tokio::test]
async fn the_page_is_what_the_migrations_make() {
    let page = page().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    for (line, (stored, made)) in stored.lines().zip(page.lines()).enumerate() {
        assert_eq!(stored, made, "docs/schema.md:{}: write it anew with {WRITE}=1", line + 1);
    }
    assert_eq!(stored.len(), page.len(), "docs/schema.md: write it anew with {WRITE}=1");
}

async fn page() -> String {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("farm.db").display());
    Store::open(&url, Bus::default()).await.unwrap().close().await;
    let mut database = SqliteConnection::connect(&url).await.unwrap();
    assert_eq!(named(), made(&mut database).await, "TABLES has each table once");
    let mut page = HEAD.to_owned();
    for (heading, tables) in TABLES {
        write!(page, "\n## {heading}\n").unwrap();
        for (table, writer, purpose) in *tables {
            write!(page, "\n### {table}\n\n{purpose}\nWritten by {writer}.\n\n").unwrap();
            page += &table_text(&mut database, table).await;
        }
    }
    page
}

/// The tables of [`TABLES`].
fn named() -> Vec<String> {
    let tables = TABLES.iter().flat_map(|(_, tables)| *tables);
    let mut names: Vec<String> = tables.map(|(name, _, _)| (*name).to_owned()).collect();
    names.sort();
    names
}

/// The tables of the database, without that of its migrations.
async fn made(database: &mut SqliteConnection) -> Vec<String> {
    let query = "SELECT name FROM sqlite_master WHERE type = 'table'
                 AND name <> '_sqlx_migrations' ORDER BY name";
    sqlx::query_scalar(query).fetch_all(database).await.unwrap()
}

/// A column with its properties.
#[derive(sqlx::FromRow)]
struct Column {
    name: String,
    #[sqlx(rename = "type")]
    kind: String,
    default_value: String,
    /// Its place in the primary key, from 1 on; 0 when it is not in it.
    key: i64,
}

/// A foreign key, by columns.
type Key = Vec<(String, String, String)>;

async fn table_text(database: &mut SqliteConnection, table: &str) -> String {
    let query = "SELECT name, type, COALESCE(dflt_value, '') AS default_value, pk AS key
                 FROM pragma_table_info($1) ORDER BY cid";
    let columns: Vec<Column> =
        sqlx::query_as(query).bind(table).fetch_all(&mut *database).await.unwrap();
    let keys = keys(database, table).await;
    let mut text = String::new();
    let width = columns.iter().map(|column| column.name.len()).max().unwrap();
    for column in &columns {
        let notes = notes(column, &columns, &keys).join(", ");
        let line = format!("    {:<width$}  {:<6}  {notes}", column.name, column.kind);
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    let primary = primary(&columns);
    if primary.len() > 1 {
        writeln!(text, "    primary key ({})", primary.join(", ")).unwrap();
    }
    for key in keys.iter().filter(|key| key.len() > 1) {
        let from: Vec<&str> = key.iter().map(|(_, from, _)| from.as_str()).collect();
        let to: Vec<&str> = key.iter().map(|(_, _, to)| to.as_str()).collect();
        let (from, to) = (from.join(", "), to.join(", "));
        writeln!(text, "    ({from}) → {} ({to})", key[0].0).unwrap();
    }
    text + &indexes(database, table).await
}

/// The columns of the primary key, in its order.
fn primary(columns: &[Column]) -> Vec<&str> {
    let mut primary: Vec<&Column> = columns.iter().filter(|column| column.key > 0).collect();
    primary.sort_by_key(|column| column.key);
    primary.into_iter().map(|column| column.name.as_str()).collect()
}

fn notes(column: &Column, columns: &[Column], keys: &[Key]) -> Vec<String> {
    let mut notes = Vec::new();
    if primary(columns) == [column.name.as_str()] {
        notes.push("primary key".to_owned());
    }
    if !column.default_value.is_empty() {
        notes.push(format!("default {}", column.default_value));
    }
    for key in keys {
        if let [(owner, from, to)] = key.as_slice()
            && *from == column.name
        {
            notes.push(format!("→ {owner}.{to}"));
        }
    }
    notes
}

/// The foreign keys of a table.
async fn keys(database: &mut SqliteConnection, table: &str) -> Vec<Key> {
    let query = "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list($1)
                 ORDER BY id, seq";
    let rows: Vec<(i64, String, String, String)> =
        sqlx::query_as(query).bind(table).fetch_all(database).await.unwrap();
    let mut keys = BTreeMap::<i64, Key>::new();
    for (id, owner, from, to) in rows {
        keys.entry(id).or_default().push((owner, from, to));
    }
    keys.into_values().collect()
}

/// The indexes of a table but that of its primary key, each with its columns and its condition.
async fn indexes(database: &mut SqliteConnection, table: &str) -> String {
    let query = "SELECT l.name, l.\"unique\", l.origin, COALESCE(m.sql, ''),
                 (SELECT group_concat(i.name, ', ') FROM pragma_index_info(l.name) i)
                 FROM pragma_index_list($1) l
                 LEFT JOIN sqlite_master m ON m.type = 'index' AND m.name = l.name
                 WHERE l.origin <> 'pk' ORDER BY l.name";
    let rows: Vec<(String, i64, String, String, String)> =
        sqlx::query_as(query).bind(table).fetch_all(database).await.unwrap();
    let mut text = String::new();
    for (name, unique, origin, sql, columns) in rows {
        let what = match (origin.as_str(), unique) {
            ("u", _) => "unique".to_owned(),
            (_, 0) => format!("index {name}"),
            _ => format!("unique index {name}"),
        };
        let condition = sql.split_once(" WHERE ").map(|(_, it)| format!(" where {it}"));
        writeln!(text, "    {what} ({columns}){}", condition.unwrap_or_default()).unwrap();
    }
    text
}
