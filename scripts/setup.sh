#!/bin/sh
# Installs what is missing (Debian, Ubuntu), or says what to install (elsewhere).
# Silent and fast when nothing is missing.
#
#   sh scripts/setup.sh           what compiling, testing and benchmarks need
#   sh scripts/setup.sh --check   only look: exit 1 and a list if something is missing
set -eu

check_only=no
[ "${1:-}" = --check ] && check_only=yes

need_otp=25 need_rebar=3.19 need_rust=1.91
missing='' packages='' advice=''

has() { command -v "$1" >/dev/null 2>&1; }
# older FOUND NEEDED: is the first version below the second?
older() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -t. -k1,1n -k2,2n | head -n 1)" != "$2" ]; }
want() { # what, needed, found, Debian packages, advice elsewhere
  missing="$missing
  $1: needs $2, found ${3:-none}"
  packages="$packages $4"
  advice="$advice
  $1: $5"
}

# --- Erlang/OTP, with the applications that are packaged apart on Debian
otp=''
if has erl; then
  otp=$(erl -noshell -boot no_dot_erlang -eval \
    'io:format("~s", [erlang:system_info(otp_release)]), halt().' 2>/dev/null || :)
fi
if [ -z "$otp" ] || older "$otp" "$need_otp"; then
  want "Erlang/OTP" "$need_otp or newer" "$otp" "erlang-base erlang-dev" \
    "https://www.erlang.org/downloads, 'brew install erlang', 'dnf install erlang', 'asdf install erlang'"
fi
apps=''
for pair in crypto:erlang-crypto public_key:erlang-public-key ssl:erlang-ssl \
  syntax_tools:erlang-syntax-tools common_test:erlang-common-test dialyzer:erlang-dialyzer \
  eunit:erlang-eunit tools:erlang-tools edoc:erlang-edoc runtime_tools:erlang-runtime-tools \
  inets:erlang-inets xmerl:erlang-xmerl parsetools:erlang-parsetools; do
  apps="$apps ${pair%%:*}"
done
absent=''
if [ -n "$otp" ]; then
  absent=$(erl -noshell -boot no_dot_erlang -eval "
    [io:format(\"~s \", [A]) || A <- string:lexemes(\"$apps\", \" \"),
        code:lib_dir(list_to_atom(A)) =:= {error, bad_name}], halt()." 2>/dev/null || :)
else
  absent=$apps
fi
for app in $absent; do
  want "OTP application $app" "the one of your OTP" "" \
    "erlang-$(echo "$app" | tr _ -)" "part of a full Erlang/OTP installation"
done

# --- PropEr: a test tool (the library itself has no dependency)
proper=''
if [ -n "$otp" ]; then
  proper=$(erl -noshell -boot no_dot_erlang -eval '
    case code:lib_dir(proper) of {error, _} -> ok;
      D -> case filelib:is_regular(filename:join(D, "include/proper.hrl")) of
             true -> io:format("yes"); false -> ok end end, halt().' 2>/dev/null || :)
fi
[ -n "$proper" ] || want "PropEr (tests only)" "1.2 or newer, with headers" "" \
  "erlang-proper erlang-proper-dev" "https://proper-testing.github.io, on the code path (ERL_LIBS)"

# --- rebar3
if ! has rebar3; then
  want rebar3 "$need_rebar or newer" "" rebar3 "https://rebar3.org, 'brew install rebar3'"
fi

# --- Rust and C, unless a prebuilt library is given
if [ -z "${ERLMCP_FLOW_NIF_PATH:-}" ]; then
  rust=''
  has cargo && rust=$(cargo --version 2>/dev/null | sed -n 's/^cargo \([0-9]*\.[0-9]*\).*/\1/p')
  if [ -z "$rust" ] || older "$rust" "$need_rust"; then
    # Debian's own Rust may be too old: rustup is the way there too.
    want "Rust (cargo)" "$need_rust or newer" "$rust" "" \
      "https://rustup.rs, or set ERLMCP_FLOW_NIF_PATH to a prebuilt erlmcp_flow_nif.so"
    no_deb_rust=yes
  fi
  has "${CC:-cc}" || want "a C compiler" any "" "gcc libc6-dev" "gcc or clang"
fi

# --- Wanted, not needed: Elixir (its example is tested), jiffy (a rival in the benchmark)
optional=''
has mix || optional="$optional elixir"
if [ -n "$otp" ]; then
  erl -noshell -boot no_dot_erlang -eval \
    'case code:lib_dir(jiffy) of {error, _} -> halt(1); _ -> halt(0) end.' 2>/dev/null ||
    optional="$optional erlang-jiffy"
else
  optional="$optional erlang-jiffy"
fi

debian=no
if [ -r /etc/os-release ]; then
  # shellcheck disable=SC1091
  case "$(. /etc/os-release; echo "${ID:-} ${ID_LIKE:-}")" in *debian*|*ubuntu*) debian=yes ;; esac
fi
has apt-get || debian=no

if [ "$check_only" = yes ]; then
  [ -z "$missing" ] && exit 0
  printf 'missing:%s\n' "$missing" >&2
  exit 1
fi

if [ "$debian" = yes ] && { [ -n "$packages" ] || { [ -n "$optional" ] && [ ! -e "${TMPDIR:-/tmp}/.erlmcp_flow_optional_tried" ]; }; }; then
  sudo=''
  if [ "$(id -u)" != 0 ]; then
    if has sudo; then sudo=sudo; else
      printf 'erlmcp_flow: missing:%s\nRun as root:\n  apt-get install%s\n' "$missing" "$packages" >&2
      exit 1
    fi
  fi
  echo "erlmcp_flow: installing with apt-get:$packages$optional (takes about a minute)" >&2
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  $sudo apt-get update -qq >"$log" 2>&1 || { cat "$log" >&2; echo "apt-get update failed; going on with the old lists" >&2; }
  if [ -n "$packages" ]; then
    # shellcheck disable=SC2086
    $sudo apt-get install -y --no-install-recommends $packages >"$log" 2>&1 || {
      cat "$log" >&2
      echo "erlmcp_flow: apt-get could not install:$packages" >&2
      exit 1
    }
  fi
  for p in $optional; do
    $sudo apt-get install -y --no-install-recommends "$p" >"$log" 2>&1 ||
      echo "erlmcp_flow: optional package $p could not be installed; what needs it will say so" >&2
  done
  : > "${TMPDIR:-/tmp}/.erlmcp_flow_optional_tried"
  if [ "${no_deb_rust:-no}" = yes ]; then
    printf 'erlmcp_flow: still missing: Rust (cargo) %s or newer. Install it from https://rustup.rs,\nor set ERLMCP_FLOW_NIF_PATH to a prebuilt erlmcp_flow_nif.so.\n' "$need_rust" >&2
    exit 1
  fi
  exec sh "$0" # look again: versions too
fi

[ -z "$missing" ] && exit 0
printf 'erlmcp_flow: missing on this system:%s\nHow to get it:%s\n' "$missing" "$advice" >&2
exit 1
