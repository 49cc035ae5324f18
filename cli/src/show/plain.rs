//! Following builds without a terminal: a line whenever something changes.

use std::collections::BTreeMap;

use rpmfarm_proto::v1::Build;

use super::{escape, failure, progress, time};
use crate::exit::Error;
use crate::follow::View;
use crate::out::{self, Out};

/// Prints lines for people, into a file or a pipe.
#[derive(Debug)]
pub(crate) struct Plain {
    out: Out,
    /// What was said last of each build.
    said: BTreeMap<i64, String>,
}

impl Plain {
    /// A view that has said nothing yet.
    pub(crate) fn new(out: Out) -> Self {
        Self { out, said: BTreeMap::new() }
    }
}

impl View for Plain {
    fn update(&mut self, build: &Build) -> Result<(), Error> {
        let news = progress::build(build);
        if self.said.get(&build.id) == Some(&news) {
            return Ok(());
        }
        let took = time::duration(progress::build_took(build, time::now()));
        let package = escape::line(&build.package);
        self.out.line(&format!("{took:>10}  build {} {package} {news}", build.id))?;
        self.out.text(&failure::text(build).unwrap_or_default())?;
        self.said.insert(build.id, news);
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
        Ok(())
    }
}
