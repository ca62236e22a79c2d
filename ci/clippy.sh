#!/usr/bin/env bash
# Is the compiler content, with the lints of Cargo.toml, at every layer where an embedder may stop?
set -euo pipefail
cd "$(dirname "$0")/.."

cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
cargo clippy --locked --all-targets --no-default-features -- -D warnings
for layer in shm channel; do
    cargo clippy --locked --all-targets --no-default-features --features "$layer" -- -D warnings
done
