//! The fuzz targets: one function for each reader of untrusted bytes.
//!
//! The same functions are run by `cargo fuzz` (the folder `fuzz`, which needs a nightly toolchain)
//! and, for a moment and with seeds that do not change, by this crate's tests. Each takes any bytes
//! and panics when the reader breaks what it promises. It owns no rule of its own.
//!
//! Here are the readers of dist-git, forges and specs; the other modules have those of packages, of
//! repositories, of the solver's pool, of what was stored, of what workers and callers say, and of
//! logs.

mod logs;
mod packages;
mod pool;
mod repositories;
mod stored;
mod wire;
mod words;

use std::collections::BTreeMap;

use rpmfarm_coordinator::import::{PackGuard, PackLimits};
use rpmfarm_core::modules::{Modules, StreamName};
use rpmfarm_core::name::{check_file, check_git_ref, check_package, check_part};
use rpmfarm_core::track::Forge;
use rpmfarm_core::track::hook::{self, HookEvent, RepositoryLookup, read};
use rpmfarm_core::track::refs::{RefQuery, RefReader, is_commit_id};
use rpmfarm_core::track::security::{cve_ids, fixed};
use rpmfarm_sources::autospec::{AutospecValues, SpecState, fill_in, uses};
use rpmfarm_sources::distgit::{EntryKind, Layout, LookasideFile, TreeEntry, followed};
use rpmfarm_sources::modify::{self, Config, Context, Node, Step, Tree};
use rpmfarm_sources::spec::{self, Macros, Preamble, is_version_fixed, version_tags};

pub use logs::{fuzz_audit_log, fuzz_build_log, fuzz_journal, fuzz_rpm_said, fuzz_terms};
pub use packages::{
    fuzz_contents, fuzz_fragments, fuzz_keys, fuzz_package, fuzz_rpm_header, fuzz_signature,
    fuzz_signed_header,
};
pub use pool::fuzz_pool;
pub use repositories::{
    fuzz_href, fuzz_metalink, fuzz_page, fuzz_primary, fuzz_relation, fuzz_repomd, fuzz_requirement,
};
pub use stored::{fuzz_bundle, fuzz_lock, fuzz_plan, fuzz_records, fuzz_target};
pub use wire::{fuzz_csr, fuzz_desired_state, fuzz_options, fuzz_worker_state};
pub use words::{fuzz_kept, fuzz_nevra, fuzz_tags, fuzz_words};

/// A fuzz target with its name.
pub type FuzzTarget = (&'static str, fn(&[u8]));

pub const ALL: &[FuzzTarget] = &[
    ("sources", fuzz_sources),
    ("metadata", fuzz_metadata),
    ("webhook", fuzz_webhook),
    ("refs", fuzz_refs),
    ("forge", fuzz_forge),
    ("spec", fuzz_spec),
    ("rpm_header", fuzz_rpm_header),
    ("autopatch", fuzz_autopatch),
    ("modules", fuzz_modules),
    ("hook_body", fuzz_hook_body),
    ("tree", fuzz_tree),
    ("pack", fuzz_pack),
    ("package", fuzz_package),
    ("contents", fuzz_contents),
    ("nevra", fuzz_nevra),
    ("keys", fuzz_keys),
    ("signature", fuzz_signature),
    ("fragments", fuzz_fragments),
    ("signed_header", fuzz_signed_header),
    ("repomd", fuzz_repomd),
    ("metalink", fuzz_metalink),
    ("href", fuzz_href),
    ("page", fuzz_page),
    ("relation", fuzz_relation),
    ("requirement", fuzz_requirement),
    ("primary", fuzz_primary),
    ("pool", fuzz_pool),
    ("lock", fuzz_lock),
    ("bundle", fuzz_bundle),
    ("plan", fuzz_plan),
    ("records", fuzz_records),
    ("target", fuzz_target),
    ("worker_state", fuzz_worker_state),
    ("desired_state", fuzz_desired_state),
    ("options", fuzz_options),
    ("csr", fuzz_csr),
    ("build_log", fuzz_build_log),
    ("terms", fuzz_terms),
    ("rpm_said", fuzz_rpm_said),
    ("audit_log", fuzz_audit_log),
    ("journal", fuzz_journal),
    ("words", fuzz_words),
    ("tags", fuzz_tags),
    ("kept", fuzz_kept),
];

/// A flat repository's list of look-aside files.
pub fn fuzz_sources(data: &[u8]) {
    list("sources", data);
}

/// An exploded repository's list of look-aside files.
pub fn fuzz_metadata(data: &[u8]) {
    list(".hello.metadata", data);
}

fn list(file: &str, data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match LookasideFile::parse_list(file, text) {
        Ok(files) => {
            for file in files {
                assert!(check_file(&file.name).is_ok(), "{:?} would lead elsewhere", file.name);
                assert!(file.checksum.hex.bytes().all(|b| b.is_ascii_hexdigit()));
            }
        }
        Err(error) => one_line(&error),
    }
}

/// The body of a webhook, of each forge.
pub fn fuzz_webhook(data: &[u8]) {
    for forge in Forge::ALL {
        for event in ["push", "Push Hook", "git.receive", "ping"] {
            match read(forge, event, data).map(|body| body.event) {
                Ok(HookEvent::Push(notice)) => {
                    for moved in &notice.moved {
                        assert!(check_git_ref(&moved.branch).is_ok(), "{notice:?}");
                        assert!(is_commit_id(&moved.commit), "{notice:?}");
                    }
                    let url = "https://h/rpms/bash.git".to_owned();
                    let followed: RepositoryLookup<()> = [(url, ())].into_iter().collect();
                    assert!(followed.find(&notice.repository).len() <= 1);
                }
                Ok(HookEvent::Other(what)) => assert!(!what.contains(char::is_control), "{what:?}"),
                Err(error) => one_line(&error),
            }
        }
    }
}

/// The body of a webhook, as a form and plain: reading it in pieces gives the same result as at
/// once.
pub fn fuzz_hook_body(data: &[u8]) {
    for (forge, is_form) in Forge::ALL.into_iter().flat_map(|f| [(f, true), (f, false)]) {
        let read = |size: usize| {
            let mut reader = hook::HookReader::new(is_form);
            for piece in data.chunks(size) {
                reader.feed(piece);
            }
            reader.end(forge, None)
        };
        let whole = read(data.len().max(1));
        if let Err(error) = &whole {
            one_line(error);
        }
        assert_eq!(whole, read(3));
    }
}

/// A list of refs: reading it in pieces gives the same result as at once.
pub fn fuzz_refs(data: &[u8]) {
    for question in [RefQuery::name("c9s"), RefQuery::for_ref("imports/c9/{nvr}", "bash")] {
        list_of_refs(data, &question);
    }
}

fn list_of_refs(data: &[u8], question: &RefQuery) {
    let read = |size: usize| {
        let mut reader = RefReader::new(question);
        for piece in data.chunks(size) {
            reader.feed(piece)?;
        }
        reader.end()
    };
    let whole = read(data.len().max(1));
    if let Ok(Some(tip)) = &whole {
        assert!(is_commit_id(&tip.commit), "{tip:?}");
    }
    if let Err(error) = &whole {
        one_line(error);
    }
    assert_eq!(whole, read(3));
}

/// The tree of a commit: a path on each line, of a symlink with ` -> ` and its target.
pub fn fuzz_tree(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let entries: Vec<TreeEntry> = text.lines().map(entry).collect();
    for entry in &entries {
        let EntryKind::Symlink(target) = &entry.kind else { continue };
        if let Some(place) = followed(&entry.path, target) {
            // Paths that git itself would refuse reach the parser here.
            let leads_out = |path: &str| path.split('/').any(|part| part == "..");
            assert!(leads_out(&entry.path) || !leads_out(&place), "{entry:?}");
        }
    }
    match Layout::detect("hello", &["hello.spec".to_owned()], &entries) {
        Ok(layout) => {
            for file in layout.sources.iter().chain([&layout.spec]) {
                assert!(check_file(&file.name).is_ok(), "{file:?}");
                let known = entries.iter().find(|entry| entry.path == file.path);
                assert!(known.is_some(), "{file:?} is not of the tree");
            }
        }
        Err(error) => one_line(&error),
    }
}

fn entry(line: &str) -> TreeEntry {
    let (path, kind) = match line.split_once(" -> ") {
        Some((path, target)) => (path, EntryKind::Symlink(target.to_owned())),
        None if line.ends_with('@') => (line.trim_end_matches('@'), EntryKind::Submodule),
        None => (line, EntryKind::File),
    };
    TreeEntry { path: path.to_owned(), kind }
}

/// The answer of a git server to a fetch: accepting it does not depend on how it is split.
pub fn fuzz_pack(data: &[u8]) {
    let feed = |size: usize| {
        let mut guard = PackGuard::new(PackLimits { object: 64 << 10, total: 256 << 10 });
        data.chunks(size).try_for_each(|piece| guard.feed(piece))
    };
    let whole = feed(data.len().max(1));
    if let Err(error) = &whole {
        one_line(error);
    }
    assert_eq!(whole.is_ok(), feed(7).is_ok());
}

/// A page of a forge's list of repositories.
pub fn fuzz_forge(data: &[u8]) {
    for forge in Forge::ALL {
        match forge.read_page(data) {
            Ok(page) => assert!(page.packages.iter().all(|name| check_package(name).is_ok())),
            Err(error) => one_line(&error),
        }
    }
}

/// The text of a spec, as far as it is read outside of the cage.
pub fn fuzz_spec(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (old, new) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let ids = fixed(Some(old), new);
    assert!(ids.is_subset(&cve_ids(new)), "{ids:?}");
    assert!(fixed(Some(&text), &text).is_empty());
    tags_of(&text);
    filled_in(&text);
    bumped(&text);
}

/// Macros that are defined before a spec is read.
const MACROS: [(&str, &str); 2] = [("dist", ".el9"), ("rhel", "9")];

/// The tags of the preamble: the same each time, and only from the lines before the first section.
fn tags_of(text: &str) {
    let lines = spec::lines(text);
    let macros: Macros = MACROS.into_iter().collect();
    let preamble = Preamble::read(&lines, macros.clone());
    let tags = version_tags(&lines, macros);
    assert_eq!(preamble.tags, tags);
    if let Some(evr) = tags.parsed_evr() {
        assert!(tags.evr().is_ok(), "{evr}");
        assert!(!evr.version.is_empty() && !evr.release.contains('%'), "{evr}");
    }
    let _ = is_version_fixed(&lines);
    for line in &lines {
        match preamble.macros.expand(line) {
            Ok(expanded) => assert!(line.contains('%') || expanded == *line, "{line:?}"),
            Err(error) => one_line(&error),
        }
    }
}

/// The macros of rpmautospec: a spec without them stays unchanged.
fn filled_in(text: &str) {
    let macros = MACROS.map(|(name, body)| (name.to_owned(), body.to_owned()));
    let _ = SpecState::read(text, &macros);
    let generated =
        AutospecValues { release: 3, changelog: "* x\n- y".to_owned(), included: false };
    let filled = fill_in(text, &generated, &[], 1_700_000_000);
    let lines = spec::lines(text);
    let uses = uses(&lines);
    if !uses.release && !uses.changelog {
        let plain = |lines: Vec<String>| -> Vec<String> {
            lines.iter().map(|line| line.trim_end_matches('\r').to_owned()).collect()
        };
        assert_eq!(plain(spec::lines(&filled)), plain(lines));
    }
}

/// A rebuild without a change gets another release, or an error that says why not.
fn bumped(text: &str) {
    let files: BTreeMap<String, Vec<u8>> =
        [("hello.spec".to_owned(), text.as_bytes().to_vec())].into();
    let context = context();
    for number in [None, Some(u64::MAX)] {
        let mut tree = Tree::new(files.keys().map(|path| (path.clone(), Node::Original)), &files);
        let (modifications, parameters) = (Tree::new([], &files), Default::default());
        let step = Step::Bump(number);
        match modify::apply_step(
            &step,
            &parameters,
            &mut tree,
            &modifications,
            &context,
            &mut Vec::new(),
        ) {
            Ok(()) => assert_ne!(tree.text("hello.spec").expect("it is text"), text),
            Err(error) => one_line(&error),
        }
    }
}

fn context() -> Context {
    Context {
        package: "hello".to_owned(),
        time: 1_700_000_000,
        macros: MACROS.map(|(name, body)| (name.to_owned(), body.to_owned())).to_vec(),
        built: vec!["1-2.el9".to_owned(), format!("1-2.el9.{}", u64::MAX)],
        spec_names: Vec::new(),
    }
}

/// The configuration of a package's modifications, and its effect on a small package.
pub fn fuzz_autopatch(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = match Config::parse("config.yaml", text) {
        Ok(config) => config,
        Err(error) => return one_line(&error),
    };
    for change in &config.changes {
        assert!(change.place.starts_with("config.yaml: actions["), "{}", change.place);
        let _ = change.edit.describe();
    }
    // The form in which the cage receives it.
    let json = serde_json::to_vec(&config).expect("a configuration is data");
    let again: Config = serde_json::from_slice(&json).expect("and is read back");
    assert_eq!(again, config);
    match modify::steps(&config.changes) {
        Ok(steps) => take(&config, &steps),
        Err(error) => one_line(&error),
    }
}

/// A spec with a bit of everything.
const SPEC: &str = "Name: hello\nVersion: 1\nRelease: 2%{?dist}\nSource0: a.tar\nPatch1: b.patch\n\
    %description\nx\n%prep\n%autosetup\n%install\n%files\n%changelog\n* Mon Jan 01 2024 A <a@b> - 1-2\n- x\n";

/// Applies the steps that need no cage: they end, and change only plain file names.
fn take(config: &Config, steps: &[Step]) {
    let files: BTreeMap<String, Vec<u8>> = [
        ("hello.spec", SPEC),
        ("b.patch", "patch"),
        ("bugs.conf", "bugs.upstream.org"),
        ("files/1000-farm.patch", "patch"),
    ]
    .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
    .into();
    let tree = || Tree::new(files.keys().map(|path| (path.clone(), Node::Original)), &files);
    let (mut sources, modifications) = (tree(), tree());
    let context = context();
    let mut notes = Vec::new();
    for step in steps.iter().take_while(|step| !matches!(step, Step::Script(_))) {
        let parameters = &config.parameters;
        if let Err(error) =
            modify::apply_step(step, parameters, &mut sources, &modifications, &context, &mut notes)
        {
            assert!(!error.to_string().is_empty());
            return;
        }
    }
    for (path, _) in sources.nodes() {
        assert!(path.split('/').all(|part| check_part(part).is_ok()), "{path:?}");
    }
}

/// A repository's `modules.yaml`.
pub fn fuzz_modules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Modules::parse(text) {
        // Names become names of packages and dependencies for the solver.
        Ok(modules) => {
            for stream in modules.streams {
                assert!(StreamName::try_from(stream.name_stream()).is_ok(), "{stream:?}");
            }
        }
        Err(error) => one_line(&error),
    }
}

/// Errors are shown to people: on one line, without control characters for a terminal.
fn one_line(error: &dyn std::error::Error) {
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}
