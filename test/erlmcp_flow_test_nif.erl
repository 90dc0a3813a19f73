%% Stubs of the test-only NIF library (native/test_nif).
-module(erlmcp_flow_test_nif).
-export([panic_normal/0, panic_dirty/0]).
-nifs([panic_normal/0, panic_dirty/0]).
-on_load(init/0).

init() ->
    erlang:load_nif(filename:join(code:priv_dir(erlmcp_flow), "erlmcp_flow_test_nif"), 0).

panic_normal() -> erlang:nif_error(nif_not_loaded).
panic_dirty() -> erlang:nif_error(nif_not_loaded).
