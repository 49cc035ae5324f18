//! Why an import failed, in one line that a maintainer understands, and whose fault it is.

use rpmfarm_core::digest::Checksum;
use rpmfarm_core::name::NameError;
use rpmfarm_core::{Failure, FailureStage, Fault};
use rpmfarm_sources::distgit::DistgitError;
use rpmfarm_sources::modify::{ConfigError, ModifyError};

use crate::blobs::BlobError;
use crate::http::HttpError;

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The requested name cannot be a package or a git reference.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The server has no such repository, or does not show it.
    #[error("upstream has no package `{package}`: {url} answered {status}")]
    NoRepository {
        /// The package asked for.
        package: String,
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The repository has neither a branch nor a tag of this name.
    #[error("{url} has no branch or tag `{git_ref}`{}", but_has(.known))]
    NoRef {
        url: String,
        /// The requested branch, tag or commit.
        git_ref: String,
        /// Some branches that are there.
        known: Vec<String>,
    },
    /// The repository does not have this commit, or does not give it by its id.
    #[error("{url} does not give commit {commit}: {why}; name a branch or tag that holds it")]
    NoCommit {
        url: String,
        /// The commit asked for.
        commit: String,
        /// The server's message.
        why: String,
    },
    /// The sources of the package are not valid.
    #[error(transparent)]
    Distgit(#[from] DistgitError),
    /// The configuration of the modifications cannot be read.
    #[error("modifications: {0}")]
    Config(#[from] ConfigError),
    /// A modification cannot be applied to the sources.
    #[error("modifications: {0}")]
    Modify(#[from] ModifyError),
    /// There are modifications, but not the configuration that the target names.
    #[error("{url} has no {config}{}", other_configs(.known))]
    NoConfig {
        url: String,
        config: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// The server does not say whether the package has modifications.
    #[error(
        "the modifications at {url} are refused (status {status}); make them readable, or set \
         packages.{package}.unmodified = true in the target if there are none"
    )]
    HiddenModifications {
        url: String,
        /// The HTTP status.
        status: u16,
        package: String,
    },
    /// A file in git is not the text that it must be.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// More of something than the limits allow.
    #[error("{what}: {found}, at most {limit} {unit} are allowed")]
    TooMuch {
        /// The file, repository or URL.
        what: String,
        /// How much there is, with its unit.
        found: String,
        limit: u64,
        unit: &'static str,
    },
    /// A look-aside file whose digest is not the one in git.
    #[error("{file} from {url} does not match: expected {expected}, found {found}")]
    Mismatch {
        file: String,
        /// Where it came from.
        url: String,
        expected: Checksum,
        found: Checksum,
    },
    /// No look-aside server has the file.
    #[error("{file} ({checksum}) is not in any look-aside cache; tried {}", .urls.join(", "))]
    NotInLookaside {
        file: String,
        /// The checksum in the look-aside list.
        checksum: Checksum,
        /// The URLs and what each answered.
        urls: Vec<String>,
    },
    /// The target has no look-aside cache.
    #[error("{file} is a look-aside file, but target `{target}` has no upstream.lookaside")]
    NoLookaside { file: String, target: String },
    /// A URL that the target does not allow.
    #[error("{url} is refused: {why}")]
    Refused {
        url: String,
        /// The reason, and how to allow the URL.
        why: String,
    },
    /// A server that failed or gave a wrong answer. It may succeed later.
    #[error("{url}: {why}")]
    Server { url: String, why: String },
    /// A git server that redirects, which is not followed.
    #[error("{url} redirects to {to}; write that address in the target's upstream.url")]
    Moved { url: String, to: String },
    /// The import took longer than its time limit.
    #[error("the import took longer than {0} s and was stopped")]
    Time(u64),
    /// The caller of the import went away, or the coordinator stops.
    #[error("the import was cancelled")]
    Cancelled,
    /// The blob store failed.
    #[error("{}: {source}", if .source.is_full() { "the coordinator's disk is full" } else { "the blob store failed" })]
    Blobs {
        #[from]
        source: BlobError,
    },
    /// The disk of the coordinator failed, outside of the blob store.
    #[error("{path}: {source}")]
    Disk { path: String, source: std::io::Error },
    /// The cached copy of the repository failed.
    #[error("the cached copy of {url} failed: {source}")]
    Git { url: String, source: git2::Error },
    /// A bug of the farm.
    #[error("the import ended without a result: {0}")]
    Broken(String),
}

fn other_configs(known: &[String]) -> String {
    if known.is_empty() {
        return "; it has no configuration at all".to_owned();
    }
    format!("; it has {} (modifications.config in the target)", known.join(", "))
}

fn but_has(branches: &[String]) -> String {
    if branches.is_empty() {
        return String::new();
    }
    format!("; it has {}", branches.join(", "))
}

impl From<HttpError> for ImportError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Refused { url, why } => Self::Refused { url, why },
            HttpError::Server { url, why } => Self::Server { url, why },
        }
    }
}

impl ImportError {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Name(_)
            | Self::NoRepository { .. }
            | Self::NoRef { .. }
            | Self::NoCommit { .. }
            | Self::Distgit(_)
            | Self::Config(_)
            | Self::Modify(_)
            | Self::NoConfig { .. }
            | Self::NotText(_)
            | Self::TooMuch { .. }
            | Self::Mismatch { .. }
            | Self::NotInLookaside { .. } => Fault::Package,
            Self::NoLookaside { .. }
            | Self::HiddenModifications { .. }
            | Self::Refused { .. }
            | Self::Server { .. }
            | Self::Moved { .. }
            | Self::Time(_)
            | Self::Cancelled
            | Self::Blobs { .. }
            | Self::Disk { .. }
            | Self::Git { .. }
            | Self::Broken(_) => Fault::Farm,
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Server { .. })
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        let line = error.to_string().replace(['\n', '\r'], " ");
        Self::new(error.fault(), FailureStage::Import, line)
    }
}
