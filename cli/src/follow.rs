//! Following builds until they end, over restarts of the coordinator.

use std::collections::BTreeMap;
use std::time::Duration;

use rpmfarm_proto::v1::Build;
use tokio::time::{Interval, interval, sleep};

use crate::client::{Changes, Client};
use crate::config::Settings;
use crate::exit::{Error, Exit};
use crate::show::{escape, verdict};

/// The pause before the first new try to reach the coordinator; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause between tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a view is asked to draw itself again, for the clocks in it.
const TICK: Duration = Duration::from_millis(250);

/// Shows builds while they are followed.
pub(crate) trait BuildView {
    /// A build is new or has changed.
    fn update(&mut self, build: &Build) -> Result<(), Error>;
    fn tick(&mut self) -> Result<(), Error>;
    /// Shows a message that is not about a build.
    fn note(&mut self, text: &str) -> Result<(), Error>;
    fn close(&mut self) -> Result<(), Error>;
}

/// Follows builds until all have ended, and returns the result for all of them.
///
/// The first connection must succeed; later ones are tried for as long as it takes.
pub(crate) async fn follow(
    settings: &Settings,
    client: Client,
    ids: &[i64],
    view: &mut dyn BuildView,
) -> Result<Exit, Error> {
    let watched = async {
        let mut watch = WatchLoop {
            ids,
            builds: BTreeMap::new(),
            ticks: interval(TICK),
            pause: FIRST_PAUSE,
            view: &mut *view,
        };
        watch.until_ended(settings, client).await?;
        Ok(verdict::of_all(watch.builds.values()))
    };
    let result = tokio::select! {
        result = watched => result,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    };
    view.close()?;
    result
}

struct WatchLoop<'a> {
    ids: &'a [i64],
    builds: BTreeMap<i64, Build>,
    ticks: Interval,
    /// The pause before the next try to reach the coordinator.
    pause: Duration,
    view: &'a mut dyn BuildView,
}

impl WatchLoop<'_> {
    async fn until_ended(&mut self, settings: &Settings, client: Client) -> Result<(), Error> {
        let mut client = Some(client);
        loop {
            match self.once(settings, client.take()).await {
                Ok(()) if self.all_ended() => return self.warn(),
                Ok(()) | Err(Error::Unreachable(_)) => {}
                Err(error) => return Err(error),
            }
            if self.pause == FIRST_PAUSE {
                let server = &settings.server;
                self.view.note(&format!(
                    "lost the coordinator at {server}; trying again until it is back"
                ))?;
            }
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One stream of changes, to its end.
    async fn once(&mut self, settings: &Settings, client: Option<Client>) -> Result<(), Error> {
        let mut client = match client {
            Some(client) => client,
            None => Client::connect(settings).await?,
        };
        let mut changes = client.watch(self.ids).await?;
        while let Some(build) = self.next(&client, &mut changes).await? {
            if std::mem::replace(&mut self.pause, FIRST_PAUSE) != FIRST_PAUSE {
                self.view.note("connected again")?;
            }
            self.view.update(&build)?;
            self.builds.insert(build.id, build);
        }
        Ok(())
    }

    async fn next(
        &mut self,
        client: &Client,
        changes: &mut Changes,
    ) -> Result<Option<Build>, Error> {
        loop {
            tokio::select! {
                change = changes.message() => return change.map_err(|status| client.explain(&status)),
                _ = self.ticks.tick() => self.view.tick()?,
            }
        }
    }

    /// Warns about published builds that are hidden by newer ones.
    fn warn(&mut self) -> Result<(), Error> {
        for build in self.builds.values() {
            for warning in &build.warnings {
                self.view.note(&format!("build {}: {}", build.id, escape::line(warning)))?;
            }
        }
        Ok(())
    }

    fn all_ended(&self) -> bool {
        let ended = |id| self.builds.get(id).is_some_and(verdict::has_ended);
        self.ids.iter().all(ended)
    }
}
