#!/usr/bin/env bash
# Do the tests pass, by the command of the README, of the adapters, of the lowest layer with its fuzz kit, and of the
# satellites?
set -euo pipefail
cd "$(dirname "$0")/.."

cargo test
cargo test --features ipc-channel,named --test adapters
cargo test --features ipc-channel,named --doc adapters
cargo test --no-default-features --features fuzzing
cargo test --workspace --exclude pannier
