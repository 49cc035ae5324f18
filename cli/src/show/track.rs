//! Tracked packages and pushes, as text.

use rpmfarm_proto::v1;

use super::table::{Cell, Column, cell, column, state, table};
use super::{escape, time, wrap};
use crate::out::StandardOutput;

/// The columns of the list of tracked packages.
const FOLLOWED: [Column; 8] = [
    column("TARGET").rank(4).cut(8),
    column("PACKAGE").cut(10),
    column("BRANCH").rank(3).cut(8),
    column("COMMIT").rank(6),
    column("POLICY"),
    column("POLLED").rank(5),
    column("PUSH").rank(1),
    column("PROBLEM").rank(2).cut(20),
];

/// The columns of pushes. The reason why something is not built is never shortened.
const PUSHES: [Column; 8] = [
    column("PACKAGE").cut(10),
    column("BRANCH").rank(3).cut(8),
    column("COMMIT").rank(4),
    column("SEEN").rank(5),
    column("BY").rank(6),
    column("VERDICT"),
    column("BUILD").rank(1),
    column("WHY").wrapped(),
];

/// The first digits of a commit; a dash when there is none.
pub(crate) fn short(commit: &str) -> String {
    if commit.is_empty() { "-".into() } else { escape::line(commit).chars().take(10).collect() }
}

/// A table of tracked packages.
pub(crate) fn list(out: &StandardOutput, packages: &[v1::Tracked], now: i64) -> String {
    let row = |row: &v1::Tracked| -> Vec<Cell> {
        let polled =
            if row.looked_us == 0 { "never".into() } else { time::ago(row.looked_us, now) };
        vec![
            cell(&row.target),
            cell(&row.package),
            cell(&row.branch),
            cell(short(&row.commit)),
            state(&row.policy),
            cell(polled),
            state(if row.push.is_empty() { "-" } else { &row.push }),
            cell(&row.problem),
        ]
    };
    table(out, &FOLLOWED, &packages.iter().map(row).collect::<Vec<_>>())
}

/// Open pushes, and the storms that hold some of them.
pub(crate) fn plan(out: &StandardOutput, plan: &v1::PlanPushesReply, now: i64) -> String {
    let width = out.width();
    let mut text = pushes(out, &plan.pushes, now);
    for storm in &plan.storms {
        text.push_str(&format!(
            "\n{}{}  build them all with: rpmfarm track approve --storm {}\n",
            wrap::hanging(&format!("storm {}: ", storm.id), &storm.reason, 2, width),
            wrap::hanging(
                &format!("  it would rebuild {} packages: ", storm.packages.len()),
                &storm.packages.join(" "),
                4,
                width
            ),
            storm.id,
        ));
    }
    text
}

fn pushes(out: &StandardOutput, pushes: &[v1::Push], now: i64) -> String {
    let row = |push: &v1::Push| -> Vec<Cell> {
        let until = match push.until_us {
            0 => String::new(),
            until => format!(", until {}", time::point(until)),
        };
        let verdict = if push.verdict.is_empty() { "open" } else { &push.verdict };
        vec![
            cell(&push.package),
            cell(if push.modifies {
                format!("{} (modifications)", push.branch)
            } else {
                push.branch.clone()
            }),
            cell(format!("{}..{}", short(&push.before), short(&push.commit))),
            cell(time::ago(push.seen_us, now)),
            cell(&push.told_by),
            state(verdict),
            cell(if push.build == 0 { "-".into() } else { push.build.to_string() }),
            cell(format!("{}{until}", push.reason)),
        ]
    };
    table(out, &PUSHES, &pushes.iter().map(row).collect::<Vec<_>>())
}

/// A package with its pushes and policy overrides.
pub(crate) fn details(out: &StandardOutput, details: &v1::TrackedDetails, now: i64) -> String {
    let Some(row) = &details.tracked else { return String::new() };
    let mut text = format!("{} for {}\n", escape::line(&row.package), escape::line(&row.target));
    let width = out.width();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&wrap::hanging(&format!("  {name:<11}"), &value, 13, width));
        }
    };
    line("repository", row.repository.clone());
    line("branch", row.branch.clone());
    line("commit", row.commit.clone());
    if let Some(modifications) = &row.modifications {
        let v1::ModificationsFollowed { repository, branch, commit } = modifications;
        let at = if commit.is_empty() { "no commit yet" } else { commit };
        line("modified", format!("{repository}, branch {branch}, {at}"));
    }
    let because = if row.reason.is_empty() { String::new() } else { format!(": {}", row.reason) };
    let until = if row.until_us == 0 {
        String::new()
    } else {
        format!(" until {}", time::point(row.until_us))
    };
    line("policy", format!("{}{until}{because}", row.policy));
    line("polled", if row.looked_us == 0 { "never".into() } else { time::ago(row.looked_us, now) });
    let next = if row.due_us <= now { "now".into() } else { time::point(row.due_us) };
    line("next poll", next);
    line("problem", row.problem.clone());
    if !details.pushes.is_empty() {
        text.push('\n');
        text.push_str(&pushes(out, &details.pushes, now));
    }
    if !details.orders.is_empty() {
        text.push('\n');
    }
    for order in &details.orders {
        let reason =
            if order.reason.is_empty() { String::new() } else { format!(": {}", order.reason) };
        let line = format!("{} by {}{reason}", order.word, order.who);
        text.push_str(&wrap::hanging(&format!("{}  ", time::point(order.at_us)), &line, 4, width));
    }
    text
}
