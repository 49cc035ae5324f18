//! Repodata.
