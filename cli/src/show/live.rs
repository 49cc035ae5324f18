//! Following builds on a terminal: one block of lines, drawn again in its place.

use std::collections::BTreeMap;

use rpmfarm_core::status::BuildState;
use rpmfarm_proto::v1::{Build, Task};

use super::{escape, failure, progress, summary, time, verdict};
use crate::exit::Error;
use crate::follow::BuildView;
use crate::out::{self, StandardOutput};

/// A block of lines about some builds.
#[derive(Debug)]
pub(crate) struct LiveView {
    out: StandardOutput,
    builds: BTreeMap<i64, Build>,
    /// Lines on the terminal that are to be overwritten.
    drawn: Vec<String>,
}

impl LiveView {
    /// A block without builds.
    pub(crate) fn new(out: StandardOutput) -> Self {
        Self { out, builds: BTreeMap::new(), drawn: Vec::new() }
    }

    /// Overwrites the block, in one write so that nothing flickers.
    fn draw(&mut self, lines: &[String], width: usize) -> Result<(), Error> {
        let clip = |line: &String| console::truncate_str(line, width.saturating_sub(1), "…").into();
        let lines: Vec<String> = lines.iter().map(clip).collect();
        if lines == self.drawn {
            return Ok(());
        }
        let mut frame = String::new();
        if !self.drawn.is_empty() {
            frame.push_str(&format!("\x1b[{}A\r\x1b[J", self.drawn.len()));
        }
        for line in &lines {
            frame.push_str(line);
            frame.push('\n');
        }
        self.drawn = lines;
        self.out.text(&frame)
    }

    fn redraw(&mut self) -> Result<(), Error> {
        let (height, width) = console::Term::stdout().size();
        let lines = fitted(&self.builds, time::now(), usize::from(height).saturating_sub(1));
        self.draw(&lines, width.into())
    }
}

impl BuildView for LiveView {
    fn update(&mut self, build: &Build) -> Result<(), Error> {
        self.builds.insert(build.id, build.clone());
        self.redraw()
    }

    fn tick(&mut self) -> Result<(), Error> {
        self.redraw()
    }

    fn note(&mut self, text: &str) -> Result<(), Error> {
        self.draw(&[], 0)?;
        out::note(&format!("rpmfarm: {text}"));
        self.redraw()
    }

    fn close(&mut self) -> Result<(), Error> {
        let (_, width) = console::Term::stdout().size();
        let lines = fitted(&self.builds, time::now(), usize::MAX);
        self.draw(&lines, width.into())?;
        let width = self.out.width();
        for text in self.builds.values().filter_map(|build| failure::text(build, width)) {
            self.out.text(&format!("\n{text}"))?;
        }
        let summary = summary::text(self.builds.values(), width);
        self.out.text(&summary.map(|text| format!("\n{text}")).unwrap_or_default())
    }
}

/// The lines of all builds; on a terminal with too few lines, one line for each, those in progress
/// first.
fn fitted(builds: &BTreeMap<i64, Build>, now: i64, height: usize) -> Vec<String> {
    let widths = ColumnWidths::from_builds(builds);
    let whole = |build| std::iter::once(head(build, widths, now)).chain(tasks(build, now));
    let lines: Vec<_> = builds.values().flat_map(whole).collect();
    if lines.len() <= height {
        return lines;
    }
    let (ended, open): (Vec<_>, Vec<_>) =
        builds.values().partition(|build| verdict::has_ended(build));
    let mut lines: Vec<_> =
        open.into_iter().chain(ended).map(|build| head(build, widths, now)).collect();
    if lines.len() > height {
        let shown = height.saturating_sub(1);
        let left = lines.len() - shown;
        lines.truncate(shown);
        lines.push(format!("… and {left} more"));
    }
    lines
}

/// Widths of the columns of the builds' own lines.
#[derive(Debug, Clone, Copy, Default)]
struct ColumnWidths {
    id: usize,
    package: usize,
}

impl ColumnWidths {
    fn from_builds(builds: &BTreeMap<i64, Build>) -> Self {
        builds.values().fold(Self::default(), |widths, build| Self {
            id: widths.id.max(build.id.to_string().len()),
            package: widths.package.max(console::measure_text_width(&escape::line(&build.package))),
        })
    }
}

fn head(build: &Build, widths: ColumnWidths, now: i64) -> String {
    let package = escape::line(&build.package);
    let tail = if verdict::has_ended(build) {
        let how = progress::build(build);
        how.strip_prefix(&build.state).unwrap_or(&how).trim_start_matches(':').trim().to_owned()
    } else if build.reason.is_empty() {
        progress::stages(build, now)
    } else {
        escape::flat(&build.reason)
    };
    format!(
        "{:>id$}  {package:<name$}  {}  {:>10}  {tail}",
        build.id,
        state(build),
        time::duration(progress::last_try_took(build, now)),
        id = widths.id,
        name = widths.package,
    )
}

/// The word for the state, padded to the longest one.
fn state(build: &Build) -> console::StyledObject<String> {
    let style = match verdict::state(build) {
        Some(BuildState::Published) => console::Style::new().green(),
        Some(BuildState::Failed) => console::Style::new().red(),
        Some(BuildState::Cancelled) => console::Style::new().yellow(),
        _ => console::Style::new().cyan(),
    };
    style.apply_to(format!("{:<10}", escape::line(&build.state)))
}

/// A line for each task that has not ended.
fn tasks(build: &Build, now: i64) -> Vec<String> {
    if verdict::has_ended(build) {
        return Vec::new();
    }
    let is_open = |task: &&Task| progress::is_open(task);
    let text = |task: &Task| {
        let took = progress::task_took(task, now).map(time::duration).unwrap_or_default();
        let (kind, arch) = (escape::line(&task.kind), escape::line(&task.arch));
        let tries =
            if task.attempts > 1 { format!("  try {}", task.attempts) } else { String::new() };
        format!("      {kind:<5}  {arch:<8}  {took:>10}  {}{tries}", progress::task(task))
    };
    build.tasks.iter().filter(is_open).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builds(count: i64) -> BTreeMap<i64, Build> {
        let task =
            |arch: &str| Task { arch: arch.into(), state: "running".into(), ..Task::default() };
        let build = |id| Build {
            id,
            package: format!("p{id}"),
            state: if id % 2 == 0 { "building".into() } else { "published".into() },
            tasks: vec![task("x86_64"), task("aarch64")],
            ..Build::default()
        };
        (1..=count).map(|id| (id, build(id))).collect()
    }

    #[test]
    fn every_architecture_has_a_line_where_there_is_room() {
        assert_eq!(fitted(&builds(4), 0, 24).len(), 4 + 2 * 2);
    }

    #[test]
    fn a_low_terminal_shows_what_goes_on() {
        let lines = fitted(&builds(6), 0, 4);
        assert_eq!(lines.len(), 4);
        assert!(lines[..3].iter().all(|line| line.contains("building")), "{lines:?}");
        assert_eq!(lines[3], "… and 3 more");
    }
}
