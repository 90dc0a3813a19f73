%% A store of terms behaves like a map, whatever is kept in it.
-module(prop_terms).
-include_lib("proper/include/proper.hrl").
-export([prop_model/0]).

-define(N, erlmcp_flow_test_nif).
-define(WAYS, [bytes, pages, store, store_copy]).

prop_model() ->
    ?FORALL({Way, Ops}, {oneof(?WAYS), list(op())},
        begin
            S = ?N:store_new(),
            Model = lists:foldl(fun(Op, M) -> step(S, Way, Op, M) end, #{}, Ops),
            {Live, Dead} = ?N:store_bytes(S),
            Dead =< Live andalso
            lists:all(
                fun(K) ->
                    ?N:store_get(S, K) =:=
                        case Model of #{K := V} -> {ok, V}; _ -> {error, not_found} end
                end, lists:seq(0, 9))
        end).

op() ->
    oneof([{put, range(0, 9), value()}, {remove, range(0, 9)}]).

value() ->
    oneof([any(), binary(), ?LET(N, range(0, 40_000), binary:copy(<<"b">>, N)),
           ?LET(N, range(0, 3000), lists:seq(1, N))]).

step(S, Way, {put, K, V}, M) ->
    ok = ?N:store_put(S, Way, K, V),
    M#{K => V};
step(S, _, {remove, K}, M) ->
    Known = is_map_key(K, M),
    Known = ?N:store_remove(S, K),
    maps:remove(K, M).
