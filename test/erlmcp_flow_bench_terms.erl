%% @private
%% @doc What it costs to keep a term outside a process: nanoseconds for an insert, a
%% read and a removal, and bytes an entry, for the three ways of native/terms beside
%% a public ETS table, over the kinds of keys and values that caches have.
%%
%% It uses the test-only NIF library, so it lives with the tests:
%% `rebar3 as test eunit --module=erlmcp_flow_nif_tests`, then `erl -pa
%% _build/test/lib/erlmcp_flow/ebin -pa _build/test/lib/erlmcp_flow/test`.
-module(erlmcp_flow_bench_terms).

-export([run/0, run/1]).

-define(N, erlmcp_flow_test_nif).

-spec run() -> ok | {error, no_test_library}.
run() ->
    run(#{entries => 10_000, rounds => 5}).

%% @doc The ways take turns in each round; the medians of the rounds are printed.
-spec run(#{entries := pos_integer(), rounds := pos_integer()}) ->
    ok | {error, no_test_library}.
run(#{entries := N, rounds := Rounds}) ->
    case code:ensure_loaded(?N) of
        {module, _} ->
            io:format("~-18s~-8s~10s~10s~10s~12s~12s~n",
                      ["value", "way", "insert ns", "read ns", "remove ns", "bytes",
                       "after churn"]),
            lists:foreach(fun(Kind) -> kind(Kind, N, Rounds) end, kinds());
        {error, _} ->
            io:format("NOT MEASURED: the test-only library is not loaded~n"),
            {error, no_test_library}
    end.

kinds() ->
    Map = fun(I) -> #{id => I, name => <<"agent-17">>, type => worker, load => 0.5,
                      tags => [a, b, c]} end,
    [{"pid", fun(_) -> self() end},
     {"binary, 16 B", fun(I) -> <<I:128>> end},
     {"small map", Map},
     {"{atom, binary}", fun(I) -> {agent, <<I:128>>} end},
     {"binary, 1 KB", fun(I) -> binary:copy(<<I:64>>, 128) end},
     {"binary, 10 KB", fun(I) -> binary:copy(<<I:64>>, 1280) end}].

kind({Name, Make}, N, Rounds) ->
    Values = list_to_tuple([Make(I) || I <- lists:seq(1, N)]),
    Ways = [imm || erts_debug:flat_size(element(1, Values)) =:= 0]
        ++ [bytes, pages, store, ets],
    Results = [[{Way, once(Way, Values, N)} || Way <- Ways] || _ <- lists:seq(1, Rounds)],
    lists:foreach(
        fun(Way) ->
            Columns = transpose([proplists:get_value(Way, Round) || Round <- Results]),
            [Insert, Read, Remove, Bytes, Churned] = [median(C) || C <- Columns],
            io:format("~-18s~-8w~10.1f~10.1f~10.1f~12w~12w~n",
                      [Name, Way, Insert, Read, Remove, Bytes, Churned])
        end, Ways).

once(Way, Values, N) ->
    Table = new(Way),
    Keys = lists:seq(1, N),
    Insert = time(fun(K) -> put(Table, Way, K, element(K, Values)) end, Keys),
    Bytes = bytes(Table, N),
    Read = time(fun(K) -> get(Table, K) end, Keys),
    %% Everything is overwritten twice, in another order.
    Order = [K || {_, K} <- lists:sort([{rand:uniform(), K} || K <- Keys])],
    [put(Table, Way, K, element(K, Values)) || _ <- [1, 2], K <- Order],
    Churned = bytes(Table, N),
    Remove = time(fun(K) -> remove(Table, K) end, Keys),
    [Insert, Read, Remove, Bytes, Churned].

new(ets) -> {ets, ets:new(?MODULE, [public])};
new(_) -> ?N:store_new().

put({ets, T}, _, K, V) -> ets:insert(T, {K, V});
put(S, Way, K, V) -> ?N:store_put(S, Way, K, V).

get({ets, T}, K) -> ets:lookup(T, K);
get(S, K) -> ?N:store_get(S, K).

remove({ets, T}, K) -> ets:delete(T, K);
remove(S, K) -> ?N:store_remove(S, K).

%% Live and dead bytes of the values; ETS counts its keys too, but no binaries.
bytes({ets, T}, N) -> ets:info(T, memory) * erlang:system_info(wordsize) div N;
bytes(S, N) ->
    {Live, Dead} = ?N:store_bytes(S),
    (Live + Dead) div N.

time(Fun, Keys) ->
    garbage_collect(),
    T0 = erlang:monotonic_time(nanosecond),
    lists:foreach(Fun, Keys),
    (erlang:monotonic_time(nanosecond) - T0) / length(Keys).

transpose([[] | _]) -> [];
transpose(Rows) -> [[hd(R) || R <- Rows] | transpose([tl(R) || R <- Rows])].

median(List) ->
    lists:nth((length(List) + 1) div 2, lists:sort(List)).
