//! Following builds without a terminal: a line whenever something changes.

use std::collections::BTreeMap;

use rpmfarm_proto::v1::Build;

use super::{escape, failure, progress, summary, time, verdict};
use crate::exit::Error;
use crate::follow::BuildView;
use crate::out::{self, StandardOutput};

/// Prints lines for people, into a file or a pipe.
#[derive(Debug)]
pub(crate) struct PlainView {
    out: StandardOutput,
    /// The last line of each build.
    printed: BTreeMap<i64, String>,
    builds: BTreeMap<i64, Build>,
    /// How many builds are followed.
    total: usize,
}

impl PlainView {
    /// A view of so many builds that has printed nothing yet.
    pub(crate) fn new(out: StandardOutput, total: usize) -> Self {
        Self { out, printed: BTreeMap::new(), builds: BTreeMap::new(), total }
    }

    /// How many builds have ended, after the line of one that has just ended.
    fn done(&self, build: &Build) -> String {
        if self.total < 2 || !verdict::has_ended(build) {
            return String::new();
        }
        let done = self.builds.values().filter(|build| verdict::has_ended(build)).count();
        format!(" ({done} of {} done)", self.total)
    }
}

impl BuildView for PlainView {
    fn update(&mut self, build: &Build) -> Result<(), Error> {
        let news = progress::build(build);
        self.builds.insert(build.id, build.clone());
        if self.printed.get(&build.id) == Some(&news) {
            return Ok(());
        }
        let took = time::duration(progress::last_try_took(build, time::now()));
        let package = escape::line(&build.package);
        let done = self.done(build);
        self.out.line(&format!("{took:>10}  build {} {package} {news}{done}", build.id))?;
        self.out.text(&failure::text(build, self.out.width()).unwrap_or_default())?;
        self.printed.insert(build.id, news);
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn note(&mut self, text: &str) -> Result<(), Error> {
        out::note(&format!("rpmfarm: {text}"));
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.out.text(&summary::text(self.builds.values(), self.out.width()).unwrap_or_default())
    }
}
