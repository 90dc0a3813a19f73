%% Stubs of the test-only NIF library (native/test_nif).
-module(erlmcp_flow_test_nif).
-export([panic_normal/0, panic_dirty/0]).
-export([store_new/0, store_put/4, store_get/2, store_remove/2, store_bytes/1, size_of/1]).
-nifs([panic_normal/0, panic_dirty/0]).
-nifs([store_new/0, store_put/4, store_get/2, store_remove/2, store_bytes/1, size_of/1]).
-on_load(init/0).

init() ->
    erlang:load_nif(filename:join(code:priv_dir(erlmcp_flow), "erlmcp_flow_test_nif"), 0).

panic_normal() -> erlang:nif_error(nif_not_loaded).
panic_dirty() -> erlang:nif_error(nif_not_loaded).

%% The ways: imm | bytes | pages | store | store_copy.
store_new() -> erlang:nif_error(nif_not_loaded).
store_put(_Store, _Way, _Key, _Term) -> erlang:nif_error(nif_not_loaded).
store_get(_Store, _Key) -> erlang:nif_error(nif_not_loaded).
store_remove(_Store, _Key) -> erlang:nif_error(nif_not_loaded).
store_bytes(_Store) -> erlang:nif_error(nif_not_loaded).
size_of(_Term) -> erlang:nif_error(nif_not_loaded).
