//! Which servers may have a private address, and which addresses are private.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The hosts that a target allows to be private: `HOST`, or `HOST:PORT` for one port only.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateHosts(Vec<String>);

impl PrivateHosts {
    /// Whether this server may have a private address.
    #[must_use]
    pub fn allow(&self, host: &str, port: u16) -> bool {
        self.parts().any(|(h, p)| same_host(h, host) && p.is_none_or(|p| p == port))
    }

    /// Whether the host may have a private address at some port.
    #[must_use]
    pub fn name(&self, host: &str) -> bool {
        self.parts().any(|(h, _)| same_host(h, host))
    }

    /// The entries as they were written.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn parts(&self) -> impl Iterator<Item = (&str, Option<u16>)> {
        self.0.iter().map(|entry| split(entry))
    }
}

/// `HOST:PORT` in its parts. An IPv6 address is in brackets, as in a URL.
fn split(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if host.ends_with(']') || !host.contains(':') => {
            port.parse().map_or((entry, None), |port| (host, Some(port)))
        }
        _ => (entry, None),
    }
}

fn same_host(a: &str, b: &str) -> bool {
    bare(a).eq_ignore_ascii_case(bare(b))
}

/// An IPv6 address without its brackets, or a name without its final dot.
fn bare(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

/// Whether an address belongs to this machine or to a network that is not public.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    v4.is_loopback()
        || v4.is_private()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_broadcast()
        || a == 0
        || a >= 240
        // Carrier-grade NAT, protocol assignments, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
}

fn is_private_v6(v6: Ipv6Addr) -> bool {
    let [a, b, ..] = v6.segments();
    // An IPv6 address that contains an IPv4 address leads to that one: mapped and compatible, NAT64
    // (64:ff9b::/96), 6to4 (2002::/16).
    let wrapped = match v6.octets() {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, x @ ..]
        | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, x @ ..]
        | [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, x @ ..]
        | [0x20, 0x02, x @ .., _, _, _, _, _, _, _, _, _, _] => Some(Ipv4Addr::from(x)),
        _ => None,
    };
    v6.is_loopback()
        || v6.is_unspecified()
        || v6.is_multicast()
        // Unique local, link-local, site-local, and NAT64 for private use.
        || (a & 0xfe00) == 0xfc00
        || (a & 0xffc0) == 0xfe80
        || (a & 0xffc0) == 0xfec0
        || (a == 0x64 && b == 0xff9b && v6.segments()[2] == 1)
        || wrapped.is_some_and(is_private_v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::7f00:1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2001:4860::1", "::ffff:8.8.8.8"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_port_narrows() {
        let hosts =
            PrivateHosts(vec!["127.0.0.1:80".into(), "git.lan".into(), "[::1]:8080".into()]);
        assert!(hosts.allow("127.0.0.1", 80));
        assert!(!hosts.allow("127.0.0.1", 81));
        assert!(hosts.name("127.0.0.1"));
        assert!(hosts.allow("Git.LAN.", 1234));
        assert!(hosts.allow("[::1]", 8080) && hosts.allow("::1", 8080));
        assert!(!hosts.allow("[::1]", 80));
        assert!(!hosts.name("localhost"));
    }
}
