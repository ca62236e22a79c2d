#!/usr/bin/env bash
# Is the pool safe beside the threads of OpenMP and OpenBLAS, and in hosts that fork? Needs a C compiler and OpenBLAS.
set -euo pipefail
cd "$(dirname "$0")/.."

has_blas() {
    echo 'int main(void) { return 0; }' | cc -x c - -o /dev/null -Wl,--no-as-needed -lopenblas -lgomp 2>/dev/null
}

if ! has_blas && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "OpenBLAS is not installed: installing libopenblas-dev"
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends libopenblas-dev >/dev/null
fi
if ! has_blas; then
    echo "OpenBLAS cannot be linked: install libopenblas-dev, or what your distribution calls it" >&2
    # Where everything must be checked, a check that cannot be made has failed.
    [ "${CI:-}" != true ] || exit 1
    exit 0
fi
cargo run --locked --quiet --package pannier-forks
