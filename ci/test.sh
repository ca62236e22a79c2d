#!/usr/bin/env bash
# Do the tests pass, by the command of the README, on the lowest layer alone, and of the satellites?
set -euo pipefail
cd "$(dirname "$0")/.."

cargo test
cargo test --no-default-features
cargo test --workspace --exclude pannier
