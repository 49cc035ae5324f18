//! The lab: what rpmfarm is tried on, where no enterprise distribution can be reached.
//!
//! [`distro`] makes a small, real RPM distribution out of Debian's binary packages, [`distgit`]
//! makes upstream repositories with a look-aside cache, and [`serve`] offers both over HTTP. All of
//! it is also the command `rpmfarm-lab`. The lab stands for the world outside: of the farm it knows
//! nothing but the words of `core`. [`fixtures`] are values of these words that tests of several
//! crates begin with.

pub mod apt;
pub mod bench;
pub mod cache;
pub mod demo;
pub mod distgit;
pub mod distro;
pub mod farm;
pub mod fixtures;
pub mod net;
pub mod parallel;
pub mod real;
pub mod serve;
pub mod target;
pub mod tool;
