#!/usr/bin/env bash
# Repairs what can be repaired by machine; scripts/verify.sh tells the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
cargo fmt --all
