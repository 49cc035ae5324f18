//! `rpmfarm batch pause`, `resume`, `cancel` and `retry`.

use rpmfarm_core::name::counted;
use rpmfarm_proto::v1::BatchChange;

use crate::commands::Session;
use crate::document::batches::BatchChangeDocument;
use crate::exit::{Error, Exit};
use crate::out::StandardOutput;

pub(super) async fn pause(id: i64, mut session: Session) -> Result<Exit, Error> {
    let change = session.client.pause_batch(id).await?;
    let text = "paused; running tasks continue, and no more tasks of it begin";
    print_change(&change, id, text, &session.out)
}

pub(super) async fn resume(id: i64, mut session: Session) -> Result<Exit, Error> {
    let change = session.client.resume_batch(id).await?;
    print_change(&change, id, "resumed", &session.out)
}

pub(super) async fn cancel(id: i64, mut session: Session) -> Result<Exit, Error> {
    let change = session.client.cancel_batch(id).await?;
    let text = format!("{} cancelled", builds(change.builds));
    print_change(&change, id, &text, &session.out)
}

pub(super) async fn retry(id: i64, mut session: Session) -> Result<Exit, Error> {
    let change = session.client.retry_batch(id).await?;
    let mut text = format!("{} retried", builds(change.builds));
    if change.batch.as_ref().is_some_and(|batch| batch.paused_us != 0) {
        text.push_str(&format!("; it is paused: rpmfarm batch resume {id}"));
    }
    print_change(&change, id, &text, &session.out)
}

fn builds(count: u32) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "build")
}

fn print_change(
    change: &BatchChange,
    id: i64,
    text: &str,
    out: &StandardOutput,
) -> Result<Exit, Error> {
    if out.json {
        out.document(&BatchChangeDocument::from(change))?;
    } else {
        out.line(&format!("batch {id}: {text}"))?;
    }
    Ok(Exit::Done)
}
