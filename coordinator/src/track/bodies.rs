//! Places for bodies of webhooks: whoever sends one is not known before it is read, so nobody may
//! take them all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bodies that are read at once.
const ALL: usize = 32;

/// Of these, from one address.
const OF_ONE: usize = 8;

/// How long a webhook waits for its place.
const PATIENCE: Duration = Duration::from_secs(3);

/// The places.
#[derive(Debug)]
pub(super) struct Bodies {
    all: Arc<Semaphore>,
    peers: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    patience: Duration,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held")] Vec<OwnedSemaphorePermit>);

impl Default for Bodies {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(ALL));
        Self { all, peers: Mutex::default(), patience: PATIENCE }
    }
}

impl Bodies {
    /// Waits for a place, for some seconds at most. Without an address, and for this host, where
    /// a proxy may speak for everybody, there is no limit of its own.
    pub(super) async fn place(&self, peer: Option<IpAddr>) -> Option<Place> {
        let own = peer.map(|peer| network(peer.to_canonical())).filter(|peer| !peer.is_loopback());
        let own = own.map(|peer| self.of(peer));
        let wait = async {
            let mut permits = Vec::new();
            for places in own.into_iter().chain([self.all.clone()]) {
                permits.push(places.acquire_owned().await.ok()?);
            }
            Some(Place(permits))
        };
        timeout(self.patience, wait).await.ok().flatten()
    }

    /// The places of an address. Those of nobody are forgotten.
    fn of(&self, peer: IpAddr) -> Arc<Semaphore> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, places| Arc::strong_count(places) > 1);
        peers.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(OF_ONE))).clone()
    }
}

/// What counts as one address: of IPv6 the network, in which a host has as many as it likes.
fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        peer => peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_takes_all_places() {
        let bodies = Bodies { patience: Duration::from_millis(20), ..Bodies::default() };
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let mut taken = Vec::new();
        for _ in 0..OF_ONE {
            taken.push(bodies.place(address("192.0.2.1")).await.unwrap());
        }
        assert!(bodies.place(address("192.0.2.1")).await.is_none());
        assert!(bodies.place(address("::ffff:192.0.2.1")).await.is_none());
        drop(bodies.place(address("192.0.2.2")).await.unwrap());
        for n in 0..OF_ONE {
            taken.push(bodies.place(address(&format!("2001:db8::{n:x}"))).await.unwrap());
        }
        assert!(bodies.place(address("2001:db8::99")).await.is_none(), "the same network");
        drop(bodies.place(address("2001:db8:0:1::1")).await.unwrap());
        // This host has no limit but that of all.
        for _ in 0..ALL - 2 * OF_ONE {
            taken.push(bodies.place(address("127.0.0.1")).await.unwrap());
        }
        for other in [None, address("::1"), address("192.0.2.2")] {
            assert!(bodies.place(other).await.is_none(), "{other:?}");
        }
        taken.clear();
        drop(bodies.place(address("192.0.2.1")).await.unwrap());
        assert_eq!(bodies.peers.lock().unwrap().len(), 1, "others are forgotten");
    }
}
