#!/usr/bin/env bash
# Is the lowest layer free of the operating system and of every floor above it?
set -euo pipefail
cd "$(dirname "$0")/.."

tree=$(cargo tree --locked --no-default-features --edges normal --prefix none --format '{p}')
echo "$tree" | cut -d' ' -f1,2 | sort -u
if echo "$tree" | grep -E '^(libc|rustix|linux-raw-sys|nix|mio|windows-sys|errno) '; then
    echo "the lowest layer depends on the operating system" >&2
    exit 1
fi

# What the compiler has read, by its own account.
target="${CARGO_TARGET_DIR:-target}/core"
cargo build --locked --no-default-features --lib --target-dir "$target"
floors=$(sed 's/^[^:]*://' "$target/debug/libpannier.d" | grep -oE '/src/[a-z_]+' | sort -u | tr '\n' ' ')
echo "read: $floors"
[ "$floors" = "/src/buffer /src/codec /src/error /src/frame /src/lib " ]
