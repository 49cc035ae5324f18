//! Builds and what belongs to them, as text for people. Pure: the clock is an argument.

pub(crate) mod batch;
pub(crate) mod build;
pub(crate) mod escape;
pub(crate) mod failure;
pub(crate) mod live;
pub(crate) mod plain;
pub(crate) mod progress;
pub(crate) mod size;
pub(crate) mod stages;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod track;
pub(crate) mod verdict;
pub(crate) mod why;
pub(crate) mod wrap;
