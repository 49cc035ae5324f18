//! `rpmfarm batch watch`: polls the progress of a batch until it has ended. Its builds are not
//! followed one by one, because there may be thousands.

use std::time::{Duration, Instant};

use rpmfarm_proto::v1::BatchDetails;
use tokio::time::sleep;

use crate::client::Client;
use crate::commands::Session;
use crate::document::batches::BatchDetailsDocument;
use crate::exit::{Error, Exit};
use crate::out::{self, StandardOutput};
use crate::show::{batch, time};

/// The pause between two polls.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause is at least so many times the duration of an answer, so that watching a batch of
/// thousands costs the farm a twentieth of a processor at most.
const LEISURE: u32 = 20;
/// The longest pause, which is also the pause between tries to reach the coordinator.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) async fn run(id: i64, session: Session) -> Result<Exit, Error> {
    let mut view = WatchView { out: session.out, printed: String::new() };
    let watched = tokio::select! {
        details = until_ended(id, session, &mut view) => Some(details?),
        _ = tokio::signal::ctrl_c() => None,
    };
    view.end_line()?;
    let Some(details) = watched else {
        out::note(&format!(
            "the batch goes on; rpmfarm batch watch {id} follows, rpmfarm batch cancel {id} stops"
        ));
        return Ok(Exit::Interrupted);
    };
    if !view.out.json {
        view.out.text(&batch::summary(&details, view.out.width()))?;
    }
    Ok(batch::exit(&details))
}

/// Polls whichever coordinator answers. The first poll must succeed; later ones are tried again for
/// as long as it takes.
async fn until_ended(
    id: i64,
    session: Session,
    view: &mut WatchView,
) -> Result<BatchDetails, Error> {
    let Session { mut client, settings, .. } = session;
    let (mut pause, mut has_begun, mut is_lost) = (PAUSE, false, false);
    loop {
        let asked = Instant::now();
        match client.batch(id).await {
            Ok(details) => {
                if std::mem::take(&mut is_lost) {
                    view.note("connected again")?;
                }
                view.update(&details)?;
                if details.batch.as_ref().is_none_or(|batch| batch.ended_us != 0) {
                    return Ok(details);
                }
                has_begun = true;
                pause = PAUSE.max(asked.elapsed() * LEISURE).min(LONGEST_PAUSE);
            }
            Err(Error::Unreachable(_)) if has_begun => {
                if !std::mem::replace(&mut is_lost, true) {
                    let server = &settings.server;
                    view.note(&format!(
                        "lost the coordinator at {server}; trying again until it is back"
                    ))?;
                }
                // If no coordinator answers, the next try reports it.
                if let Ok(other) = Client::connect(&settings).await {
                    client = other;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
        }
        sleep(pause).await;
    }
}

/// One line that is drawn in place, or a line or an object for each change.
struct WatchView {
    out: StandardOutput,
    /// The text that was printed last.
    printed: String,
}

impl WatchView {
    fn update(&mut self, details: &BatchDetails) -> Result<(), Error> {
        let progress = batch::progress(details);
        let line = format!("{progress}{}", batch::remaining(details, time::now()));
        let width = self.out.width().filter(|_| !self.out.json);
        // Elsewhere than on a terminal, a new remaining time alone gets no line.
        let news = if width.is_some() { line.clone() } else { progress };
        if std::mem::replace(&mut self.printed, news.clone()) == news {
            return Ok(());
        }
        match width {
            Some(width) => {
                let line = console::truncate_str(&line, width.saturating_sub(1), "…");
                self.out.text(&format!("\r\x1b[K{line}"))
            }
            None if self.out.json => self.out.object(&BatchDetailsDocument::from(details)),
            None => self.out.line(&line),
        }
    }

    fn note(&mut self, text: &str) -> Result<(), Error> {
        self.end_line()?;
        out::note(&format!("rpmfarm: {text}"));
        Ok(())
    }

    /// Ends the line that is drawn in place.
    fn end_line(&mut self) -> Result<(), Error> {
        let is_drawn = self.out.width().is_some() && !self.out.json;
        if is_drawn && !std::mem::take(&mut self.printed).is_empty() {
            return self.out.text("\n");
        }
        Ok(())
    }
}
