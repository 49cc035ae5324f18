//! Attackers who reach the port without a credential.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Scene;

/// Silent connections do not keep other clients out, and end.
#[test]
#[ignore = "slow: make attack"]
fn idle_connections_keep_nobody_out_and_are_closed() {
    let mut scene = Scene::new();
    let address = scene.farm.server().trim_start_matches("http://").to_owned();
    let mut open: Vec<TcpStream> =
        (0..1_100).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    scene.goes_on();
    let begun = Instant::now();
    while !open.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(90), "{} are open", open.len());
        std::thread::sleep(Duration::from_millis(500));
        open.retain_mut(|stream| {
            stream.set_nonblocking(true).unwrap();
            matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
    }
    scene.goes_on();
}

/// Requests for pages; no answer may be a file that is not published.
const REQUESTS: &[&str] = &[
    "GET /repo/../token HTTP/1.1",
    "GET /repo/lab/../../token HTTP/1.1",
    "GET /repo/%2e%2e/%2e%2e/token HTTP/1.1",
    "GET /repo/..%2f..%2ftoken HTTP/1.1",
    "GET /repo/lab/testing/..\\..\\token HTTP/1.1",
    "GET /repo/lab/%00/token HTTP/1.1",
    "GET /repo/%c0%ae%c0%ae/token HTTP/1.1",
    "GET //etc/passwd HTTP/1.1",
    "GET /repo//etc/passwd HTTP/1.1",
    "GET http://127.0.0.1/../token HTTP/1.1",
    "PUT /repo/lab/x HTTP/1.1",
    "TRACE / HTTP/1.1",
    "GET /metrics HTTP/9.9",
    "\u{0}\u{1}\u{2}",
];

#[test]
fn requests_of_all_kinds_get_nothing_but_what_is_published() {
    let mut scene = Scene::new();
    let address = scene.farm.server().trim_start_matches("http://").to_owned();
    let token = scene.farm.directory().join("coordinator/token");
    let token = std::fs::read_to_string(token).unwrap().trim().to_owned();
    let long = format!("GET /repo/{} HTTP/1.1", "a/".repeat(30_000));
    for request in REQUESTS.iter().copied().chain([long.as_str()]) {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let text = format!("{request}\r\nHost: farm\r\nConnection: close\r\n\r\n");
        // It may be closed before all was written.
        let _ = stream.write_all(text.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let shown = &request[..request.len().min(60)];
        assert!(!answer.starts_with("HTTP/1.1 200"), "{shown}: {answer}");
        assert!(!answer.contains(&token) && !answer.contains("root:x:0"), "{shown}: {answer}");
    }
    scene.goes_on();
    // A request must not change what other clients get: caches and mirrors keep only answers of the
    // farm.
    let mut stream = TcpStream::connect(&address).unwrap();
    let request = "GET /repo/lab/lab-testing.repo HTTP/1.1\r\nHost: evil.example\r\n\
                   X-Forwarded-Host: evil.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut file = String::new();
    stream.read_to_string(&mut file).unwrap();
    assert!(file.contains(&format!("baseurl=http://{address}/")), "{file}");
    assert!(!file.contains("evil.example"), "{file}");
}
