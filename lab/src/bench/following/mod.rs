//! Following upstream: what a poll costs, how soon a webhook leads to work, what an import holds,
//! and the whole way from a push to an installable package.

mod import;
mod poll;
mod push;
mod refs;
mod webhook;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rpmfarm_core::Target;

use super::checkout::Checkout;
use super::figure::Report;
use crate::farm::{Farm, Settings, World};

pub(super) const POLL: &str = "poll.rate";
pub(super) const WEBHOOK: &str = "webhook.p99";
pub(super) const IMPORT: &str = "import.rss";
pub(super) const PUSH: &str = "push.end_to_end_overhead";
pub(super) const ALL: [&str; 4] = [POLL, WEBHOOK, IMPORT, PUSH];

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures those that are asked for, each on a farm of its own.
pub(super) fn measure(
    directory: &Path,
    world: &World,
    checkout: &mut Checkout,
    report: &mut Report,
) -> anyhow::Result<()> {
    if report.wants(POLL) {
        report.add(poll::measure(&directory.join("poll"), world).context(POLL)?);
    }
    if report.wants(WEBHOOK) {
        report.add(webhook::measure(&directory.join("webhook"), world).context(WEBHOOK)?);
    }
    if report.wants(IMPORT) {
        report.add(import::measure(&directory.join("import"), world).context(IMPORT)?);
    }
    if report.wants(PUSH) {
        report.add(push::measure(&directory.join("push"), world, checkout).context(PUSH)?);
    }
    Ok(())
}

/// A farm for the world's target with some changes, without workers unless some are asked for.
fn farm(
    directory: &Path,
    world: &World,
    workers: usize,
    change: impl FnOnce(&mut Target),
) -> anyhow::Result<Farm> {
    let mut target = world.target()?;
    target.track.spacing_seconds = 0;
    // Nothing is found by polling unless a measurement says so.
    target.track.poll_seconds = 3600;
    target.track.poll_longest_seconds = 3600;
    change(&mut target);
    let settings = Settings { workers, ..Settings::new(directory) };
    Farm::start(&settings, &toml::to_string_pretty(&target)?)
}

/// Waits until something is there.
fn wait<T>(mut poll: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = poll()? {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            bail!("it did not come within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
