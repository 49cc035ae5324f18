//! Tables without borders, as wide as the terminal at most.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table as Comfy, presets};

use super::escape;
use crate::out::Out;

/// A cell: text, and how it is to look.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    color: Option<comfy_table::Color>,
    align: CellAlignment,
}

/// A cell of plain text.
pub(crate) fn cell(text: impl AsRef<str>) -> Cell {
    Cell { text: escape::line(text.as_ref()), color: None, align: CellAlignment::Left }
}

/// A cell of several lines.
pub(crate) fn lines(text: impl AsRef<str>) -> Cell {
    Cell { text: escape::lines(text.as_ref()), ..cell("") }
}

/// A cell of a number or size.
pub(crate) fn number(text: impl ToString) -> Cell {
    Cell { align: CellAlignment::Right, ..cell(text.to_string()) }
}

/// A cell with one of the words that say how something is.
pub(crate) fn state(word: &str) -> Cell {
    use comfy_table::Color;
    let color = match word {
        "published" | "succeeded" | "alive" | "ok" | "automatic" => Color::Green,
        "failed" | "gone" | "error" => Color::Red,
        "cancelled" | "stale" | "warning" | "draining" | "unready" | "frozen" | "storm"
        | "held" | "hold" => Color::Yellow,
        _ => Color::Cyan,
    };
    Cell { color: Some(color), ..cell(word) }
}

/// Lays out rows under their headers; a line break ends the last one.
pub(crate) fn table(out: &Out, headers: &[&str], rows: Vec<Vec<Cell>>) -> String {
    let mut table = Comfy::new();
    table.load_style(presets::NOTHING).set_header(headers.iter().copied());
    match out.width() {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    if out.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    for row in rows {
        table.add_row(row.into_iter().map(|cell| comfy(cell, out.color)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    keep_whole(&mut table, headers.len());
    trimmed(&table.to_string())
}

/// Only the last column, which tells, is broken into lines where the terminal is narrow.
fn keep_whole(table: &mut Comfy, columns: usize) {
    for column in table.column_iter_mut().take(columns.saturating_sub(1)) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

fn comfy(cell: Cell, color: bool) -> comfy_table::Cell {
    let shown = comfy_table::Cell::new(cell.text).set_alignment(cell.align);
    match cell.color.filter(|_| color) {
        Some(color) => shown.fg(color),
        None => shown,
    }
}

fn trimmed(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
