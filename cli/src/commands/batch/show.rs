//! `rpmfarm batch show`.

use crate::commands::Session;
use crate::document::batches::BatchDetailsDocument;
use crate::exit::{Error, Exit};
use crate::show::{batch, time};

pub(super) async fn run(id: i64, mut session: Session) -> Result<Exit, Error> {
    let details = session.client.batch(id).await?;
    if session.out.json {
        session.out.document(&BatchDetailsDocument::from(&details))?;
    } else {
        session.out.text(&batch::text(&details, session.out.width(), time::now()))?;
    }
    Ok(Exit::Done)
}
