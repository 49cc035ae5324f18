//! The events of a run, one line each, for whoever replays a seed. A run that only checks for
//! violations writes none; the same seed gives the same run again.

use std::fmt::Write as _;

/// The lines of a run.
#[derive(Debug, Default)]
pub struct Trace {
    on: bool,
    lines: Vec<String>,
}

impl Trace {
    /// A trace that keeps every line.
    #[must_use]
    pub const fn on() -> Self {
        Self { on: true, lines: Vec::new() }
    }

    pub(crate) fn line(&mut self, now_us: u64, text: std::fmt::Arguments<'_>) {
        if self.on {
            let (seconds, micros) = (now_us / 1_000_000, now_us % 1_000_000);
            let mut line = String::with_capacity(96);
            let _ = write!(line, "{seconds:>6}.{micros:06}  {text}");
            self.lines.push(line);
        }
    }

    /// The lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

/// Records an event of a world.
macro_rules! note {
    ($world:expr, $($text:tt)*) => {
        $world.trace.line($world.now, format_args!($($text)*))
    };
}
pub(crate) use note;
