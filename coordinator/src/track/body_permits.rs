//! Permits to send the body of a webhook. The sender is not verified before the body is read, so
//! nobody may take all permits, and some are reserved for addresses whose webhooks were genuine
//! recently.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::keyed_semaphore::network;
use crate::work::KeyedSemaphore;

// The sender of a webhook is unknown until its body is read, so that reading is a resource which
// anybody can take. docs/following.md tells operators of the numbers.

/// How many bodies are read at once, each of 32 MiB at most (`hook::MAX_BODY`).
const ALL: usize = 32;

/// How many of these may be from one address.
const OF_ONE: usize = 8;

/// How many more bodies may be read from addresses that have sent genuine webhooks.
const KEPT: usize = 8;

/// How many such addresses are remembered, those with the most recent genuine webhooks.
const REMEMBERED: usize = 256;

/// How long a webhook waits for its permit.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct BodyPermits {
    all: Arc<Semaphore>,
    kept: Arc<Semaphore>,
    peers: KeyedSemaphore<IpAddr>,
    /// Addresses that sent a genuine webhook, each with the time of the last one.
    genuine: Mutex<HashMap<IpAddr, Instant>>,
    patience: Duration,
}

/// A permit, which is returned when it is dropped.
#[derive(Debug)]
pub(super) struct BodyPermit(#[expect(dead_code, reason = "held")] Vec<OwnedSemaphorePermit>);

impl Default for BodyPermits {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(ALL));
        let kept = Arc::new(Semaphore::new(KEPT));
        let peers = KeyedSemaphore::new(OF_ONE);
        Self { all, kept, peers, genuine: Mutex::default(), patience: PATIENCE }
    }
}

impl BodyPermits {
    /// Waits for a permit, for some seconds at most. An unknown address and this host, where a
    /// proxy may speak for everybody, have no limit of their own.
    pub(super) async fn acquire(&self, peer: Option<IpAddr>) -> Option<BodyPermit> {
        let peer = peer.and_then(stranger);
        let is_known = peer.is_some_and(|peer| self.known().contains_key(&peer));
        let wait = async {
            let mut permits = Vec::new();
            if let Some(peer) = peer {
                permits.push(self.peers.acquire(peer).await);
            }
            let permit = tokio::select! {
                biased;
                permit = self.all.clone().acquire_owned() => permit,
                permit = self.kept.clone().acquire_owned(), if is_known => permit,
            };
            permits.push(permit.ok()?);
            Some(BodyPermit(permits))
        };
        timeout(self.patience, wait).await.ok().flatten()
    }

    /// Records that a genuine webhook came from this address.
    pub(super) fn is_genuine(&self, peer: Option<IpAddr>) {
        let Some(peer) = peer.and_then(stranger) else { return };
        let mut known = self.known();
        known.insert(peer, Instant::now());
        if known.len() > REMEMBERED
            && let Some(oldest) = known.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer)
        {
            known.remove(&oldest);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        self.genuine.lock()
    }
}

/// The address whose permits are limited; `None` for this host, where a proxy may speak for
/// everybody.
fn stranger(peer: IpAddr) -> Option<IpAddr> {
    let peer = network(peer);
    (!peer.is_loopback()).then_some(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_takes_all_permits() {
        let permits = BodyPermits { patience: Duration::from_millis(20), ..BodyPermits::default() };
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let mut taken = Vec::new();
        for _ in 0..OF_ONE {
            taken.push(permits.acquire(address("192.0.2.1")).await.unwrap());
        }
        assert!(permits.acquire(address("192.0.2.1")).await.is_none());
        assert!(permits.acquire(address("::ffff:192.0.2.1")).await.is_none());
        drop(permits.acquire(address("192.0.2.2")).await.unwrap());
        for n in 0..OF_ONE {
            taken.push(permits.acquire(address(&format!("2001:db8::{n:x}"))).await.unwrap());
        }
        assert!(permits.acquire(address("2001:db8::99")).await.is_none(), "the same network");
        drop(permits.acquire(address("2001:db8:0:1::1")).await.unwrap());
        // This host has no limit but that of all.
        for _ in 0..ALL - 2 * OF_ONE {
            taken.push(permits.acquire(address("127.0.0.1")).await.unwrap());
        }
        for other in [None, address("::1"), address("192.0.2.2")] {
            assert!(permits.acquire(other).await.is_none(), "{other:?}");
        }
        // Who was genuine is let in all the same, and nobody else is.
        permits.is_genuine(address("198.51.100.1"));
        permits.is_genuine(address("127.0.0.1"));
        for _ in 0..KEPT {
            taken.push(permits.acquire(address("198.51.100.1")).await.unwrap());
        }
        for other in ["198.51.100.2", "127.0.0.1", "198.51.100.1"] {
            assert!(permits.acquire(address(other)).await.is_none(), "{other}");
        }
        for n in 0..2 * REMEMBERED {
            permits.is_genuine(address(&format!("10.0.{}.{}", n / 256, n % 256)));
        }
        assert_eq!(permits.known().len(), REMEMBERED);
        taken.clear();
        drop(permits.acquire(address("192.0.2.1")).await.unwrap());
        assert_eq!(permits.peers.len(), 1, "others are forgotten");
    }
}
