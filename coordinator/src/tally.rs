//! Places that are counted, in all and for each who takes them: connections and streams of one
//! address, streams of one connection.
//!
//! Owns the counts. It must not know what the places are for.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

/// Counted places. Cheap to clone.
#[derive(Debug)]
pub struct Tally<K: Eq + Hash>(Arc<Mutex<Counts<K>>>);

#[derive(Debug)]
struct Counts<K> {
    all: usize,
    of: HashMap<K, usize>,
}

/// How many places there may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Together.
    pub all: usize,
    /// For one.
    pub of_one: usize,
}

/// Why there is no place, with the bound that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// All are taken.
    All(usize),
    /// Those of one are taken.
    OfOne(usize),
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place<K: Eq + Hash + Clone> {
    tally: Tally<K>,
    who: K,
}

impl<K: Eq + Hash> Default for Tally<K> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Counts { all: 0, of: HashMap::new() })))
    }
}

impl<K: Eq + Hash> Clone for Tally<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Eq + Hash + Clone> Place<K> {
    /// Who has it.
    #[must_use]
    pub const fn who(&self) -> &K {
        &self.who
    }
}

impl<K: Eq + Hash + Clone> Tally<K> {
    /// Takes a place.
    ///
    /// # Errors
    /// When the bounds are reached.
    pub fn take(&self, who: K, bounds: Bounds) -> Result<Place<K>, Full> {
        let mut counts = self.lock();
        if counts.of.get(&who).copied().unwrap_or(0) >= bounds.of_one {
            return Err(Full::OfOne(bounds.of_one));
        }
        if counts.all >= bounds.all {
            return Err(Full::All(bounds.all));
        }
        counts.all += 1;
        *counts.of.entry(who.clone()).or_default() += 1;
        Ok(Place { tally: self.clone(), who })
    }

    /// How many places are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().all
    }
}

impl<K: Eq + Hash> Tally<K> {
    fn lock(&self) -> MutexGuard<'_, Counts<K>> {
        self.0.lock()
    }
}

impl<K: Eq + Hash + Clone> Drop for Place<K> {
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

/// What counts as one address: of IPv6 the network, in which a host has as many as it likes.
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
        let tally = Tally::default();
        let bounds = Bounds { all: 3, of_one: 2 };
        let first = tally.take("a", bounds).unwrap();
        let second = tally.take("a", bounds).unwrap();
        assert_eq!(tally.take("a", bounds).err(), Some(Full::OfOne(2)));
        let third = tally.take("b", bounds).unwrap();
        assert_eq!(tally.take("c", bounds).err(), Some(Full::All(3)));
        drop(first);
        let fourth = tally.take("c", bounds).unwrap();
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
