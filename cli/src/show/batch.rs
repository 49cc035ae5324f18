//! Batches and their plans, for people.

use rpmfarm_core::name::counted;
use rpmfarm_proto::v1::{
    Batch, BatchDetails, BatchLoss, BatchMember, BatchPlan, Build, PlannedComponent, StuckCircle,
};

use super::failure::fault;
use super::table::{Cell, Column, cell, column, number, table};
use super::{escape, time, wrap};
use crate::exit::Exit;
use crate::out::StandardOutput;

/// How many builds a line names; further ones are counted.
const NAMED: usize = 8;

/// How many lost builds are shown.
const LOSSES: usize = 20;

/// How many components of a plan are shown, those with several packages first.
const COMPONENTS: usize = 40;

/// The columns of a plan.
const PLAN: [Column; 6] = [
    column("COMPONENT"),
    column("PACKAGES").cut(16),
    column("WAITS FOR").rank(1).cut(9),
    column("WORK"),
    column("STARTS"),
    column("ENDS"),
];

/// The batch of several builds; `None` for a single build, and for builds of several batches.
pub(crate) fn of_builds(builds: &[Build]) -> Option<i64> {
    let [first, others @ ..] = builds else { return None };
    let is_one = !others.is_empty() && others.iter().all(|build| build.batch == first.batch);
    (is_one && first.batch != 0).then_some(first.batch)
}

/// The batch of an answer; coordinators always send it.
fn batch_of(details: &BatchDetails) -> Batch {
    details.batch.clone().unwrap_or_default()
}

/// The state of a batch, in one word.
pub(crate) fn state(batch: &Batch) -> &'static str {
    match (batch.ended_us, batch.paused_us) {
        (0, 0) => "running",
        (0, _) => "paused",
        _ => "ended",
    }
}

/// The exit code for the end of a batch: failures that a maintainer must act on take precedence.
pub(crate) fn exit(details: &BatchDetails) -> Exit {
    let batch = batch_of(details);
    match (details.failed_by_package, batch.failed, batch.cancelled) {
        (1.., _, _) => Exit::PackageFailed,
        (0, 1.., _) => Exit::FarmFailed,
        (0, 0, 1..) => Exit::Cancelled,
        (0, 0, 0) => Exit::Done,
    }
}

/// The progress of a batch, in one line without times, so that a new line means a change.
pub(crate) fn progress(details: &BatchDetails) -> String {
    let batch = batch_of(details);
    let ended = [batch.published, batch.failed, batch.cancelled];
    let ended: u64 = ended.into_iter().map(u64::from).sum();
    let mut text = format!("batch {}: {ended} of {} done", batch.id, batch.builds);
    let parts = counts(&[
        (batch.failed, "failed"),
        (batch.cancelled, "cancelled"),
        (batch.building, "building"),
        (batch.finishing, "finishing"),
        (batch.waiting, "waiting"),
        (batch.without_srpm, "without SRPM"),
    ]);
    parts.iter().for_each(|part| text.push_str(&format!(", {part}")));
    if batch.paused_us != 0 {
        text.push_str(", paused");
    }
    text
}

/// The remaining time of a batch, as the end of its line; empty when it is not known.
pub(crate) fn remaining(details: &BatchDetails, now: i64) -> String {
    match details.expected_end_us.saturating_sub(now) {
        left @ 1.. => format!(", {} left", about(left)),
        _ => String::new(),
    }
}

/// A duration that is only expected: rounded to minutes or more.
fn about(us: i64) -> String {
    const MINUTE: i64 = 60_000_000;
    time::duration(us.saturating_add(MINUTE - 1) / MINUTE * MINUTE)
}

/// Everything about a batch; ends with a line break.
pub(crate) fn text(details: &BatchDetails, width: Option<usize>, now: i64) -> String {
    let batch = batch_of(details);
    let mut text = format!(
        "batch {}: {} for {}, {}\n",
        batch.id,
        builds(batch.builds),
        escape::line(&batch.target),
        state(&batch),
    );
    let mut add = |line: &str| text.push_str(&wrap::hanging("  ", line, 4, width));
    add(&format!(
        "asked by {} {}; order: {}",
        batch.submitter,
        time::ago(batch.created_us, now),
        batch.order
    ));
    if batch.paused_us != 0 {
        let since = time::ago(batch.paused_us, now);
        add(&format!("paused {since}: nothing more begins; rpmfarm batch resume {}", batch.id));
    }
    add(&format!(
        "ended: {} published, {} failed, {} cancelled",
        batch.published, batch.failed, batch.cancelled
    ));
    if batch.ended_us == 0 {
        left(details, &batch, now).iter().for_each(|line| add(line));
    } else {
        add(&took(details, &batch));
    }
    text.push_str(&circles(&details.stuck, width));
    text.push_str(&losses(&details.losses, width));
    text
}

/// The remaining work of a batch, a line for each known fact.
fn left(details: &BatchDetails, batch: &Batch, now: i64) -> Vec<String> {
    let mut lines = vec![format!(
        "left: {} without SRPM, {} waiting, {} building, {} finishing",
        batch.without_srpm, batch.waiting, batch.building, batch.finishing
    )];
    let mut work = format!("work left: {} on one slot", about(details.left_us));
    if details.unlearned > 0 {
        let of = builds(details.unlearned);
        work.push_str(&format!(" ({of} of unknown duration, each taken as 5 min)"));
    }
    lines.push(work);
    if details.expected_end_us != 0 {
        let end = details.expected_end_us;
        let left = about(end.saturating_sub(now).max(0));
        lines.push(format!("ends in about {left}, not before {}", time::point(end)));
    }
    if !details.critical_path.is_empty() {
        let path: Vec<String> = details.critical_path.iter().map(member).collect();
        let takes = about(details.critical_path_us);
        lines.push(format!("longest chain, {takes}: {}", some(&path, " → ")));
    }
    let holder = |holder: &rpmfarm_proto::v1::BatchHolder| {
        let of = member(&holder.member.clone().unwrap_or_default());
        format!("{of} holds {}", builds(holder.holds))
    };
    if !details.holders.is_empty() {
        let holders: Vec<String> = details.holders.iter().map(holder).collect();
        lines.push(format!("waited for: {}", some(&holders, "; ")));
    }
    if !details.note.is_empty() {
        lines.push(details.note.clone());
    }
    lines
}

/// How long an ended batch took, and for how much work.
fn took(details: &BatchDetails, batch: &Batch) -> String {
    let took = time::duration(batch.ended_us.saturating_sub(batch.created_us));
    format!("took {took}, for {} of work", time::duration(details.work_us))
}

/// The summary of a batch at its end; ends with a line break.
pub(crate) fn summary(details: &BatchDetails, width: Option<usize>) -> String {
    let batch = batch_of(details);
    let ends = counts(&[
        (batch.published, "published"),
        (batch.failed, "failed"),
        (batch.cancelled, "cancelled"),
    ]);
    let line = format!("{}: {}; {}", builds(batch.builds), ends.join(", "), took(details, &batch));
    wrap::hanging("", &line, 2, width) + &losses(&details.losses, width)
}

/// The builds that failed because of lost builds; empty when there are none.
pub(crate) fn taken(details: &BatchDetails, width: Option<usize>) -> String {
    let is_dear = |loss: &&BatchLoss| !(loss.took.is_empty() && loss.without.is_empty());
    let dear: Vec<BatchLoss> = details.losses.iter().filter(is_dear).cloned().collect();
    losses(&dear, width)
}

/// The circles that nothing can begin, a line for each; with a heading.
fn circles(stuck: &[StuckCircle], width: Option<usize>) -> String {
    if stuck.is_empty() {
        return String::new();
    }
    let lines = stuck.iter().map(|circle| wrap::hanging("  ", &circle.text, 4, width));
    format!("circles that nothing can begin:\n{}", lines.collect::<String>())
}

/// The lost builds, each with the builds that failed because of it; with a heading.
fn losses(losses: &[BatchLoss], width: Option<usize>) -> String {
    if losses.is_empty() {
        return String::new();
    }
    let mut text = "lost:\n".to_owned();
    for loss in losses.iter().take(LOSSES) {
        let of = loss.member.clone().unwrap_or_default();
        let how = match &loss.failure {
            Some(failure) => format!("failed: {} ({}'s fault)", failure.message, fault(failure)),
            None => "cancelled".to_owned(),
        };
        let line = format!("{} {how}", escape::line(&of.package));
        text.push_str(&wrap::hanging(&format!("  build {} ", of.build), &line, 4, width));
        for (what, members) in
            [("took with it", &loss.took), ("go on with older packages of it", &loss.without)]
        {
            if !members.is_empty() {
                let members: Vec<String> = members.iter().map(member).collect();
                let line = format!("{what}: {}", some(&members, ", "));
                text.push_str(&wrap::hanging("    ", &line, 6, width));
            }
        }
    }
    if losses.len() > LOSSES {
        text.push_str(&format!("  … and {} more (--json has them)\n", losses.len() - LOSSES));
    }
    text
}

/// The plan of a request; ends with a line break.
pub(crate) fn plan(plan: &BatchPlan, out: &StandardOutput) -> String {
    let width = out.width();
    let count: usize = plan.components.iter().map(|component| component.packages.len()).sum();
    let mut text = format!(
        "plan for {}: {} in {}, order: {}\n",
        escape::line(&plan.target),
        counted(count, "build"),
        counted(plan.components.len(), "component"),
        escape::line(&plan.order),
    );
    let mut add = |line: &str| text.push_str(&wrap::hanging("  ", line, 4, width));
    let least = plan.work_us.max(plan.path_us);
    add(&format!(
        "takes {} at least: the longest chain {}, the work over the slots {}",
        time::duration(least),
        time::duration(plan.path_us),
        time::duration(plan.work_us)
    ));
    add(&match plan.expected_us {
        0 => "no end is expected: some builds never start".to_owned(),
        us => format!("expected to end {} after its start", time::duration(us)),
    });
    let slots: Vec<String> =
        plan.slots.iter().map(|slots| format!("{} {}", slots.arch, slots.slots)).collect();
    add(&format!("slots: {}", slots.join(", ")));
    plan.notes.iter().for_each(|note| add(note));
    text.push('\n');
    text.push_str(&components(&plan.components, out));
    text.push_str(&circles(&plan.stuck, width));
    for (what, packages) in [
        ("will be refused, for nobody provides what they lack", &plan.refused),
        ("never built, so that nobody knows what they need and make", &plan.unknown),
    ] {
        if !packages.is_empty() {
            let line = format!("{what}: {}", some(packages, ", "));
            text.push_str(&wrap::hanging("", &line, 2, width));
        }
    }
    text
}

/// The table of the components: those of several packages, then as many others as there is room
/// for, in the order of the plan.
fn components(components: &[PlannedComponent], out: &StandardOutput) -> String {
    let mut places: Vec<usize> = (0..components.len()).collect();
    places.sort_by_key(|place| components[*place].packages.len() < 2);
    places.truncate(COMPONENTS);
    places.sort_unstable();
    let rows: Vec<_> = places.iter().map(|place| row(*place, &components[*place])).collect();
    let mut text = table(out, &PLAN, &rows);
    if places.len() < components.len() {
        let left = counted(components.len() - places.len(), "component");
        text.push_str(&format!("… and {left} more (--json has them)\n"));
    }
    text
}

fn row(place: usize, component: &PlannedComponent) -> Vec<Cell> {
    let needs: Vec<String> =
        component.needs.iter().map(|need| (u64::from(*need) + 1).to_string()).collect();
    let (starts, ends) = match component.ends_us {
        0 => ("never".to_owned(), String::new()),
        ends => (time::duration(component.starts_us), time::duration(ends)),
    };
    vec![
        number(place + 1),
        cell(some(&component.packages, ", ")),
        cell(some(&needs, ", ")),
        number(time::duration(component.work_us)),
        number(starts),
        number(ends),
    ]
}

/// The counts that are not 0, each with its word.
fn counts(parts: &[(u32, &str)]) -> Vec<String> {
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, word)| format!("{count} {word}")).collect()
}

fn builds(count: u32) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "build")
}

/// A build as it stands in a line.
fn member(member: &BatchMember) -> String {
    match member.build {
        0 => member.package.clone(),
        build => format!("{} ({build})", member.package),
    }
}

/// The first of some things, and how many more there are.
fn some(things: &[String], between: &str) -> String {
    let shown = things[..things.len().min(NAMED)].join(between);
    match things.len().saturating_sub(NAMED) {
        0 => shown,
        left => format!("{shown}{between}and {left} more"),
    }
}

#[cfg(test)]
mod tests {
    use rpmfarm_proto::v1::{BatchHolder, Failure, Fault};

    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn of(build: i64, package: &str) -> BatchMember {
        BatchMember { build, package: package.into() }
    }

    fn details() -> BatchDetails {
        BatchDetails {
            batch: Some(Batch {
                id: 12,
                target: "lab".into(),
                order: "requires".into(),
                submitter: "ann@desk".into(),
                created_us: MINUTE,
                builds: 9,
                without_srpm: 1,
                waiting: 2,
                building: 1,
                published: 3,
                failed: 2,
                ..Batch::default()
            }),
            ordered_here: true,
            left_us: 20 * MINUTE,
            unlearned: 1,
            expected_end_us: 30 * MINUTE + 1,
            critical_path: vec![of(3, "gcc"), of(4, "glibc")],
            critical_path_us: 18 * MINUTE,
            holders: vec![BatchHolder { member: Some(of(3, "gcc")), holds: 2 }],
            losses: vec![BatchLoss {
                member: Some(of(7, "hello")),
                failure: Some(Failure {
                    fault: Fault::Package.into(),
                    message: "no compiler\u{1b}[31m".into(),
                    ..Failure::default()
                }),
                took: vec![of(8, "greet")],
                without: vec![of(9, "other")],
            }],
            failed_by_package: 1,
            failed_by_farm: 1,
            ..BatchDetails::default()
        }
    }

    #[test]
    fn several_builds_of_one_request_are_a_batch() {
        let batch_of = |batches: &[i64]| {
            let build = |batch: &i64| Build { batch: *batch, ..Build::default() };
            of_builds(&batches.iter().map(build).collect::<Vec<_>>())
        };
        assert_eq!(batch_of(&[3, 3]), Some(3));
        for none in [&[][..], &[3], &[3, 4], &[0, 0]] {
            assert_eq!(batch_of(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_batch_says_how_far_it_is_and_what_was_lost() {
        let shown = text(&details(), None, 10 * MINUTE);
        for line in [
            "batch 12: 9 builds for lab, running\n",
            "  asked by ann@desk 9 min ago; order: requires\n",
            "  ended: 3 published, 2 failed, 0 cancelled\n",
            "  left: 1 without SRPM, 2 waiting, 1 building, 0 finishing\n",
            "  work left: 20 min on one slot (1 build of unknown duration, each taken as 5 min)\n",
            "  ends in about 21 min, not before ",
            "  longest chain, 18 min: gcc (3) → glibc (4)\n",
            "  waited for: gcc (3) holds 2 builds\n",
            "lost:\n  build 7 hello failed: no compiler\\x1b[31m (package's fault)\n",
            "    took with it: greet (8)\n    go on with older packages of it: other (9)\n",
        ] {
            assert!(shown.contains(line), "no `{line}`:\n{shown}");
        }
    }

    #[test]
    fn the_progress_is_one_line_that_changes_with_the_batch() {
        let mut details = details();
        let all = "batch 12: 5 of 9 done, 2 failed, 1 building, 2 waiting, 1 without SRPM";
        assert_eq!(progress(&details), all);
        assert_eq!(remaining(&details, 10 * MINUTE), ", 21 min left");
        details.batch.as_mut().expect("it is there").paused_us = 1;
        details.expected_end_us = 0;
        assert_eq!(progress(&details), format!("{all}, paused"));
        assert_eq!(remaining(&details, 10 * MINUTE), "");
        assert!(text(&details, None, 2).contains("rpmfarm batch resume 12"));
    }

    #[test]
    fn the_end_is_counted_and_decides_on_the_exit_code() {
        let mut ended = details();
        let batch = ended.batch.as_mut().expect("it is there");
        (batch.ended_us, batch.builds, batch.published) = (121 * MINUTE, 6, 4);
        ended.work_us = 8 * 60 * MINUTE;
        let shown = summary(&ended, None);
        assert!(shown.starts_with("6 builds: 4 published, 2 failed; took 2 h, for 8 h of work\n"));
        assert!(shown.contains("    took with it: greet (8)\n"), "{shown}");
        assert_eq!(exit(&ended), Exit::PackageFailed);
        ended.failed_by_package = 0;
        assert_eq!(exit(&ended), Exit::FarmFailed);
        let batch = ended.batch.as_mut().expect("it is there");
        (batch.failed, batch.cancelled) = (0, 1);
        assert_eq!(exit(&ended), Exit::Cancelled);
        ended.batch.as_mut().expect("it is there").cancelled = 0;
        assert_eq!(exit(&ended), Exit::Done);
        ended.losses[0].took.clear();
        ended.losses[0].without.clear();
        assert_eq!(taken(&ended, None), "", "it took nothing with it");
    }

    #[test]
    fn a_plan_shows_circles_before_all_else_and_names_what_is_not_known() {
        let out = StandardOutput { json: false, color: false, tty: false };
        let one = |place: usize| PlannedComponent {
            packages: vec![format!("p{place}")],
            needs: Vec::new(),
            work_us: MINUTE,
            starts_us: 0,
            ends_us: MINUTE,
        };
        let mut all: Vec<PlannedComponent> = (1..=50).map(one).collect();
        all.push(PlannedComponent {
            packages: vec!["x".into(), "y".into()],
            needs: vec![0, 2],
            work_us: 2 * MINUTE,
            starts_us: 0,
            ends_us: 0,
        });
        let shown = plan(
            &BatchPlan {
                target: "lab".into(),
                order: "requires".into(),
                components: all,
                work_us: 25 * MINUTE,
                path_us: MINUTE,
                unknown: (1..=10).map(|number| format!("n{number}")).collect(),
                refused: vec!["x".into(), "y".into()],
                ..BatchPlan::default()
            },
            &out,
        );
        for line in [
            "plan for lab: 52 builds in 51 components, order: requires\n",
            "  takes 25 min at least: the longest chain 1 min, the work over the slots 25 min\n",
            "  no end is expected: some builds never start\n",
            "x, y      1, 3       2 min   never\n",
            "… and 11 components more (--json has them)\n",
            "will be refused, for nobody provides what they lack: x, y\n",
            "n1, n2, n3, n4, n5, n6, n7, n8, and 2 more\n",
        ] {
            assert!(shown.contains(line), "no `{line}`:\n{shown}");
        }
    }
}
