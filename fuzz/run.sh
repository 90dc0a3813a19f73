#!/bin/sh
# Fuzzes every decoder under AddressSanitizer.
#
#   fuzz/run.sh [SECONDS] [TARGET...]
#
# Each target runs for SECONDS (60), two at a time, on a corpus in
# fuzz/corpus/TARGET that starts from seeds made of bench/data and is kept. Prints a
# line for each; with a finding, also the input and how to replay it, and the exit
# status is 1.
set -eu

cd "$(dirname -- "$0")"
seconds=${1:-60}
case $seconds in
  ''|*[!0-9]*) echo "usage: fuzz/run.sh [SECONDS] [TARGET...]" >&2; exit 2 ;;
esac
[ $# -gt 0 ] && shift

fail() { printf 'fuzz: %s\n' "$@" >&2; exit 1; }
command -v cargo >/dev/null 2>&1 || fail "cargo is not on the PATH."
command -v "${CXX:-c++}" >/dev/null 2>&1 || fail \
  "no C++ compiler ('${CXX:-c++}') is on the PATH; libFuzzer is written in C++." \
  "Install it (Debian, Ubuntu: apt-get install g++)."
if ! cargo fuzz --version >/dev/null 2>&1; then
  echo "fuzz: installing cargo-fuzz" >&2
  cargo install --quiet --locked cargo-fuzz || fail "cargo could not install cargo-fuzz."
fi

# cargo-fuzz needs flags that stable compilers give only when asked like this.
export RUSTC_BOOTSTRAP=1
# The C libraries inside (libdeflate, zstd) are checked too; -O1, since a faster
# build is worth more here than faster runs.
export CFLAGS="-fsanitize=address -fno-omit-frame-pointer -O1 ${CFLAGS:-}"
export ASAN_OPTIONS="detect_odr_violation=0:allocator_may_return_null=1:${ASAN_OPTIONS:-}"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo fuzz build --fuzz-dir . >"$log" 2>&1 || { cat "$log" >&2; fail "the targets do not build."; }

targets=${*:-$(cargo fuzz list --fuzz-dir .)}
triple=$(rustc -vV | sed -n 's/^host: //p')
bin=${CARGO_TARGET_DIR:-target}/$triple/release
mkdir -p artifacts

# One target: its line to the standard output, what libFuzzer says to a file.
run() {
  name=$1
  out=artifacts/$name.log
  mkdir -p "artifacts/$name"
  if ! FUZZ_SEEDS=corpus/$name "$bin/$name" >"$out" 2>&1; then
    echo "$name: no seeds; see fuzz/$out"
    return 1
  fi
  status=0
  # Five seconds for one input are far beyond what any takes, even here; 512 MB
  # hold the largest result asked for many times.
  "$bin/$name" "corpus/$name" -artifact_prefix="artifacts/$name/" \
    -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -malloc_limit_mb=512 \
    -max_len=65536 -print_final_stats=1 >>"$out" 2>&1 || status=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$out" | tail -n 1)
  rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$out" | tail -n 1)
  cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$out" | tail -n 1)
  printf '%-12s %9s runs %7s/s  %6s edges' "$name" "${runs:-?}" "${rate:-?}" "${cover:-?}"
  if [ "$status" -eq 0 ]; then
    echo "  ok"
    return 0
  fi
  input=$(sed -n 's/.*Test unit written to //p' "$out" | tail -n 1)
  echo "  FOUND"
  grep -E 'panicked at|^==[0-9]+==ERROR|ERROR: libFuzzer|SUMMARY' -A 2 "$out" | head -n 12
  echo "  input:  fuzz/${input:-none was written; see $out}"
  echo "  replay: cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir . $name ${input:-}"
  return 1
}

failed=0
set -- $targets
while [ $# -gt 0 ]; do
  first=$1; second=${2:-}
  shift; [ $# -gt 0 ] && shift
  run "$first" & one=$!
  if [ -n "$second" ]; then
    run "$second" & two=$!
    wait "$two" || failed=1
  fi
  wait "$one" || failed=1
done
exit "$failed"
