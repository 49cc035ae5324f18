//! A distribution as a graph: the source packages whose binary packages are in the build root of
//! each.

use rpmfarm_core::batch::OrderMode;

use super::{debian, generated};
use crate::apt::AptError;

/// All source packages.
#[derive(Debug)]
pub(super) struct Distribution {
    /// Its name for people.
    pub(super) title: &'static str,
    /// Sorted by name.
    pub(super) sources: Vec<Source>,
    /// The sources of the base root.
    pub(super) base: Vec<usize>,
}

/// A source package.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    /// Its assumed build time in microseconds.
    pub(super) takes_us: i64,
    /// The sources of the packages in its root beyond the base root.
    pub(super) beyond: Vec<usize>,
}

impl Distribution {
    /// Debian's release; on hosts whose apt has no lists of it, a generated graph of the same size.
    ///
    /// # Errors
    /// When the host has lists that cannot be fetched or read.
    pub(super) fn open() -> anyhow::Result<Self> {
        match debian::read() {
            Err(error) if has_no_lists(&error) => {
                tracing::warn!("{error:#}; a generated graph is used instead of Debian's");
                Ok(generated::distribution())
            }
            read => read,
        }
    }

    pub(super) fn name(&self, at: usize) -> &str {
        &self.sources[at].name
    }

    /// The sources of the packages in a root, as far as the order mode counts them; the source
    /// itself may be among them.
    pub(super) fn needs(&self, at: usize, mode: OrderMode) -> impl Iterator<Item = usize> {
        let base: &[usize] = match mode {
            OrderMode::Bootstrap => &self.base,
            OrderMode::Requires | OrderMode::Unordered => &[],
        };
        self.sources[at].beyond.iter().chain(base).copied()
    }
}

fn has_no_lists(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<AptError>();
    matches!(error, Some(AptError::NoSuite(_) | AptError::NoIndex(_)))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_host_without_lists_is_told_from_one_whose_lists_cannot_be_fetched() {
        let error = |error: AptError| Err::<(), _>(error).context("apt").unwrap_err();
        assert!(has_no_lists(&error(AptError::NoSuite("bookworm"))));
        assert!(has_no_lists(&error(AptError::NoIndex("_Sources".into()))));
        assert!(!has_no_lists(&error(AptError::Line("x".into()))));
    }
}
