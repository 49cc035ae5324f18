//! Everything about one build.

use rpmfarm_core::name::counted;
use rpmfarm_core::status::TaskState;
use rpmfarm_proto::v1::{Build, Task};

use super::table::{Column, cell, column, number, state, table};
use super::{escape, failure, progress, size, stages, time, wrap};
use crate::out::StandardOutput;

/// The columns of the stages, the tasks and the packages.
const STAGES: [Column; 3] = [column("STAGE"), column("TOOK"), column("DONE")];
const TASKS: [Column; 8] = [
    column("TASK").rank(2),
    column("KIND"),
    column("ARCH"),
    column("STATE"),
    column("TOOK").rank(3),
    column("RPMBUILD").rank(4),
    column("TRIES").rank(1),
    column("WHAT").wrapped(),
];
const PACKAGES: [Column; 3] =
    [column("PACKAGE").cut(24), column("SIZE").rank(1), column("SIGNED").rank(2)];

/// Packages that a root took from the farm are shown one by one up to so many.
const FROM_FARM: usize = 20;

/// All facts of a build, in sections; ends with a line break.
pub(crate) fn text(build: &Build, out: &StandardOutput, now: i64) -> String {
    let sections = [
        Some(summary(build, out.width(), now)),
        failure::text(build, out.width()),
        section("Stages", stage_table(build, out, now)),
        section("Tasks", task_table(build, out, now)),
        section("Notes", notes(build, out.width())),
        section("Packages", artifact_table(build, out)),
    ];
    sections.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

fn section(title: &str, table: Option<String>) -> Option<String> {
    table.map(|table| format!("{}\n{table}", console::style(title).bold()))
}

fn summary(build: &Build, width: Option<usize>, now: i64) -> String {
    let mut text = format!(
        "build {}: {} for {}, {}\n",
        build.id,
        console::style(escape::line(&build.package)).bold(),
        escape::line(&build.target),
        escape::line(&build.state),
    );
    for (name, value) in facts(build, now) {
        text.push_str(&wrap::hanging(&format!("  {name:<10} "), &value, 13, width));
    }
    text
}

fn facts(build: &Build, now: i64) -> Vec<(&'static str, String)> {
    let took = time::duration(progress::build_took(build, now));
    let last = time::duration(progress::last_try_took(build, now));
    let by = if build.submitter.is_empty() { "unknown user" } else { &build.submitter };
    let over = if build.ended_us == 0 { "so far" } else { "in all" };
    let mut facts = vec![(
        "asked",
        format!(
            "{} by {} ({}), batch {}",
            time::ago(build.created_us, now),
            escape::line(by),
            time::point(build.created_us),
            build.batch
        ),
    )];
    if build.retried_us == 0 {
        facts.push(("took", format!("{took} {over}")));
    } else {
        let (ago, point) = (time::ago(build.retried_us, now), time::point(build.retried_us));
        facts.push(("retried", format!("{ago} ({point})")));
        facts.push(("took", format!("{last} in the last try, {took} {over}")));
    }
    let mut add = |name, value: &str| {
        if !value.is_empty() {
            facts.push((name, value.to_owned()));
        }
    };
    add("priority", &build.priority);
    add("reference", &build.git_ref);
    add("only for", &build.arches.join(", "));
    add("options", &build.option_words.join(" "));
    add("commit", &build.commit);
    add("srpm", &build.srpm);
    add("fixes", &build.cves.join(" "));
    if build.kept_files > 0 {
        let (count, id) = (build.kept_files, build.id);
        add("files", &format!("{count} of failed attempts are kept: rpmfarm files {id}"));
    }
    let shown = build.from_farm.len().min(FROM_FARM);
    for line in &build.from_farm[..shown] {
        add("from the farm", line);
    }
    let more = build.from_farm.len() - shown;
    if more > 0 {
        let count = counted(more, "more package");
        add("from the farm", &format!("{count}: rpmfarm lock {}", build.id));
    }
    add("warning", &build.warnings.join("\n"));
    for note in &build.notes {
        add("note", note);
    }
    if !build.channel.is_empty() {
        add("published", &format!("{}, revision {}", build.channel, build.revision));
    }
    // Why it failed has a section of its own.
    if super::verdict::failure(build).is_none() {
        add("because", &build.reason);
    }
    facts
}

fn stage_table(build: &Build, out: &StandardOutput, now: i64) -> Option<String> {
    let stages = stages::stages(build, now);
    let rows: Vec<_> = stages
        .into_iter()
        .map(|stage| {
            let done = stage
                .done_us
                .map_or(cell("goes on"), |at| cell(time::point(at)).or(time::clock(at)));
            vec![cell(stage.name), number(time::duration(stage.took_us)), done]
        })
        .collect();
    (!rows.is_empty()).then(|| table(out, &STAGES, &rows))
}

fn task_table(build: &Build, out: &StandardOutput, now: i64) -> Option<String> {
    let row = |task: &Task| {
        let rpmbuild = i64::try_from(task.rpmbuild_ms).unwrap_or(i64::MAX / 1000);
        let rpmbuild = if rpmbuild == 0 {
            String::new()
        } else {
            time::duration(rpmbuild.saturating_mul(1000))
        };
        vec![
            number(task.id),
            cell(&task.kind),
            cell(&task.arch),
            state(&task.state),
            number(progress::task_took(task, now).map(time::duration).unwrap_or_default()),
            number(rpmbuild),
            number(task.attempts),
            cell(doing(task)),
        ]
    };
    let rows: Vec<_> = build.tasks.iter().map(row).collect();
    (!rows.is_empty()).then(|| table(out, &TASKS, &rows))
}

/// Further notes on the tasks' attempts, a line each.
fn notes(build: &Build, width: Option<usize>) -> Option<String> {
    let line =
        |task: &Task, note: &str| wrap::hanging(&format!("  task {}: ", task.id), note, 4, width);
    let lines = |task: &Task| task.notes.iter().map(|note| line(task, note)).collect::<String>();
    let text: String = build.tasks.iter().map(lines).collect();
    (!text.is_empty()).then_some(text)
}

/// The phase of a running task, or why another one failed.
fn doing(task: &Task) -> String {
    match &task.failure {
        Some(failure) if task.known_state() != Some(TaskState::Succeeded) => {
            format!("{} ({}'s fault)", failure.message, failure::fault(failure))
        }
        _ if task.known_state() == Some(TaskState::Running) => progress::task(task),
        _ if task.worker.is_empty() => String::new(),
        _ => format!("on {}", task.worker),
    }
}

fn artifact_table(build: &Build, out: &StandardOutput) -> Option<String> {
    let row = |artifact: &rpmfarm_proto::v1::Artifact| {
        let signed = match artifact {
            artifact if !artifact.withdrawn.is_empty() => "withdrawn",
            artifact if artifact.signed_digest.is_empty() => "no",
            _ => "yes",
        };
        vec![cell(&artifact.nevra), number(size::bytes(artifact.size)), cell(signed)]
    };
    let rows: Vec<_> = build.artifacts.iter().map(row).collect();
    (!rows.is_empty()).then(|| table(out, &PACKAGES, &rows))
}
