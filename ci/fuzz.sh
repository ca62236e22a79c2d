#!/usr/bin/env bash
# Do the targets for libFuzzer compile, and the one that the documentation shows? Stable checks them, nightly runs them.
set -euo pipefail
cd "$(dirname "$0")/.."

# Checking links nothing, so libFuzzer itself is not built and no C++ compiler is needed.
CUSTOM_LIBFUZZER_PATH=/nonexistent/libfuzzer.a cargo check --locked --manifest-path fuzz/Cargo.toml \
    --target-dir "${CARGO_TARGET_DIR:-target}/fuzz"
