//! What commands print.

use std::fmt::Display;
use std::io::{self, Write as _};

use time::OffsetDateTime;

/// Prints a line on stdout. A reader that left (`callgate calls | head`) is no failure of ours.
pub(super) fn say(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Rows under their headings, each column as wide as its widest cell. What would move the cursor is made visible.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let headings = headings.map(str::to_owned);
    let rows: Vec<[String; N]> =
        std::iter::once(&headings).chain(rows).map(|row| row.each_ref().map(|cell| visible(cell))).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

/// Details and session ids come from strangers: no escape sequence of theirs reaches the terminal.
fn visible(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `1 line`, `2 lines`.
pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A Unix time in milliseconds as `2024-05-01 12:34:56`, in UTC.
pub(super) fn utc(ms: u64) -> String {
    let time = i64::try_from(ms / 1000).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let Some(time) = time else { return "beyond the year 9999".to_owned() };
    let (date, (hour, minute, second)) = (time.date(), time.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_utc() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(utc(1_709_251_199_999), "2024-02-29 23:59:59");
        assert_eq!(utc(1_735_689_600_000), "2025-01-01 00:00:00");
        assert_eq!(utc(u64::MAX), "beyond the year 9999");
    }

    #[test]
    fn a_stranger_cannot_move_the_cursor() {
        let shown = table(["A", "B"], &[["x\u{1b}[2J".into(), "1".into()], ["yy".into(), "22".into()]]);
        assert_eq!(shown, "A      B\nx\u{fffd}[2J  1\nyy     22");
    }
}
