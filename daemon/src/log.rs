//! The log of a process: on standard error, as text for people or JSON for machines.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// The form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// One JSON object in a line; `span` says which build, task and attempt the line is about.
    Json,
}

/// Begins to log. `RPMFARM_LOG` sets the level.
pub fn start(format: LogFormat) {
    start_filtered("RPMFARM_LOG", "info", format);
}

/// Begins to log what a filter lets through, unless an environment variable has another.
///
/// Colours are for terminals alone, and for nobody who has set `NO_COLOR`: in a file or a journal
/// their codes are noise.
pub fn start_filtered(variable: &str, filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_from_env(variable).unwrap_or_else(|_| EnvFilter::new(filter));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal() && !plain)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
    }
}
