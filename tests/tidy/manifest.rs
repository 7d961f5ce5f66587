//! The arrows between crates, as their manifests draw them.

use super::tree::Files;

/// Manifest, and what its crate may not depend on, in any section. `x*` is every crate that starts with `x`.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("store/Cargo.toml", &["quorumq*", "openraft*", "tokio*", "madsim*"]),
    ("raft/Cargo.toml", &["quorumq", "quorumq-sim", "madsim*"]),
    ("Cargo.toml", &["quorumq-sim", "madsim*"]),
];

const MEMBERS: &[&str] = &["Cargo.toml", "raft/Cargo.toml", "store/Cargo.toml", "sim/Cargo.toml"];

pub fn findings(files: &Files) -> Vec<String> {
    let mut found = Vec::new();
    for (path, forbidden) in FORBIDDEN {
        let text = files.get(*path).map_or("", String::as_str);
        found.extend(forbidden_dependencies(path, text, forbidden));
    }
    for path in MEMBERS {
        let text = files.get(*path).map_or("", String::as_str);
        if !text.contains("[lints]\nworkspace = true") {
            found.push(format!("{path}:1: lints-are-shared: [lints] workspace = true is missing"));
        }
    }
    found
}

fn forbidden_dependencies(path: &str, text: &str, forbidden: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut section = "";
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        }
        let in_dependencies = section.ends_with("dependencies]") && section != "[workspace.dependencies]";
        let name = match section.split_once("dependencies.") {
            Some((before, name)) if !before.contains("workspace") && line.starts_with('[') => {
                name.trim_end_matches(']')
            }
            _ if in_dependencies => line.split(['=', '.', ' ']).next().unwrap_or(""),
            _ => continue,
        };
        let is = |pattern: &&&str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == **pattern,
        };
        if let Some(pattern) = forbidden.iter().find(is) {
            let line = n + 1;
            found.push(format!("{path}:{line}: arrows-between-crates: may not depend on {pattern}"));
        }
    }
    found
}

#[test]
fn a_wrong_arrow_is_found_in_every_section() {
    for text in [
        "[dependencies]\ntokio.workspace = true",
        "[dev-dependencies]\ntokio = \"1\"",
        "[target.'cfg(unix)'.dependencies]\ntokio-util = { workspace = true }",
        "[dependencies.tokio]\nversion = \"1\"",
    ] {
        assert_eq!(forbidden_dependencies("x", text, &["tokio*"]).len(), 1, "{text}");
    }
    let fine =
        "[workspace.dependencies]\ntokio = \"1\"\n[dependencies]\nbytes.workspace = true\n[features]\ntokio = []";
    assert!(forbidden_dependencies("x", fine, &["tokio*"]).is_empty());
}

#[test]
fn a_manifest_without_the_shared_lints_is_found() {
    let mut files = Files::new();
    for path in MEMBERS {
        files.insert((*path).to_owned(), "[lints]\nworkspace = true\n".to_owned());
    }
    assert!(findings(&files).is_empty());
    files.insert("raft/Cargo.toml".into(), "[dependencies]\nquorumq.workspace = true".into());
    assert_eq!(findings(&files).len(), 2);
}
