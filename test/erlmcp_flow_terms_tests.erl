%% The term stores of native/terms, through the test-only NIFs.
-module(erlmcp_flow_terms_tests).
-include_lib("eunit/include/eunit.hrl").

-define(N, erlmcp_flow_test_nif).
-define(WAYS, [bytes, pages, store, store_copy]).

kinds() ->
    Big = binary:copy(<<"0123456789">>, 100_000),
    [an_atom, [], {}, #{}, 0, -1, 1 bsl 58, 1 bsl 60, -(1 bsl 60), 1 bsl 200, 1.5, -0.0,
     <<>>, <<"short">>, <<0:512>>, binary:copy(<<"x">>, 65), Big, <<5:3>>, <<0:1001>>,
     binary:part(Big, 17, 100), self(), make_ref(), fun erlang:node/1,
     fun() -> Big end, hd(erlang:ports()), "a string", [a | b], [1, [2, [3 | c]]],
     {a, "b", <<"c">>, #{d => {e, [f]}}}, maps:from_list([{I, {I}} || I <- lists:seq(1, 200)]),
     list_to_tuple(lists:seq(1, 5000)), nested(100_000)].

nested(Depth) ->
    lists:foldl(fun(_, Acc) -> [Acc] end, [], lists:seq(1, Depth)).

every_kind_comes_back_test_() ->
    [{atom_to_list(Way), fun() ->
        S = ?N:store_new(),
        Kinds = lists:enumerate(kinds()),
        [?assertEqual(ok, ?N:store_put(S, Way, I, T)) || {I, T} <- Kinds],
        [?assert({ok, T} =:= ?N:store_get(S, I)) || {I, T} <- Kinds],
        [?assert(?N:store_remove(S, I)) || {I, _} <- Kinds],
        ?assertEqual({0, 0}, ?N:store_bytes(S))
     end} || Way <- ?WAYS].

immediates_test() ->
    S = ?N:store_new(),
    Dead = spawn(fun() -> ok end),
    Yes = [a, '', [], 0, -1, (1 bsl 59) - 1, -(1 bsl 59), self(), Dead],
    No = [1 bsl 59, -(1 bsl 59) - 1, 1.0, <<>>, {}, [a], #{}, make_ref()],
    [begin
         ?assertEqual(ok, ?N:store_put(S, imm, 1, T)),
         ?assert({ok, T} =:= ?N:store_get(S, 1))
     end || T <- Yes],
    [?assertEqual({error, not_immediate}, ?N:store_put(S, imm, 1, T)) || T <- No],
    %% Agreement with the VM: what takes no heap is an immediate.
    [?assertEqual(0, erts_debug:flat_size(T)) || T <- Yes].

terms_outlive_their_process_test() ->
    S = ?N:store_new(),
    Term = fun() -> {self(), make_ref(), binary:copy(<<"y">>, 1000), lists:seq(1, 100)} end,
    {Pid, Mon} = spawn_monitor(fun() ->
        T = Term(),
        [ok = ?N:store_put(S, W, I, T) || {I, W} <- lists:enumerate(?WAYS)],
        exit({made, T})
    end),
    T = receive {'DOWN', Mon, process, Pid, {made, Made}} -> Made end,
    garbage_collect(),
    [?assert({ok, T} =:= ?N:store_get(S, I)) || {I, _} <- lists:enumerate(?WAYS)].

%% The walk and the VM agree on what a term takes, exactly where that is fixed.
size_test() ->
    Word = erlang:system_info(wordsize),
    Exact = [a, [], {a, b}, "abc", [a | b], 1.5, <<"short">>, #{}, #{a => 1, b => {c}},
             {x, [1.0, 2.0], <<0:256>>}],
    [?assertEqual({T, Word * erts_debug:flat_size(T)}, {T, ?N:size_of(T)}) || T <- Exact],
    Near = [maps:from_list([{I, I} || I <- lists:seq(1, 1000)]), make_ref(), 1 bsl 100],
    [begin
         Real = Word * erts_debug:flat_size(T),
         ?assert(abs(?N:size_of(T) - Real) =< Real div 2 + 16)
     end || T <- Near],
    ?assert(?N:size_of(binary:copy(<<"x">>, 10_000)) >= 10_000).

%% Overwriting for ever takes no more memory than filling once; dead bytes stay
%% under live ones.
churn_test_() ->
    {timeout, 60, [{lists:flatten(io_lib:format("~p ~p", [Way, Kind])),
                    fun() -> churn(Way, Make) end}
                   || Way <- [bytes, pages, store],
                      {Kind, Make} <- [{map, fun small_map/1}, {big, fun kilobytes/1}]]}.

small_map(I) -> #{id => I, name => <<"agent-", (integer_to_binary(I))/binary>>, tags => [a, b]}.
kilobytes(I) -> binary:copy(<<I:32>>, 500).

churn(Way, Make) ->
    S = ?N:store_new(),
    N = 2000,
    Put = fun(K, I) -> ok = ?N:store_put(S, Way, K, Make(I)) end,
    [Put(K, K) || K <- lists:seq(1, N)],
    {Live0, 0} = ?N:store_bytes(S),
    Held0 = held(),
    _ = rand:seed(exsss, 17),
    lists:foreach(
        fun(I) ->
            Put(rand:uniform(N), I),
            {Live, Dead} = ?N:store_bytes(S),
            ?assert(Dead =< Live),
            ?assert(Live < 2 * Live0)
        end, lists:seq(1, 20 * N)),
    %% As much again as there was, for dead bytes, and 4 MB for the allocators.
    ?assert(held() - Held0 < Live0 + 4_000_000).

held() ->
    garbage_collect(),
    erlang:memory(system) + erlang:memory(binary).

%% A small part of a large binary does not keep it alive, when it is copied.
sub_binary_does_not_pin_test() ->
    S = ?N:store_new(),
    Before = erlang:memory(binary),
    fill_with_parts(S, store_copy),
    garbage_collect(),
    ?assert(erlang:memory(binary) - Before < 4_000_000),
    %% The test can see it: sharing does keep them alive.
    fill_with_parts(S, store),
    garbage_collect(),
    ?assert(erlang:memory(binary) - Before > 15_000_000).

fill_with_parts(S, Way) ->
    [begin
         Large = binary:copy(<<I:64>>, 125_000),
         ok = ?N:store_put(S, Way, I, binary:part(Large, 1000, 100))
     end || I <- lists:seq(1, 20)].

%% Many readers, one writer.
readers_test_() ->
    {timeout, 30, fun() ->
        S = ?N:store_new(),
        Value = fun(K, V) -> {K, V, lists:duplicate(20, V), <<V:800>>} end,
        [ok = ?N:store_put(S, store, K, Value(K, 0)) || K <- lists:seq(1, 50)],
        Readers = [spawn_monitor(fun() -> reader(S, Value, 20_000) end)
                   || _ <- lists:seq(1, 4)],
        [ok = ?N:store_put(S, store, K, Value(K, V))
         || V <- lists:seq(1, 200), K <- lists:seq(1, 50)],
        [receive {'DOWN', Mon, process, Pid, Reason} -> ?assertEqual(normal, Reason) end
         || {Pid, Mon} <- Readers]
    end}.

reader(_, _, 0) -> ok;
reader(S, Value, N) ->
    K = rand:uniform(50),
    {ok, {K, V, _, _} = T} = ?N:store_get(S, K),
    T = Value(K, V),
    reader(S, Value, N - 1).

%% Against a map, any sequence of operations.
check_model_test_() ->
    {timeout, 120, fun() ->
        ?assert(proper:quickcheck(prop_terms:prop_model(), [{numtests, 200}, {to_file, user}]))
    end}.
