//! Tables without borders, no wider than the terminal.
//!
//! Owns how a table is made narrower: columns of less importance are left out, long texts are cut
//! with an ellipsis or continue below their row. In a file or a pipe nothing is shortened. It must
//! not know what a table is about.

use console::{Alignment, Color, Style, measure_text_width, pad_str, truncate_str};
use rpmfarm_core::lease::Liveness;
use rpmfarm_core::status::{BuildState, TaskState};
use rpmfarm_core::track::{Policy, PushVerdict};

use super::{escape, wrap};
use crate::out::StandardOutput;

const GAP: usize = 2;
/// A text that may continue below its row stays beside it if it has so much room there.
const BESIDE: usize = 24;
/// The indentation of a text below its row.
const BELOW: usize = 4;

/// A cell: text, and its style.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// Escaped for a terminal; more than one line only in the last column.
    text: String,
    /// Shown where the column is too narrow for the text.
    short: Option<String>,
    color: Option<Color>,
    align: Alignment,
}

/// A cell of plain text; line breaks become blanks.
pub(crate) fn cell(text: impl AsRef<str>) -> Cell {
    let text = escape::flat(text.as_ref());
    Cell { text, short: None, color: None, align: Alignment::Left }
}

/// A cell of several lines, for the last column.
pub(crate) fn lines(text: impl AsRef<str>) -> Cell {
    Cell { text: escape::lines(text.as_ref()), ..cell("") }
}

/// A cell of a number or size.
pub(crate) fn number(text: impl ToString) -> Cell {
    Cell { align: Alignment::Right, ..cell(text.to_string()) }
}

/// Words for good states.
const GOOD: [&str; 5] = [
    BuildState::Published.as_str(),
    TaskState::Succeeded.as_str(),
    Liveness::Alive.as_str(),
    Policy::Automatic.as_str(),
    "ok",
];

/// Words for states that need an action.
const BAD: [&str; 3] = [BuildState::Failed.as_str(), Liveness::Gone.as_str(), "error"];

/// Words for states that wait for a person, or were caused by one.
const DOUBTFUL: [&str; 9] = [
    BuildState::Cancelled.as_str(),
    Liveness::Stale.as_str(),
    "warning",
    "draining",
    "unready",
    PushVerdict::Frozen.as_str(),
    PushVerdict::Storm.as_str(),
    PushVerdict::Held.as_str(),
    Policy::Hold.as_str(),
];

/// A cell with a word for a state.
pub(crate) fn state(word: &str) -> Cell {
    let color = if GOOD.contains(&word) {
        Color::Green
    } else if BAD.contains(&word) {
        Color::Red
    } else if DOUBTFUL.contains(&word) {
        Color::Yellow
    } else {
        Color::Cyan
    };
    Cell { color: Some(color), ..cell(word) }
}

impl Cell {
    /// A shorter text for a column that is too narrow for the first one.
    pub(crate) fn or(self, short: impl AsRef<str>) -> Self {
        Self { short: Some(cell(short).text), ..self }
    }

    fn width(&self) -> usize {
        self.text.lines().map(measure_text_width).max().unwrap_or(0)
    }

    fn short_width(&self) -> usize {
        self.short.as_ref().map_or_else(|| self.width(), |short| measure_text_width(short))
    }

    fn styled(&self, text: &str, color: bool) -> String {
        match self.color.filter(|_| color) {
            Some(color) => Style::new().force_styling(true).fg(color).apply_to(text).to_string(),
            None => text.to_owned(),
        }
    }
}

/// A column, and how it is made narrower.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    header: &'static str,
    /// Columns of the highest rank are left out first, those of rank 0 never.
    rank: u8,
    /// The least width that its text may be cut to; 0 when it must not be cut.
    least: usize,
    /// Its texts are broken into lines, below their row where there is too little room beside it.
    is_wrapped: bool,
}

/// A column that is always shown in full.
pub(crate) const fn column(header: &'static str) -> Column {
    Column { header, rank: 0, least: 0, is_wrapped: false }
}

impl Column {
    /// It is left out before those of lower ranks.
    pub(crate) const fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    /// Its texts may be cut to so much.
    pub(crate) const fn cut(self, least: usize) -> Self {
        Self { least, ..self }
    }

    /// The last column, whose texts are never cut but wrapped.
    pub(crate) const fn wrapped(self) -> Self {
        Self { is_wrapped: true, ..self }
    }
}

/// Lays out rows under their headers; a line break ends the last one.
pub(crate) fn table(out: &StandardOutput, columns: &[Column], rows: &[Vec<Cell>]) -> String {
    lay_out(out.width(), out.color, columns, rows)
}

/// The same for a terminal of so many columns, or for none.
fn lay_out(width: Option<usize>, color: bool, columns: &[Column], rows: &[Vec<Cell>]) -> String {
    let natural: Vec<usize> = (0..columns.len()).map(|at| natural(columns, rows, at)).collect();
    let plan = match width {
        Some(width) => TableLayout::within(width, columns, rows, &natural),
        None => TableLayout { shown: natural.iter().copied().enumerate().collect(), below: None },
    };
    let mut text = String::new();
    let headers: Vec<Cell> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let align = rows.first().map_or(Alignment::Left, |row| row[at].align);
            Cell { align, ..cell(column.header) }
        })
        .collect();
    plan.row(&mut text, &headers, columns, &natural, false);
    for row in rows {
        plan.row(&mut text, row, columns, &natural, color);
        if let (Some(at), Some(width)) = (plan.below, width) {
            let whole = row[at].text.trim_end();
            if !whole.is_empty() {
                text.push_str(&wrap::hanging(&" ".repeat(BELOW), whole, BELOW, Some(width)));
            }
        }
    }
    text
}

fn natural(columns: &[Column], rows: &[Vec<Cell>], at: usize) -> usize {
    let header = measure_text_width(columns[at].header);
    rows.iter().map(|row| row[at].width()).max().unwrap_or(0).max(header)
}

/// Which columns are shown, and how wide.
struct TableLayout {
    /// Index and width, in their order.
    shown: Vec<(usize, usize)>,
    /// The column whose texts continue below their rows.
    below: Option<usize>,
}

impl TableLayout {
    fn within(width: usize, columns: &[Column], rows: &[Vec<Cell>], natural: &[usize]) -> Self {
        // The least that each column needs, without being left out.
        let least = |at: usize| {
            let column = columns[at];
            let shortened = rows.iter().map(|row| row[at].short_width()).max().unwrap_or(0);
            let shortened = shortened.max(measure_text_width(column.header));
            let least = match column {
                Column { is_wrapped: true, .. } => BESIDE,
                Column { least: 0, .. } => shortened,
                Column { least, .. } => least.max(measure_text_width(column.header)),
            };
            least.min(natural[at])
        };
        let mut shown: Vec<(usize, usize)> = (0..columns.len()).map(|at| (at, least(at))).collect();
        let needs = |shown: &[(usize, usize)]| {
            shown.iter().map(|(_, wide)| wide + GAP).sum::<usize>().saturating_sub(GAP)
        };
        if natural.iter().map(|wide| wide + GAP).sum::<usize>() <= width + GAP {
            return Self { shown: natural.iter().copied().enumerate().collect(), below: None };
        }
        let mut below = None;
        if needs(&shown) > width
            && let Some(at) = shown.iter().position(|(at, _)| columns[*at].is_wrapped)
        {
            below = Some(shown.remove(at).0);
        }
        while needs(&shown) > width {
            // Columns that are empty in every row are left out first.
            let empty = |at: usize| rows.iter().all(|row| row[at].text.is_empty());
            let rank = |at: usize| if empty(at) { u8::MAX } else { columns[at].rank };
            let last = shown.iter().enumerate().max_by_key(|(_, (at, _))| rank(*at));
            match last.map(|(place, (at, _))| (place, rank(*at))) {
                Some((place, rank)) if rank > 0 => drop(shown.remove(place)),
                _ => break,
            }
        }
        // A terminal too narrow for the required columns: the widest ones are cut.
        while needs(&shown) > width {
            match shown.iter_mut().max_by_key(|(_, wide)| *wide) {
                Some((_, wide)) if *wide > 1 => *wide -= 1,
                _ => break,
            }
        }
        let mut spare = width.saturating_sub(needs(&shown));
        let mut order: Vec<usize> = (0..shown.len()).collect();
        order.sort_by_key(|place| columns[shown[*place].0].rank);
        for place in order {
            let (at, wide) = &mut shown[place];
            let more = spare.min(natural[*at].saturating_sub(*wide));
            // A text with a short form needs all of its room or none.
            let all_or_none = columns[*at].least == 0 && !columns[*at].is_wrapped;
            if !all_or_none || *wide + more == natural[*at] {
                *wide += more;
                spare -= more;
            }
        }
        Self { shown, below }
    }

    fn row(
        &self,
        text: &mut String,
        row: &[Cell],
        columns: &[Column],
        natural: &[usize],
        color: bool,
    ) {
        let fields: Vec<Vec<String>> = self
            .shown
            .iter()
            .map(|(at, wide)| fitted(&row[*at], *wide, natural[*at], columns[*at].is_wrapped))
            .collect();
        let height = fields.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let mut written = String::new();
            for ((at, wide), field) in self.shown.iter().zip(&fields) {
                let cell = &row[*at];
                let field = field.get(line).map_or("", String::as_str);
                let padding = pad_str(field, *wide, cell.align, None);
                let (before, after) = padding.split_once(field).unwrap_or(("", ""));
                let field = cell.styled(field, color && !field.is_empty());
                written.push_str(&format!("{before}{field}{after}{:GAP$}", ""));
            }
            text.push_str(written.trim_end());
            text.push('\n');
        }
    }
}

/// The lines of a cell in a column of this width.
fn fitted(cell: &Cell, wide: usize, natural: usize, is_wrapped: bool) -> Vec<String> {
    if is_wrapped {
        let broken = wrap::lines(&cell.text, wide);
        return if broken.is_empty() { vec![String::new()] } else { broken };
    }
    let narrow = wide < natural;
    let text = cell.short.as_ref().filter(|_| narrow).unwrap_or(&cell.text);
    vec![truncate_str(text, wide, "…").into_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 5] = [
        column("BUILD"),
        column("PACKAGE").cut(8),
        column("PRIORITY").rank(3),
        column("STATE"),
        column("WHAT").rank(1).cut(14),
    ];

    fn rows() -> Vec<Vec<Cell>> {
        let row = |id: i64, package: &str, what: &str| {
            vec![number(id), cell(package), cell("interactive"), state("failed"), cell(what)]
        };
        vec![
            row(9, "python-cryptography-vectors", "configure: error: no acceptable C compiler"),
            row(1009, "bash", "in testing, revision 4"),
        ]
    }

    #[test]
    fn a_pipe_gets_whole_values() {
        let text = lay_out(None, false, &COLUMNS, &rows());
        assert_eq!(
            text,
            "\
BUILD  PACKAGE                      PRIORITY     STATE   WHAT
    9  python-cryptography-vectors  interactive  failed  configure: error: no acceptable C compiler
 1009  bash                         interactive  failed  in testing, revision 4
"
        );
    }

    #[test]
    fn a_narrow_terminal_loses_what_matters_least() {
        let text = lay_out(Some(80), false, &COLUMNS, &rows());
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>().len(), 5, "{text}");
        assert!(lines[1].ends_with('…'), "{text}");
        let text = lay_out(Some(40), false, &COLUMNS, &rows());
        assert_eq!(
            text,
            "\
BUILD  PACKAGE    STATE   WHAT
    9  python-c…  failed  configure: er…
 1009  bash       failed  in testing, r…
",
        );
    }

    #[test]
    fn a_table_is_never_wider_than_its_terminal_nor_longer_than_its_rows() {
        for width in 1..=130 {
            let text = lay_out(Some(width), true, &COLUMNS, &rows());
            assert_eq!(text.lines().count(), 3, "{width}: {text}");
            for line in text.lines().filter(|_| width >= 9) {
                assert!(measure_text_width(line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn what_is_told_goes_on_below_its_row() {
        let columns = [column("LEVEL"), column("CHECK"), column("FOUND").wrapped()];
        let whole = lines("the disk below /srv/rpmfarm is nearly full\n→ make room");
        let rows = [vec![state("error"), cell("space"), whole]];
        let wide = lay_out(Some(80), false, &columns, &rows);
        assert_eq!(
            wide,
            "\
LEVEL  CHECK  FOUND
error  space  the disk below /srv/rpmfarm is nearly full
              → make room
"
        );
        let narrow = lay_out(Some(30), false, &columns, &rows);
        assert_eq!(
            narrow,
            "\
LEVEL  CHECK
error  space
    the disk below
    /srv/rpmfarm is nearly
    full
    → make room
"
        );
    }

    #[test]
    fn a_short_form_stands_for_what_does_not_fit() {
        let columns = [column("STAGE"), column("DONE")];
        let rows = [vec![cell("import"), cell("2026-01-02 03:04:05 +00:00").or("03:04:05")]];
        let text = lay_out(Some(30), false, &columns, &rows);
        assert_eq!(text, "STAGE   DONE\nimport  03:04:05\n");
    }

    #[test]
    fn colours_are_around_words_only() {
        let text = lay_out(
            None,
            true,
            &[column("STATE"), column("X")],
            &[vec![state("failed"), cell("y")]],
        );
        assert_eq!(text, "STATE   X\n\u{1b}[31mfailed\u{1b}[0m  y\n");
    }
}
