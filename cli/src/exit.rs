//! How the command ends: its error messages and its exit codes.

use std::io;
use std::process::ExitCode;

/// An exit code. Documented in `--help` and in docs/cli.md; a number never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The request is done.
    Done = 0,
    /// A build failed, by the package's own fault.
    PackageFailed = 1,
    /// The command line is wrong, or the farm refuses the request.
    Usage = 2,
    /// There is no such build, target, channel or log.
    NotFound = 3,
    /// The coordinator cannot be reached, or it refuses the token.
    Unreachable = 4,
    /// A build failed by a fault of the farm or of a worker, or the farm itself has a problem.
    FarmFailed = 5,
    /// A build was cancelled.
    Cancelled = 6,
    /// Ctrl-C while watching; the builds go on.
    Interrupted = 130,
    /// The reader of the output has closed it; what a shell reports for SIGPIPE.
    ClosedPipe = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why the command failed. Each message is one line: the thing, the value, the remedy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// See [`Exit::Usage`].
    #[error("{0}")]
    Usage(String),
    /// See [`Exit::NotFound`].
    #[error("{0}")]
    NotFound(String),
    /// See [`Exit::Unreachable`]; another try may succeed.
    #[error("{0}")]
    Unreachable(String),
    /// See [`Exit::Unreachable`]; another try with the same token will not succeed.
    #[error("{0}")]
    Token(String),
    /// See [`Exit::FarmFailed`].
    #[error("{0}")]
    Farm(String),
    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
}

impl Error {
    /// The code that the command ends with.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NotFound(_) => Exit::NotFound,
            Self::Unreachable(_) | Self::Token(_) => Exit::Unreachable,
            Self::Farm(_) => Exit::FarmFailed,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::ClosedPipe,
            Self::Output(_) => Exit::FarmFailed,
        }
    }
}

/// An operating system's error in the style of our messages: no capital letter, no error number.
pub(crate) fn reason(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
