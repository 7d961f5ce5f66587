//! The house's rules, held by reading the source tree.
//!
//! A rule is a row of [`rules::RULES`]: where it holds, what it forbids, and snippets that break it, which
//! prove that it can fail. A finding names file, line and rule. To add an exception, name the file and the
//! reason in the rule; there is no way to wave a line through where it stands.
#![cfg(test)]

use std::path::PathBuf;

#[path = "tidy/checks.rs"]
mod checks;
#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/manifest.rs"]
mod manifest;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/planted.rs"]
mod planted;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/tree.rs"]
mod tree;

use rules::{RULES, findings};
use source::Source;

/// The workspace. Asked for at run time: cargo says so to every test.
fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
}

#[test]
fn the_tree_keeps_the_house_rules() {
    let files = tree::read(&root());
    assert!(files.len() > 20, "only {} files found under {}", files.len(), root().display());
    let sources = source::parse(&files);
    let mut broken: Vec<String> = RULES.iter().flat_map(|rule| findings(rule, &sources)).collect();
    broken.extend(manifest::findings(&files));
    broken.sort();
    assert!(broken.is_empty(), "{} house rules broken:\n{}\n", broken.len(), broken.join("\n"));
}

#[test]
fn every_rule_fails_on_its_bad_snippets() {
    for rule in RULES {
        assert!(!rule.bad.is_empty(), "{} has no bad snippet", rule.name);
        for (path, text) in rule.bad {
            let found = findings(rule, &[Source::parse(path, text)]);
            assert!(!found.is_empty(), "{} lets this pass in {path}:\n{text}", rule.name);
            assert!(found[0].starts_with(&format!("{path}:")), "{}", found[0]);
        }
    }
}

#[test]
fn every_rule_passes_its_good_snippets() {
    for rule in RULES {
        for (path, text) in rule.good {
            let found = findings(rule, &[Source::parse(path, text)]);
            assert!(found.is_empty(), "{} forbids this in {path}: {found:?}\n{text}", rule.name);
        }
    }
}

#[test]
fn every_named_exception_is_a_file_that_needs_it() {
    let files = tree::read(&root());
    for rule in RULES {
        for (path, reason) in rule.except {
            assert!(!reason.is_empty(), "{}: why may {path}?", rule.name);
            // A module that is still to come may be named ahead; one that is there has to need its exception.
            if let Some(text) = files.get(*path) {
                let bare = rules::Rule { except: &[], ..*rule };
                let found = findings(&bare, &[Source::parse(path, text)]);
                assert!(!found.is_empty(), "{}: {path} keeps the rule, drop its exception", rule.name);
            }
        }
    }
}
