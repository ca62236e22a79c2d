#!/usr/bin/env bash
# Is every file formatted as rustfmt.toml says?
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
