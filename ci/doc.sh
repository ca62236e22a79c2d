#!/usr/bin/env bash
# Does the documentation build without a broken link, as users read it and as maintainers do?
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTDOCFLAGS="-D warnings"
cargo doc --locked --no-deps --all-features
# In a directory of its own: the two would overwrite each other.
cargo doc --locked --no-deps --all-features --document-private-items \
    --target-dir "${CARGO_TARGET_DIR:-target}/private"
