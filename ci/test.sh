#!/usr/bin/env bash
# Do the tests pass, by the command of the README, with faults at each step of the protocol, of the adapters, of deaths by
# chance, of the lowest layer with its fuzz kit, and of the satellites?
set -euo pipefail
cd "$(dirname "$0")/.."

cargo test
cargo test --features fault-points,testing --test faults --test chaos
cargo test --features ipc-channel,named --test adapters
cargo test --features ipc-channel,named,testing --doc -- adapters chaos
cargo test --no-default-features --features fuzzing
cargo test --workspace --exclude pannier
