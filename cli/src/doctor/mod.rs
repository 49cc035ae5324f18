//! The checks of `rpmfarm doctor`, with their remedies.

pub(crate) mod coordinator;
pub(crate) mod worker_host;

/// The level of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It works, but will not for long or not always.
    Warning,
    /// Something does not work.
    Error,
}

impl Level {
    /// The word for it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// Where it was checked: `here` or `coordinator`.
    pub(crate) place: &'static str,
    pub(crate) name: String,
    pub(crate) level: Level,
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
}

/// A finding without a problem on this host.
fn good(name: &str, message: impl Into<String>) -> Finding {
    let (name, message) = (name.into(), message.into());
    Finding { place: "here", name, level: Level::Ok, message, remedy: None }
}

/// A finding on this host that needs a remedy.
fn bad(level: Level, name: &str, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { level, remedy: Some(remedy.into()), ..good(name, message) }
}
