//! `rpmfarm watch`: follows builds until they end.

use clap::Args;
use rpmfarm_proto::v1::Build;

use super::Session;
use crate::document::BuildDocument;
use crate::exit::{Error, Exit};
use crate::follow::{BuildView, follow};
use crate::out::{self, StandardOutput};
use crate::show::batch;
use crate::show::live::LiveView;
use crate::show::plain::PlainView;
use crate::show::time;

/// Builds to follow.
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal the progress is drawn in place, elsewhere each change is a line; with --json each
change is the whole build, as one object. Ctrl-C ends the watching, not the builds. When the
coordinator is restarted, watching goes on as soon as it is back.

Examples:
  rpmfarm watch 7
  rpmfarm watch 7 8 9 && echo all published
  rpmfarm watch 7 --json | jq -r .state")]
pub(crate) struct Options {
    /// Numbers of builds
    #[arg(required = true, value_name = "BUILD", value_parser = clap::value_parser!(i64).range(1..))]
    builds: Vec<i64>,
}

/// Follows the builds; how they end decides the exit code.
pub(crate) async fn run(options: Options, session: Session) -> Result<Exit, Error> {
    let mut ids = options.builds;
    ids.sort_unstable();
    ids.dedup();
    follow_ids(session, &ids).await
}

/// Follows builds that were just requested, and reports at their end which other builds of a batch
/// failed because of failed ones.
pub(crate) async fn follow_all(session: Session, builds: &[Build]) -> Result<Exit, Error> {
    let ids: Vec<_> = builds.iter().map(|build| build.id).collect();
    let (mut client, out) = (session.client.clone(), session.out);
    // Boxed, for it is a large future.
    let exit = Box::pin(follow_ids(session, &ids)).await?;
    let has_ended = exit != Exit::Interrupted && !out.json;
    if let Some(batch) = batch::of_builds(builds).filter(|_| has_ended) {
        // Everything else is printed already, so an older coordinator, or none, is not an error.
        if let Ok(details) = client.batch(batch).await {
            out.text(&batch::taken(&details, out.width()))?;
        }
    }
    Ok(exit)
}

async fn follow_ids(session: Session, ids: &[i64]) -> Result<Exit, Error> {
    let mut view = view(session.out, ids.len());
    let exit = follow(&session.settings, session.client, ids, view.as_mut()).await?;
    if exit == Exit::Interrupted {
        let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let goes_on = if ids.contains(' ') { "the builds go on" } else { "the build goes on" };
        out::note(&format!("{goes_on}; rpmfarm watch {ids} follows, rpmfarm cancel {ids} stops"));
    }
    Ok(exit)
}

fn view(out: StandardOutput, total: usize) -> Box<dyn BuildView> {
    match out {
        StandardOutput { json: true, .. } => Box::new(JsonView { out }),
        StandardOutput { tty: true, .. } => Box::new(LiveView::new(out)),
        _ => Box::new(PlainView::new(out, total)),
    }
}

/// For scripts: each change is the whole build.
struct JsonView {
    out: StandardOutput,
}

impl BuildView for JsonView {
    fn update(&mut self, build: &Build) -> Result<(), Error> {
        self.out.object(&BuildDocument::new(build, time::now()))
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
