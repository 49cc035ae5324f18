//! The open connections. Idle ones yield to new ones, so that a client which opens many connections
//! and sends nothing keeps no other client out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::activity::ConnectionActivity;
use crate::keyed_semaphore::{NoPermit, Permit};

/// The open connections. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionTable(Arc<Mutex<HashMap<u64, ConnectionEntry>>>);

#[derive(Debug)]
struct ConnectionEntry {
    network: IpAddr,
    activity: ConnectionActivity,
    ends: CancellationToken,
    _place: Permit<IpAddr>,
}

/// A connection's entry. Its permit is returned when this is dropped, or when the connection had to
/// yield.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    guests: ConnectionTable,
    number: u64,
    /// Cancelled when the connection has to yield.
    pub(super) yields: CancellationToken,
}

impl ConnectionTable {
    pub(super) fn enter(
        &self,
        number: u64,
        activity: ConnectionActivity,
        place: Permit<IpAddr>,
    ) -> ConnectionSlot {
        let ends = CancellationToken::new();
        let network = *place.who();
        let guest = ConnectionEntry { network, activity, ends: ends.clone(), _place: place };
        self.lock().insert(number, guest);
        ConnectionSlot { guests: self.clone(), number, yields: ends }
    }

    /// Ends one connection without a request under way, to make room: of this network when it has
    /// too many connections, or of any. First come connections that never made a request, of these
    /// the oldest. False when all connections are busy.
    pub(super) fn make_room(&self, full: NoPermit, network: IpAddr) -> bool {
        let mut guests = self.lock();
        let yields = guests
            .iter()
            .filter(|(_, guest)| matches!(full, NoPermit::All(_)) || guest.network == network)
            .filter_map(|(number, guest)| Some((guest.activity.idle_since()?, *number)))
            .min();
        let Some(guest) = yields.and_then(|(_, number)| guests.remove(&number)) else {
            return false;
        };
        guest.ends.cancel();
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, ConnectionEntry>> {
        self.0.lock()
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.guests.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed_semaphore::{KeyedSemaphore, PermitLimits};

    #[test]
    fn who_never_asked_yields_first_and_who_is_busy_never() {
        let (tally, guests) = (KeyedSemaphore::default(), ConnectionTable::default());
        let bounds = PermitLimits { all: 9, of_one: 9 };
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let enter = |number, from: &str, activity: &ConnectionActivity| {
            let place = tally.acquire(address(from), bounds).unwrap();
            guests.enter(number, activity.clone(), place)
        };
        let (busy, served, silent) =
            (ConnectionActivity::new(), ConnectionActivity::new(), ConnectionActivity::new());
        let _request = busy.request();
        drop(served.request());
        let one = enter(1, "192.0.2.1", &busy);
        let two = enter(2, "192.0.2.1", &served);
        let three = enter(3, "192.0.2.2", &silent);
        assert_eq!(tally.taken(), 3);

        assert!(guests.make_room(NoPermit::OfOne(9), address("192.0.2.1")), "of this address");
        assert!(two.yields.is_cancelled() && !one.yields.is_cancelled());
        assert_eq!(tally.taken(), 2, "its place is free at once");
        assert!(
            !guests.make_room(NoPermit::OfOne(9), address("192.0.2.1")),
            "the other one is busy"
        );
        assert!(guests.make_room(NoPermit::All(9), address("192.0.2.1")), "of any");
        assert!(three.yields.is_cancelled());
        drop((one, two, three));
        assert_eq!(tally.taken(), 0);
    }
}
