%% The cache, native and its twin: one table of cases for both.
%%
%% Longer forms: CACHE_RUNS=10000 (runs of the state machine), CACHE_SECONDS=60 (of
%% the stress), CACHE_MANY=100000 (caches started and stopped), CACHE_PUTS=36000000 (an
%% hour's worth of churn at 10,000 a second).
-module(erlmcp_flow_lru_cache_tests).
-include_lib("eunit/include/eunit.hrl").

-define(C, erlmcp_flow_lru_cache).
-define(HOUR, 3_600_000).

number(Name, Default) ->
    list_to_integer(os:getenv(Name, integer_to_list(Default))).

both_test_() ->
    [{lists:concat([Name, " ", Build]), {timeout, 60, fun() ->
        with(Build, fun() -> Test() end)
      end}}
     || Build <- [native, twin],
        {Name, Test} <-
            [{'values come back', fun values/0},
             {'keys by =:=', fun keys/0},
             {'overwrite', fun overwrite/0},
             {'least recently used goes', fun lru/0},
             {'small capacities', fun capacities/0},
             {'time to live', fun ttl/0},
             {'a ttl of its own', fun own_ttl/0},
             {'expired go before live', fun expired_first/0},
             {'idle gives memory back', fun idle/0},
             {'max_bytes', fun max_bytes/0},
             {'statistics', fun statistics/0},
             {'metrics', fun metrics/0},
             {'clear', fun clear/0},
             {'large terms', fun large/0},
             {'parts do not pin', fun parts/0},
             {'names', fun names/0},
             {'options', fun options/0},
             {'wrong arguments', fun wrong/0},
             {'default instance', fun default/0},
             {'not running', fun not_running/0},
             {'fetch', fun fetch/0},
             {'fetch: one computation', fun fetch_once/0},
             {'fetch: crash', fun fetch_crash/0},
             {'fetch: killed', fun fetch_killed/0},
             {'fetch: hangs', fun fetch_hangs/0},
             {'killed instance', fun killed/0}]].

with(Build, Test) ->
    Setting = erlmcp_flow_native:get(),
    ok = erlmcp_flow_native:set(Build =:= native),
    try Test() after erlmcp_flow_native:set(Setting) end.

cache(Opts) ->
    {ok, Cache} = ?C:start_link(Opts),
    Cache.

%%% Entries

kinds() ->
    [an_atom, [], {}, #{}, 0, -1, 1 bsl 58, 1 bsl 59, 1 bsl 60, -(1 bsl 60), 1 bsl 500,
     1.5, <<>>, <<"short">>, <<0:(22 * 8)>>, <<0:(23 * 8)>>, <<0:512>>,
     binary:copy(<<"x">>, 65), binary:copy(<<"0123456789">>, 10_000), <<5:3>>, <<0:1001>>,
     self(), make_ref(), fun erlang:node/1, dead_node(ref), dead_node(pid),
     hd(erlang:ports()), "a string", [a | b], {a, "b", <<"c">>, #{d => {e, [f]}}},
     maps:from_list([{I, {I}} || I <- lists:seq(1, 200)]), lists:seq(1, 5000),
     lists:foldl(fun(_, Acc) -> [Acc] end, [], lists:seq(1, 100_000))].

%% Terms of a node that was never here.
dead_node(ref) ->
    binary_to_term(<<131, 90, 3:16, 119, 9, "dead@node", 1:32, 1:32, 2:32, 3:32>>);
dead_node(pid) ->
    binary_to_term(<<131, 88, 119, 9, "dead@node", 7:32, 0:32, 1:32>>).

values() ->
    Cache = cache(#{ttl => infinity}),
    Captured = lists:seq(1, 1000),
    Kinds = [fun() -> Captured end | kinds()],
    [begin
         ?assertEqual(ok, ?C:put(Cache, I, V)),
         ?assertEqual(ok, ?C:put(Cache, V, I))
     end || {I, V} <- lists:enumerate(-1000, Kinds)],
    [begin
         ?assert({ok, V} =:= ?C:get(Cache, I)),
         ?assert({ok, I} =:= ?C:get(Cache, V))
     end || {I, V} <- lists:enumerate(-1000, Kinds)],
    ?assertEqual(2 * length(Kinds), ?C:size(Cache)),
    [begin
         ?assertEqual(ok, ?C:delete(Cache, I)),
         ?assertEqual(ok, ?C:delete(Cache, V)),
         ?assertEqual(miss, ?C:get(Cache, V))
     end || {I, V} <- lists:enumerate(-1000, Kinds)],
    ?assertMatch(#{size := 0, bytes := 0}, ?C:stats(Cache)),
    ok = ?C:stop(Cache).

keys() ->
    Cache = cache(#{ttl => infinity}),
    Different = [1, 1.0, {1}, {1.0}, [1], [1.0], #{1 => a}, #{1.0 => a}, <<1>>, '1', "1"],
    [ok = ?C:put(Cache, K, {value, K}) || K <- Different],
    [?assert({ok, {value, K}} =:= ?C:get(Cache, K)) || K <- Different],
    %% As the running OTP has it: one key before 27, two from 27 on.
    Plus = 0.0, Minus = -Plus,
    ok = ?C:put(Cache, Plus, plus),
    ok = ?C:put(Cache, Minus, minus),
    Expected = case Plus =:= Minus of true -> minus; false -> plus end,
    ?assertEqual({ok, Expected}, ?C:get(Cache, Plus)),
    %% The same key, built another way.
    Pairs = [{{k, I}, I} || I <- lists:seq(1, 100)],
    ok = ?C:put(Cache, maps:from_list(Pairs), found),
    ?assertEqual({ok, found}, ?C:get(Cache, maps:from_list(lists:reverse(Pairs)))),
    Binary = <<0, "0123456789abcdef", 0>>,
    ok = ?C:put(Cache, binary:part(Binary, 1, 16), part),
    ?assertEqual({ok, part}, ?C:get(Cache, <<"0123456789abcdef">>)),
    ok = ?C:stop(Cache).

overwrite() ->
    Cache = cache(#{ttl => infinity}),
    Small = ?C:stats(Cache),
    [begin
         ok = ?C:put(Cache, key, V),
         ?assert({ok, V} =:= ?C:get(Cache, key)),
         ?assertEqual(1, ?C:size(Cache))
     end || V <- kinds()],
    ok = ?C:delete(Cache, key),
    ?assertEqual(maps:get(bytes, Small), maps:get(bytes, ?C:stats(Cache))),
    ok = ?C:stop(Cache).

lru() ->
    Cache = cache(#{capacity => 3, ttl => infinity}),
    [ok = ?C:put(Cache, I, I) || I <- [1, 2, 3]],
    {ok, 1} = ?C:get(Cache, 1),
    ok = ?C:put(Cache, 2, new),
    ok = ?C:put(Cache, 4, 4),
    ?assertEqual([{ok, 1}, {ok, new}, miss, {ok, 4}], [?C:get(Cache, I) || I <- [1, 2, 3, 4]]),
    ?assertMatch(#{evictions := 1, size := 3}, ?C:stats(Cache)),
    ok = ?C:stop(Cache).

capacities() ->
    [begin
         Cache = cache(#{capacity => N, ttl => infinity}),
         [ok = ?C:put(Cache, I, {I}) || I <- lists:seq(1, N)],
         ?assertEqual(N, ?C:size(Cache)),
         [?assertEqual({ok, {I}}, ?C:get(Cache, I)) || I <- lists:seq(1, N)],
         [ok = ?C:put(Cache, -I, {I}) || I <- lists:seq(1, N)],
         ?assertMatch(#{size := N, evictions := N}, ?C:stats(Cache)),
         ok = ?C:stop(Cache)
     end || N <- [1, 2, 10, 1024, 1025, 10_000]].

%%% Time

ttl() ->
    Cache = cache(#{ttl => ?HOUR}),
    ok = ?C:put(Cache, a, 1),
    ok = ?C:advance(Cache, ?HOUR div 2),
    %% A read does not prolong it, a put does.
    {ok, 1} = ?C:get(Cache, a),
    ok = ?C:put(Cache, b, 2),
    ok = ?C:advance(Cache, ?HOUR div 2),
    ?assertEqual(miss, ?C:get(Cache, a)),
    ?assertEqual({ok, 2}, ?C:get(Cache, b)),
    ok = ?C:put(Cache, b, 3),
    ok = ?C:advance(Cache, ?HOUR - 60_000),
    ?assertEqual({ok, 3}, ?C:get(Cache, b)),
    ok = ?C:advance(Cache, 60_000),
    ?assertEqual(0, ?C:size(Cache)),
    ?assertMatch(#{expirations := 2, evictions := 0, hits := 3, misses := 1},
                 ?C:stats(Cache)),
    ok = ?C:stop(Cache).

own_ttl() ->
    Cache = cache(#{ttl => ?HOUR}),
    ok = ?C:put(Cache, short, 1, #{ttl => ?HOUR div 4}),
    ok = ?C:put(Cache, long, 2, #{ttl => 4 * ?HOUR}),
    ok = ?C:put(Cache, ever, 3, #{ttl => infinity}),
    ok = ?C:put(Cache, usual, 4, #{}),
    Present = fun() -> [K || K <- [short, usual, long, ever], ?C:get(Cache, K) =/= miss] end,
    ?assertEqual([short, usual, long, ever], Present()),
    ok = ?C:advance(Cache, ?HOUR div 2),
    ?assertEqual([usual, long, ever], Present()),
    ok = ?C:advance(Cache, ?HOUR),
    ?assertEqual([long, ever], Present()),
    %% Another put, another time.
    ok = ?C:put(Cache, ever, 3),
    ok = ?C:advance(Cache, 100 * ?HOUR),
    ?assertEqual([], Present()),
    ?assertMatch(#{expirations := 4, size := 0, bytes := 0}, ?C:stats(Cache)),
    ok = ?C:stop(Cache).

expired_first() ->
    Cache = cache(#{capacity => 10, ttl => infinity}),
    [ok = ?C:put(Cache, I, I) || I <- lists:seq(1, 5)],
    [ok = ?C:put(Cache, I, I, #{ttl => ?HOUR}) || I <- lists:seq(6, 10)],
    ok = ?C:advance(Cache, ?HOUR),
    [ok = ?C:put(Cache, I, I) || I <- lists:seq(11, 15)],
    [?assertEqual({ok, I}, ?C:get(Cache, I)) || I <- lists:seq(1, 5) ++ lists:seq(11, 15)],
    ?assertMatch(#{evictions := 0, expirations := 5}, ?C:stats(Cache)),
    ok = ?C:stop(Cache).

%% Nobody touches it, and what has expired goes all the same.
idle() ->
    Cache = cache(#{ttl => ?HOUR}),
    [ok = ?C:put(Cache, I, {I}) || I <- lists:seq(1, 5_000)],
    ok = ?C:advance(Cache, 2 * ?HOUR),
    Cache ! sweep,
    until(fun() -> held(Cache) =:= 0 end),
    ok = ?C:stop(Cache).

%% Without the sweep that `stats/1' does.
held(Cache) ->
    case erlmcp_flow_native:enabled(lru_cache) of
        true -> lists:nth(6, erlmcp_flow_nif:cache_stats(Cache));
        false -> lists:nth(6, gen_server:call(Cache, stats))
    end.

until(Condition) -> until(Condition, 500).

until(Condition, N) when N > 0 ->
    case Condition() of
        true -> ok;
        false -> receive after 10 -> until(Condition, N - 1) end
    end.

%%% Room

max_bytes() ->
    Max = 1_000_000,
    Cache = cache(#{capacity => 10_000, ttl => infinity, max_bytes => Max}),
    Value = fun(I) -> binary:copy(<<I:32>>, 250 + I rem 500) end,
    lists:foreach(
        fun(I) ->
            ok = ?C:put(Cache, I, Value(I)),
            ?assertEqual({ok, Value(I)}, ?C:get(Cache, I)),
            #{bytes := Bytes} = ?C:stats(Cache),
            ?assert(Bytes =< Max)
        end, lists:seq(1, 2_000)),
    #{bytes := Bytes, evictions := Evictions, size := Size} = ?C:stats(Cache),
    ?assert(Bytes > Max - 4_000),
    ?assertEqual(2_000, Evictions + Size),
    %% One that would never fit is not kept, nor what it should replace.
    Known = 2_000,
    ok = ?C:put(Cache, Known, binary:copy(<<0>>, Max)),
    ?assertEqual(miss, ?C:get(Cache, Known)),
    ?assertMatch(#{refused := 1}, ?C:stats(Cache)),
    %% A value that grows pushes others out, not itself.
    ok = ?C:put(Cache, 1_999, binary:copy(<<0>>, Max - 10_000)),
    ?assertMatch({ok, _}, ?C:get(Cache, 1_999)),
    #{bytes := Grown} = ?C:stats(Cache),
    ?assert(Grown =< Max),
    ok = ?C:stop(Cache).

statistics() ->
    Cache = cache(#{capacity => 2, ttl => infinity}),
    ?assertEqual(
        #{hits => 0, misses => 0, hit_rate_pct => 0.0, evictions => 0, expirations => 0,
          refused => 0, size => 0, bytes => 0, capacity => 2, ttl => infinity,
          max_bytes => infinity}, ?C:stats(Cache)),
    [ok = ?C:put(Cache, I, I) || I <- [1, 2, 3]],
    [?C:get(Cache, I) || I <- [1, 2, 3, 3]],
    Stats = ?C:stats(Cache),
    ?assertMatch(#{hits := 3, misses := 1, evictions := 1, size := 2}, Stats),
    ?assertEqual(75.0, maps:get(hit_rate_pct, Stats)),
    ok = ?C:stop(Cache).

metrics() ->
    {ok, Started} = application:ensure_all_started(erlmcp_flow),
    Cache = cache(#{name => lru_cache_metrics}),
    ok = ?C:put(Cache, k, v),
    [?C:get(Cache, K) || K <- [k, k, k, none]],
    Mine = [{maps:get(name, M), maps:get(value, M)}
            || #{labels := #{instance := lru_cache_metrics}} = M <- erlmcp_flow_metrics:list()],
    [?assertEqual(Value, proplists:get_value(<<"flow.cache.", Name/binary>>, Mine))
     || {Name, Value} <- [{<<"hits">>, 3}, {<<"misses">>, 1}, {<<"hit_rate_pct">>, 75.0},
                          {<<"size">>, 1}]],
    ok = ?C:stop(Cache),
    [ok = application:stop(App) || App <- lists:reverse(Started)].

clear() ->
    Cache = cache(#{capacity => 50_000, ttl => infinity}),
    [ok = ?C:put(Cache, I, {I}) || I <- lists:seq(1, 20_000)],
    ok = ?C:clear(Cache),
    ?assertMatch(#{size := 0, bytes := 0}, ?C:stats(Cache)),
    ?assertEqual(miss, ?C:get(Cache, 1)),
    [ok = ?C:put(Cache, I, I) || I <- lists:seq(1, 50_000)],
    ?assertMatch(#{size := 50_000, evictions := 0}, ?C:stats(Cache)),
    ok = ?C:stop(Cache).

%%% Large terms

large() ->
    Cache = cache(#{ttl => infinity}),
    Binary = binary:copy(<<"0123456789">>, 10_000_000),
    Map = maps:from_list([{I, {I}} || I <- lists:seq(1, 1_000_000)]),
    [begin
         ok = ?C:put(Cache, key, Value),
         ?assert({ok, Value} =:= ?C:get(Cache, key)),
         ok = ?C:put(Cache, Value, value),
         ?assertEqual({ok, value}, ?C:get(Cache, Value)),
         ok = ?C:delete(Cache, Value),
         ?assertEqual(miss, ?C:get(Cache, Value))
     end || Value <- [Binary, Map, {Binary, Map}]],
    #{bytes := Bytes} = ?C:stats(Cache),
    ?assert(Bytes > 100_000_000),
    ok = ?C:clear(Cache),
    ?assertMatch(#{bytes := 0}, ?C:stats(Cache)),
    ok = ?C:stop(Cache).

%% A part of a large binary, whatever it is wrapped in, does not keep the rest.
parts() ->
    Wraps = [fun(P) -> P end, fun(P) -> {a, [P]} end, fun(P) -> #{k => P} end,
             fun(P) -> #{P => k} end, fun(P) -> [a | P] end,
             fun(P) -> <<Q:13/bitstring, _/bitstring>> = P, {Q} end],
    Cache = cache(#{ttl => infinity}),
    %% What an earlier test has left to a thread to free is gone.
    until(fun() -> B = binaries(), receive after 20 -> B =:= binaries() end end),
    Before = binaries(),
    [begin
         {Pid, Mon} = spawn_monitor(fun() ->
             Large = binary:copy(<<I:64, Length:64>>, 65_536),
             Part = Wrap(binary:part(Large, 1000, Length)),
             ok = ?C:put(Cache, {value, I, Length}, Part),
             ok = ?C:put(Cache, {key, I, Length, Part}, value),
             {ok, Part} = ?C:get(Cache, {value, I, Length})
         end),
         receive {'DOWN', Mon, process, Pid, Why} -> ?assertEqual(normal, Why) end
     end || {I, Wrap} <- lists:enumerate(Wraps), Length <- [10, 40, 100, 5_000]],
    garbage_collect(Cache),
    %% 24 binaries of 1 MB were made.
    until(fun() -> binaries() - Before < 2_000_000 end),
    %% The test can see one that is kept, and a part that is most of it is kept.
    Without = binaries(),
    {Pid, Mon} = spawn_monitor(fun() ->
        Large = binary:copy(<<"x">>, 5_000_000),
        ok = ?C:put(Cache, most, binary:part(Large, 0, 4_000_000))
    end),
    receive {'DOWN', Mon, process, Pid, Why} -> ?assertEqual(normal, Why) end,
    ?assert(binaries() - Without > 4_900_000),
    ok = ?C:stop(Cache).

binaries() ->
    garbage_collect(),
    erlang:memory(binary).

%%% Instances

names() ->
    Named = [{lru_cache_test, lru_cache_test}, {{local, lru_cache_test_2}, lru_cache_test_2},
             {{global, {lru, cache}}, {global, {lru, cache}}},
             {{via, global, lru}, {via, global, lru}}],
    [begin
         Cache = cache(#{name => Name}),
         ok = ?C:put(Ref, k, v),
         ok = ?C:put(Ref, k2, v, #{ttl => 10 * ?HOUR}),
         ?assertEqual({ok, v}, ?C:get(Ref, k)),
         ?assertEqual({ok, v}, ?C:get(Cache, k)),
         ?assertEqual({ok, w}, ?C:fetch(Ref, w, fun() -> w end)),
         ok = ?C:delete(Ref, k),
         ?assertEqual(2, ?C:size(Ref)),
         ok = ?C:clear(Ref),
         ?assertMatch(#{size := 0}, ?C:stats(Ref)),
         ?assertMatch({error, {already_started, Cache}}, ?C:start_link(#{name => Name})),
         ?assertEqual(miss, ?C:get(Ref, k)),
         ok = ?C:stop(Ref),
         ?assertEqual({error, not_running}, ?C:get(Ref, k))
     end || {Name, Ref} <- Named].

options() ->
    Bad = [{capacity, 0}, {capacity, -1}, {capacity, infinity}, {cache_capacity, 1.0},
           {ttl, 0}, {ttl, never}, {cache_ttl, -5}, {max_bytes, 0}, {max_bytes, "1"},
           {name, "a"}, {fetch_timeout, 0}, {size, 10}],
    [?assertMatch({error, {bad_option, _, V}}, ?C:start_link(#{K => V})) || {K, V} <- Bad],
    [?assertMatch({error, {bad_option, _, V}}, ?C:start_link([{K, V}])) || {K, V} <- Bad],
    ?assertMatch({error, {bad_option, _, _}}, ?C:start_link(#{ttl => 1, cache_ttl => 1})),
    ok = application:set_env(erlmcp_flow, cache_capacity, 7),
    Cache = cache([]),
    ok = application:unset_env(erlmcp_flow, cache_capacity),
    ?assertMatch(#{capacity := 7, ttl := 5000, max_bytes := infinity}, ?C:stats(Cache)),
    ok = ?C:stop(Cache),
    Default = cache([{cache_ttl, infinity}]),
    ?assertMatch(#{capacity := 10_000, ttl := infinity}, ?C:stats(Default)),
    ok = ?C:stop(Default).

wrong() ->
    Cache = cache([]),
    [?assertError(badarg, ?C:put(Cache, k, v, Opts))
     || Opts <- [#{ttl => 0}, #{ttl => a}, #{ttl => 1.5}, #{ttl => 1 bsl 80}, #{tll => 1},
                 #{ttl => 1, x => 1}, [], a]],
    ?assertError(badarg, ?C:fetch(Cache, k, fun(_) -> v end)),
    ?assertError(badarg, ?C:fetch(Cache, k, v)),
    ?assertError(badarg, ?C:fetch(Cache, k, fun() -> v end, #{ttl => 0})),
    ?assertError(badarg, ?C:fetch(Cache, k, fun() -> v end, #{timeout => 0})),
    ?assertError(badarg, ?C:fetch(Cache, k, fun() -> v end, #{wait => 1})),
    ?assertError(badarg, ?C:get("cache", k)),
    ?assertError(badarg, ?C:put(<<"cache">>, k, v)),
    ok = ?C:stop(Cache).

default() ->
    %% The application, where another test left it running, has the name.
    _ = application:stop(erlmcp_flow),
    {ok, Cache} = ?C:start_link(),
    ?assertEqual(Cache, whereis(?C)),
    ok = ?C:put(k, v),
    ?assertEqual({ok, v}, ?C:get(k)),
    ?assertEqual(1, ?C:size()),
    ?assertEqual({ok, w}, ?C:fetch(w, fun() -> w end)),
    ok = ?C:delete(k),
    ?assertMatch(#{hits := 1, size := 1}, ?C:stats()),
    ok = ?C:clear(),
    ?assertEqual(0, ?C:size()),
    ok = ?C:stop(Cache),
    ?assertMatch(#{id := {?C, some}, start := {?C, start_link, [#{name := some}]}},
                 ?C:child_spec(#{name => some})).

not_running() ->
    Cache = cache([]),
    ok = ?C:stop(Cache),
    [?assertEqual({error, not_running}, Result)
     || Ref <- [Cache, no_such_cache, {global, no_such_cache}],
        Result <- [?C:get(Ref, k), ?C:put(Ref, k, v), ?C:put(Ref, k, v, #{ttl => 1}),
                   ?C:delete(Ref, k), ?C:clear(Ref), ?C:size(Ref), ?C:stats(Ref),
                   ?C:fetch(Ref, k, fun() -> v end)]].

killed() ->
    _ = process_flag(trap_exit, true),
    Cache = cache(#{name => lru_cache_killed}),
    ok = ?C:put(lru_cache_killed, k, v),
    exit(Cache, kill),
    receive {'EXIT', Cache, killed} -> ok end,
    until(fun() -> ?C:get(lru_cache_killed, k) =:= {error, not_running} end),
    Next = cache(#{name => lru_cache_killed}),
    ?assertEqual(miss, ?C:get(lru_cache_killed, k)),
    ok = ?C:put(lru_cache_killed, k, w),
    garbage_collect(),
    ?assertEqual({ok, w}, ?C:get(Next, k)),
    ok = ?C:stop(Next),
    receive {'EXIT', Next, normal} -> ok end,
    _ = process_flag(trap_exit, false).

%%% Single flight

fetch() ->
    Cache = cache(#{ttl => ?HOUR}),
    ?assertEqual({ok, 1}, ?C:fetch(Cache, k, fun() -> 1 end)),
    ?assertEqual({ok, 1}, ?C:fetch(Cache, k, fun() -> 2 end)),
    ?assertEqual({ok, 3}, ?C:fetch(Cache, short, fun() -> 3 end, #{ttl => 60_000})),
    ok = ?C:advance(Cache, 60_000),
    ?assertEqual(miss, ?C:get(Cache, short)),
    ?assertEqual({ok, 1}, ?C:get(Cache, k)),
    %% One in the other.
    ?assertEqual({ok, {outer, inner}},
                 ?C:fetch(Cache, outer, fun() ->
                     {ok, Inner} = ?C:fetch(Cache, inner, fun() -> inner end),
                     {outer, Inner}
                 end)),
    ?assertMatch(#{hits := 2, misses := 5}, ?C:stats(Cache)),
    ok = ?C:stop(Cache).

%% N processes that fetch at once; the first waits in its function until the others
%% wait for it, then does `End'. Their answers, the leader's first.
flight(Cache, N, End) ->
    Test = self(),
    Calls = counters:new(1, []),
    Fetch = fun() ->
        ?C:fetch(Cache, k, fun() ->
            counters:add(Calls, 1, 1),
            Test ! {computing, self()},
            receive go -> End() end
        end)
    end,
    Start = fun() -> spawn_monitor(fun() -> exit({answer, Fetch()}) end) end,
    {Leader, LeaderMon} = Start(),
    receive {computing, Leader} -> ok end,
    Waiters = [Start() || _ <- lists:seq(2, N)],
    until(fun() -> waiting(Cache) =:= N - 1 end),
    Leader ! go,
    Answers = [answer(P, M) || {P, M} <- [{Leader, LeaderMon} | Waiters]],
    ?assertEqual(1, counters:get(Calls, 1)),
    Answers.

answer(Pid, Mon) ->
    receive
        {'DOWN', Mon, process, Pid, {answer, Answer}} -> Answer;
        {'DOWN', Mon, process, Pid, Why} -> {died, Why}
    end.

%% How many processes wait for another one's computation.
waiting(Cache) ->
    gen_server:call(Cache, {flight, waiting}).

fetch_once() ->
    Cache = cache([]),
    ?assertEqual(lists:duplicate(50, {ok, value}), flight(Cache, 50, fun() -> value end)),
    ?assertEqual({ok, value}, ?C:get(Cache, k)),
    ?assertMatch(#{misses := 50}, ?C:stats(Cache)),
    %% Without the ceremony: many at once, again and again.
    Calls = counters:new(1, []),
    [begin
         Pids = [spawn_monitor(fun() ->
             exit({answer, ?C:fetch(Cache, {k, I}, fun() ->
                 counters:add(Calls, 1, 1), erlang:yield(), I
             end)})
         end) || _ <- lists:seq(1, 8)],
         [?assertEqual({ok, I}, answer(P, M)) || {P, M} <- Pids]
     end || I <- lists:seq(1, 200)],
    ?assertEqual(200, counters:get(Calls, 1)),
    ?assertEqual(0, waiting(Cache)),
    ok = ?C:stop(Cache).

fetch_crash() ->
    Cache = cache([]),
    [?assertEqual(lists:duplicate(5, {error, {failed, Failed}}), flight(Cache, 5, End))
     || {Failed, End} <- [{{error, boom}, fun() -> error(boom) end},
                          {{throw, ball}, fun() -> throw(ball) end},
                          {{exit, done}, fun() -> exit(done) end}]],
    ?assertEqual(miss, ?C:get(Cache, k)),
    ?assertEqual({ok, v}, ?C:fetch(Cache, k, fun() -> v end)),
    ok = ?C:stop(Cache).

fetch_killed() ->
    Cache = cache([]),
    [Leader | Waiters] = flight(Cache, 5, fun() -> exit(self(), kill), receive never -> v end end),
    ?assertEqual({died, killed}, Leader),
    ?assertEqual(lists:duplicate(4, {error, {failed, {down, killed}}}), Waiters),
    ?assertEqual({ok, v}, ?C:fetch(Cache, k, fun() -> v end)),
    ok = ?C:stop(Cache).

fetch_hangs() ->
    Cache = cache(#{fetch_timeout => 30}),
    Test = self(),
    {Leader, Mon} = spawn_monitor(fun() ->
        exit({answer, ?C:fetch(Cache, k, fun() ->
            Test ! computing,
            receive go -> late end
        end)})
    end),
    receive computing -> ok end,
    ?assertEqual({error, timeout}, ?C:fetch(Cache, k, fun() -> never end, #{timeout => 1})),
    %% Whoever comes after the timeout takes over.
    Take = fun Take() ->
        case ?C:fetch(Cache, k, fun() -> mine end) of
            {error, timeout} -> Take();
            Answer -> Answer
        end
    end,
    ?assertEqual({ok, mine}, Take()),
    Leader ! go,
    ?assertEqual({ok, late}, answer(Leader, Mon)),
    ?assertEqual(0, waiting(Cache)),
    ok = ?C:stop(Cache).

%%% Against the model

check_model_test_() ->
    {timeout, 3600, fun() ->
        Runs = number("CACHE_RUNS", 1000),
        ?assert(proper:quickcheck(prop_lru_cache:prop_cache(),
                                  [{numtests, Runs}, {to_file, user}, {max_size, 60}]))
    end}.

%%% Many processes

stress_test_() ->
    {timeout, 300, [{lists:concat([stress, " ", What]),
                     {timeout, 300, fun() -> stress(Opts, Harm) end}}
                    || {What, Opts, Harm} <-
                       [{"no update is lost", #{capacity => 20_000, ttl => infinity}, false},
                        {"everything at once", #{capacity => 2_000, ttl => 20}, true},
                        {"small", #{capacity => 64, ttl => 20}, true},
                        {"bytes", #{capacity => 5_000, ttl => infinity,
                                    max_bytes => 1_000_000}, true}]]}.

%% Each of 16 processes has 1000 keys of its own. A read of one gives what the process
%% put last, or, when there is harm (eviction, expiry, clear), a miss; and a read of
%% another's gives a value of that key.
stress(Opts, Harm) ->
    Cache = cache(Opts),
    End = erlang:monotonic_time(millisecond) + 1000 * number("CACHE_SECONDS", 5) div 4,
    Pids = [spawn_monitor(fun() ->
        _ = rand:seed(exsss, N),
        work(Cache, N, Harm, End, maps:get(capacity, Opts), #{})
    end) || N <- lists:seq(1, 16)],
    [receive {'DOWN', Mon, process, Pid, Why} -> ?assertEqual(normal, Why) end
     || {Pid, Mon} <- Pids],
    #{size := Size, bytes := Bytes} = ?C:stats(Cache),
    ?assert(Size =< maps:get(capacity, Opts)),
    ?assert((Size > 0) =:= (Bytes > 0)),
    [ok = ?C:delete(Cache, {N, I}) || N <- lists:seq(1, 16), I <- lists:seq(1, 1000)],
    ?assertMatch(#{size := 0, bytes := 0}, ?C:stats(Cache)),
    %% Its room is all there again.
    Room = maps:get(capacity, Opts),
    [ok = ?C:put(Cache, I, I, #{ttl => infinity}) || I <- lists:seq(1, Room)],
    is_map_key(max_bytes, Opts) orelse ?assertEqual(Room, ?C:size(Cache)),
    ok = ?C:stop(Cache).

work(Cache, N, Harm, End, Capacity, Mine) ->
    case erlang:monotonic_time(millisecond) < End of
        true ->
            Mine1 = lists:foldl(fun(_, M) -> step(Cache, N, Harm, Capacity, M) end, Mine,
                                lists:seq(1, 100)),
            work(Cache, N, Harm, End, Capacity, Mine1);
        false ->
            ok
    end.

step(Cache, N, Harm, Capacity, Mine) ->
    I = rand:uniform(1000),
    Key = {N, I},
    case rand:uniform(1000) of
        R when R =< 450 ->
            Version = maps:get(I, Mine, 0) + 1,
            ok = ?C:put(Cache, Key, value(Key, Version)),
            Mine#{I => Version};
        R when R =< 850 ->
            case ?C:get(Cache, Key) of
                {ok, Value} ->
                    Expected = value(Key, maps:get(I, Mine, 0)),
                    Value = Expected;
                miss ->
                    true = Harm orelse not is_map_key(I, Mine)
            end,
            Mine;
        R when R =< 950 ->
            Other = {rand:uniform(16), I},
            case ?C:get(Cache, Other) of
                {ok, {Other, _, _}} -> ok;
                miss -> ok
            end,
            Mine;
        R when R =< 995 ->
            ok = ?C:delete(Cache, Key),
            maps:remove(I, Mine);
        R when R =< 998 ->
            true = ?C:size(Cache) =< Capacity,
            Mine;
        _ when Harm ->
            ok = ?C:clear(Cache),
            %% Versions go on, so that an old value would be seen.
            Mine;
        _ ->
            Mine
    end.

value(Key, Version) ->
    Size = erlang:phash2({Key, Version}, 10),
    {Key, Version, case Size of
        0 -> binary:copy(<<Version:32>>, 100);
        1 -> lists:seq(1, 50);
        9 when Version rem 50 =:= 0 -> lists:seq(1, 3000);
        _ -> #{version => Version}
    end}.

%%% Nothing is left

many_caches_test_() ->
    {timeout, 600, fun() ->
        Many = number("CACHE_MANY", 3_000),
        Round = fun(I) ->
            Cache = cache(#{capacity => 1 + I rem 3000, ttl => infinity}),
            [ok = ?C:put(Cache, K, {K, <<0:1000>>}) || K <- lists:seq(1, I rem 20)],
            ok = ?C:stop(Cache)
        end,
        lists:foreach(Round, lists:seq(1, 2_000)),
        Before = what_is_there(),
        lists:foreach(Round, lists:seq(1, Many)),
        {Atoms, Processes, Tables, Memory, Resident} = what_is_there(),
        {Atoms0, Processes0, Tables0, Memory0, Resident0} = Before,
        ?assertEqual({Atoms0, Processes0, Tables0}, {Atoms, Processes, Tables}),
        ?assert(Memory - Memory0 < 5_000_000),
        ?assert(Resident - Resident0 < 30_000_000)
    end}.

what_is_there() ->
    garbage_collect(),
    {ok, Statm} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Statm, <<" ">>, [global]),
    {erlang:system_info(atom_count), erlang:system_info(process_count),
     length(ets:all()), erlang:memory(total), 4096 * binary_to_integer(Pages)}.

%% Overwriting for ever takes no more than filling, and a bit for what is dead.
churn_test_() ->
    {timeout, 1800, fun() ->
        Cache = cache(#{capacity => 5_000, ttl => 10}),
        Put = fun(I) ->
            ok = ?C:put(Cache, I rem 7_000, #{id => I, tags => [a, b], name => <<I:200>>})
        end,
        lists:foreach(Put, lists:seq(1, 20_000)),
        {_, _, _, Memory0, Resident0} = what_is_there(),
        times(number("CACHE_PUTS", 400_000), Put),
        {_, _, _, Memory, Resident} = what_is_there(),
        ?assert(Memory - Memory0 < 5_000_000),
        ?assert(Resident - Resident0 < 20_000_000),
        ok = ?C:stop(Cache)
    end}.

times(0, _F) -> ok;
times(N, F) -> F(N), times(N - 1, F).
