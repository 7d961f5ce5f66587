//! What rules are made of: searches over a source.

use super::lexer::{Kind, Token};
use super::paths::Named;
use super::shape::attribute;
use super::source::Source;

pub struct Finding {
    pub line: usize,
    pub what: String,
}

/// One function of 601 lines.
pub const SIX_HUNDRED_AND_ONE_LINES: &str = {
    const LINES: [u8; 601 + 8] = {
        let mut text = [b'\n'; 601 + 8];
        let (start, mut at) = (b"fn f() {", 0);
        while at < start.len() {
            text[at] = start[at];
            at += 1;
        }
        text[601 + 7] = b'}';
        text
    };
    match std::str::from_utf8(&LINES) {
        Ok(text) => text,
        Err(_) => panic!("ASCII is UTF-8"),
    }
};

pub fn finding(line: usize, what: String) -> Finding {
    Finding { line, what }
}

/// Whether `path` is, is below, or takes in by a glob, one of `forbidden`.
fn names(path: &str, forbidden: &str) -> bool {
    let below = |path: &str, above: &str| path.strip_prefix(above).is_some_and(|rest| rest.starts_with("::"));
    let glob = path.strip_suffix("::*").is_some_and(|module| below(forbidden, module));
    path == forbidden || below(path, forbidden) || glob
}

fn matching<'a>(named: impl Iterator<Item = &'a Named>, forbidden: &[&str]) -> Vec<Finding> {
    let hits = named.filter(|named| forbidden.iter().any(|forbidden| names(&named.path, forbidden)));
    hits.map(|named| finding(named.line, named.path.clone())).collect()
}

/// Forbidden paths outside of test code.
pub fn paths(source: &Source, forbidden: &[&str]) -> Vec<Finding> {
    matching(source.product_paths(), forbidden)
}

/// Forbidden paths anywhere.
pub fn all_paths(source: &Source, forbidden: &[&str]) -> Vec<Finding> {
    // A single word is a crate only in a `use`; in code it is somebody's variable.
    let is_path = |named: &&Named| named.path.contains("::") || named.at > 0 && source.tokens[named.at - 1].is("use");
    matching(source.paths.iter().filter(is_path), forbidden)
}

pub fn words(source: &Source, is_bad: impl Fn(&str) -> bool) -> Vec<Finding> {
    let bad = source.tokens.iter().filter(|token| token.kind == Kind::Word && is_bad(&token.text));
    bad.map(|token| finding(token.line, token.text.clone())).collect()
}

pub fn product_words(source: &Source, is_bad: impl Fn(&str) -> bool) -> Vec<Finding> {
    let bad = source.product_tokens().filter(|(_, token)| token.kind == Kind::Word && is_bad(&token.text));
    bad.map(|(_, token)| finding(token.line, token.text.clone())).collect()
}

/// Macro calls outside of test code.
pub fn macros(source: &Source, is_bad: impl Fn(&str) -> bool) -> Vec<Finding> {
    let calls = source.product_tokens().filter(|(at, token)| {
        let called = source.tokens.get(at + 1).is_some_and(|next| next.is("!"));
        called && token.kind == Kind::Word && is_bad(&token.text)
    });
    calls.map(|(_, token)| finding(token.line, format!("{}!", token.text))).collect()
}

/// unwrap, expect, and macros that give up.
pub fn give_ups(source: &Source) -> Vec<Finding> {
    let methods = source.product_tokens().filter(|(at, token)| {
        let method = at.checked_sub(1).is_some_and(|at| source.tokens[at].is(".") || source.tokens[at].is("::"));
        method && (token.is("unwrap") || token.is("expect"))
    });
    let mut found: Vec<_> = methods.map(|(_, token)| finding(token.line, format!("{}()", token.text))).collect();
    found.extend(macros(source, |name| ["todo", "unimplemented", "dbg"].contains(&name)));
    found
}

pub fn unbiased_selects(source: &Source) -> Vec<Finding> {
    let selects = source.product_tokens().filter(|(at, token)| {
        let next = |n: usize, text: &str| source.tokens.get(at + n).is_some_and(|token| token.is(text));
        token.is("select") && next(1, "!") && !next(3, "biased")
    });
    selects.map(|(_, token)| finding(token.line, "select! without biased".into())).collect()
}

/// `allow` in any attribute, `expect` without a reason.
pub fn unreasoned_lints(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for at in 0..source.tokens.len() {
        let Some((_, (from, to))) = attribute(&source.tokens, at) else {
            continue;
        };
        let body = &source.tokens[from..to];
        let calls = |name: &str| body.windows(2).any(|pair| pair[0].is(name) && pair[1].is("("));
        let has_reason = body.iter().any(|token: &Token| token.is("reason"));
        if calls("allow") || calls("expect") && !has_reason {
            let text: Vec<_> = body.iter().map(|token| token.text.as_str()).collect();
            found.push(finding(source.tokens[at].line, format!("#[{}]", text.concat())));
        }
    }
    found
}
