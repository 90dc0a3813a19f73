#!/bin/sh
# Builds and tests the example against this checkout, without network.
set -eu
cd "$(dirname -- "$0")"
# mix builds Erlang dependencies with rebar3 and must be told where it is.
MIX_REBAR3=${MIX_REBAR3:-$(command -v rebar3)}
export MIX_REBAR3 MIX_ENV=test LC_ALL=${LC_ALL:-C.UTF-8}
mix test
