//! A TCP proxy on loopback that can refuse, cut, stall, slow and damage connections.

use std::io::{Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::spoil::Spoiler;

/// The proxy. It ends with the process; dropped, it takes no new connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// New connections are closed at once.
    refuses: AtomicBool,
    stalls: AtomicBool,
    /// Bytes per second to the server; 0 for no limit.
    rate: AtomicU64,
    /// Bytes that went to the server.
    sent: AtomicU64,
    /// One byte of the next large frame to the server is to be flipped.
    flip: AtomicBool,
    /// Nothing is passed to clients any more.
    mute: AtomicBool,
    connections: Mutex<Vec<Arc<Connection>>>,
}

struct Connection {
    stalls: AtomicBool,
    closed: AtomicBool,
    ends: [TcpStream; 2],
}

/// How often a stalled connection checks whether it still is stalled.
const PERIOD: Duration = Duration::from_millis(20);

impl Proxy {
    /// A proxy on a free port, to a server.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start(server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let mine = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if mine.refuses.load(Ordering::Acquire) {
                    continue;
                }
                // A server that is down closes the client's connection, too.
                if let Ok(server) = TcpStream::connect(server) {
                    let _ = mine.connect(client, server);
                }
            }
        });
        Ok(Self { address, shared })
    }

    /// `http://HOST:PORT` of the proxy.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Closes all connections, and new ones as they come, until [`Self::heal`].
    pub fn cut(&self) {
        self.refuse(true);
        for connection in self.shared.connections().drain(..) {
            connection.close();
        }
    }

    /// New connections are accepted, and answers are passed again.
    pub fn heal(&self) {
        self.refuse(false);
        self.shared.mute.store(false, Ordering::Release);
    }

    /// Sets whether new connections are closed at once. Existing ones stay.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refuses.store(refuse, Ordering::Release);
    }

    /// Sets whether new connections hang. Hanging ones continue when this ends.
    pub fn stall_new(&self, stall: bool) {
        self.shared.stalls.store(stall, Ordering::Release);
        if !stall {
            for connection in self.shared.connections().iter() {
                connection.stalls.store(false, Ordering::Release);
            }
        }
    }

    /// The oldest connection hangs: nothing passes, and nothing closes it.
    pub fn stall_oldest(&self) {
        let mut connections = self.shared.connections();
        connections.retain(|connection| !connection.closed.load(Ordering::Acquire));
        if let Some(connection) = connections.first() {
            connection.stalls.store(true, Ordering::Release);
        }
    }

    /// Nothing is passed to clients any more: the server does what it is asked, and its answers get
    /// lost.
    pub fn mute(&self) {
        self.shared.mute.store(true, Ordering::Release);
    }

    /// Limits the bytes per second to the server; 0 for no limit.
    pub fn slow(&self, bytes: u64) {
        self.shared.rate.store(bytes, Ordering::Release);
    }

    /// Bytes that have gone to the server.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Acquire)
    }

    /// Flips one byte in the middle of the next large HTTP/2 frame that goes to the server.
    pub fn flip_one(&self) {
        self.shared.flip.store(true, Ordering::Release);
    }

    /// Whether the byte is still to be flipped.
    #[must_use]
    pub fn is_to_flip(&self) -> bool {
        self.shared.flip.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Shared {
    fn connections(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections.lock()
    }

    fn connect(self: &Arc<Self>, client: TcpStream, server: TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let connection = Arc::new(Connection {
            stalls: AtomicBool::new(self.stalls.load(Ordering::Acquire)),
            closed: AtomicBool::new(false),
            ends: [client.try_clone()?, server.try_clone()?],
        });
        self.connections().push(connection.clone());
        let (up, down) = (self.clone(), self.clone());
        let (mine, other) = (connection.clone(), connection);
        let (back, forth) = (client.try_clone()?, server.try_clone()?);
        std::thread::spawn(move || {
            up.carry_up(client, forth, &mine);
            mine.close();
        });
        std::thread::spawn(move || {
            down.carry_down(server, back, &other);
            other.close();
        });
        Ok(())
    }

    /// From the client to the server.
    fn carry_up(&self, mut from: TcpStream, mut to: TcpStream, connection: &Connection) {
        let mut spoiler = Spoiler::default();
        let mut buffer = vec![0; 16 * 1024];
        while let Some(length) = read(&mut from, &mut buffer, connection) {
            let data = &mut buffer[..length];
            let flip = || self.flip.swap(false, Ordering::AcqRel);
            spoiler.pass(data, flip);
            let rate = self.rate.load(Ordering::Acquire);
            if let Some(micros) = (length as u64 * 1_000_000).checked_div(rate) {
                std::thread::sleep(Duration::from_micros(micros));
            }
            if to.write_all(data).is_err() {
                return;
            }
            self.sent.fetch_add(length as u64, Ordering::AcqRel);
        }
    }

    /// From the server to the client.
    fn carry_down(&self, mut from: TcpStream, mut to: TcpStream, connection: &Connection) {
        let mut buffer = vec![0; 16 * 1024];
        while let Some(length) = read(&mut from, &mut buffer, connection) {
            if !self.mute.load(Ordering::Acquire) && to.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    }
}

/// Reads, once the connection does not stall. `None` at its end.
fn read(from: &mut TcpStream, buffer: &mut [u8], connection: &Connection) -> Option<usize> {
    let length = from.read(buffer).ok().filter(|length| *length > 0)?;
    while connection.stalls.load(Ordering::Acquire) && !connection.closed.load(Ordering::Acquire) {
        std::thread::sleep(PERIOD);
    }
    Some(length)
}

impl Connection {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for end in &self.ends {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}
