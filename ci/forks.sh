#!/usr/bin/env bash
# Is the pool safe beside the threads of OpenMP and OpenBLAS, in hosts that fork, and where panics abort?
# Needs a C compiler and OpenBLAS.
set -euo pipefail
cd "$(dirname "$0")/.."

has_blas() {
    echo 'int main(void) { return 0; }' | cc -x c - -o /dev/null -Wl,--no-as-needed -lopenblas -lgomp 2>/dev/null
}

if ! has_blas && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "OpenBLAS is not installed: installing libopenblas-dev"
    export DEBIAN_FRONTEND=noninteractive
    install() { timeout 120 apt-get install --yes --quiet --no-install-recommends libopenblas-dev >/dev/null; }
    install || { timeout 120 apt-get update --quiet >/dev/null && install; } || true
fi
if ! has_blas; then
    echo "OpenBLAS cannot be linked here: its rows are run with a product by threads of our own in its place" >&2
    export PANNIER_FORKS_BLAS=none
fi
cargo run --locked --quiet --package pannier-forks
cargo run --locked --quiet --package pannier-forks --profile aborting
