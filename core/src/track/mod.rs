//! Following upstream: what a change of refs means, and when refs are polled.
//!
//! Owns the rules between a moved branch and a rebuild: the identity of a push, policy, quiet time,
//! the storm guard, marks of security fixes, the schedule of polls and the limits of hosts; and the
//! formats of untrusted input: lists of refs, webhook bodies, lists of repositories. It must not
//! know how any of that is fetched or stored. Time is an argument.

pub mod decide;
pub mod forge;
pub mod hook;
pub mod host;
pub mod pair;
pub mod plan;
pub mod policy;
pub mod poll;
pub mod push;
pub mod ref_query;
pub mod refs;
pub mod schedule;
pub mod security;
pub mod seen;
pub mod storm;
pub mod tags;
pub mod version_check;

pub use decide::{PushDecision, PushFacts, PushVerdict, decide};
pub use forge::Forge;
pub use host::HostThrottle;
pub use policy::{EffectivePolicy, Freeze, Policy, PolicyOverride, effective};
pub use push::Push;
pub use ref_query::{RefQuery, RefTip};
pub use schedule::{NextPoll, PollFinding, next};
pub use tags::TagPattern;
pub use version_check::{NotNewer, check_newer, superseded};
