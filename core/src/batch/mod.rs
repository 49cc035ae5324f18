//! The order of the builds of one batch: which builds need which others, which goes next, and how
//! the order is shown to people.
//!
//! Owns the graph of a batch, which is kept and updated by events: an SRPM was made, a root was
//! solved, a build was accepted or lost. The cost of a change depends on the tasks that it
//! concerns, not on the size of the batch. It must not know how roots are solved, nor where the
//! facts come from.
//!
//! A *member* is a build of the batch, with a task for each of its architectures. A member *needs*
//! another one when the root of one of its tasks contains packages that the other one is about to
//! replace, or when it requires names that the other one is about to provide; the [`OrderMode`]
//! limits these needs. Members that need each other, directly or through others, are a *component*:
//!
//! - A task whose root can be solved waits for the members that it needs outside of its
//!   component. The members of a component do not wait for each other, so a circle is built side by
//!   side, with the existing packages. The order does not determine which of its members gets the
//!   newer packages of another.
//! - A task whose root cannot be solved waits for the members that can provide the missing
//!   requirements, in its component or not, and is refused once none can.
//! - Tasks wait for a member without SRPM if their roots contain packages of its source, or if no
//!   other member can provide their missing requirements.
//! - Of the tasks whose turn has come, the one goes first for which most work waits: its *upward
//!   rank* is the time from its start to the end of all builds that need it, by learned durations.
//!
//! A batch does not hang: when no member makes progress, some task has its turn or is refused.
//!
//! Decisions consider all architectures together: a build may wait on one architecture for a build
//! that waits for it on another, and this circle is visible only with both.

mod components;
mod decide;
mod exchange;
mod forecast;
mod graph;
mod hope;
mod keys;
mod mode;
mod plan;
mod progress;
mod rank;
mod reason;
mod strong;
#[cfg(test)]
mod tests;

pub use decide::{Decided, Decision};
pub use exchange::{BatchLine, Queued, exchange, swapped};
pub use forecast::{Choice, Forecast, Interval, Slots, forecast};
pub use graph::{BatchGraph, Lacking};
pub use hope::{Breaker, Lack, StuckCircle};
pub use mode::{Needed, OrderMode};
pub use plan::{Bound, Plan, PlannedComponent, TooLarge, check_size, plan};
pub use progress::{Blocker, Blockers, Holder, Loss, Progress};
pub use reason::{refusal, waits_for};
