#!/usr/bin/env bash
# Is the address sanitizer silent over the tests that start, fork and kill processes? Needs nightly, so .ci/run leaves it out.
set -euo pipefail
cd "$(dirname "$0")/.."

host=x86_64-unknown-linux-gnu
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT

# log_path: a report of any process becomes a file, also of a worker whose death a test expects and whose
#   output nobody reads.
# detect_leaks=0: a worker leaves by _exit or is killed, a forked child leaves what is its parent's alone on
#   purpose, and the search would stop every thread of every such process on its way out.
# handle_*=0: tests make workers die of these signals and ask which one it was. A wrong access that ends in one
#   in any other process fails its test.
# allocator_may_return_null=1: tests ask for more memory than there is, and expect an answer.
signals=handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0:handle_sigfpe=0
export ASAN_OPTIONS="log_path=$reports/report:detect_leaks=0:allocator_may_return_null=1:$signals"
export RUSTFLAGS="-Zsanitizer=address"

# Not these, which count page faults and address space: the sanitizer's shadow has its own of both.
skip=(
    --skip the_steady_state_costs_no_fault_no_call_and_no_copy
    --skip recycled_blocks_are_warm_on_both_sides
    --skip no_addresses_are_left_of_segments_of_any_length
)

status=0
cargo +nightly test --locked --target "$host" --target-dir "${CARGO_TARGET_DIR:-target}/asan" --no-fail-fast \
    --lib --test shm --test channel --test pool --test crash --test fork -- "${skip[@]}" "$@" || status=$?
for report in "$reports"/*; do
    # A warning that it does not know a thread's stack, when that thread panics, is no finding.
    grep -qs 'ERROR: ' "$report" || continue
    cat "$report" >&2
    status=1
done
[ "$status" -eq 0 ] && echo "the address sanitizer had nothing to report"
exit "$status"
