//! The errors of a target file that is refused.
//!
//! Owns their words; `check` knows what is refused.

use std::fmt;

/// Why a target file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is not TOML, or has a key that is unknown, missing or of another type.
    #[error("{file}: {source}")]
    Syntax {
        /// The file as the caller named it.
        file: String,
        /// Line, column and what was expected.
        source: toml::de::Error,
    },
    /// Some values are invalid; one line for each.
    #[error("{}", lines(file, problems))]
    Values {
        /// The file as the caller named it.
        file: String,
        /// All of them, in the order of the fields.
        problems: Vec<TargetProblem>,
    },
}

fn lines(file: &str, problems: &[TargetProblem]) -> String {
    problems.iter().map(|problem| format!("{file}: {problem}")).collect::<Vec<_>>().join("\n")
}

/// An invalid value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetProblem {
    /// The key with its tables, `upstream.url`.
    pub key: String,
    /// Its value, fit for a message.
    pub value: String,
    /// What is wrong with it, and what to write instead.
    pub what: String,
}

impl fmt::Display for TargetProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}: {}", self.key, self.value, self.what)
    }
}
