#!/usr/bin/env bash
# Does a reader that was written from the specification alone agree with every test vector?
set -euo pipefail
cd "$(dirname "$0")/.."

python3 tests/reference/decode.py --self-test
python3 tests/reference/decode.py --vectors tests/vectors/v1
