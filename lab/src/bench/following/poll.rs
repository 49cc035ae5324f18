//! Polling 2,000 repositories in which nothing has changed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rpmfarm_core::target::Template;

use super::refs::RefServer;
use super::{POLL, farm, wait};
use crate::bench::cpu::seconds;
use crate::bench::figure::Figure;
use crate::bench::spread::Spread;
use crate::distgit::BRANCH;
use crate::farm::{TARGET, World};
use crate::tool;

const REPOSITORIES: usize = 2_000;
const WINDOW: Duration = Duration::from_secs(20);

pub(super) fn measure(directory: &Path, world: &World) -> anyhow::Result<Figure> {
    let refs = RefServer::start()?;
    let host = format!("127.0.0.1:{}", refs.address.port());
    let farm = farm(directory, world, 0, |target| {
        target.upstream.url = Template::from(format!("http://{host}/rpms/{{name}}.git").as_str());
        let mut hosts: Vec<String> = target.private_hosts.entries().map(str::to_owned).collect();
        hosts.push(host.clone());
        if let Ok(hosts) = serde_json::from_value(serde_json::json!(hosts)) {
            target.private_hosts = hosts;
        }
        // A package is due again as soon as it has been polled.
        target.track.poll_seconds = 1;
        target.track.poll_longest_seconds = 1;
        target.track.host_connections = 32;
        target.track.host_requests = 100_000;
    })?;
    let list = directory.join("packages.txt");
    let names: Vec<String> = (0..REPOSITORIES).map(|n| format!("package{n}")).collect();
    std::fs::write(&list, names.join("\n"))?;
    let list = list.to_str().context("a path of text")?;
    farm.client().json(&["track", "add", "--file", list, "--target", TARGET])?;
    // The first poll of each package also stores its commit.
    let all = 2 * REPOSITORIES as u64;
    wait(|| Ok((refs.asked() >= all).then_some(())))?;

    let memory = farm.coordinator.rss_kib()?;
    let (asked, spent, begun) = (refs.asked(), seconds(&farm.coordinator)?, Instant::now());
    std::thread::sleep(WINDOW);
    let asked = (refs.asked() - asked) as f64;
    let spent = seconds(&farm.coordinator)? - spent;
    let wall = begun.elapsed().as_secs_f64();
    ensure!(asked > 0.0, "nothing was polled");
    let grown = farm.coordinator.rss_kib()? as f64 - memory as f64;
    let peer = ls_remote(&host)?;
    let each = spent / asked;
    Ok(Figure {
        name: POLL,
        value: each * 1000.0,
        unit: "ms",
        budget: 10.0,
        peer: format!("git ls-remote of one of them: {:.1} ms", peer.median * 1000.0),
        ratio: Some(each / peer.median),
        note: format!(
            "time of one core for each poll, nothing changed: {:.0} repositories a second of a core; \
             {:.0} a second by the clock, memory {:.0} MiB and {:+.1} MiB over {} polls",
            1.0 / each,
            asked / wall,
            memory as f64 / 1024.0,
            grown / 1024.0,
            asked
        ),
    })
}

fn ls_remote(host: &str) -> anyhow::Result<Spread> {
    let mut runs = Vec::new();
    for n in 0..20 {
        let url = format!("http://{host}/rpms/package{n}.git");
        let begun = Instant::now();
        let output = tool::output(Command::new("git").args(["ls-remote", &url, BRANCH]))?;
        runs.push(begun.elapsed().as_secs_f64());
        ensure!(output.starts_with(b"aaaa"), "git does not understand the server");
    }
    Ok(Spread::of(runs))
}
