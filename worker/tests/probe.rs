//! The probe: some five hundred questions (`probe/probe.c`) that are answered in a chroot as mock
//! makes one, in the cage of builds and in the cage of scriptlets, of the same root. Each different
//! answer is in the table of docs/cage.md with its reason. The test fails for a difference without
//! a row, and for a row without a difference.

#![allow(clippy::unwrap_used, reason = "a step that fails is the failure of its test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Scene, UID_BASE, spec};
use rpmfarm_core::Arch;

const PROBE: &str = include_str!("probe/probe.c");
const TABLE: &str = include_str!("../../docs/cage.md");
const MOCK: &str = include_str!("probe/mock.sh");

type Answers = BTreeMap<String, String>;

/// The answers in a log.
fn answers(log: &str) -> Answers {
    let begin = log.find("PROBE BEGINS").unwrap_or_else(|| panic!("no probe in {log}"));
    let end = log.find("PROBE ENDS").unwrap_or_else(|| panic!("the probe did not end: {log}"));
    let lines = log[begin..end].lines().skip(1);
    lines
        .filter_map(|line| line.split_once(" = "))
        .map(|(question, answer)| (question.to_owned(), answer.trim_end().to_owned()))
        .collect()
}

fn probe_spec() -> String {
    let script = "gcc -O1 -w -o probe %{SOURCE0}\nmkdir work\n./probe work";
    spec("probe", script).replace("BuildArch:", "Source0: probe.c\nBuildArch:")
}

/// The scriptlet of the probe's package, which contains the probe's source.
fn scriptlet() -> String {
    let source = PROBE.replace('%', "%%");
    format!(
        "d=$(mktemp -d)\ncd $d\ncat > probe.c <<'END OF PROBE'\n{source}\nEND OF PROBE\n\
         gcc -O1 -w -o probe probe.c && ./probe $d\ncd /\nrm -rf $d\n"
    )
}

/// A copy of the base root with the owners of a real chroot, without the files that the farm has
/// added: mock's steps add their own here.
fn copy_root(scene: &Scene, into: &Path) {
    let lock = scene.lock();
    let base = scene.data.join("roots").join(lock.layer_ids()[0].hex()).join("tree");
    let status = Command::new("cp").arg("-a").arg(&base).arg(into).status().unwrap();
    assert!(status.success());
    let mut pending = vec![into.to_path_buf()];
    while let Some(path) = pending.pop() {
        let about = path.symlink_metadata().unwrap();
        let shift = |id: u32| Some(id.checked_sub(UID_BASE).unwrap_or(id));
        lchown(&path, shift(about.uid()), shift(about.gid())).unwrap();
        if about.is_symlink() {
            continue;
        }
        // chown took set-user-id bits away.
        fs::set_permissions(&path, fs::Permissions::from_mode(about.mode())).unwrap();
        if about.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    for file in [
        "etc/machine-id",
        "etc/hosts",
        "etc/resolv.conf",
        "etc/localtime",
        "etc/mtab",
        "etc/fstab",
        "var/lib/dbus/machine-id",
    ] {
        fs::remove_file(into.join(file)).unwrap();
    }
    for file in ["etc/passwd", "etc/group"] {
        let text = fs::read_to_string(into.join(file)).unwrap();
        let kept = text.lines().filter(|line| !line.starts_with("mock"));
        fs::write(into.join(file), kept.map(|line| format!("{line}\n")).collect::<String>())
            .unwrap();
    }
}

/// Asks in a chroot as mock makes it: as the build user in a build, and as root in a scriptlet.
fn in_mock(scene: &Scene, rpm: &Path) -> [Answers; 2] {
    let top = scene.data.join("mock");
    let _ = fs::remove_dir_all(&top);
    fs::create_dir(&top).unwrap();
    let root = top.join("root");
    copy_root(scene, &root);
    let sources = top.join("sources");
    fs::create_dir(&sources).unwrap();
    fs::write(sources.join("probe.spec"), probe_spec()).unwrap();
    fs::write(sources.join("probe.c"), PROBE).unwrap();
    let script = top.join("mock.sh");
    fs::write(&script, MOCK).unwrap();
    let run = |what: &str| {
        // Mounts, names, System V objects and the network are its own; so far as mock parts them,
        // and its builds have no network either way.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--uts", "--ipc", "--net", "/bin/sh"]);
        command.arg(&script).arg(what).args([&root, &sources]).arg(rpm);
        let output =
            command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        answers(&text)
    };
    let both = [run("build"), run("scriptlet")];
    fs::remove_dir_all(&top).unwrap();
    both
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    /// Questions; a `*` at the end stands for any.
    questions: Vec<String>,
    /// `build`, `scriptlets`, `both`.
    place: String,
    /// Whether it depends on the host or the architecture, so that it may not show here.
    may: bool,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| line.starts_with("| `"));
    let rows = lines.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 5, "a row has five cells: {line}");
        let questions = cells[0].split("`, `").map(|word| word.trim_matches('`').to_owned());
        let place = cells[1].trim_end_matches('?');
        assert!(["build", "scriptlets", "both"].contains(&place), "{line}");
        assert!(!cells[4].is_empty(), "no reason: {line}");
        Row {
            questions: questions.collect(),
            place: place.to_owned(),
            may: cells[1].ends_with('?'),
        }
    });
    rows.collect()
}

fn is_of(question: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(question == pattern, |start| question.starts_with(start))
}

/// The differences, as `question: mock's answer, the cage's answer`.
fn compare(mock: &Answers, cage: &Answers) -> BTreeMap<String, String> {
    let questions: BTreeSet<&String> = mock.keys().chain(cage.keys()).collect();
    let answer =
        |of: &Answers, question: &str| of.get(question).cloned().unwrap_or("(not there)".into());
    questions
        .into_iter()
        .filter(|question| mock.get(*question) != cage.get(*question))
        .map(|question| {
            let line =
                format!("{question}: {} | {}", answer(mock, question), answer(cage, question));
            (question.clone(), line)
        })
        .collect()
}

/// Runs the probe everywhere on an architecture, and returns the differences of a build and of a
/// scriptlet.
fn ask(arch: Arch) -> [BTreeMap<String, String>; 2] {
    let scene = Scene::of(arch, &[]);
    let srpm = scene.srpm("probe", &probe_spec(), &[("probe.c", PROBE)]);
    let report = scene.build(&srpm, &[]);
    assert!(report["failure"].is_null(), "{report:#}\n{}", scene.log());
    let build = answers(&scene.log());
    let rpm = scene.add_scriptlet("probing", &scriptlet());
    // The first that stands on that root has it made.
    scene.srpm("stands", &spec("stands", "true"), &[]);
    let log = fs::read_to_string(scene.dir.path().join("out/0/root.log")).unwrap();
    let scriptlet = answers(&log);
    assert!(build.len() > 400 && scriptlet.len() > 400, "{} and {}", build.len(), scriptlet.len());
    let [mock_build, mock_scriptlet] = in_mock(&scene, &rpm);
    [compare(&mock_build, &build), compare(&mock_scriptlet, &scriptlet)]
}

/// Differences that no row names, and, where all rows must hold, rows without a difference.
fn judge(found: &[BTreeMap<String, String>; 2], all: bool) -> Vec<String> {
    let rows = rows();
    let mut wrong = Vec::new();
    for (place, found) in ["build", "scriptlets"].into_iter().zip(found) {
        let here: Vec<&Row> =
            rows.iter().filter(|row| row.place == place || row.place == "both").collect();
        let named = |question: &str| {
            here.iter().any(|row| row.questions.iter().any(|pattern| is_of(question, pattern)))
        };
        let unnamed = found.iter().filter(|(question, _)| !named(question));
        wrong.extend(unnamed.map(|(_, line)| format!("{place}, not in the table: {line}")));
        for row in here.iter().filter(|row| all && !row.may) {
            let gone = row
                .questions
                .iter()
                .filter(|pattern| !found.keys().any(|question| is_of(question, pattern)));
            wrong.extend(
                gone.map(|pattern| format!("{place}, does not differ any more: {pattern}")),
            );
        }
    }
    wrong
}

#[test]
fn a_cage_differs_from_mocks_chroot_as_its_table_says() {
    let wrong = judge(&ask(Arch::X86_64), true);
    assert!(wrong.is_empty(), "docs/cage.md is not right:\n{}", wrong.join("\n"));
}

/// Under emulation some answers are the emulator's; rows that concern only x86_64 need not show.
#[test]
#[ignore = "makes two emulated roots and compiles the probe in each: cargo nextest run --run-ignored all"]
fn emulated_cages_differ_no_more() {
    for arch in [Arch::Aarch64, Arch::Ppc64le] {
        let wrong = judge(&ask(arch), false);
        assert!(wrong.is_empty(), "docs/cage.md is not right on {arch}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn the_table_is_read() {
    assert!(is_of("call fsync -1", "call fsync*") && !is_of("call fsync -1", "call fsync"));
    let paths: Vec<PathBuf> =
        rows().iter().flat_map(|row| &row.questions).map(PathBuf::from).collect();
    assert!(paths.len() > 20, "{paths:?}");
}
