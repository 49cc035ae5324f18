//! Connections that do nothing yield their places: so who opens many and says nothing keeps out nobody
//! that asks for something.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use crate::tally::{Full, Place};

/// The connections that there are. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Guests(Arc<Mutex<HashMap<u64, Guest>>>);

#[derive(Debug)]
struct Guest {
    network: IpAddr,
    activity: Activity,
    ends: CancellationToken,
    _place: Place<IpAddr>,
}

/// A connection's entry; its place is free when this is dropped, or when the connection had to yield.
#[derive(Debug)]
pub(super) struct Entry {
    guests: Guests,
    number: u64,
    /// Cancelled when the connection is to end for another one.
    pub(super) yields: CancellationToken,
}

impl Guests {
    pub(super) fn enter(&self, number: u64, activity: Activity, place: Place<IpAddr>) -> Entry {
        let ends = CancellationToken::new();
        let network = *place.who();
        let guest = Guest { network, activity, ends: ends.clone(), _place: place };
        self.lock().insert(number, guest);
        Entry { guests: self.clone(), number, yields: ends }
    }

    /// Ends one connection without a request under way, so that there is room: of this network when it
    /// has too many, or of any. First those that never asked for anything, of these the oldest. False
    /// when all are busy.
    pub(super) fn make_room(&self, full: Full, network: IpAddr) -> bool {
        let mut guests = self.lock();
        let yields = guests
            .iter()
            .filter(|(_, guest)| matches!(full, Full::All(_)) || guest.network == network)
            .filter_map(|(number, guest)| Some((guest.activity.idle_since()?, *number)))
            .min();
        let Some(guest) = yields.and_then(|(_, number)| guests.remove(&number)) else {
            return false;
        };
        guest.ends.cancel();
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Guest>> {
        self.0.lock()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.guests.lock().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::{Bounds, Tally};

    #[test]
    fn who_never_asked_yields_first_and_who_is_busy_never() {
        let (tally, guests) = (Tally::default(), Guests::default());
        let bounds = Bounds { all: 9, of_one: 9 };
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let enter = |number, from: &str, activity: &Activity| {
            let place = tally.take(address(from), bounds).unwrap();
            guests.enter(number, activity.clone(), place)
        };
        let (busy, served, silent) = (Activity::new(), Activity::new(), Activity::new());
        let _request = busy.request();
        drop(served.request());
        let one = enter(1, "192.0.2.1", &busy);
        let two = enter(2, "192.0.2.1", &served);
        let three = enter(3, "192.0.2.2", &silent);
        assert_eq!(tally.taken(), 3);

        assert!(guests.make_room(Full::OfOne(9), address("192.0.2.1")), "of this address");
        assert!(two.yields.is_cancelled() && !one.yields.is_cancelled());
        assert_eq!(tally.taken(), 2, "its place is free at once");
        assert!(!guests.make_room(Full::OfOne(9), address("192.0.2.1")), "the other one is busy");
        assert!(guests.make_room(Full::All(9), address("192.0.2.1")), "of any");
        assert!(three.yields.is_cancelled());
        drop((one, two, three));
        assert_eq!(tally.taken(), 0);
    }
}
