#!/bin/sh
# The checks, a step each. `sh scripts/check.sh help` lists them.
# Every step has a time limit: a hung VM must fail a build, not stall it.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

limit() { # seconds, command...
  s=$1; shift
  if command -v timeout >/dev/null 2>&1; then timeout --kill-after=10 "$s" "$@"; else "$@"; fi
}
say() { printf '\n==> %s\n' "$*"; }

# A coverage that falls below this fails the step.
min_coverage=80

step_format() {
  say "format: cargo fmt --check, line width and white space of the Erlang files"
  cargo fmt --all --check || return 1
  bad=$(find erlang bench/erlang test -name '*.erl' -exec awk '
    /\t/            { print FILENAME ":" FNR ": tab" }
    / $/            { print FILENAME ":" FNR ": trailing space" }
    length($0) > (FILENAME ~ /^test/ ? 120 : 100) { print FILENAME ":" FNR ": line too long" }' {} +)
  [ -z "$bad" ] || { echo "$bad"; return 1; }
}
step_lint() {
  say "lint: clippy, warnings denied"
  limit 900 cargo clippy --workspace --all-targets --locked --quiet -- -D warnings || return 1
  # The one place where unsafe may stand (distance kernels come later).
  bad=$(grep -rnE '\bunsafe *(\{|fn|impl|extern)' native --include='*.rs' | grep -v '^native/terms/' || :)
  [ -z "$bad" ] || { echo "unsafe outside native/terms:"; echo "$bad"; return 1; }
}
step_cargo_test() {
  say "cargo test"
  limit 900 cargo test --workspace --locked --quiet
}
step_compile() {
  say "compile"
  limit 900 rebar3 compile
}
step_eunit() {
  say "eunit (with PropEr)"
  limit 900 rebar3 eunit --cover
}
step_ct() {
  say "common test"
  limit 900 rebar3 ct --cover --readable=compact
}
step_cover() {
  say "coverage of the Erlang lines (at least $min_coverage %), from the eunit and ct runs before"
  limit 300 rebar3 cover --verbose --min_coverage=$min_coverage
}
step_dialyzer() {
  say "dialyzer"
  limit 900 rebar3 dialyzer
}
step_xref() {
  say "xref"
  limit 300 rebar3 xref
}
step_doc() {
  say "doc: edoc pages, doc chunks for h/1, and that nothing public is undocumented"
  limit 300 escript scripts/doc.escript
}
step_elixir() {
  say "elixir: the example project"
  if command -v mix >/dev/null 2>&1; then
    limit 600 sh examples/elixir_app/check.sh
  else
    echo "mix is not installed: skipped"
  fi
}
step_fuzz() {
  say "fuzz: each decoder under AddressSanitizer, ${FUZZ_SECONDS:-60} s a target"
  limit 1500 sh fuzz/run.sh "${FUZZ_SECONDS:-60}"
}

# (A function called in a condition does not stop at its first failing command:
# steps of several commands return by hand.)
test_steps="compile cargo_test eunit ct"
rest_steps="format lint cover dialyzer xref doc elixir fuzz"

case ${1:-help} in
  test) steps=$test_steps ;;
  rest) steps=$rest_steps ;;
  all)  steps="$test_steps $rest_steps" ;;
  help) echo "steps: $test_steps $rest_steps; or: test, rest, all"; exit 0 ;;
  *)    steps=$(echo "$*" | tr - _) ;;
esac

for step in $steps; do
  begin=$(date +%s)
  if ! "step_$step"; then
    echo "==> $step FAILED; once more alone: sh scripts/check.sh $step" >&2
    exit 1
  fi
  echo "==> $step: ok, $(($(date +%s) - begin)) s"
done
