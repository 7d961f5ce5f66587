//! Cuts Rust text into tokens: enough to tell code from comments and strings.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    Punctuation,
    /// A string, character or number.
    Literal,
    Lifetime,
    Comment,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub kind: Kind,
    pub text: String,
    pub line: usize,
}

impl Token {
    pub fn is(&self, text: &str) -> bool {
        self.text == text && matches!(self.kind, Kind::Word | Kind::Punctuation)
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

/// All tokens of `text`, comments among them. `::` is one token.
pub fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1 };
    let mut tokens = Vec::new();
    loop {
        let blank = lexer.rest.find(|c: char| !c.is_whitespace()).unwrap_or(lexer.rest.len());
        lexer.take(blank);
        if lexer.rest.is_empty() {
            return tokens;
        }
        let (kind, len) = lexer.next_token();
        let line = lexer.line;
        let text = lexer.take(len).to_owned();
        tokens.push(Token { kind, text, line });
    }
}

impl<'a> Lexer<'a> {
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn next_token(&self) -> (Kind, usize) {
        let rest = self.rest;
        if rest.starts_with("//") {
            return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
        }
        if rest.starts_with("/*") {
            return (Kind::Comment, block_comment(rest));
        }
        if let Some(len) = string(rest) {
            return (Kind::Literal, len);
        }
        let first = rest.chars().next().unwrap();
        if first == '\'' {
            return quote(rest);
        }
        if first.is_alphanumeric() || first == '_' {
            let kind = if first.is_ascii_digit() { Kind::Literal } else { Kind::Word };
            return (kind, word(rest));
        }
        let len = if rest.starts_with("::") { 2 } else { first.len_utf8() };
        (Kind::Punctuation, len)
    }
}

fn word(text: &str) -> usize {
    text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len())
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().unwrap().len_utf8();
        }
    }
    at
}

/// The length of a string of any kind, with its prefix; None if `text` starts with none.
fn string(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let after = text.strip_prefix(prefix).map(|rest| rest.trim_start_matches('#'));
        after.is_some_and(|rest| rest.starts_with('"'))
    })?;
    let body = &text[prefix.len()..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    if prefix.ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix.len() + hashes + 1;
        return Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()));
    }
    // `#"` without an r is no string but a hash before one.
    (hashes == 0).then(|| prefix.len() + 1 + quoted(&body[1..], '"'))
}

/// The length up to and with the closing quote, escapes skipped.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `'a'` is a character, `'a` a lifetime.
fn quote(text: &str) -> (Kind, usize) {
    let mut after = text[1..].chars();
    let (first, second) = (after.next(), after.next());
    if first == Some('\\') || second == Some('\'') {
        (Kind::Literal, 1 + quoted(&text[1..], '\''))
    } else {
        (Kind::Lifetime, 1 + word(&text[1..]))
    }
}

#[test]
fn tells_code_from_comments_and_strings() {
    let text = r####"fn f<'a>(x: &'a str) { /* one /* two */ */ let s = r#"unwrap("#; let c = '"'; b"\"x" // dbg!
    }"####;
    let tokens = lex(text);
    let words: Vec<_> = tokens.iter().filter(|t| t.kind == Kind::Word).map(|t| t.text.as_str()).collect();
    assert_eq!(words, ["fn", "f", "x", "str", "let", "s", "let", "c"]);
    let comments = tokens.iter().filter(|t| t.kind == Kind::Comment).count();
    assert_eq!(comments, 2);
    assert_eq!(tokens.last().unwrap().line, 2);
}
