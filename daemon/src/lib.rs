//! The common parts of all long-running programs of the farm.
//!
//! Owns how they begin to log and how they read the wall clock. It must not know what any of them
//! does, and depends on no crate of the farm.

mod clock;
pub mod log;

pub use clock::now_us;
