//! From a webhook to a task for a worker, and a thousand webhooks at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::{WEBHOOK, farm, wait};
use crate::bench::figure::Figure;
use crate::bench::spread::Spread;
use crate::distgit::{BRANCH, Commit, Entry, append, create};
use crate::farm::{Client, Forge, Hook, TARGET, World};

/// Webhooks that are measured one after the other.
const SINGLE: usize = 50;
/// Webhooks of the burst.
const BURST: usize = 1_000;
/// Senders of the burst.
const SENDERS: usize = 16;

pub(super) fn measure(directory: &Path, world: &World) -> anyhow::Result<Figure> {
    let names: Vec<String> = (0..BURST).map(|n| format!("pushed{n}")).collect();
    for name in &names {
        create(&world.repository_of(name), BRANCH, &[commit(name, "1", "Begin")])?;
    }
    let farm = farm(directory, world, 0, |target| {
        target.track.storm_builds = 100_000;
        target.track.host_connections = 16;
        target.track.host_requests = 100_000;
    })?;
    let (client, forge) = (farm.client(), farm.forge()?);
    let list = directory.join("packages.txt");
    std::fs::write(&list, names.join("\n"))?;
    let list = list.to_str().context("a path of text")?;
    client.json(&["track", "add", "--file", list, "--target", TARGET])?;
    wait(|| {
        let list = client.json(&["track", "list", "--target", TARGET])?;
        let packages = list["packages"].as_array().context("no list")?;
        Ok(packages.iter().all(|package| !package["commit"].is_null()).then_some(()))
    })?;

    let mut single = Vec::new();
    for name in &names[..SINGLE] {
        let commit = append(&world.repository_of(name), BRANCH, &commit(name, "2", "Update"))?;
        single.push(one(&client, &forge, name, &commit)?);
    }
    let burst = burst(world, &client, &forge, &names)?;
    single.sort_by(f64::total_cmp);
    let p99 = single.last().copied().unwrap_or(f64::NAN);
    Ok(Figure {
        name: WEBHOOK,
        value: p99,
        unit: "s",
        budget: 1.0,
        peer: format!("the answer to a webhook in the burst: {}", burst.answers),
        ratio: None,
        note: format!(
            "slowest of {SINGLE} from the webhook to the SRPM task as `rpmfarm list` shows it, \
             {}; a burst of {BURST} answered in {:.1} s and all queued in {:.1} s, none lost, one \
             build each; rpmfarm list meanwhile {}",
            Spread::of(single),
            burst.sent,
            burst.queued,
            burst.list,
        ),
    })
}

/// A commit of a package without look-aside files.
fn commit<'a>(name: &str, release: &str, message: &'a str) -> Commit<'a> {
    let spec = format!(
        "Name: {name}\nVersion: 1\nRelease: {release}%{{?dist}}\nSummary: Pushed\nLicense: MIT\n\
         BuildArch: noarch\n\n%description\nPushed.\n\n%files\n"
    );
    // The text lives as long as the benchmark runs.
    let path: &'static str = Box::leak(format!("{name}.spec").into_boxed_str());
    let spec: &'static [u8] = Box::leak(spec.into_bytes().into_boxed_slice());
    Commit { message, tree: BTreeMap::from([(path, Entry::File(spec))]) }
}

fn hook(name: &str, commit: &str) -> Hook {
    Hook {
        repository: format!("rpms/{name}"),
        branch: BRANCH.into(),
        commit: commit.into(),
        delivery: format!("{name}-{commit}"),
    }
}

/// Seconds from a webhook to the task.
fn one(client: &Client, forge: &Forge, name: &str, commit: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let (status, answer) = forge.send(&hook(name, commit))?;
    ensure!(status == 202, "webhook answered {status}: {answer}");
    wait(|| {
        let list = client.json(&["list", "--package", name, "--limit", "1"])?;
        Ok(has_task(&list["builds"][0]).then_some(()))
    })?;
    Ok(begun.elapsed().as_secs_f64())
}

fn has_task(build: &Value) -> bool {
    build["tasks"].as_array().is_some_and(|tasks| !tasks.is_empty())
}

/// What a burst took, in seconds.
struct Burst {
    sent: f64,
    queued: f64,
    answers: Spread,
    list: Spread,
}

fn burst(world: &World, client: &Client, forge: &Forge, names: &[String]) -> anyhow::Result<Burst> {
    let mut hooks = Vec::new();
    for name in names {
        let commit = append(&world.repository_of(name), BRANCH, &commit(name, "3", "Burst"))?;
        hooks.push(hook(name, &commit));
    }
    let begun = Instant::now();
    let send = |hooks: &[Hook]| -> anyhow::Result<Vec<f64>> {
        let mut answers = Vec::new();
        for hook in hooks {
            let begun = Instant::now();
            let (status, answer) = forge.send(hook)?;
            ensure!(status == 202, "webhook answered {status}: {answer}");
            answers.push(begun.elapsed().as_secs_f64());
        }
        Ok(answers)
    };
    let answers: Vec<f64> = std::thread::scope(|scope| {
        let senders: Vec<_> = hooks
            .chunks(hooks.len().div_ceil(SENDERS))
            .map(|hooks| scope.spawn(move || send(hooks)))
            .collect();
        let mut answers = Vec::new();
        for sender in senders {
            let sent = sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?;
            answers.extend(sent?);
        }
        anyhow::Ok(answers)
    })?;
    let sent = begun.elapsed().as_secs_f64();
    let mut lists = Vec::new();
    // The newest build of each package, and no more than one for each push.
    let wanted = BURST + SINGLE;
    wait(|| {
        let asked = Instant::now();
        client.json(&["list", "--limit", "20"])?;
        lists.push(asked.elapsed().as_secs_f64());
        std::thread::sleep(std::time::Duration::from_millis(500));
        let list = client.json(&["list", "--limit", "1000"])?;
        let builds = list["builds"].as_array().context("no list")?;
        Ok((builds.len() == BURST && builds.iter().all(has_task)).then_some(()))
    })?;
    let queued = begun.elapsed().as_secs_f64();
    let list = client.json(&["list", "--limit", "1000"])?;
    let newest = list["builds"][0]["id"].as_i64().context("no number")?;
    ensure!(newest == wanted as i64, "{newest} builds for {wanted} pushes");
    Ok(Burst { sent, queued, answers: Spread::of(answers), list: Spread::of(lists) })
}
