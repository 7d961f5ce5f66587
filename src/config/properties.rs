//! The Java-properties form: `key = value`, `key: value`, `#` and `!` comments, a backslash that continues a line.

use java_properties::{LineContent, PropertiesIter};

/// One setting of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Property {
    /// Line of the key, counted from 1.
    pub line: usize,
    pub key: String,
    /// White space around it is dropped: Java keeps trailing blanks and RocketMQ then ignores the line.
    pub value: String,
}

/// Why a text is not in properties form: line and reason.
pub(super) type SyntaxError = (usize, String);

/// Reads a whole text, in the file's order.
pub(super) fn parse(text: &str) -> Result<Vec<Property>, SyntaxError> {
    let text = escape_non_ascii(text);
    let mut found = Vec::new();
    // The reader drops a last line that ends in a backslash; a line break after it keeps the setting.
    for line in PropertiesIter::new(format!("{text}\n").as_bytes()) {
        let line = line.map_err(|e| (e.line_number().unwrap_or(1), e.to_string()))?;
        let number = line.line_number();
        if let LineContent::KVPair(key, value) = line.consume_content() {
            if key.is_empty() {
                return Err((number, "a value without a key; write key = value".to_owned()));
            }
            found.push(Property { line: number, key, value: value.trim().to_owned() });
        }
    }
    Ok(found)
}

/// The reader takes ISO-8859-1, as Java does; people write UTF-8. Java's own escape carries it through.
fn escape_non_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_ascii() => out.push(c),
            c if u32::from(c) <= 0xFFFF => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push('\u{1a}'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text).unwrap().into_iter().map(|p| (p.line, p.key, p.value)).collect()
    }

    fn pair(line: usize, key: &str, value: &str) -> (usize, String, String) {
        (line, key.to_owned(), value.to_owned())
    }

    #[test]
    fn spaces_around_the_separator_do_not_count() {
        let text = "a=1\nb = 2\n  c\t:  3  \nd 4\ne=\n";
        let want = [pair(1, "a", "1"), pair(2, "b", "2"), pair(3, "c", "3"), pair(4, "d", "4"), pair(5, "e", "")];
        assert_eq!(pairs(text), want);
    }

    #[test]
    fn comments_and_empty_lines_are_skipped_and_lines_still_counted() {
        assert_eq!(
            pairs("# one\n\n  ! two\na = 1 # not a comment\r\nb=2"),
            [pair(4, "a", "1 # not a comment"), pair(5, "b", "2")]
        );
    }

    #[test]
    fn a_backslash_continues_the_line() {
        let text = "dLegerPeers = n0-127.0.0.1:40911;\\\n    n1-127.0.0.1:40912\nb=2\n";
        assert_eq!(pairs(text), [pair(1, "dLegerPeers", "n0-127.0.0.1:40911;n1-127.0.0.1:40912"), pair(3, "b", "2")]);
    }

    #[test]
    fn a_backslash_at_the_end_of_the_file_loses_nothing() {
        assert_eq!(pairs("a=1\\"), [pair(1, "a", "1")]);
    }

    #[test]
    fn escapes_and_utf8_both_work() {
        assert_eq!(pairs("p=/data/\\u4e2d\nq=/data/中"), [pair(1, "p", "/data/中"), pair(2, "q", "/data/中")]);
    }

    #[test]
    fn a_broken_escape_names_its_line() {
        let (line, reason) = parse("a=1\nb=\\u12").unwrap_err();
        assert_eq!(line, 2);
        assert!(reason.contains("not enough digits"), "{reason}");
    }
}
