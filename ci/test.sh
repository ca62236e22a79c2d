#!/usr/bin/env bash
# Do the tests pass, by the command of the README and on the lowest layer alone?
set -euo pipefail
cd "$(dirname "$0")/.."

cargo test
cargo test --no-default-features
