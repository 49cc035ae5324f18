//! What is fuzzed: one function for each reader of bytes that strangers send.
//!
//! The same functions are run by `cargo fuzz` (the folder `fuzz`, which needs a nightly toolchain)
//! and, for a moment and with seeds that do not change, by this crate's test. Each takes any bytes
//! and panics when the reader breaks what it promises. It owns no rule of its own.

use std::collections::BTreeMap;
use std::io::Write as _;

use rpmfarm_core::autospec::{Generated, SpecState, fill_in, uses};
use rpmfarm_core::distgit::{LookasideFile, check_part};
use rpmfarm_core::modify::{self, Config, Context, Node, Step, Tree};
use rpmfarm_core::modules::{Modules, StreamName};
use rpmfarm_core::name::{check_file, check_git_ref, check_package};
use rpmfarm_core::relation::{self, Attributes};
use rpmfarm_core::results::Contents;
use rpmfarm_core::spec::{self, Macros, Preamble, is_version_fixed, version_tags};
use rpmfarm_core::task::WorkerState;
use rpmfarm_core::track::Forge;
use rpmfarm_core::track::hook::{Followed, Said, read};
use rpmfarm_core::track::refs::{Question, Reader, is_commit_id};
use rpmfarm_core::track::security::{cve_ids, fixed};
use rpmfarm_core::{Arch, Lock, Nevra};
use rpmfarm_proto::{Message as _, v1};
use rpmfarm_rpmfile::Headers;
use rpmfarm_signer::chain;
use rpmfarm_solv::{Pool, Request};

/// A reader by its name.
pub type Fuzzed = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: &[Fuzzed] = &[
    ("sources", fuzz_sources),
    ("metadata", fuzz_metadata),
    ("webhook", fuzz_webhook),
    ("refs", fuzz_refs),
    ("forge", fuzz_forge),
    ("spec", fuzz_spec),
    ("rpm_header", fuzz_rpm_header),
    ("autopatch", fuzz_autopatch),
    ("modules", fuzz_modules),
    ("rpm_file", fuzz_rpm_file),
    ("relation", fuzz_relation),
    ("attributes", fuzz_attributes),
    ("nevra", fuzz_nevra),
    ("lock", fuzz_lock),
    ("report", fuzz_report),
    ("repomd", fuzz_repomd),
    ("signer_log", fuzz_signer_log),
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
            match read(forge, event, data).map(|body| body.said) {
                Ok(Said::Push(notice)) => {
                    for moved in &notice.moved {
                        assert!(check_git_ref(&moved.branch).is_ok(), "{notice:?}");
                        assert!(is_commit_id(&moved.commit), "{notice:?}");
                    }
                    let url = "https://h/rpms/bash.git".to_owned();
                    let followed: Followed<()> = [(url, ())].into_iter().collect();
                    assert!(followed.find(&notice.repository).len() <= 1);
                }
                Ok(Said::Other(what)) => assert!(!what.contains(char::is_control), "{what:?}"),
                Err(error) => one_line(&error),
            }
        }
    }
}

/// A list of refs: in pieces it says the same as at once.
pub fn fuzz_refs(data: &[u8]) {
    for question in [Question::name("c9s"), Question::of("imports/c9/{nvr}", "bash")] {
        list_of_refs(data, &question);
    }
}

fn list_of_refs(data: &[u8], question: &Question) {
    let read = |size: usize| {
        let mut reader = Reader::new(question);
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

/// Macros that are there before a spec is read.
const MACROS: [(&str, &str); 2] = [("dist", ".el9"), ("rhel", "9")];

/// What the preamble says: the same each time, and of the lines before the first section alone.
fn tags_of(text: &str) {
    let lines = spec::lines(text);
    let macros: Macros = MACROS.into_iter().collect();
    let preamble = Preamble::read(&lines, macros.clone());
    let tags = version_tags(&lines, macros);
    assert_eq!(preamble.tags, tags);
    if let Some(evr) = tags.told() {
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

/// The macros of rpmautospec: what uses none of them stays as it is.
fn filled_in(text: &str) {
    let macros = MACROS.map(|(name, body)| (name.to_owned(), body.to_owned()));
    let _ = SpecState::of(text, &macros);
    let generated = Generated { release: 3, changelog: "* x\n- y".to_owned(), included: false };
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

/// A rebuild without a change has another release, or says why it cannot have one.
fn bumped(text: &str) {
    let files: BTreeMap<String, Vec<u8>> =
        [("hello.spec".to_owned(), text.as_bytes().to_vec())].into();
    let context = context();
    for number in [None, Some(u64::MAX)] {
        let mut tree = Tree::new(files.keys().map(|path| (path.clone(), Node::Original)), &files);
        let (modifications, parameters) = (Tree::new([], &files), Default::default());
        let step = Step::Bump(number);
        match modify::take(&step, &parameters, &mut tree, &modifications, &context, &mut Vec::new())
        {
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

/// The headers of an RPM as it is uploaded.
pub fn fuzz_rpm_header(data: &[u8]) {
    let mut reader = data;
    if let Ok(headers) = Headers::read(&mut reader) {
        assert!(headers.header.end <= data.len() as u64);
        let _ = rpmfarm_rpmfile::nevra(&headers.metadata);
        let _ = rpmfarm_rpmfile::payload_digest(&headers.metadata);
        let _ = Headers::from_main(headers.main());
    }
}

/// The configuration of a package's modifications, and what it does to a small package.
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
    // As it is handed to the cage.
    let json = serde_json::to_vec(&config).expect("a configuration is data");
    let again: Config = serde_json::from_slice(&json).expect("and is read back");
    assert_eq!(again, config);
    match modify::steps(&config.changes) {
        Ok(steps) => take(&config, &steps),
        Err(error) => one_line(&error),
    }
}

/// A spec that has a bit of everything.
const SPEC: &str = "Name: hello\nVersion: 1\nRelease: 2%{?dist}\nSource0: a.tar\nPatch1: b.patch\n\
    %description\nx\n%prep\n%autosetup\n%install\n%files\n%changelog\n* Mon Jan 01 2024 A <a@b> - 1-2\n- x\n";

/// Takes the steps that need no cage: they end, and touch plain names alone.
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
            modify::take(step, parameters, &mut sources, &modifications, &context, &mut notes)
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

/// A package as it is uploaded, with what its archive holds: never more than what fits.
pub fn fuzz_rpm_file(data: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(data).expect("written");
    let path = file.path();
    if let Err(error) = rpmfarm_rpmfile::inspect(path) {
        one_line(&error);
    }
    let limit = Contents { files: 100, bytes: 1 << 20 };
    let fits = |held: &Contents| held.files <= limit.files && held.bytes <= limit.bytes;
    match rpmfarm_rpmfile::check_contents_within(path, fits) {
        // What does not fit is told, and nothing of it was kept.
        Ok(archived) => assert!(fits(&archived.contents) || archived.sources.is_empty()),
        Err(error) => one_line(&error),
    }
}

/// A dependency that keeps the bounds, all the way into the solver.
pub fn fuzz_relation(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match relation::check("requirement", &text) {
        Ok(()) => {
            let mut pool = Pool::new(Arch::X86_64);
            if pool.prepare().is_ok() {
                let request = Request { install: vec![&text], ..Request::default() };
                // An empty pool: only that it comes back matters.
                let _ = pool.solve(&request);
            }
        }
        Err(error) => one_line(&error),
    }
}

/// XML of repositories on its way to the solver: the same in pieces as at once.
pub fn fuzz_attributes(data: &[u8]) {
    let read = |size: usize| {
        let mut attributes = Attributes::default();
        data.chunks(size).for_each(|piece| attributes.feed(piece));
        attributes.finish()
    };
    let whole = read(data.len().max(1));
    assert_eq!(whole, read(3));
    if let Err(error) = &whole {
        one_line(error);
    }
}

/// The name of a package: printed, it is read as the same.
pub fn fuzz_nevra(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(nevra) = text.parse::<Nevra>() {
        let printed = nevra.to_string();
        assert_eq!(printed.parse::<Nevra>().as_ref(), Ok(&nevra), "{printed:?}");
        assert_eq!(nevra.evr.cmp(&nevra.evr), std::cmp::Ordering::Equal);
    }
}

/// A lock, as workers get it.
pub fn fuzz_lock(data: &[u8]) {
    if let Ok(lock) = Lock::from_bytes(data) {
        let again = Lock::from_bytes(&lock.to_bytes()).expect("what was written is read");
        assert_eq!(again.to_bytes(), lock.to_bytes());
        assert_eq!(again.layer_ids(), lock.layer_ids());
    }
}

/// What a worker says of itself and its attempts.
pub fn fuzz_report(data: &[u8]) {
    let Ok(wire) = v1::WorkerState::decode(data) else { return };
    match WorkerState::try_from(wire) {
        Ok(state) => assert!(!state.name.contains(char::is_control), "{:?}", state.name),
        Err(error) => one_line(&error),
    }
}

/// A page that is to be signed.
pub fn fuzz_repomd(data: &[u8]) {
    match rpmfarm_signer::repomd::revision(data) {
        Ok(revision) => {
            assert!(i64::try_from(revision).is_ok(), "{revision}");
            let text = std::str::from_utf8(data).expect("a page is text");
            assert!(!text.contains("<!DOCTYPE") && text.contains("repomd"), "{text:?}");
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

/// The signer's log: a line more after a chain that holds does not change what was read of it.
pub fn fuzz_signer_log(data: &[u8]) {
    let mut lines = 0;
    let walked = chain::walk(data, None, |_, _| lines += 1);
    if let Ok(walked) = walked {
        assert!(walked.last.1 <= data.len() as u64, "{walked:?}");
        let again = chain::walk(data, None, |_, _| {}).expect("it was read before");
        assert_eq!(again, walked);
    }
}

/// Errors are shown to people: in one line, without what a terminal would obey.
fn one_line(error: &dyn std::error::Error) {
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}
