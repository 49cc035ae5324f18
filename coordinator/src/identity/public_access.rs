//! What callers without a credential may see at an address: everything at this host's own
//! addresses, and only the published repositories at others, unless the operator opens more.

use std::net::IpAddr;

/// What a listener shows to callers without a credential. Published repositories, `/healthz` and
/// `/readyz` are open everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicAccess {
    /// Calls that only read.
    pub reads: bool,
    /// `/metrics`.
    pub metrics: bool,
}

impl PublicAccess {
    /// The default, for a request whose listener is unknown.
    pub const CLOSED: Self = Self { reads: false, metrics: false };
}

/// The access that the operator has opened by options.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublicAccessSettings {
    /// Anybody may read, at every address that is listened on (`--public-read`).
    pub reads: bool,
    /// Anybody may see the metrics, at every address that is listened on (`--public-metrics`).
    pub metrics: bool,
    /// Callers of this host need a credential, too, since a proxy may speak for others
    /// (`--private-read`).
    pub none_for_this_host: bool,
}

impl PublicAccessSettings {
    /// The access without a credential at a listen address.
    #[must_use]
    pub fn at(self, address: IpAddr) -> PublicAccess {
        let own = address.to_canonical().is_loopback() && !self.none_for_this_host;
        PublicAccess { reads: own || self.reads, metrics: own || self.metrics }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_others_reach_are_closed_unless_they_are_opened() {
        let at = |opened: PublicAccessSettings, address: &str| {
            let PublicAccess { reads, metrics } = opened.at(address.parse().unwrap());
            (reads, metrics)
        };
        let nothing = PublicAccessSettings::default();
        for own in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(at(nothing, own), (true, true), "{own}");
            let private = PublicAccessSettings { none_for_this_host: true, ..nothing };
            assert_eq!(at(private, own), (false, false), "{own}");
            assert_eq!(
                at(PublicAccessSettings { metrics: true, ..private }, own),
                (false, true),
                "{own}"
            );
        }
        for other in ["0.0.0.0", "::", "192.0.2.1", "10.0.0.1", "2001:db8::1"] {
            assert_eq!(at(nothing, other), (false, false), "{other}");
            assert_eq!(
                at(PublicAccessSettings { reads: true, ..nothing }, other),
                (true, false),
                "{other}"
            );
            assert_eq!(
                at(PublicAccessSettings { metrics: true, ..nothing }, other),
                (false, true),
                "{other}"
            );
        }
    }
}
