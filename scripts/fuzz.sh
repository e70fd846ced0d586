#!/usr/bin/env bash
# Runs every fuzz target for some seconds each (10 unless SECONDS_EACH says otherwise), or those that are named, from the same seed
# unless FUZZ_SEED says otherwise (0 takes a new one each time). Where there
# is no C++ compiler for libFuzzer, the seed corpora run as regression tests instead.
set -euo pipefail
cd "$(dirname "$0")/../tests/fuzz"
seconds=${SECONDS_EACH:-10}
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(client_hello host_pattern policy_file request_head)

echo "seed corpora"
cargo test --locked --quiet
if ! command -v c++ >/dev/null; then
    echo "no C++ compiler: the targets themselves are not run"
    exit 0
fi

# What cargo-fuzz passes, without a sanitizer: the code has no unsafe blocks, and the pinned toolchain will do.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags+=" -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags+=" -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With --target, build scripts and procedural macros are not instrumented.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="$flags" cargo build --locked --quiet --release --features libfuzzer --target "$host"
built=${CARGO_TARGET_DIR:-target}/$host/release
for target in "${targets[@]}"; do
    echo "$target for $seconds s"
    found=$(mktemp -d)
    mkdir -p "artifacts/$target"
    "$built/$target" "$found" "corpus/$target" -max_total_time="$seconds" -seed="${FUZZ_SEED:-1}" -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
        -artifact_prefix="artifacts/$target/" -print_final_stats=1 2>&1 | grep -E 'DONE|stat::(number|average|peak)|panicked|ERROR|SUMMARY|Test unit' \
        || { echo "$target: finding, see tests/fuzz/artifacts/$target"; exit 1; }
    rm -rf "$found"
done
