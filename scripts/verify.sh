#!/usr/bin/env bash
# Everything that has to hold before a change goes in. Stops at the first thing that does not.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "formatted"
cargo fmt --all --check

step "no lint"
cargo clippy --workspace --all-targets -- --deny warnings

step "tests"
cargo test --workspace

step "documentation"
# The variable replaces .cargo/config.toml's flags, madsim among them.
RUSTDOCFLAGS="--cfg madsim --deny warnings" cargo doc --workspace --no-deps

step "dependencies"
if ! cargo deny --version >/dev/null 2>&1; then
  echo "skipped: cargo-deny is not installed (cargo install --locked cargo-deny)"
else
  cargo deny --workspace check bans licenses sources
  if cargo deny fetch db >/dev/null 2>&1; then
    cargo deny --workspace check advisories
  else
    echo "skipped: advisories, because their database (github.com/RustSec/advisory-db) cannot be fetched from here"
  fi
fi

step "all of it holds"
