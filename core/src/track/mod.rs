//! Following upstream: what a change of refs means, and when it is looked for.
//!
//! Owns the rules between a moved branch and a rebuild: the identity of a push, policy, quiet
//! time, the storm guard, marks of security fixes, the schedule of polls and how gently a host is
//! asked; and the forms of what strangers send: lists of refs, webhook bodies, lists of
//! repositories. It must not know how any of that is fetched or stored. Time is an argument, in
//! microseconds since 1970 where nothing else is said.

pub mod above;
pub mod decide;
pub mod forge;
pub mod hook;
pub mod host;
pub mod pair;
pub mod plan;
pub mod policy;
pub mod poll;
pub mod push;
pub mod question;
pub mod refs;
pub mod schedule;
pub mod security;
pub mod seen;
pub mod storm;
pub mod tags;

pub use above::{NotAbove, check_above, superseded};
pub use decide::{Facts, PushVerdict, Verdict, decide};
pub use forge::Forge;
pub use host::Host;
pub use policy::{Freeze, Order, Policy, Rule, effective};
pub use push::Push;
pub use question::{Question, Tip};
pub use schedule::{Look, Next, next};
pub use tags::Pattern;
