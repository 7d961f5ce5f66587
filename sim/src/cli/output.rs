//! Standard output and standard error. Never `println!`, which panics when the reader has gone.

use std::io::Write;

use comfy_table::{CellAlignment, Table, presets};

/// Writes lines to standard output. A reader that has gone is none of our business: the exit code still tells.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes lines to standard error.
pub fn aside(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Columns under a header, the first to the left and numbers to the right, without lines.
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header).add_rows(rows);
    for (n, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_cell_alignment(if n == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A part of a whole in percent.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

/// Virtual time as reports print it.
pub fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_one_row_a_line_and_numbers_to_the_right() {
        let rows = [["kill".to_owned(), "8".to_owned()], ["pause".to_owned(), "1600".to_owned()]];
        assert_eq!(table(["FAULT", "BEGUN"], rows), "FAULT  BEGUN\nkill       8\npause   1600");
    }

    #[test]
    fn shares_and_times_are_short() {
        assert_eq!((share(1, 3), share(0, 0)), ("33.3 %".to_owned(), "-".to_owned()));
        assert_eq!(seconds(61_007), "61.007 s");
    }
}
