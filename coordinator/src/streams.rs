//! How many streams callers may have at once: logs that are read or followed, builds that are
//! watched, files that are fetched.
//!
//! Each stream wakes when something changes, and may last for days. Owns the limits and the error
//! beyond them; it must not know what a stream sends.

use std::net::{IpAddr, Ipv4Addr};

use tonic::{Request, Status};

use crate::keyed_semaphore::{self, KeyedSemaphore, NoPermit, PermitLimits};
use crate::listen::RequestOrigin;

/// How many streams one connection may have. A watch of a whole mass rebuild takes one for each
/// thousand builds.
const OF_CONNECTION: usize = 64;

/// How many streams one address may have.
const OF_ADDRESS: usize = 256;

/// How many streams all callers may have together.
const ALL: usize = 2048;

/// The permits for streams. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct StreamLimits {
    connections: KeyedSemaphore<u64>,
    addresses: KeyedSemaphore<IpAddr>,
}

/// A stream's permits, which are returned when it is dropped.
#[derive(Debug)]
pub struct StreamPermit {
    _connection: keyed_semaphore::Permit<u64>,
    _address: keyed_semaphore::Permit<IpAddr>,
}

impl StreamLimits {
    /// Takes a permit for the stream that a request asks for.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` with the limit that was reached.
    pub fn acquire<T>(&self, request: &Request<T>) -> Result<StreamPermit, Status> {
        let origin = request.extensions().get::<RequestOrigin>().copied();
        // Requests that came over no listener of ours count as one connection.
        let nowhere = RequestOrigin { connection: 0, network: Ipv4Addr::UNSPECIFIED.into() };
        self.place(origin.unwrap_or(nowhere)).map_err(|(full, whose)| {
            let (NoPermit::All(limit) | NoPermit::OfOne(limit)) = full;
            Status::resource_exhausted(format!(
                "{limit} logs, watches and files are read {whose} already, the most that may be at \
                 once; end one of them, or try again later"
            ))
        })
    }

    fn place(&self, origin: RequestOrigin) -> Result<StreamPermit, (NoPermit, &'static str)> {
        let of_connection = PermitLimits { all: usize::MAX, of_one: OF_CONNECTION };
        let connection = self.connections.acquire(origin.connection, of_connection);
        let connection = connection.map_err(|full| (full, "over this connection"))?;
        let of_address = PermitLimits { all: ALL, of_one: OF_ADDRESS };
        let address = self.addresses.acquire(origin.network, of_address);
        let address = address.map_err(|full| match full {
            NoPermit::All(_) => (full, "by everybody together"),
            NoPermit::OfOne(_) => (full, "from this address"),
        })?;
        Ok(StreamPermit { _connection: connection, _address: address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(connection: u64, network: [u8; 4]) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(RequestOrigin { connection, network: network.into() });
        request
    }

    #[test]
    fn streams_are_bounded_and_the_limit_is_told() {
        let streams = StreamLimits::default();
        let mut held = Vec::new();
        let refused = |connection, network| {
            let status = streams.acquire(&asked(connection, network)).err().unwrap();
            assert_eq!(status.code(), tonic::Code::ResourceExhausted);
            status.message().to_owned()
        };
        for connection in 1..=4 {
            for _ in 0..OF_CONNECTION {
                held.push(streams.acquire(&asked(connection, [192, 0, 2, 1])).unwrap());
            }
        }
        assert!(refused(1, [192, 0, 2, 1]).starts_with("64 logs"));
        assert!(refused(5, [192, 0, 2, 1]).starts_with("256 logs"));
        for address in 2..=8 {
            for stream in 0..OF_ADDRESS as u64 {
                let connection = u64::from(address) * 1000 + stream / OF_CONNECTION as u64;
                held.push(streams.acquire(&asked(connection, [192, 0, 2, address])).unwrap());
            }
        }
        assert!(refused(9, [192, 0, 2, 9]).contains("2048 logs"));
        held.pop();
        held.push(streams.acquire(&asked(9, [192, 0, 2, 9])).unwrap());
        held.clear();
        assert_eq!((streams.connections.taken(), streams.addresses.taken()), (0, 0));
    }
}
