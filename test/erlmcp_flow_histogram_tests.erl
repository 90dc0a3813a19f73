-module(erlmcp_flow_histogram_tests).
-include_lib("eunit/include/eunit.hrl").

-define(H, erlmcp_flow_histogram).
-define(TOP, (1 bsl 48) - 1).

of_list(Values) ->
    H = ?H:new(),
    lists:foreach(fun(V) -> ok = ?H:record(H, V) end, Values),
    H.

empty_test() ->
    H = ?H:new(),
    ?assertEqual(0, ?H:count(H)),
    ?assertEqual([], ?H:to_list(H)),
    [?assertEqual(undefined, F(H)) || F <- [fun ?H:mean/1, fun ?H:min/1, fun ?H:max/1,
                                            fun(X) -> ?H:percentile(X, 50) end]].

small_values_are_exact_test() ->
    H = of_list(lists:seq(0, 63)),
    ?assertEqual([{V, 1} || V <- lists:seq(0, 63)], ?H:to_list(H)).

%% Around every power of two, where the bucket's width changes.
bucket_bounds_test() ->
    Edges = [V || E <- lists:seq(0, 47), D <- [-1, 0, 1], (V = (1 bsl E) + D) >= 0],
    lists:foreach(
        fun(V) ->
            [{Upper, 1}] = ?H:to_list(of_list([V])),
            ?assert(Upper >= V),
            ?assert((Upper - V) * 32 =< V),
            %% The bound is in the bucket, and the next value is not.
            [{Upper, 2}] = ?H:to_list(of_list([V, Upper])),
            ?assertMatch([_, _], ?H:to_list(of_list([V, Upper + 1])))
        end, [V || V <- Edges, V < ?TOP - (1 bsl 43)]).

clamped_test() ->
    H = of_list([-5, 1 bsl 48, 1 bsl 70]),
    ?assertEqual([{0, 1}, {?TOP, 2}], ?H:to_list(H)),
    ?assertEqual(?TOP, ?H:max(H)),
    ?assertEqual(0, ?H:min(H)).

figures_are_exact_test() ->
    H = of_list([10, 1000, 123456]),
    ?assertEqual(3, ?H:count(H)),
    ?assertEqual(124466, ?H:sum(H)),
    ?assertEqual(124466 / 3, ?H:mean(H)),
    ?assertEqual(10, ?H:min(H)),
    ?assertEqual(123456, ?H:max(H)),
    ?assertEqual(123456, ?H:percentile(H, 100)).

%% Against the sorted list, over a wide range of sizes.
percentiles_test() ->
    _ = rand:seed(exsss, {1, 2, 3}),
    Values = [trunc(math:exp(rand:uniform() * 30)) || _ <- lists:seq(1, 20000)],
    H = of_list(Values),
    Sorted = lists:sort(Values),
    lists:foreach(
        fun(P) ->
            Exact = lists:nth(max(1, ceil(length(Sorted) * P / 100)), Sorted),
            Got = ?H:percentile(H, P),
            ?assert(abs(Got - Exact) * 32 =< Exact)
        end, [0, 1, 10, 50, 90, 95, 99, 99.9, 99.99, 100]).

%% Many records in one wide bucket: the rank tells where in it.
within_a_bucket_test() ->
    H = of_list(lists:seq(8388608, 8388608 + 262143)),
    ?assertMatch([{_, 262144}], ?H:to_list(H)),
    [?assert(abs(?H:percentile(H, P) - (8388608 + 2621.44 * P)) < 3) || P <- [1, 50, 99, 100]].

one_value_is_itself_test() ->
    [?assertEqual(V, ?H:percentile(of_list([V, V, V]), P))
     || V <- [0, 1, 31, 32, 1000, 123456789], P <- [0, 50, 99.9, 100]].

rises_with_p_test() ->
    H = of_list([I * I || I <- lists:seq(1, 3000)]),
    Values = [?H:percentile(H, P / 10) || P <- lists:seq(0, 1000)],
    ?assertEqual(lists:sort(Values), Values).

percentile_of_nonsense_test() ->
    [?assertError(badarg, ?H:percentile(?H:new(), P)) || P <- [-1, 100.1, a]].

merge_test() ->
    A = of_list([1, 2, 3000]),
    B = of_list([3, 3000, 500000]),
    ok = ?H:merge(A, B),
    Both = of_list([1, 2, 3000, 3, 3000, 500000]),
    [?assertEqual(F(Both), F(A)) || F <- [fun ?H:to_list/1, fun ?H:sum/1, fun ?H:min/1,
                                          fun ?H:max/1, fun ?H:mean/1]],
    ?assertEqual(3, ?H:count(B)).

merge_with_empty_test() ->
    A = of_list([7]),
    ok = ?H:merge(A, ?H:new()),
    ?assertEqual({7, 7, 1}, {?H:min(A), ?H:max(A), ?H:count(A)}),
    E = ?H:new(),
    ok = ?H:merge(E, A),
    ?assertEqual({7, 7, 1}, {?H:min(E), ?H:max(E), ?H:count(E)}).

reset_test() ->
    H = of_list([5, 1 bsl 40]),
    ok = ?H:reset(H),
    ?assertEqual([], ?H:to_list(H)),
    ok = ?H:record(H, 9),
    ?assertEqual({9, 9, 9}, {?H:min(H), ?H:max(H), ?H:sum(H)}).

nothing_is_lost_test() ->
    H = ?H:new(),
    Each = 20000,
    Workers = [spawn_monitor(fun() ->
        [?H:record(H, W * I) || I <- lists:seq(1, Each)]
    end) || W <- lists:seq(1, 8)],
    [receive {'DOWN', M, process, P, normal} -> ok end || {P, M} <- Workers],
    ?assertEqual(8 * Each, ?H:count(H)),
    ?assertEqual(36 * Each * (Each + 1) div 2, ?H:sum(H)),
    ?assertEqual(8 * Each, ?H:max(H)),
    ?assertEqual(1, ?H:min(H)).
