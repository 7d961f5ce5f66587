//! Standard output: lines and tables. Never `println!`, which panics when the reader has gone.

use std::io::{ErrorKind, Write};

use comfy_table::{Table, presets};

use super::backend::Incoming;
use super::error::CliError;

/// Writes one or several lines; nothing for an empty text.
pub(super) fn line(text: impl AsRef<str>) -> Result<(), CliError> {
    let text = text.as_ref();
    if text.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written =
        out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes())).and_then(|()| out.flush());
    written.map_err(|e| match e.kind() {
        ErrorKind::BrokenPipe => CliError::OutputClosed,
        _ => CliError::failed(format!("cannot write to standard output: {e}"), "Check where it is sent to."),
    })
}

/// Columns under a header, without lines: readable, and one row a line for other programs.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A message on one line, or as a JSON object.
pub(super) fn message(message: &Incoming, json: bool) -> String {
    let body = String::from_utf8_lossy(&message.body);
    if json {
        return serde_json::json!({
            "broker": message.group, "queue": message.queue, "offset": message.offset, "id": message.msg_id,
            "tag": message.tag, "keys": message.keys, "born_ms": message.born_ms, "store_ms": message.store_ms,
            "body": body,
        })
        .to_string();
    }
    let tag = message.tag.as_deref().unwrap_or("-");
    let keys = message.keys.as_deref().unwrap_or("-");
    let at = format!("{} queue {} offset {}", message.group, message.queue, message.offset);
    format!("{at} tag {tag} keys {keys} {}", body.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn a_table_has_one_row_a_line_and_no_trailing_blanks() {
        let rows = [["orders".to_owned(), "8".to_owned()], ["a".to_owned(), "16".to_owned()]];
        assert_eq!(table(["TOPIC", "QUEUES"], rows), "TOPIC   QUEUES\norders  8\na       16");
    }
}
