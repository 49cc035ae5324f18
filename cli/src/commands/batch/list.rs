//! `rpmfarm batch list`.

use clap::Args;
use rpmfarm_proto::v1::{Batch, ListBatchesRequest};

use crate::commands::Session;
use crate::document::batches::BatchListDocument;
use crate::exit::{Error, Exit};
use crate::show::table::{Cell, Column, cell, column, number, state, table};
use crate::show::{batch, time};

/// The columns; on a narrow terminal those of the highest ranks go first.
const COLUMNS: [Column; 9] = [
    column("BATCH"),
    column("TARGET").rank(3).cut(8),
    column("ORDER").rank(6),
    column("STATE"),
    column("BUILDS"),
    column("PUBLISHED"),
    column("FAILED"),
    column("ASKED").rank(4),
    column("BY").rank(5).cut(8),
];

/// How many batches a list has by default.
const LISTED: u32 = 20;

/// The options of `rpmfarm batch list`.
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// The most batches to list
    #[arg(long, default_value_t = LISTED, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=200))]
    limit: u32,
    /// Only batches with a smaller number: the next page of a list
    #[arg(long, value_name = "BATCH", value_parser = clap::value_parser!(i64).range(1..))]
    before: Option<i64>,
}

impl Default for ListOptions {
    fn default() -> Self {
        Self { limit: LISTED, before: None }
    }
}

pub(super) async fn run(options: ListOptions, mut session: Session) -> Result<Exit, Error> {
    let ListOptions { limit, before } = options;
    let request = ListBatchesRequest { limit, before: before.unwrap_or(0) };
    let batches = session.client.batches(request).await?;
    let (out, now) = (session.out, time::now());
    if out.json {
        out.document(&BatchListDocument::from(batches.as_slice()))?;
    } else if batches.is_empty() {
        out.line("no batches of several builds")?;
    } else {
        let rows: Vec<_> = batches.iter().map(|batch| row(batch, now)).collect();
        out.text(&table(&out, &COLUMNS, &rows))?;
    }
    Ok(Exit::Done)
}

fn row(batch: &Batch, now: i64) -> Vec<Cell> {
    vec![
        number(batch.id),
        cell(&batch.target),
        cell(&batch.order),
        state(batch::state(batch)),
        number(batch.builds),
        number(batch.published),
        number(batch.failed),
        cell(time::ago(batch.created_us, now)),
        cell(&batch.submitter),
    ]
}
