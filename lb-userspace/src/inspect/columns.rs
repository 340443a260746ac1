//! Tables whose lines fit a terminal: what is too long loses its middle, numbers never.

use crate::status::render::printable;

/// Between two columns.
const GAP: usize = 2;
/// What is shortened keeps at least so many characters.
const LEAST: usize = 8;

/// A column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Left-aligned; may be shortened.
    Text,
    /// Left-aligned; stays whole.
    Word,
    /// Right-aligned; stays whole.
    Number,
}

impl Column {
    /// Of names and addresses, which lose their middle where the line is too long.
    pub(crate) const fn text(name: &'static str) -> Column {
        Column { name, kind: Kind::Text }
    }

    /// Of words that stay whole.
    pub(crate) const fn word(name: &'static str) -> Column {
        Column { name, kind: Kind::Word }
    }

    /// Of numbers.
    pub(crate) const fn number(name: &'static str) -> Column {
        Column { name, kind: Kind::Number }
    }
}

/// The header and a line for each row, without line ends. `width` is that of the terminal in characters; without one
/// nothing is shortened.
pub(crate) fn lines(columns: &[Column], rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let header = columns.iter().map(|column| column.name.to_owned()).collect();
    let cells: Vec<Vec<String>> = std::iter::once(header)
        .chain(rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()))
        .collect();
    let widths = widths(columns, &cells, width);
    cells.iter().map(|row| line(columns, row, &widths)).collect()
}

fn widths(columns: &[Column], cells: &[Vec<String>], width: Option<usize>) -> Vec<usize> {
    let longest = |at: usize| cells.iter().map(|row| length(&row[at])).max().unwrap_or_default();
    let mut widths: Vec<usize> = (0..columns.len()).map(longest).collect();
    let gaps = GAP * columns.len().saturating_sub(1);
    let Some(room) = width else { return widths };
    while widths.iter().sum::<usize>() + gaps > room {
        let shrinkable = (0..columns.len()).filter(|at| columns[*at].kind == Kind::Text);
        let Some(widest) = shrinkable.filter(|at| widths[*at] > LEAST).max_by_key(|at| widths[*at]) else {
            break;
        };
        widths[widest] -= 1;
    }
    widths
}

fn line(columns: &[Column], row: &[String], widths: &[usize]) -> String {
    let cells = columns.iter().zip(row).zip(widths).map(|((column, cell), width)| {
        let cell = shortened(cell, *width);
        match column.kind {
            Kind::Text | Kind::Word => format!("{cell:<width$}"),
            Kind::Number => format!("{cell:>width$}"),
        }
    });
    cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// The text in at most `width` characters: its beginning and its end say the most of a name or an address.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let length = length(text);
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (head, tail) = (kept - kept / 2, kept / 2);
    let beginning: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{beginning}…{end}")
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [Column::text("target"), Column::word("state"), Column::number("packets")];

    fn rows() -> Vec<Vec<String>> {
        vec![
            vec!["2001:db8:1234:5678:9abc:def0:1234:5678".into(), "unhealthy.draining".into(), "7".into()],
            vec!["10.0.0.1".into(), "healthy".into(), "9,999,999".into()],
        ]
    }

    #[test]
    fn without_a_width_nothing_is_shortened() {
        let lines = lines(&COLUMNS, &rows(), None);
        assert!(
            lines[1].starts_with("2001:db8:1234:5678:9abc:def0:1234:5678  unhealthy.draining"),
            "{lines:?}"
        );
        assert!(lines[1].ends_with("        7"), "{lines:?}");
    }

    #[test]
    fn a_line_fits_and_its_words_and_numbers_are_whole() {
        for width in 39..80 {
            for line in lines(&COLUMNS, &rows(), Some(width)) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        let lines = lines(&COLUMNS, &rows(), Some(40));
        assert_eq!(lines[1], "2001…5678  unhealthy.draining          7");
        assert_eq!(lines[2], "10.0.0.1   healthy             9,999,999");
    }

    #[test]
    fn what_is_shortened_keeps_its_ends() {
        assert_eq!(shortened("abcdef", 6), "abcdef");
        assert_eq!(shortened("abcdef", 5), "ab…ef");
        assert_eq!(shortened("abcdef", 4), "ab…f");
        assert_eq!(shortened("abcdef", 1), "…");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let rows = [vec!["web\x1b[2J".to_owned(), "up".to_owned(), "1".to_owned()]];
        assert!(!lines(&COLUMNS, &rows, None).concat().contains('\x1b'));
    }
}
