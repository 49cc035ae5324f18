//! A semaphore with a limit for all permits and one for each key: connections and streams of one
//! address, streams of one connection.
//!
//! Owns the counts. It must not know what the permits are for.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

/// Counts permits. Cheap to clone.
#[derive(Debug)]
pub struct KeyedSemaphore<K: Eq + Hash>(Arc<Mutex<PermitCounts<K>>>);

#[derive(Debug)]
struct PermitCounts<K> {
    all: usize,
    of: HashMap<K, usize>,
}

/// How many permits there may be.
#[derive(Debug, Clone, Copy)]
pub struct PermitLimits {
    pub all: usize,
    pub of_one: usize,
}

/// Why there is no permit, with the limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPermit {
    All(usize),
    /// The permits of one key are taken.
    OfOne(usize),
}

/// A permit, which is returned when it is dropped.
#[derive(Debug)]
pub struct Permit<K: Eq + Hash + Clone> {
    tally: KeyedSemaphore<K>,
    who: K,
}

impl<K: Eq + Hash> Default for KeyedSemaphore<K> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(PermitCounts { all: 0, of: HashMap::new() })))
    }
}

impl<K: Eq + Hash> Clone for KeyedSemaphore<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash + Clone> Permit<K> {
    #[must_use]
    pub const fn who(&self) -> &K {
        &self.who
    }
}

impl<K: Eq + Hash + Clone> KeyedSemaphore<K> {
    /// Takes a permit.
    ///
    /// # Errors
    /// When a limit is reached.
    pub fn acquire(&self, who: K, bounds: PermitLimits) -> Result<Permit<K>, NoPermit> {
        let mut counts = self.lock();
        if counts.of.get(&who).copied().unwrap_or(0) >= bounds.of_one {
            return Err(NoPermit::OfOne(bounds.of_one));
        }
        if counts.all >= bounds.all {
            return Err(NoPermit::All(bounds.all));
        }
        counts.all += 1;
        *counts.of.entry(who.clone()).or_default() += 1;
        Ok(Permit { tally: self.clone(), who })
    }

    /// How many permits are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().all
    }
}

impl<K: Eq + Hash> KeyedSemaphore<K> {
    fn lock(&self) -> MutexGuard<'_, PermitCounts<K>> {
        self.0.lock()
    }
}

impl<K: Eq + Hash + Clone> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut counts = self.tally.lock();
        counts.all -= 1;
        if let Some(count) = counts.of.get_mut(&self.who) {
            *count -= 1;
            if *count == 0 {
                counts.of.remove(&self.who);
            }
        }
    }
}

/// The key of an address. For IPv6 it is the network, because a host can use any address of its
/// network.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_for_one_and_in_all_and_come_back() {
        let tally = KeyedSemaphore::default();
        let bounds = PermitLimits { all: 3, of_one: 2 };
        let first = tally.acquire("a", bounds).unwrap();
        let second = tally.acquire("a", bounds).unwrap();
        assert_eq!(tally.acquire("a", bounds).err(), Some(NoPermit::OfOne(2)));
        let third = tally.acquire("b", bounds).unwrap();
        assert_eq!(tally.acquire("c", bounds).err(), Some(NoPermit::All(3)));
        drop(first);
        let fourth = tally.acquire("c", bounds).unwrap();
        drop((second, third, fourth));
        assert_eq!(tally.taken(), 0);
        assert!(tally.lock().of.is_empty(), "nobody is remembered");
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3::4"), "2001:db8:1:2::");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::1"), "::1");
        assert_eq!(of("127.0.0.2"), "127.0.0.2");
    }
}
