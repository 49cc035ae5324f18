//! The order of the builds of one batch: which builds need which others, which goes next, and what
//! is shown of it to people.
//!
//! Owns the graph of a batch, which is kept and updated by events: an SRPM is made, a root was
//! solved, a build was accepted or lost. The cost of a change depends on what it touches, not on
//! the size of the batch. It must not know how roots are solved, and where the facts come from.
//!
//! A *member* is a build of the batch, with a task for each of its architectures. A member *needs*
//! another one when the root of one of its tasks holds packages that the other one is about to
//! replace, or when it requires what the other one is about to provide; the [`OrderMode`] limits
//! it. Members that need each other, directly or through others, are a *component*:
//!
//! - A task whose root can be solved waits for the members that it needs outside of its component.
//!   The members of a component do not wait for each other, so a circle is built side by side, with
//!   the packages that are there. Which of its members gets the newer packages of another is not
//!   decided.
//! - A task whose root cannot be solved waits for the members that can provide what is missing, in
//!   its component or not, and is refused once none can.
//! - A member without SRPM is waited for by those whose roots hold packages of its source, and by
//!   those whose missing requirements nobody else can provide.
//! - Of the tasks whose turn it is, the one goes first that most work waits for: its *upward rank*
//!   is the time from its start to the end of all that needs it, by learned durations.
//!
//! A batch does not hang: when no member moves, some task has its turn or is refused.
//!
//! All architectures are decided on together: what a build waits for on one may itself wait for it
//! on another, and only whoever sees both sees the circle.

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
