//! Installs the clients from their registries, or says why it cannot.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::process::run;

const ALI_ONS: &str = "3.12.0";
/// npm needs seconds.
const NPM_LIMIT: Duration = Duration::from_secs(180);
/// Some of the crate's dependencies are C.
const CARGO_LIMIT: Duration = Duration::from_secs(540);

/// How to run a client's driver.
#[derive(Clone, Debug)]
pub struct Installed {
    pub program: PathBuf,
    pub args: Vec<PathBuf>,
    pub env: Vec<(&'static str, PathBuf)>,
}

/// npm's ali-ons, with Node.js; `None` if it has to be skipped.
pub fn ali_ons() -> Option<Installed> {
    for program in ["node", "npm"] {
        if !works(Command::new(program).arg("--version")) {
            return skip("ali-ons", &format!("there is no {program}"));
        }
    }
    let dir = scratch("ali-ons");
    let modules = dir.join("node_modules");
    let manifest = modules.join("ali-ons/package.json");
    let is_there =
        || fs::read_to_string(&manifest).is_ok_and(|text| text.contains(&format!("\"version\": \"{ALI_ONS}\"")));
    if !is_there() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&dir);
        let done = run(npm.arg(format!("ali-ons@{ALI_ONS}")).current_dir(&dir), NPM_LIMIT);
        if !done.status.success() {
            return skip("ali-ons", &format!("npm cannot install it: {}", done.stderr.trim()));
        }
        assert!(is_there(), "npm installed something else than ali-ons {ALI_ONS}");
    }
    let script = clients().join("ali-ons/client.js");
    Some(Installed { program: "node".into(), args: vec![script], env: vec![("NODE_PATH", modules)] })
}

/// The crate rocketmq-client-v4; `None` if it has to be skipped.
pub fn rust_v4() -> Option<Installed> {
    let dir = scratch("rust-v4");
    let manifest = clients().join("rust-v4/Cargo.toml");
    let cargo = || {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // The workspace's settings are not the client's: cargo looks for them from the current directory up.
        cargo.current_dir(env::temp_dir());
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"] {
            cargo.env_remove(name);
        }
        cargo
    };
    let fetched = run(cargo().args(["fetch", "--locked", "--manifest-path"]).arg(&manifest), CARGO_LIMIT);
    if !fetched.status.success() {
        return skip("rocketmq-client-v4", &format!("cargo cannot fetch it: {}", fetched.stderr.trim()));
    }
    let mut build = cargo();
    build.args(["build", "--locked", "--offline", "--manifest-path"]).arg(&manifest).arg("--target-dir").arg(&dir);
    run(&mut build, CARGO_LIMIT).success();
    Some(Installed { program: dir.join("debug/quorumq-test-rust-v4"), args: Vec::new(), env: Vec::new() })
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Nothing is skipped silently, and nothing at all where `QUORUMQ_CLIENTS` says that the clients are required.
fn skip(client: &str, why: &str) -> Option<Installed> {
    let required = env::var("QUORUMQ_CLIENTS").is_ok_and(|value| value == "required");
    assert!(!required, "{client} cannot be tested, and QUORUMQ_CLIENTS=required: {why}");
    eprintln!("SKIPPED: the test with {client}: {why}");
    None
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Kept from one run to the next.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients").join(name);
    fs::create_dir_all(&dir).expect("the build's directory takes a new one");
    dir
}
