//! What it costs to serve a file of a repository: the coordinator's processor time over that of a
//! bare loop of `sendfile(2)`, which is what nginx does.

use std::fs::File;
use std::io::{Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use anyhow::{Context as _, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::sendfile::sendfile;
use nix::sys::time::TimeValLike as _;

use super::cpu;
use super::figure::{Figure, Report};
use crate::farm::{Farm, Settings, TARGET};
use crate::fixtures::{NOWHERE, TargetFile};

pub(super) const FILES: &str = "files.cpu";

/// The file's size in bytes, and how often it is fetched.
const SIZE: usize = 256 << 20;
const RUNS: usize = 8;

/// How much nginx sends at once (`sendfile_max_chunk`), in bytes.
const CHUNK: usize = 2 << 20;

const GIBIBYTES: f64 = (SIZE * RUNS) as f64 / (1_u64 << 30) as f64;

/// Measures both, one after the other.
pub(super) fn measure(directory: &Path, report: &mut Report) -> anyhow::Result<()> {
    let settings = Settings { workers: 0, ..Settings::new(directory) };
    let target = TargetFile::small(NOWHERE).named(TARGET).unsigned().text();
    let farm = Farm::start(&settings, &target)?;
    let place = directory.join("coordinator/repos").join(TARGET);
    std::fs::create_dir_all(&place)?;
    let path = place.join("large.rpm");
    std::fs::write(&path, vec![b'x'; SIZE])?;
    let address = farm.server().trim_start_matches("http://");
    let before = cpu::seconds(&farm.coordinator)?;
    for _ in 0..RUNS {
        fetch(address, &format!("/repo/{TARGET}/large.rpm"))?;
    }
    let ours = (cpu::seconds(&farm.coordinator)? - before) / GIBIBYTES;
    let bare = bare(&path)? / GIBIBYTES;
    report.add(Figure {
        name: FILES,
        value: ours / bare,
        unit: "x",
        budget: 1.5,
        peer: format!("a loop of sendfile, as nginx has it: {bare:.2} s of a core for a GiB"),
        ratio: Some(ours / bare),
        note: format!(
            "{ours:.2} s of a core for a GiB; {RUNS} times {} MiB over HTTP without TLS",
            SIZE >> 20
        ),
    });
    Ok(())
}

/// Fetches a file and throws it away.
fn fetch(address: &str, path: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let got = drain(&mut stream)?;
    ensure!(got > SIZE, "{path} has {got} bytes with its headers, less than {SIZE}");
    Ok(())
}

fn drain(stream: &mut impl Read) -> std::io::Result<usize> {
    let mut buffer = vec![0; 256 << 10];
    let mut all = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(all),
            count => all += count,
        }
    }
}

/// Processor time of a thread that sends the file as often, in seconds.
fn bare(path: &Path) -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let file = File::open(path)?;
    let sender = std::thread::spawn(move || -> anyhow::Result<f64> {
        let begun = thread_seconds()?;
        for _ in 0..RUNS {
            let (stream, _) = listener.accept()?;
            send(&stream, &file)?;
        }
        Ok(thread_seconds()? - begun)
    });
    for _ in 0..RUNS {
        let got = drain(&mut TcpStream::connect(address)?)?;
        ensure!(got == SIZE, "the bare loop sent {got} bytes");
    }
    sender.join().map_err(|_| anyhow::anyhow!("the bare loop panicked"))?
}

fn send(stream: &TcpStream, file: &File) -> anyhow::Result<()> {
    let mut offset = 0;
    let mut left = SIZE;
    while left > 0 {
        let sent = sendfile(stream, file, Some(&mut offset), left.min(CHUNK))?;
        ensure!(sent > 0, "the file became shorter");
        left -= sent;
    }
    Ok(())
}

fn thread_seconds() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let both = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(both as f64 / 1e6)
}
