//! Standard output and standard error: what they are connected to, and how they are written to.
//!
//! A closed pipe is an error like any other here, never a panic; `main` ends silently on it.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::exit::Error;

/// When to use colours: by default on a terminal, unless NO_COLOR is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// The properties of standard output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StandardOutput {
    /// Scripts read it: JSON only.
    pub(crate) json: bool,
    /// Colours are wanted.
    pub(crate) color: bool,
    /// It is a terminal.
    pub(crate) tty: bool,
}

impl StandardOutput {
    /// Checks standard output and makes `console` follow the same rule for colours.
    pub(crate) fn new(json: bool, color: Color) -> Self {
        let tty = io::stdout().is_terminal();
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => tty && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        console::set_colors_enabled(color);
        Self { json, color, tty }
    }

    /// Columns of the terminal; absent where standard output is not one, so that files and pipes
    /// get whole lines.
    pub(crate) fn width(&self) -> Option<usize> {
        self.tty.then(|| console::Term::stdout().size().1.into())
    }

    /// Writes text as it is.
    pub(crate) fn text(&self, text: &str) -> Result<(), Error> {
        self.bytes(text.as_bytes())
    }

    /// Writes text and a line break.
    pub(crate) fn line(&self, text: &str) -> Result<(), Error> {
        self.text(&format!("{text}\n"))
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Error::Output)
    }

    /// Writes one JSON document.
    pub(crate) fn document(&self, document: &impl Serialize) -> Result<(), Error> {
        let json = serde_json::to_string_pretty(document);
        self.line(&json.expect("documents have text keys only"))
    }

    /// Writes one object of a stream of JSON, on a line of its own.
    pub(crate) fn object(&self, object: &impl Serialize) -> Result<(), Error> {
        let json = serde_json::to_string(object);
        self.line(&json.expect("documents have text keys only"))
    }
}

/// Prints a message that is not output. An error of standard error is ignored.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
