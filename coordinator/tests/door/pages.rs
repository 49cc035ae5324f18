//! Requests over HTTP from anybody who reaches the port: paths that lead out, parts and headers
//! without an end, methods that write; and the versions of TLS.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rpmfarm_coordinator::listen::ConnectionLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::Served;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

const PAGE: &str = "/repo/lab/testing/x86_64/os/repodata/repomd.xml";
const TEXT: &str = "0123456789";

/// A farm that has published one page.
async fn published() -> Served {
    let served = Served::start(ConnectionLimits::default()).await;
    let path = served.farm.repos.join(PAGE.trim_start_matches("/repo/"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, TEXT).unwrap();
    served
}

/// Returns the answer to a request, until the connection is closed.
async fn answer(served: &Served, request: &str) -> String {
    let mut stream = TcpStream::connect(served.plain).await.unwrap();
    // It may be closed before all was written.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "there is no end of the answer to {request:.80}");
    String::from_utf8_lossy(&answer).into_owned()
}

fn asked(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: farm\r\nConnection: close\r\n{headers}\r\n")
}

async fn get(served: &Served, path: &str, headers: &str) -> String {
    answer(served, &asked("GET", path, headers)).await
}

/// The value of a header of an answer.
fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = answer.lines().take_while(|line| !line.is_empty());
    lines.find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_to_what_is_not_published() {
    let served = published().await;
    assert!(get(&served, PAGE, "").await.ends_with(TEXT));
    let (long, deep) = ("a".repeat(60_000), "a/".repeat(10_000));
    let (long, deep) = (format!("/repo/{long}"), format!("/repo/{deep}"));
    for path in [
        "/repo/../token",
        "/repo/../farm.db",
        "/repo/lab/../../token",
        "/repo/%2e%2e/token",
        "/repo/lab/%2e%2e/%2e%2e/token",
        "/repo/lab/%2e%2e%2f%2e%2e%2ftoken",
        "/repo/..%2ftoken",
        "/repo/..%5ctoken",
        "/repo/lab/..\\..\\token",
        "/repo/%252e%252e/token",
        "/repo/%c0%ae%c0%ae/token",
        "/repo/lab%00/../../token",
        "/repo/lab/%00",
        "/repo//etc/passwd",
        "/repo/%2fetc%2fpasswd",
        "//etc/passwd",
        "/token",
        "/repo/lab/testing/.generations/",
        &long,
        &deep,
    ] {
        let answer = get(&served, path, "").await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{path:.80}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 5"), "{path:.80}: {answer}");
        for secret in [served.token.as_str(), "root:x:0", "SQLite format"] {
            assert!(!answer.contains(secret), "{path:.80}: {answer}");
        }
    }
    assert!(get(&served, PAGE, "").await.ends_with(TEXT));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_does_not_say_where_others_are_led() {
    let served = published().await;
    let answer = get(&served, "/repo/lab", "").await;
    assert_eq!(header(&answer, "location"), Some("./lab/"), "{answer}");
    for path in
        ["/repo//evil.example", "/repo//evil.example/..", "/repo/\\evil.example", "//evil.example/"]
    {
        let answer = get(&served, path, "").await;
        assert_eq!(header(&answer, "location"), None, "{path}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
    }
    for path in ["/", "/repo", "/repo/", "/repo/lab", "/nothing"] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n\
             Connection: close\r\n\r\n"
        );
        let answer = answer_of(&served, &request).await;
        assert!(!answer.contains("evil.example"), "{path}: {answer}");
    }
}

/// An answer that there must be.
async fn answer_of(served: &Served, request: &str) -> String {
    let answer = answer(served, request).await;
    assert!(answer.starts_with("HTTP/1.1 "), "{request:.80}: {answer}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_of_what_is_there_and_never_more() {
    let served = published().await;
    let many = format!("bytes={}0-1", "0-1,".repeat(1000));
    for (range, status, body) in [
        ("bytes=0-0", "206", "0"),
        ("bytes=-3", "206", "789"),
        ("bytes=-18446744073709551615", "206", TEXT),
        ("bytes=0-18446744073709551615", "206", TEXT),
        ("bytes=18446744073709551615-", "416", ""),
        ("bytes=18446744073709551616-", "200", TEXT),
        ("bytes=-0", "416", ""),
        ("bytes=9-1", "200", TEXT),
        (&many, "200", TEXT),
    ] {
        let answer = get(&served, PAGE, &format!("Range: {range}\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{range:.40}: {answer}");
        let (_, found) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(found, body, "{range:.40}");
    }
    let commas = format!("If-None-Match: {}\r\n", ",".repeat(8000));
    assert!(get(&served, PAGE, &commas).await.ends_with(TEXT));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_and_nothing_is_told_back() {
    let served = published().await;
    for method in ["PUT", "POST", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "MOVE"] {
        let headers = "X-Secret: told back\r\nContent-Length: 3\r\n";
        let request = asked(method, PAGE, headers) + "new";
        let answer = answer_of(&served, &request).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{method}: {answer}");
        assert!(!answer.contains("told back"), "{method}: {answer}");
    }
    for request in
        ["\0\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET\r\n\r\n", "\r\n\r\n\r\n\r\n"]
    {
        let answer = answer(&served, &format!("{request}Connection: close\r\n\r\n")).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{request:?}: {answer}");
    }
    assert!(get(&served, PAGE, "").await.ends_with(TEXT));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_have_an_end() {
    let served = published().await;
    // As long as a browser with many cookies may have them.
    let long = format!("X-Long: {}\r\n", "x".repeat(120_000));
    assert!(get(&served, PAGE, &long).await.ends_with(TEXT));
    let endless = format!("X-Long: {}\r\n", "x".repeat(2 << 20));
    let many = "X-One: of many\r\n".repeat(10_000);
    for headers in [&endless, &many] {
        let answer = get(&served, PAGE, headers).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{headers:.40}: {answer}");
    }
    assert!(get(&served, PAGE, "").await.ends_with(TEXT));
}

/// Whether a handshake with these options of `openssl s_client` comes to an end.
async fn shakes_hands(served: &Served, options: &[&str]) -> bool {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &served.tls.to_string(), "-brief"])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).contains("CONNECTION ESTABLISHED")
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_and_ciphers_of_tls_are_not_spoken() {
    let served = Served::start(ConnectionLimits::default()).await;
    for good in ["-tls1_2", "-tls1_3"] {
        assert!(shakes_hands(&served, &[good]).await, "{good}");
    }
    for old in [
        &["-tls1", "-cipher", "ALL:@SECLEVEL=0"] as &[&str],
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        // With CBC, without forward secrecy, without encryption.
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:AES128-SHA"],
        &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES256-SHA384"],
        &["-tls1_2", "-cipher", "AES128-GCM-SHA256:AES256-GCM-SHA384"],
        &["-tls1_2", "-cipher", "NULL:@SECLEVEL=0"],
    ] {
        assert!(!shakes_hands(&served, old).await, "{old:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_any_size_follow_each_other_on_one_connection() {
    let served = published().await;
    let large: Vec<u8> = (0..3_500_000_usize).map(|place| (place % 251) as u8 + 1).collect();
    let path = served.farm.repos.join("lab/testing/x86_64/os/large.rpm");
    fs::write(path, &large).unwrap();
    let asked =
        |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: farm\r\n{headers}\r\n");
    let path = "/repo/lab/testing/x86_64/os/large.rpm";
    // All requests are sent at once: the answers come one after the other, in this order.
    let requests = [
        asked(path, ""),
        asked(PAGE, ""),
        asked(path, "Range: bytes=1048570-2100000\r\n"),
        asked("/repo/lab/absent", ""),
        asked(path, "Connection: close\r\n"),
    ];
    let mut stream = TcpStream::connect(served.plain).await.unwrap();
    stream.write_all(requests.concat().as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answers)).await.unwrap().unwrap();
    let mut rest = &answers[..];
    for body in [
        &large[..],
        TEXT.as_bytes(),
        &large[1_048_570..=2_100_000],
        &b"not found\n"[..],
        &large[..],
    ] {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let (head, after) = rest.split_at(end);
        let length = header(std::str::from_utf8(head).unwrap(), "content-length").unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), body.len());
        let (found, after) = after.split_at(body.len());
        assert!(found == body, "{} bytes are others", body.len());
        rest = after;
    }
    assert!(rest.is_empty());
}
