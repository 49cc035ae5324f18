//! Figures: a value, its budget and the comparison; how they are shown and stored.

use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// The unit of a rate: higher is better.
pub(super) const PER_SECOND: &str = "1/s";

#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    /// Its name in the list of budgets.
    pub(super) name: &'static str,
    /// The measured value, in `unit`.
    pub(super) value: f64,
    /// `s`, `ms`, `MiB`, `statements`, `slots`, `generations/s`, `x` for a ratio, or [`PER_SECOND`].
    pub(super) unit: &'static str,
    /// The most that the value may be; of a rate, the least.
    pub(super) budget: f64,
    /// The program of the comparison, and its value in the same run.
    pub(super) peer: String,
    /// The value divided by the comparison's, where both have one unit.
    pub(super) ratio: Option<f64>,
    /// An explanation, for the printed output only.
    #[serde(skip)]
    pub(super) note: String,
}

impl Figure {
    fn met(&self) -> bool {
        if self.unit == PER_SECOND {
            return self.value >= self.budget;
        }
        self.value <= self.budget
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, unit, budget, peer, ratio, note } = self;
        let verdict = if self.met() { "ok" } else { "MISSED" };
        writeln!(f, "{name:<28} {value:.3} {unit}, budget {budget} {unit}: {verdict}")?;
        write!(f, "    against  {peer}")?;
        if let Some(ratio) = ratio {
            write!(f, " (ratio {ratio:.3})")?;
        }
        write!(f, "\n    measured {note}")
    }
}

/// The figures of one run.
#[derive(Debug, Default)]
pub(super) struct Report {
    only: Option<String>,
    figures: Vec<Figure>,
}

impl Report {
    /// A report of all figures, or of those whose names begin with `only`.
    pub(super) fn new(only: Option<String>) -> Self {
        Self { only, figures: Vec::new() }
    }

    /// Whether nothing was measured.
    pub(super) const fn is_empty(&self) -> bool {
        self.figures.is_empty()
    }

    /// Whether a figure is requested.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.starts_with(only))
    }

    /// Whether one of these figures is requested.
    pub(super) fn wants_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.wants(name))
    }

    /// Whether one of these is asked for by name: what takes long is not measured with all others.
    pub(super) fn asks_any(&self, names: &[&str]) -> bool {
        self.only.is_some() && self.wants_any(names)
    }

    /// Prints a figure and keeps it, if it is requested.
    #[allow(clippy::print_stdout, reason = "it is told to a person")]
    pub(super) fn add(&mut self, figure: Figure) {
        if self.wants(figure.name) {
            println!("{figure}");
            self.figures.push(figure);
        }
    }

    /// Names of the figures that are over their budgets.
    pub(super) fn missed(&self) -> Vec<&'static str> {
        self.figures.iter().filter(|figure| !figure.met()).map(|figure| figure.name).collect()
    }

    /// Writes the figures as JSON.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(&self.figures)?;
        text.push('\n');
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &'static str, value: f64) -> Figure {
        let (peer, note) = ("the other: 2 s".into(), String::new());
        Figure { name, value, unit: "s", budget: 1.0, peer, ratio: Some(value / 2.0), note }
    }

    #[test]
    fn a_missed_budget_is_said() {
        assert!(figure("a", 1.5).to_string().contains("MISSED"));
        assert!(!figure("a", 1.0).to_string().contains("MISSED"));
        let rate = |value| Figure { unit: PER_SECOND, ..figure("rate", value) }.to_string();
        assert!(rate(0.5).contains("MISSED") && !rate(2.0).contains("MISSED"));
        // What could not be measured is not within its budget.
        assert!(figure("a", f64::NAN).to_string().contains("MISSED"));
    }

    #[test]
    fn only_what_is_asked_for_is_kept() {
        let mut report = Report::new(Some("build.".into()));
        report.add(figure("build.warm", 3.0));
        report.add(figure("sign.ratio", 3.0));
        assert_eq!(report.missed(), ["build.warm"]);
        assert!(!report.wants_any(&["solve.root", "sign.ratio"]));
        assert!(report.asks_any(&["build.cold"]) && !Report::new(None).asks_any(&["build.cold"]));
    }
}
