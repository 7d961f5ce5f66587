//! Planted bugs: each has its hook, and a release knows none of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use quorumq_store::mutant::Mutant;

use super::{root, source, tree};

/// The product: where hooks are, and what a release is built from.
const PRODUCT: &[&str] = &["src/", "raft/src/", "store/src/"];

/// The name of a bug's variant: words without hyphens, each with a capital.
fn variant(mutant: Mutant) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    mutant.name().split('-').map(capital).collect()
}

#[test]
fn every_planted_bug_is_asked_for_in_the_product() {
    let sources = source::parse(&tree::read(&root()));
    let tokens: Vec<_> = sources
        .iter()
        .filter(|source| source.is_in(PRODUCT))
        .flat_map(|source| source.product_tokens().map(|(_, token)| token.text.as_str()))
        .collect();
    for mutant in Mutant::ALL {
        let variant = variant(*mutant);
        let hook = ["planted", "(", "Mutant", "::", &variant, ")"];
        assert!(tokens.windows(hook.len()).any(|run| run == hook), "nobody asks planted(Mutant::{variant})");
    }
}

/// Names of planted bugs in a file.
fn names_in(binary: &Path) -> Vec<&'static str> {
    let bytes = std::fs::read(binary).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    Mutant::ALL.iter().map(|mutant| mutant.name()).filter(|name| text.contains(name)).collect()
}

#[test]
fn no_planted_bug_is_in_the_release_binary() {
    let debug = Path::new(env!("CARGO_BIN_EXE_quorumq"));
    let all: Vec<_> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
    assert_eq!(names_in(debug), all, "the search finds them in a binary with debug assertions");
    let release = debug.parent().and_then(Path::parent).unwrap().join("release/quorumq");
    let release = if is_newest(&release) { release } else { without_debug_assertions() };
    assert_eq!(names_in(&release), Vec::<&str>::new(), "{}", release.display());
}

/// Whether a binary is newer than all it is made of.
fn is_newest(binary: &Path) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    let sources = tree::read(&root()).into_keys().filter(|path| PRODUCT.iter().any(|place| path.starts_with(place)));
    let manifests = ["Cargo.lock", "Cargo.toml", "raft/Cargo.toml", "store/Cargo.toml"].map(str::to_owned);
    let newest = sources.chain(manifests).filter_map(|path| modified(&root().join(path))).max();
    modified(binary).zip(newest).is_some_and(|(built, newest): (SystemTime, _)| built > newest)
}

/// The release profile's binary, built without optimisation: a quarter of the time, and it keeps more than a release
/// does. What is not in it is in no release.
fn without_debug_assertions() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unoptimised");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap());
    build.current_dir(root()).args(["build", "--release", "--locked", "--quiet", "--bin", "quorumq", "--target-dir"]);
    build.arg(&target).envs([("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"), ("CARGO_PROFILE_RELEASE_DEBUG", "0")]);
    let built = build.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("release/quorumq")
}
