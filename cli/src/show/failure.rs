//! A failed build: the failure and whose fault it is in one line, lines of the log, and what to do
//! next.

use rpmfarm_core::status::TaskState;
use rpmfarm_core::{FailureStage, Fault};
use rpmfarm_proto::v1::{Build, Failure, Task};

use super::{escape, verdict, wrap};

/// Everything about the failure of a build; nothing when it has none. Ends with a line break.
pub(crate) fn text(build: &Build, width: Option<usize>) -> Option<String> {
    let failure = verdict::failure(build)?;
    let mut text = headline(build, failure, width);
    for line in failure.excerpt.iter().take(10) {
        text.push_str(&format!("  {} {}\n", console::style("|").dim(), escape::line(line)));
    }
    for step in next_steps(build, failure) {
        let label = format!("  {} ", console::style("→").cyan());
        text.push_str(&wrap::hanging(&label, &step, 4, width));
    }
    Some(text)
}

/// The word for whose fault it is. An unknown fault counts as the farm's.
pub(crate) fn fault(failure: &Failure) -> &'static str {
    failure.whose().as_str()
}

fn headline(build: &Build, failure: &Failure, width: Option<usize>) -> String {
    let on = failed_task(build).map(|task| format!(" on {}", escape::line(&task.arch)));
    let line = format!(
        "{} ({}'s fault, at {}{})",
        failure.message.trim_end(),
        fault(failure),
        failure.stage,
        on.unwrap_or_default(),
    );
    wrap::hanging(&format!("{} ", console::style("failed:").red().bold()), &line, 4, width)
}

fn failed_task(build: &Build) -> Option<&Task> {
    build.tasks.iter().find(|task| task.known_state() == Some(TaskState::Failed))
}

fn next_steps(build: &Build, failure: &Failure) -> Vec<String> {
    let id = build.id;
    let retry = format!("then try again: rpmfarm retry {id}");
    match (failure.whose(), failure.known_stage()) {
        (Fault::Package, FailureStage::Import) => {
            vec![
                "check the reference, the spec and the sources in dist-git".into(),
                format!("then rebuild: {}", rebuild(build)),
            ]
        }
        (Fault::Package, FailureStage::Resolve) => vec![
            "build the missing package, or add a repository that has it to the target".into(),
            retry,
        ],
        (Fault::Package, FailureStage::Transaction) => vec![
            format!("see how the root was made: rpmfarm log {id} --root"),
            "repair the named package, or do not require it".into(),
            retry,
        ],
        (Fault::Package, _) => vec![
            format!("read the whole log: {}", read_log(build)),
            format!("fix the package in dist-git, then rebuild: {}", rebuild(build)),
        ],
        (Fault::Worker, _) => vec!["check the workers: rpmfarm worker list".into(), retry],
        (Fault::Farm, _) => vec!["run rpmfarm doctor to find the problem".into(), retry],
    }
}

fn read_log(build: &Build) -> String {
    let task = failed_task(build).map(|task| {
        format!(" --kind {} --arch {}", escape::line(&task.kind), escape::line(&task.arch))
    });
    format!("rpmfarm log {}{}", build.id, task.unwrap_or_default())
}

fn rebuild(build: &Build) -> String {
    let at = if build.git_ref.is_empty() { "" } else { "@" };
    escape::line(&format!(
        "rpmfarm build {}{at}{} --target {}",
        build.package, build.git_ref, build.target
    ))
}

#[cfg(test)]
mod tests {
    use rpmfarm_proto::v1::Fault;

    use super::{Build, Failure, text};

    fn failed(fault: Fault, stage: &str) -> Build {
        Build {
            id: 7,
            package: "hello".into(),
            git_ref: "c9s".into(),
            target: "lab".into(),
            state: "failed".into(),
            failure: Some(Failure {
                fault: fault.into(),
                stage: stage.into(),
                message: "no space\u{1b}[2J".into(),
                excerpt: vec!["x".into(); 12],
                ..Failure::default()
            }),
            ..Build::default()
        }
    }

    #[test]
    fn a_failure_says_what_whose_and_what_next() {
        let text = text(&failed(Fault::Package, "build"), None).expect("it failed");
        assert!(
            text.starts_with("failed: no space\\x1b[2J (package's fault, at build)\n"),
            "{text}"
        );
        assert_eq!(text.matches("| x").count(), 10);
        assert!(text.ends_with("rpmfarm build hello@c9s --target lab\n"), "{text}");
    }

    #[test]
    fn each_fault_has_a_way_on() {
        for (fault, way) in [
            (Fault::Worker, "rpmfarm worker list"),
            (Fault::Farm, "rpmfarm doctor"),
            (Fault::Unspecified, "rpmfarm doctor"),
        ] {
            let text = text(&failed(fault, "root"), None).expect("it failed");
            assert!(text.contains(way) && text.contains("rpmfarm retry 7"), "{text}");
        }
    }
}
