//! Finds the paths a file names: in its code, and flattened out of its `use` trees.

use super::lexer::{Kind, Token};

#[derive(Clone, Debug)]
pub struct Named {
    /// As `std::fs::read`; a glob ends in `*`.
    pub path: String,
    pub line: usize,
    /// Index of its first token.
    pub at: usize,
}

/// Every path in `tokens` (without comments).
pub fn named(tokens: &[Token]) -> Vec<Named> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        if token.is("use") && tokens.get(at + 1).is_some_and(starts_a_use) {
            at = use_tree(tokens, at + 1, "", &mut found);
        } else if token.kind == Kind::Word || token.is("::") {
            let (path, next) = plain(tokens, at);
            found.push(Named { path, line: token.line, at });
            at = next;
        } else {
            at += 1;
        }
    }
    found
}

/// Not `use<'a>` of a precise capture.
fn starts_a_use(token: &Token) -> bool {
    token.kind == Kind::Word || token.is("::") || token.is("{") || token.is("*")
}

/// `a::b::c` from `at` on, and where it ends.
fn plain(tokens: &[Token], mut at: usize) -> (String, usize) {
    let mut path = String::new();
    if tokens[at].is("::") {
        at += 1;
    }
    while let Some(token) = tokens.get(at).filter(|token| token.kind == Kind::Word) {
        if !path.is_empty() {
            path.push_str("::");
        }
        path.push_str(token.text.trim_start_matches("r#"));
        at += 1;
        match (tokens.get(at), tokens.get(at + 1)) {
            (Some(colons), Some(next)) if colons.is("::") && next.kind == Kind::Word => at += 1,
            _ => break,
        }
    }
    (path, at.max(1))
}

/// One `use` tree from `at` on; returns the index after it.
fn use_tree(tokens: &[Token], mut at: usize, before: &str, found: &mut Vec<Named>) -> usize {
    let mut path = before.to_owned();
    let start = at;
    while let Some(token) = tokens.get(at) {
        let joined = |word: &str| {
            if path.is_empty() { word.to_owned() } else { format!("{path}::{word}") }
        };
        if token.is("{") {
            at += 1;
            while tokens.get(at).is_some_and(|token| !token.is("}")) {
                at = use_tree(tokens, at, &path, found);
                at += usize::from(tokens.get(at).is_some_and(|token| token.is(",")));
            }
            return at + 1;
        }
        if token.is("as") {
            at += 2;
            continue;
        }
        if token.kind == Kind::Word && !token.is("self") || token.is("*") {
            path = joined(&token.text);
        } else if !(token.is("::") || token.is("self")) {
            break;
        }
        at += 1;
    }
    let line = tokens.get(start).map_or(0, |token| token.line);
    found.push(Named { path, line, at: start });
    at.max(start + 1)
}

#[test]
fn flattens_use_trees() {
    let tokens = super::lexer::lex(
        "use std::{fs as files, io::{self, Read}}; pub use ::tokio::net::*; fn f() { std::thread::spawn(g); R::now() }",
    );
    let paths: Vec<_> = named(&tokens).into_iter().map(|named| named.path).collect();
    for path in ["std::fs", "std::io", "std::io::Read", "tokio::net::*", "std::thread::spawn", "R::now"] {
        assert!(paths.iter().any(|found| found == path), "{path} is not among {paths:?}");
    }
}
