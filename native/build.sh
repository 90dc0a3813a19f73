#!/bin/sh
# The only way the native library is built. Called by rebar3 (and so by mix)
# before each compile: silent and fast when nothing changed.
#
#   sh native/build.sh [nif|test]
#
#   CARGO_TARGET_DIR        where cargo builds (default: target/)
#   CARGO_PROFILE           cargo profile (default: release)
#   ERLMCP_FLOW_NIF_PATH    a prebuilt library: it is copied, cargo is not needed
set -eu

root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"

what=${1:-nif}
case $what in
  nif)  lib=erlmcp_flow_nif ;;
  test) lib=erlmcp_flow_test_nif ;;
  *) echo "native/build.sh: unknown part '$what' (use nif or test)" >&2; exit 2 ;;
esac
min_rust=1.91
profile=${CARGO_PROFILE:-release}
out=priv/$lib.so
stamp=priv/.$lib.from

fail() { printf 'erlmcp_flow: %s\n' "$@" >&2; exit 1; }

# Overwriting a library that a running VM has mapped crashes that VM, so the
# file is replaced by rename, which is atomic for parallel builds too.
install_lib() {
  mkdir -p priv
  tmp=priv/.$lib.so.$$
  trap 'rm -f "$tmp"' EXIT
  cp "$1" "$tmp" && chmod 755 "$tmp"
  mv -f "$tmp" "$out"
  printf '%s\n' "$2" > "$stamp"
}

if [ "$what" = nif ] && [ -n "${ERLMCP_FLOW_NIF_PATH:-}" ]; then
  src=$ERLMCP_FLOW_NIF_PATH
  [ -f "$src" ] || fail \
    "ERLMCP_FLOW_NIF_PATH names no file: $src" \
    "Point it at a prebuilt erlmcp_flow_nif.so, or unset it to build with cargo."
  if [ ! -f "$out" ] || ! cmp -s "$src" "$out"; then
    install_lib "$src" "prebuilt $src"
  fi
  exit 0
fi

target=${CARGO_TARGET_DIR:-$root/target}
from="$profile $target"

# Fresh: the library is newer than every source of it, and was built the same way.
if [ -f "$out" ] && [ "$(cat "$stamp" 2>/dev/null || :)" = "$from" ] &&
   [ -z "$(find native Cargo.toml Cargo.lock .cargo \
       \( -name '*.rs' -o -name '*.toml' -o -name Cargo.lock \) \
       -newer "$out" -print 2>/dev/null | head -n 1)" ]; then
  exit 0
fi

howto() {
  fail "$1" \
    "Install Rust $min_rust or newer (https://rustup.rs, or your system's package)," \
    "or set ERLMCP_FLOW_NIF_PATH to a prebuilt erlmcp_flow_nif.so of your platform" \
    "('make compile' on a like machine makes one: priv/erlmcp_flow_nif.so)."
}
cargo=${CARGO:-cargo}
command -v "$cargo" >/dev/null 2>&1 || howto "cargo is not on the PATH, and the native library has to be built."
version=$("$cargo" --version 2>/dev/null | sed -n 's/^cargo \([0-9]*\.[0-9]*\).*/\1/p')
[ -n "$version" ] || howto "'$cargo --version' does not answer with a version."
if [ "$(printf '%s\n%s\n' "$min_rust" "$version" | sort -t. -k1,1n -k2,2n | head -n 1)" != "$min_rust" ]; then
  howto "cargo $version is too old."
fi
command -v "${CC:-cc}" >/dev/null 2>&1 || fail \
  "no C compiler ('${CC:-cc}') is on the PATH; libdeflate and zstd are C libraries." \
  "Install gcc or clang (Debian, Ubuntu: apt-get install gcc libc6-dev)."

if [ -t 2 ]; then
  echo "erlmcp_flow: building the native library (the first build takes about a minute)" >&2
fi
CARGO_TERM_COLOR=never "$cargo" build --quiet --locked --profile "$profile" -p "$lib" \
  --target-dir "$target" >&2 ||
  fail "cargo could not build $lib: its messages are above."

dir=$profile
[ "$profile" = dev ] && dir=debug
for ext in so dylib; do
  if [ -f "$target/$dir/lib$lib.$ext" ]; then
    install_lib "$target/$dir/lib$lib.$ext" "$from"
    exit 0
  fi
done
fail "cargo left no library lib$lib.so or .dylib in $target/$dir." \
     "erlmcp_flow is not tested on this platform; please report it."
