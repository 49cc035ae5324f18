//! The session with the coordinator: says what this worker has, hears what it should have, and
//! makes the one into the other.
//!
//! Owns attempts and their lives. It must not know how a build is done.

mod attempt;
mod attempts;
pub mod facts;
mod files;
mod lease;
pub mod room;
mod talk;

pub use attempt::{Pen, Shared};
pub use attempts::Attempts;
pub use facts::Identity;
pub use room::Room;
pub use talk::{Session, Shutdown};
