//! Logs: the output of builds, rpm and rpmspec, and the signer's own log.

use std::collections::BTreeSet;

use rpmfarm_core::excerpt::{LINES, LogReader};
use rpmfarm_core::{terms, transaction};
use rpmfarm_guarded::chain::{ChainHead, walk};
use rpmfarm_signer::event::{Event, Fact, LogEntry};
use rpmfarm_signer::memory::SigningMemory;

/// Characters of a line in an excerpt.
const WIDTH: usize = 300;

/// The log of a build: reading it in pieces gives the same result as at once, and the kept excerpt
/// is limited.
pub fn fuzz_build_log(data: &[u8]) {
    let read = |size: usize| {
        let mut reader = LogReader::new();
        data.chunks(size).for_each(|piece| reader.feed(piece));
        let (cause, command) = (reader.cause(), reader.command());
        let told = (cause.map(str::to_owned), command.map(str::to_owned), reader.status());
        (reader.part(), told, reader.excerpt(), reader.saw_no_space())
    };
    let whole = read(data.len().max(1));
    let excerpt = &whole.2;
    assert!(excerpt.len() <= LINES, "{excerpt:?}");
    for line in excerpt {
        assert!(line.chars().count() <= WIDTH, "{line:?}");
        assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{line:?}");
    }
    assert_eq!(whole, read(3));
}

/// rpm's answer about a spec for each of its targets.
pub fn fuzz_terms(data: &[u8]) {
    let all = terms::parse(&String::from_utf8_lossy(data));
    for said in all.values() {
        for list in [&said.requires, &said.conflicts, &said.predicts, &said.provides] {
            assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), list.len(), "said twice");
        }
    }
    let _ = terms::without_noarch(&all);
}

/// rpm's output when it refuses packages.
pub fn fuzz_rpm_said(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let said: Vec<String> = text.lines().map(str::to_owned).collect();
    let _ = said.iter().filter(|line| transaction::is_error(line)).count();
    assert!(!transaction::refusal(&said, 1).contains('\n'));
}

/// The signer's log: a valid chain stays valid when it is continued.
pub fn fuzz_audit_log(data: &[u8]) {
    let Ok(walked) = walk(data, None, |_, _| ()) else { return };
    assert_eq!(walked.last.1, data.len() as u64);
    assert!(walked.before + walked.cut <= walked.head.line);
    if walked.is_torn {
        return;
    }
    let entry = LogEntry { time: "2026-01-01T00:00:00Z".to_owned(), event: Event::Resumed };
    let (next, head) = walked.head.next(&entry).expect("it is JSON");
    let all = [data, next.as_slice()].concat();
    let again = walk(all.as_slice(), None, |_, _| ()).expect("the next line follows");
    assert_eq!(again.head, head);
    assert!(walk(next.as_slice(), Some(ChainHead::START), |_, _| ()).is_err() || data.is_empty());
}

/// The signer's journal: rewriting it loses nothing.
pub fn fuzz_journal(data: &[u8]) {
    let mut memory = SigningMemory::default();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(fact) = serde_json::from_slice::<Fact>(line) {
            memory.apply(&fact);
        }
    }
    let mut again = SigningMemory::default();
    memory.facts().for_each(|fact| again.apply(&fact));
    assert_eq!(facts(&again), facts(&memory));
}

/// Facts of packages, pages and floors. Which page is the newest may depend on the order of two of
/// one revision, which the signer never makes.
fn facts(memory: &SigningMemory) -> BTreeSet<String> {
    memory
        .facts()
        .filter(|fact| !matches!(fact, Fact::Newest { .. }))
        .map(|fact| serde_json::to_string(&fact).expect("it is JSON"))
        .collect()
}
