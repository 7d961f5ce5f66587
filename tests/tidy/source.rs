//! A Rust file, taken apart for the rules.

use std::collections::BTreeSet;

use super::lexer::{Kind, Token, lex};
use super::paths::{Named, named};
use super::shape::{Function, functions, test_code, test_modules};
use super::tree::Files;

pub struct Source {
    pub path: String,
    pub text: String,
    /// Tokens without comments.
    pub tokens: Vec<Token>,
    pub comments: Vec<Token>,
    /// Per token.
    pub test: Vec<bool>,
    pub paths: Vec<Named>,
    pub functions: Vec<Function>,
}

impl Source {
    pub fn parse(path: &str, text: &str) -> Self {
        let rust = path.ends_with(".rs");
        let all = if rust { lex(text) } else { Vec::new() };
        let (comments, tokens): (Vec<_>, Vec<_>) = all.into_iter().partition(|token| token.kind == Kind::Comment);
        let mut test = test_code(&tokens);
        // Integration tests, also of other crates.
        if path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") {
            test.fill(true);
        }
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            paths: named(&tokens),
            functions: functions(&tokens),
            tokens,
            comments,
            test,
        }
    }

    /// Whether the file lies under one of `places`: a folder with its slash, or a file.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || place.ends_with('/') && self.path.starts_with(place))
    }

    /// Paths named outside of test code.
    pub fn product_paths(&self) -> impl Iterator<Item = &Named> {
        self.paths.iter().filter(|named| !self.test.get(named.at).copied().unwrap_or(false))
    }

    /// Tokens outside of test code, with their index.
    pub fn product_tokens(&self) -> impl Iterator<Item = (usize, &Token)> {
        self.tokens.iter().enumerate().filter(|(at, _)| !self.test[*at])
    }
}

/// Takes all files apart; marks the files of modules declared as `#[cfg(test)] mod name;`.
pub fn parse(files: &Files) -> Vec<Source> {
    let mut sources: Vec<_> = files.iter().map(|(path, text)| Source::parse(path, text)).collect();
    let mut test_places = BTreeSet::new();
    for source in &sources {
        for module in test_modules(&source.tokens, &source.test) {
            let folder = module_folder(&source.path);
            test_places.insert(format!("{folder}{module}.rs"));
            test_places.insert(format!("{folder}{module}/"));
        }
    }
    let test_places: Vec<_> = test_places.iter().map(String::as_str).collect();
    for source in &mut sources {
        if source.is_in(&test_places) {
            source.test.fill(true);
        }
    }
    sources
}

/// Where the modules of the file `path` lie.
fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "mod.rs" | "lib.rs" | "main.rs" => format!("{folder}/"),
        _ => format!("{}/", path.trim_end_matches(".rs")),
    }
}

#[test]
fn a_test_module_in_its_own_file_is_test_code() {
    let mut files = Files::new();
    files.insert("src/a/mod.rs".into(), "#[cfg(test)]\nmod checks;\nmod product;".into());
    files.insert("src/a/checks.rs".into(), "fn x() { y.unwrap() }".into());
    files.insert("src/a/product.rs".into(), "fn x() { y.unwrap() }".into());
    let sources = parse(&files);
    let is_test = |path: &str| sources.iter().find(|s| s.path == path).unwrap().test[0];
    assert!(is_test("src/a/checks.rs"));
    assert!(!is_test("src/a/product.rs"));
}
