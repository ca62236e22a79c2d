#!/usr/bin/env bash
# Does the main job come out right when a worker is killed, and without a copy of the data?
# Times and memory are shown and not judged: the machine may be shared.
set -euo pipefail
cd "$(dirname "$0")/.."

# It fails when the forests differ, and has printed its figures by then.
figures=$(cargo run --locked --release --quiet --example forest -- --json) || [ -n "$figures" ]
python3 - "$figures" <<'PYTHON'
import json, sys

figures = json.loads(sys.argv[1])
keys = """rows features trees workers dataset_mib serial_s threads_s pool_first_s pool_second_s
    speedup_first threads_speedup serial_mib threads_mib pool_mib memory_ratio payload_copies
    workers_killed tasks_retried accuracy identical""".split()
for key in keys:
    print(f"{key:16} {figures.get(key, 'missing')}")
assert set(keys) == set(figures), f"keys differ: {set(keys) ^ set(figures)}"
assert figures["identical"] is True, "the ways grew different forests"
assert figures["workers_killed"] >= 1, "no worker was killed"
assert figures["tasks_retried"] >= 1, "no task was retried"
assert figures["payload_copies"] == 0, "the data was copied"
PYTHON
