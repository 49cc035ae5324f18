//! Every query of the store, read from its source text.
//!
//! No query can be forgotten: each text in `src/store` that looks like SQL has to be a query here
//! or a part of one, every placeholder of a text must have a meaning, and no other code in `src`
//! uses the database.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The texts for placeholders whose values are known only when the query is made: file, name,
/// texts. The texts for the names of one query belong together in their order; a single text
/// applies to all. The texts by which planted bugs change queries are among them.
const FILLINGS: &[(&str, &str, &[&str])] = &[
    ("acceptances.rs", "again", &["DO NOTHING", "(task) DO UPDATE SET attempt = excluded.attempt"]),
    (
        "attempts.rs",
        "again",
        &[
            "DO NOTHING",
            "(attempt) DO UPDATE SET outcome = excluded.outcome, report = excluded.report",
        ],
    ),
    ("acceptances.rs", "list", &["'d1', 'd2'"]),
    ("attempts.rs", "ids", &["1, 2"]),
    ("batch_events.rs", "ids", &["1, 2"]),
    ("batch_facts.rs", "ids", &["1, 2"]),
    ("batch_facts.rs", "which", &["b.batch = 1", "b.id IN (1, 2)"]),
    ("batches.rs", "ids", &["1, 2"]),
    ("blob_proofs.rs", "list", &["'d1', 'd2'"]),
    ("build_rows.rs", "ids", &["1, 2"]),
    ("build_rows.rs", "table", &["cancellations", "retries"]),
    (
        "builds.rs",
        "from",
        &[
            "builds b",
            "builds b",
            "builds b",
            "builds b",
            "build_ends e CROSS JOIN builds b",
            "build_ends e CROSS JOIN builds b",
            "builds b CROSS JOIN build_ends e",
        ],
    ),
    ("builds.rs", "id", &["b.id", "b.id", "b.id", "b.id", "e.build", "e.build", "b.id"]),
    ("builds.rs", "condition", &["", "", OPEN, OPEN, ENDED, ENDED, " AND e.build = b.id"]),
    (
        "builds.rs",
        "named",
        &[
            " AND b.target = $3 AND b.package = $4",
            " AND b.package = $3",
            " AND b.target = $3",
            "",
            " AND e.target = $3 AND e.state = $4",
            " AND e.state = $3",
            " AND b.package = $3 AND e.state = $4",
        ],
    ),
    (
        "channels.rs",
        "above",
        &["(SELECT MAX(revision) FROM revisions WHERE target = $1 AND channel = $2)"],
    ),
    ("build_details.rs", "places", &["$2, $3"]),
    ("grants.rs", "ids", &["$1, $2"]),
    ("grants.rs", "lock", &["", " FOR UPDATE"]),
    ("grants.rs", "rows_of_3", &["($1, $2, $3)"]),
    ("grants.rs", "rows_of_7", &["($1, $2, $3, $4, $5, $6, $7)"]),
    (
        "grants.rs",
        "taken",
        &[
            "DO NOTHING",
            "(task) DO UPDATE SET attempt = excluded.attempt, worker = excluded.worker",
        ],
    ),
    ("stage_queries.rs", "columns", &["b.id", "a.id", "t.id"]),
    (
        "stage_queries.rs",
        "joins",
        &[
            "JOIN builds b ON b.id = w.build",
            "JOIN attempts a ON a.task = w.task JOIN attempt_ends e ON e.attempt = a.id AND \
             e.outcome = 'succeeded'",
            "JOIN tasks t ON t.id = w.task",
        ],
    ),
    ("stage_queries.rs", "unpaused", &[UNPAUSED, "", UNPAUSED]),
    ("stage_queries.rs", "within", &["w.task", "a.id", "w.task"]),
    (
        "owners.rs",
        "claimed",
        &[
            "SELECT DISTINCT k.build FROM claims k",
            "SELECT DISTINCT w.build FROM stage_work w WHERE w.stage = 'claim'",
        ],
    ),
    ("learned.rs", "places", &["$2, $3"]),
    ("packages.rs", "NOARCH", &["noarch"]),
    (
        "packages.rs",
        "again",
        &["DO NOTHING", "(target, nevra) DO UPDATE SET digest = excluded.digest"],
    ),
    ("packages.rs", "builds", &["1, 2"]),
    ("packages.rs", "ids", &["1, 2"]),
    ("packages.rs", "list", &["'d1', 'd2'"]),
    ("packages.rs", "places", &["($3), ($4)"]),
    (
        "packages.rs",
        "which",
        &[
            "p.build IN (1, 2)",
            "p.digest IN ('d1', 'd2')",
            "p.nevra LIKE '%.noarch' AND p.build IN (SELECT e.id FROM builds e JOIN builds b ON \
             b.target = e.target AND b.package = e.package WHERE b.id IN (1, 2))",
        ],
    ),
    ("pool_packages.rs", "batches", &["1, 2"]),
    ("pool_packages.rs", "ids", &["1, 2"]),
    ("pool_packages.rs", "list", &["'d1', 'd2'"]),
    ("pool_packages.rs", "of", &[POOL_PRESENT, POOL_HISTORY, POOL_ALL]),
    ("pushes.rs", "named", &[" AND p.target = $2 AND p.package = $3", " AND p.target = $2", ""]),
    ("build_details.rs", "builds", &["1, 2"]),
    ("build_details.rs", "ids", &["1, 2"]),
    ("build_details.rs", "table", &["cancellations", "retries"]),
    ("build_details.rs", "tasks", &["SELECT id FROM tasks WHERE build IN (1, 2)"]),
    ("sources.rs", "ids", &["1, 2"]),
    ("sources.rs", "places", &["$2, $3"]),
    ("stage_lists.rs", "ids", &["1, 2"]),
    (
        "tasks.rs",
        "again",
        &[
            "DO UPDATE SET attempt = excluded.attempt, requires = excluded.requires, \
             at_us = excluded.at_us",
            "DO NOTHING",
        ],
    ),
    ("withdrawals.rs", "from", &["packages", "withdrawn_packages"]),
    ("withdrawals.rs", "ids", &["1, 2"]),
    ("withdrawals.rs", "list", &["'d1', 'd2'"]),
];

const POOL_PRESENT: &str = "SELECT i.source, i.build, MAX(i.superseded) AS superseded FROM builds b JOIN \
     pool_packages i ON i.target = b.target AND i.source = b.package WHERE b.id IN (1, 2) \
     GROUP BY i.source, i.build";
const POOL_HISTORY: &str = "SELECT DISTINCT e.package AS source, e.id AS build, 1 AS superseded FROM builds b JOIN \
     builds e ON e.target = b.target AND e.package = b.package JOIN packages p ON p.build = e.id \
     WHERE b.id IN (1, 2) AND p.nevra NOT LIKE '%src'";
const POOL_ALL: &str = "SELECT DISTINCT b.package AS source, b.id AS build, 0 AS superseded FROM packages p \
     JOIN builds b ON b.id = p.build WHERE p.target = $1 AND p.nevra NOT LIKE '%src'";
const OPEN: &str = " AND b.id IN (SELECT o.build FROM open_builds o)";
const ENDED: &str = " AND b.id = e.build";

const UNPAUSED: &str = " AND NOT EXISTS (SELECT 1 FROM builds p JOIN batches q ON q.id = p.batch \
     WHERE p.id = w.build AND q.paused_us <> 0)";

/// Each SQL text has one of these words, and no other text of the store has any.
const WORDS: &[&str] =
    &["SELECT", "INSERT", "UPDATE", "DELETE", "FROM", "WHERE", "JOIN", "EXISTS", "VALUES"];

/// The words with which a complete query begins.
const VERBS: &[&str] = &["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "];

/// The one file beside the store's that talks to the database: it listens to PostgreSQL, and reads
/// no table.
const NO_TABLES: &str = "peers/notify.rs";

/// A query as a database gets it.
#[derive(Debug)]
pub struct Query {
    pub place: String,
    /// The text, with one space wherever there was any.
    pub text: String,
}

/// A string literal of the source text.
#[derive(Debug)]
struct Literal {
    file: String,
    line: usize,
    /// Its name, if it is that of a constant.
    constant: Option<String>,
    text: String,
}

/// All queries of the store.
pub fn all() -> Vec<Query> {
    let store = source().join("store");
    let literals: Vec<Literal> = files(&store).iter().flat_map(|file| literals(file)).collect();
    let constants: BTreeSet<&String> = literals
        .iter()
        .filter(|literal| is_sql(&literal.text))
        .filter_map(|literal| literal.constant.as_ref())
        .collect();
    let has_constant = |text: &str| placeholders(text).iter().any(|it| constants.contains(it));
    let is_of_query = |literal: &&Literal| is_sql(&literal.text) || has_constant(&literal.text);
    let sql: Vec<&Literal> = literals.iter().filter(is_of_query).collect();
    let mut parts = BTreeSet::new();
    let expanded: Vec<(&Literal, Vec<String>)> =
        sql.iter().map(|literal| (*literal, expanded(literal, &literals, &mut parts))).collect();
    let is_part = |literal: &Literal| {
        let constant = literal.constant.as_ref();
        constant.is_some_and(|name| parts.contains(&(literal.file.clone(), name.clone())))
    };
    let mut queries = Vec::new();
    let mut fragments = Vec::new();
    for (literal, texts) in expanded {
        let place = format!("{}:{}", literal.file, literal.line);
        for text in texts {
            let whole = VERBS.iter().any(|verb| text.starts_with(verb)) && !is_part(literal);
            let list = if whole { &mut queries } else { &mut fragments };
            list.push(Query { place: place.clone(), text });
        }
    }
    for fragment in &fragments {
        assert!(
            queries.iter().any(|query| query.text.contains(&fragment.text)),
            "{}: `{}` is no query and in none; say in FILLINGS where it stands",
            fragment.place,
            fragment.text
        );
    }
    queries
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The Rust files below a directory, in a fixed order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_sql(text: &str) -> bool {
    let mut words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.any(|word| WORDS.contains(&word))
}

/// The string literals of a file up to its own tests.
fn literals(path: &Path) -> Vec<Literal> {
    let file = path.file_name().unwrap().to_str().unwrap();
    let source = std::fs::read_to_string(path).unwrap();
    let source = source.split("#[cfg(test)]").next().unwrap();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = source[at..].find(['"', '\'', '/']) {
        let start = at + offset;
        let (before, rest) = source.split_at(start);
        let line = before.matches('\n').count() + 1;
        at = start
            + if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                panic!("{file}:{line}: comments of this kind are not read")
            } else if let Some(rest) = rest.strip_prefix('"') {
                let raw = before.ends_with('#') || is_raw(before);
                assert!(!raw, "{file}:{line}: raw strings are not read");
                let (text, length) = string(rest);
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                found.push(Literal { file: file.into(), line, constant: constant(before), text });
                1 + length
            } else if rest.starts_with('\'') {
                character(rest)
            } else {
                1
            };
    }
    found
}

/// Whether a quote after this text begins a raw string: after an `r` that ends no name.
fn is_raw(before: &str) -> bool {
    let Some(before) = before.strip_suffix('r') else { return false };
    !before.ends_with(|char: char| char.is_alphanumeric() || char == '_')
}

/// The text of a string literal, and its length with the quote that ends it.
fn string(source: &str) -> (String, usize) {
    let mut text = String::new();
    let mut chars = source.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (text, at + 1),
            '\\' => match chars.next().unwrap().1 {
                'n' | '0' | '\n' => text.push(' '),
                escaped @ ('"' | '\\' | '\'') => text.push(escaped),
                other => panic!("the escape \\{other} is not read"),
            },
            char => text.push(char),
        }
    }
    panic!("a string without an end")
}

/// The length of a character literal; 1 for the mark of a lifetime.
fn character(source: &str) -> usize {
    let mut chars = source.char_indices().skip(1);
    let (_, first) = chars.next().unwrap();
    if first == '\\' {
        chars.next();
    }
    match chars.next() {
        Some((at, '\'')) => at + 1,
        _ => 1,
    }
}

/// The name of the constant whose text follows.
fn constant(before: &str) -> Option<String> {
    let name = before.trim_end().strip_suffix(": &str =")?.rsplit(' ').next()?;
    Some(name.to_owned())
}

/// A text with everything that its placeholders may be. Constants that stand in it are added to
/// `parts`.
fn expanded(
    literal: &Literal,
    literals: &[Literal],
    parts: &mut BTreeSet<(String, String)>,
) -> Vec<String> {
    let mut fillings = Vec::new();
    for name in placeholders(&literal.text) {
        let given = FILLINGS.iter().find(|(file, of, _)| *file == literal.file && *of == name);
        let texts = match given {
            Some((_, _, texts)) => texts.to_vec(),
            None => {
                let constant = find_constant(literal, &name, literals);
                parts.insert((constant.file.clone(), name.clone()));
                vec![constant.text.as_str()]
            }
        };
        fillings.push((format!("{{{name}}}"), texts));
    }
    let count = fillings.iter().map(|(_, texts)| texts.len()).max().unwrap_or(1);
    let fill = |number: usize| {
        fillings.iter().fold(literal.text.clone(), |text, (name, texts)| {
            text.replace(name, if texts.len() == 1 { texts[0] } else { texts[number] })
        })
    };
    (0..count).map(fill).collect()
}

/// The constant of this name, of the same file if it has one.
fn find_constant<'a>(literal: &Literal, name: &str, literals: &'a [Literal]) -> &'a Literal {
    let found = literals.iter().filter(|other| other.constant.as_deref() == Some(name));
    let mut found: Vec<&Literal> = found.collect();
    if found.iter().any(|other| other.file == literal.file) {
        found.retain(|other| other.file == literal.file);
    }
    match found[..] {
        [one] => one,
        _ => panic!(
            "{}:{}: it is not known what {{{name}}} may be; add it to FILLINGS",
            literal.file, literal.line
        ),
    }
}

/// The names in braces.
fn placeholders(text: &str) -> BTreeSet<String> {
    let names = text.split('{').skip(1);
    names.map(|rest| rest.split('}').next().unwrap().to_owned()).collect()
}

#[test]
fn no_query_is_outside_of_the_store() {
    for path in files(&source()) {
        let name = path.strip_prefix(source()).unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let asks = ["sqlx::query", "sqlx::raw_sql", ".execute("].iter().any(|it| text.contains(it));
        let may = name.starts_with("store/") || name == NO_TABLES;
        assert!(may || !asks, "{name} talks to the database: that is for src/store alone");
    }
    assert!(all().len() > 300, "{} queries", all().len());
}
