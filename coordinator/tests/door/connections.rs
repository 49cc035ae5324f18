//! Connections that say nothing, too many of them, and a host without files for them.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rpmfarm_coordinator::listen::ConnectionLimits;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Served;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

const ASKS: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: farm\r\n\r\n";

/// The beginning of HTTP/2 with empty settings, and no request.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn impatient() -> ConnectionLimits {
    let short = Duration::from_millis(300);
    ConnectionLimits { first_request: short, idle: short, ..ConnectionLimits::default() }
}

/// A connection from an address of this host.
async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Asks for a page; false when the connection is closed instead.
async fn is_served(stream: &mut TcpStream) -> bool {
    if stream.write_all(ASKS).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        match timeout(PATIENCE, stream.read_buf(&mut answer)).await.expect("an answer or an end") {
            Ok(1..) => {}
            Ok(0) | Err(_) => return false,
        }
    }
    answer.starts_with(b"HTTP/1.1 200 OK")
}

/// Waits until the other side closes the connection.
async fn ends(mut stream: impl AsyncRead + AsyncWrite + Unpin, says: &[u8], what: &str) {
    stream.write_all(says).await.unwrap();
    let mut received = Vec::new();
    // A reset is an end as well.
    let ended = timeout(PATIENCE, stream.read_to_end(&mut received)).await;
    assert!(ended.is_ok(), "{what} stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_for_nothing_are_closed() {
    let served = Served::start(impatient()).await;
    let plain = async || TcpStream::connect(served.plain).await.unwrap();
    ends(plain().await, b"", "silence").await;
    ends(plain().await, b"GET /healthz HTTP/1.1\r\nHo", "half a request").await;
    ends(plain().await, b"PRI * HT", "half of a preface").await;
    ends(plain().await, HTTP2, "HTTP/2 without a request").await;
    ends(plain().await, ASKS, "a connection that was served").await;
    ends(TcpStream::connect(served.tls).await.unwrap(), b"", "half a handshake").await;

    let mut roots = RootCertStore::empty();
    roots.add(served.authority.certificate().clone()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(served.tls).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let shaken = connector.connect(name, stream).await.unwrap();
    ends(shaken, b"", "silence after a handshake").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_lasts_keeps_its_connection() {
    use rpmfarm_proto::v1::WatchBuildsRequest;
    use rpmfarm_proto::v1::farm_client::FarmClient;
    let served = Served::start(impatient()).await;
    let build = served.build().await;
    let mut client = FarmClient::new(served.channel().await);
    let request = WatchBuildsRequest { ids: vec![build.0] };
    let mut changes = client.watch_builds(request).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().state, "importing");
    // Far longer than an idle connection may stay.
    tokio::time::sleep(impatient().idle * 4).await;
    assert!(served.farm.store.build_cancel(build, super::NOW).await.unwrap());
    let last = timeout(PATIENCE, changes.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(last.state, "cancelled");
}

/// A call that lasts, on a connection from an address.
async fn watches(served: &Served, from: &str, build: rpmfarm_core::BuildId) -> TcpStream {
    let mut stream = connect(from, served.plain).await;
    // One message of gRPC, in HTTP/1, is as good as any: its answer does not end.
    let message = [&[0, 0, 0, 0, 3, 0x0a, 1][..], &[u8::try_from(build.0).unwrap()]].concat();
    let head = format!(
        "POST /rpmfarm.v1.Farm/WatchBuilds HTTP/1.1\r\nHost: farm\r\n\
         Content-Type: application/grpc\r\nTE: trailers\r\nContent-Length: {}\r\n\r\n",
        message.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&message).await.unwrap();
    let mut first = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_takes_all_connections() {
    // This host's own addresses have four times as many.
    let served = Served::start(ConnectionLimits { of_one: 1, ..ConnectionLimits::default() }).await;
    let build = served.build().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(watches(&served, "127.0.0.1", build).await);
    }
    assert!(!is_served(&mut connect("127.0.0.1", served.plain).await).await, "a fifth one");
    assert!(is_served(&mut connect("127.0.0.2", served.plain).await).await, "another address");
    // The place of one that has ended is free again.
    held.pop();
    let begun = Instant::now();
    while !is_served(&mut connect("127.0.0.1", served.plain).await).await {
        assert!(begun.elapsed() < PATIENCE, "no place comes back");
    }
}

/// A new connection with a request replaces one without, also from one address.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_nothing_yields() {
    let served = Served::start(ConnectionLimits {
        of_one: 1,
        connections: 6,
        ..ConnectionLimits::default()
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(connect("127.0.0.1", served.plain).await);
    }
    let mut asks = connect("127.0.0.1", served.plain).await;
    assert!(is_served(&mut asks).await);
    // The limit over all addresses, too: connections with requests are closed last.
    for from in ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"] {
        silent.push(connect(from, served.plain).await);
    }
    assert!(is_served(&mut connect("127.0.0.6", served.plain).await).await);
    assert!(is_served(&mut asks).await, "it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_an_end_to_all_connections_together() {
    let served =
        Served::start(ConnectionLimits { connections: 3, ..ConnectionLimits::default() }).await;
    let build = served.build().await;
    let mut held = Vec::new();
    for from in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
        held.push(watches(&served, from, build).await);
    }
    assert!(!is_served(&mut connect("127.0.0.4", served.plain).await).await);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_files_connections_wait_and_are_served_later() {
    let served = Served::start(ConnectionLimits::default()).await;
    // It stays, so that no file of it becomes free.
    let mut first = connect("127.0.0.1", served.plain).await;
    assert!(is_served(&mut first).await);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // A test has a process of its own.
    let socket = TcpSocket::new_v4().unwrap();
    // Below every descriptor in use, so that descriptors which the coordinator closes meanwhile
    // make no room for a connection.
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    assert!(File::open("/dev/null").is_err(), "a file can still be opened");
    let mut stream = socket.connect(served.plain).await.unwrap();
    stream.write_all(ASKS).await.unwrap();
    let early = timeout(Duration::from_millis(500), stream.readable()).await;
    assert!(early.is_err(), "it is neither served nor closed");
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let mut answer = [0; 15];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    drop(first);
}
