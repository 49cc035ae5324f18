//! How a target follows upstream: `[track]`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::track::decide::GatherTimes;
use crate::track::forge::Forge;
use crate::track::host::HostLimits;
use crate::track::policy::Policy;
use crate::track::schedule::PollPace;
use crate::track::storm::StormLimit;

/// How a target's packages follow upstream. Packages are tracked by `rpmfarm track`, not in this
/// file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracking {
    /// The policy for pushes: `automatic`, `propose` or `hold`. A package can have its own in
    /// `[packages.NAME]`, and maintainers can set another one with `rpmfarm track`.
    pub policy: Policy,

    /// How many seconds a package must be without a push before it is built.
    pub quiet_seconds: u32,

    /// The least number of seconds between two builds of a package that follow from pushes; later
    /// pushes are gathered into one build.
    pub spacing_seconds: u32,

    /// The greatest number of seconds that a push waits, however many follow it.
    pub longest_wait_seconds: u32,

    /// More builds than this, at once or within `storm_seconds`, are held until approved.
    pub storm_builds: u32,

    /// See `storm_builds`.
    pub storm_seconds: u32,

    /// Seconds between two polls of the busiest repositories.
    pub poll_seconds: u32,

    /// Seconds between two polls of the quietest ones.
    pub poll_longest_seconds: u32,

    /// How many requests the git server gets at once.
    pub host_connections: u32,

    /// How many requests the git server gets per second.
    pub host_requests: u32,

    /// The addresses of the forges' APIs for `rpmfarm track add --namespace`: `github`, `gitlab`,
    /// `gitea` (or `forgejo`), `pagure`, each with the address before `/orgs/…`, `/api/…`.
    pub forges: BTreeMap<Forge, String>,
}

impl Default for Tracking {
    fn default() -> Self {
        Self {
            policy: Policy::Automatic,
            quiet_seconds: 0,
            spacing_seconds: 60,
            longest_wait_seconds: 600,
            storm_builds: 50,
            storm_seconds: 600,
            poll_seconds: 60,
            poll_longest_seconds: 1800,
            host_connections: 4,
            host_requests: 20,
            forges: BTreeMap::new(),
        }
    }
}

impl Tracking {
    /// How pushes are gathered.
    #[must_use]
    pub fn gather(&self) -> GatherTimes {
        GatherTimes {
            quiet: seconds(self.quiet_seconds),
            spacing: seconds(self.spacing_seconds),
            longest: seconds(self.longest_wait_seconds),
        }
    }

    #[must_use]
    pub fn storm(&self) -> StormLimit {
        StormLimit { builds: self.storm_builds as usize, window: seconds(self.storm_seconds) }
    }

    /// How often repositories are polled.
    #[must_use]
    pub fn pace(&self) -> PollPace {
        PollPace {
            shortest: seconds(self.poll_seconds),
            longest: seconds(self.poll_longest_seconds),
        }
    }

    /// The limits on requests to the git server.
    #[must_use]
    pub const fn host_limits(&self) -> HostLimits {
        HostLimits { at_once: self.host_connections as usize, per_second: self.host_requests }
    }

    /// The address of a forge's API.
    #[must_use]
    pub fn forge_url(&self, forge: Forge) -> Option<&str> {
        self.forges.get(&forge).map(String::as_str).or_else(|| forge.usual_url())
    }

    /// The numbers that must not be 0, with their keys.
    pub(super) const fn counts(&self) -> [(&'static str, u32); 4] {
        [
            ("track.poll_seconds", self.poll_seconds),
            ("track.poll_longest_seconds", self.poll_longest_seconds),
            ("track.host_connections", self.host_connections),
            ("track.host_requests", self.host_requests),
        ]
    }
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}
