//! The text of source packages: how they lie in dist-git, spec files, and what a distribution
//! changes of them.
//!
//! Owns four engines over texts and trees, as pure functions: [`distgit`] (layouts and lists of
//! look-aside files), [`spec`] (reading spec files without running anything of them), [`autospec`]
//! (rpmautospec's rules) and [`modify`] (the actions of AlmaLinux's autopatch). It must not know of
//! the farm (builds, tasks, workers), nor of git, files, sockets, processes or clocks.

pub mod autospec;
pub mod distgit;
pub mod modify;
pub mod spec;
