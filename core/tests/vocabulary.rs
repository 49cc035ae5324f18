//! The words of stages, states, phases, faults, verdicts, liveness and standing are enums: no
//! program compares them as texts. A text becomes an enum once, where it is received.

#![allow(clippy::unwrap_used, reason = "a test ends there")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rpmfarm_core::lease::Liveness;
use rpmfarm_core::next_step::NextStep;
use rpmfarm_core::stage::Milestone;
use rpmfarm_core::status::{BuildState, CountedState, TaskState};
use rpmfarm_core::task::Phase;
use rpmfarm_core::track::PushVerdict;
use rpmfarm_core::worker_standing::Standing;
use rpmfarm_core::{FailureStage, Fault, Stage};

/// The crates whose sources are read.
const CRATES: [&str; 10] =
    ["acceptor", "cli", "coordinator", "core", "daemon", "lab", "proto", "signer", "sim", "worker"];

/// Files that compare texts of others, which have some of these words with another meaning.
const ALLOWED: [&str; 7] = [
    // The sections of rpmbuild's output.
    "core/src/excerpt/mod.rs",
    // Documents of modulemd.
    "core/src/modules/yaml.rs",
    // The lines that rpm prints for the macros of a spec.
    "core/src/terms.rs",
    // The JSON documents of the command line, as scripts of users read them.
    "lab/src/bench/builds.rs",
    "lab/src/bench/following/import.rs",
    "lab/src/bench/link.rs",
    "lab/src/real/farmed.rs",
];

fn vocabulary() -> BTreeSet<String> {
    let words = [
        Stage::ALL.map(Stage::as_str).to_vec(),
        NextStep::ALL.map(NextStep::as_str).to_vec(),
        Milestone::ALL.map(Milestone::as_str).to_vec(),
        BuildState::ALL.map(BuildState::as_str).to_vec(),
        CountedState::ALL.map(CountedState::as_str).to_vec(),
        TaskState::ALL.map(TaskState::as_str).to_vec(),
        Phase::ALL.map(Phase::as_str).to_vec(),
        Fault::ALL.map(Fault::as_str).to_vec(),
        PushVerdict::ALL.map(PushVerdict::as_str).to_vec(),
        Liveness::ALL.map(Liveness::as_str).to_vec(),
        Standing::ALL.map(Standing::as_str).to_vec(),
    ];
    let stages = FailureStage::ALL;
    let stages = stages.iter().map(|stage| stage.as_str().to_owned());
    words.concat().into_iter().map(str::to_owned).chain(stages).collect()
}

/// The word of the vocabulary that a line of Rust compares something with, if it does: with `==` or
/// `!=`, as a pattern of `match` or `matches!`, or by `[…].contains(…)`.
fn compared<'a>(line: &'a str, words: &BTreeSet<String>) -> Option<&'a str> {
    let quotes: Vec<usize> = line.match_indices('"').map(|(at, _)| at).collect();
    quotes.chunks_exact(2).find_map(|pair| {
        let (before, after) = (line[..pair[0]].trim(), line[pair[1] + 1..].trim());
        let word = &line[pair[0] + 1..pair[1]];
        (words.contains(word) && is_compared(before, after)).then_some(word)
    })
}

fn is_compared(before: &str, after: &str) -> bool {
    let equals = |text: &str, at: fn(&str, &str) -> bool| at(text, "==") || at(text, "!=");
    // A variant of `words!` may have further words after `|`.
    let is_variant = before.ends_with('=') && !equals(before, |text, sign| text.ends_with(sign));
    let alternative = before.strip_suffix('|').map(str::trim_end);
    equals(before, |text, sign| text.ends_with(sign))
        || equals(after, |text, sign| text.starts_with(sign))
        || alternative.is_some_and(|others| others.is_empty() || others.ends_with('"'))
        || (after.starts_with('|') && !after.starts_with("||") && !is_variant)
        || is_pattern(before, after)
        || before.contains("matches!(")
        || after.contains("].contains(")
}

/// Whether the text around a literal makes it a pattern of `match`, alone or in a tuple.
fn is_pattern(before: &str, after: &str) -> bool {
    let Some((rest, _)) = after.split_once("=>") else { return false };
    let pattern = rest.split_once(" if ").map_or(rest, |(pattern, _)| pattern);
    let pattern = if pattern.starts_with("if ") { "" } else { pattern };
    let of_pattern = |c: char| c.is_alphanumeric() || "_:&.,|()\" ".contains(c);
    pattern.chars().all(of_pattern) && !before.contains("=>")
}

/// Lines of a file that compare, with their numbers and words. Tests in it may compare texts.
fn comparisons(text: &str, words: &BTreeSet<String>) -> Vec<(usize, String)> {
    let lines = text.lines().take_while(|line| !line.starts_with("mod tests {"));
    let code = lines.enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.filter_map(|(at, line)| Some((at + 1, compared(line, words)?.to_owned()))).collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            found.push(path);
        }
    }
}

#[test]
fn no_program_compares_words_as_texts() {
    let words = vocabulary();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for name in CRATES {
        sources(&root.join(name).join("src"), &mut files);
    }
    assert!(files.len() > 100, "{} files", files.len());
    let mut wrong = Vec::new();
    let mut allowed = BTreeSet::new();
    for path in files {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let found = comparisons(&fs::read_to_string(&path).unwrap(), &words);
        match ALLOWED.iter().find(|known| **known == name) {
            Some(known) if !found.is_empty() => {
                allowed.insert(*known);
            }
            _ => wrong.extend(found.iter().map(|(at, word)| format!("{name}:{at}: \"{word}\""))),
        }
    }
    assert!(wrong.is_empty(), "compare the enums of core instead: {wrong:#?}");
    assert_eq!(allowed, BTreeSet::from(ALLOWED), "these files compare nothing any more");
}

#[test]
fn a_comparison_is_found_when_one_is_planted() {
    let words = vocabulary();
    for line in [
        "if build.state == \"published\" {",
        "let open = \"queued\" != state;",
        "        \"importing\" => 1,",
        "        \"importing\" if reasons.is_empty() => {",
        "        (Fault::Package, \"resolve\") => vec![],",
        "        (\"worker\" | \"farm\", _) => Verdict::Unexplained,",
        "        | \"held\" | \"hold\" => Color::Yellow,",
        "matches!(task.state.as_str(), \"succeeded\")",
        "let ended = [\"published\", \"done-for\"].contains(&state);",
        "let kind = match failure.stage.as_str() { \"lease\" => 1, _ => 2 };",
    ] {
        assert!(compared(line, &words).is_some(), "{line}");
        let file = format!("fn x() {{\n{line}\n}}\n");
        assert_eq!(comparisons(&file, &words).len(), 1, "{line}");
    }
    for line in [
        "Self::Import => \"import\",",
        "Build = \"build\" | \"\",",
        "let fault = Failure::new(fault, stage, \"build\");",
        "tracing::info_span!(\"import\", build = build.id)",
        "let of = || \"build\";",
        "let of = |_| \"root\";",
        "if name == \"gcc\" {",
        "Ok(()) => check(\"store\", \"ok\", \"build\"),",
    ] {
        assert_eq!(compared(line, &words), None, "{line}");
    }
    assert!(comparisons("mod tests {\n    \"failed\" => 1,\n", &words).is_empty());
    assert!(comparisons("    // \"failed\" => 1,\n", &words).is_empty());
}
