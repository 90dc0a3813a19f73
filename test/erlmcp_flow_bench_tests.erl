-module(erlmcp_flow_bench_tests).
-include_lib("eunit/include/eunit.hrl").

-define(ENGINE, erlmcp_flow_bench_engine).
-define(STATS, erlmcp_flow_bench_stats).

%% -- statistics ----------------------------------------------------------

median_test() ->
    [?assertEqual(Expected, ?STATS:median(Samples)) || {Expected, Samples} <- [
        {1, [1]}, {2, [3, 1, 2]}, {2.5, [4, 1, 3, 2]}, {5.0, [5, 5, 5, 100]}]].

%% The ratio is taken round by round: a machine that slows down for both is not a
%% difference between them.
ratios_test() ->
    ?assertEqual([2.0, 2.0, 2.0], ?STATS:ratios(own_by_rival, [20, 2, 200], [10, 1, 100])),
    ?assertEqual([0.5, 0.5], ?STATS:ratios(rival_by_own, [20, 2], [10, 1])),
    ?assertEqual([3.0], ?STATS:ratios(own_by_rival, [5, 3], [0, 1])),
    ?assertEqual([], ?STATS:ratios(own_by_rival, [5], [0.0])).

judge_test() ->
    [?assertEqual(Expected, element(1, ?STATS:judge(Targets, #{value => V, ratio => R})))
     || {Expected, Targets, V, R} <- [
        {info, [], 1, undefined},
        {pass, [{value, '>', 10}], 11, undefined},
        {fail, [{value, '>', 10}], 10, undefined},
        {pass, [{value, '>=', 10}], 10, undefined},
        {fail, [{value, '<', 10}], 10, undefined},
        {pass, [{value, '=<', 0}], 0, undefined},
        {fail, [{value, '=<', 0}], 1, undefined},
        {pass, [{value, '>', 10}, {ratio, '>=', 3}], 11, 3.0},
        {fail, [{value, '>', 10}, {ratio, '>=', 3}], 11, 2.9},
        {fail, [{value, '>', 10}, {ratio, '>=', 3}], 9, 4.0},
        {absent, [{ratio, '>=', 3}], 9, undefined},
        {absent, [{value, '>', 1}, {ratio, '>=', 3}], 9, undefined},
        {fail, [{value, '>', 10}, {ratio, '>=', 3}], 9, undefined}]].

judge_says_by_how_much_test() ->
    {fail, Why} = ?STATS:judge([{value, '>', 200}], #{value => 150, ratio => undefined}),
    ?assertEqual(<<"value 150, needs > 200, off by 25.0 %">>, Why).

%% -- the engine ----------------------------------------------------------

ctx() -> ctx(3).
ctx(Rounds) -> #{rounds => Rounds, notify => fun(_) -> ok end}.

metric() -> metric(#{}).
metric(More) ->
    maps:merge(#{id => <<"m">>, label => "a metric", key => v, unit => ms, better => lower,
                 rival => <<"rival">>, targets => [{ratio, '>=', 2}]}, More).

probe(Own, Rival) -> probe(Own, Rival, #{}).
probe(Own, Rival, More) ->
    maps:merge(#{id => <<"p">>, group => latency, section => <<"s">>, label => <<"l">>,
                 sides => fun(_) -> [{<<"own">>, Own}, {<<"rival">>, Rival}] end,
                 metrics => [metric()]}, More).

one(Probe) -> one(Probe, ctx()).
one(Probe, Ctx) ->
    #{results := [Result | _]} = ?ENGINE:run(Probe, Ctx),
    Result.

gives(V) -> fun() -> {ok, #{v => V}} end.

busy(Ms) ->
    fun() ->
        T0 = erlang:monotonic_time(millisecond),
        spin(T0 + Ms),
        {ok, #{v => erlang:monotonic_time(millisecond) - T0}}
    end.

spin(Until) ->
    case erlang:monotonic_time(millisecond) < Until of
        true -> spin(Until);
        false -> ok
    end.

faster_passes_and_slower_fails_test() ->
    ?assertMatch(#{verdict := pass, ratio := R} when R >= 2, one(probe(busy(2), busy(20)))),
    ?assertMatch(#{verdict := fail, ratio := R, reason := <<"ratio ", _/binary>>} when R < 2,
                 one(probe(busy(20), busy(2)))).

%% Of the same two sides, a share of the cost is judged the other way round.
ratio_direction_test() ->
    Share = metric(#{ratio => own_by_rival, targets => [{ratio, '=<', 0.6}]}),
    ?assertMatch(#{verdict := pass, ratio := 0.5},
                 one(probe(gives(5), gives(10), #{metrics => [Share]}))),
    ?assertMatch(#{verdict := fail, ratio := 2.0},
                 one(probe(gives(10), gives(5), #{metrics => [Share]}))),
    Higher = metric(#{better => higher}),
    ?assertMatch(#{verdict := pass, ratio := 2.0},
                 one(probe(gives(10), gives(5), #{metrics => [Higher]}))).

%% The rival's figure stands beside ours, and a ratio would say nothing.
no_ratio_test() ->
    Beside = metric(#{ratio => none, targets => [{value, '=<', 0}]}),
    ?assertMatch(#{verdict := pass, ratio := undefined, rival := #{median := 9}},
                 one(probe(gives(0), gives(9), #{metrics => [Beside]}))).

%% What a side says about itself stands behind the reason of a FAIL, only there.
because_test() ->
    Side = fun() -> {ok, #{v => 3, because => <<"a, b">>}} end,
    Zero = metric(#{targets => [{value, '=<', 0}]}),
    ?assertMatch(#{verdict := fail, median := 3, reason := <<"value 3, needs =< 0: a, b">>},
                 one(probe(Side, gives(1), #{metrics => [Zero]}))),
    ?assertMatch(#{verdict := info, reason := undefined},
                 one(probe(Side, gives(1), #{metrics => [metric(#{targets => []})]}))).

schedulers_are_watched_test() ->
    Before = erlang:system_monitor(),
    Watch = erlmcp_flow_bench_watch:start(),
    {Pid, _} = erlang:system_monitor(),
    %% As the VM would send them.
    Pid ! {monitor, self(), long_schedule, [{timeout, 9}, {in, {lists, map, 2}}, {out, undefined}]},
    Probe = erlmcp_flow_bench_watch:probe(Watch),
    ?assertMatch(#{verdict := pass}, one(Probe)),
    Pid ! {monitor, self(), long_schedule,
           [{timeout, 9}, {in, {erlmcp_flow_nif, x, 1}}, {out, {erlmcp_flow_nif, x, 1}}]},
    ?assertMatch(#{results := [#{verdict := fail, median := 1,
                                 reason := <<"value 1, needs =< 0: x/1 1">>},
                               #{median := All}]} when All >= 2,
                 ?ENGINE:run(Probe, ctx())),
    ok = erlmcp_flow_bench_watch:stop(Watch),
    ?assertEqual(Before, erlang:system_monitor()).

figure_of_another_side_test() ->
    Other = metric(#{side => <<"rival">>, rival => <<"own">>, targets => []}),
    ?assertMatch(#{median := 9, rival := #{median := 3}},
                 one(probe(gives(3), gives(9), #{metrics => [Other]}))).

what_is_missing_is_not_built_test() ->
    [begin
         R = one(probe(gives(1), gives(9), #{needs => Needs})),
         ?assertMatch(#{verdict := not_built, reason := <<"no ", _/binary>>}, R),
         ?assertNot(is_map_key(median, R))
     end || Needs <- [[erlmcp_flow_no_such_module], [{lists, no_such_function, 1}],
                      [lists, {lists, map, 17}]]],
    ?assertMatch(#{verdict := pass}, one(probe(gives(1), gives(9), #{needs => [lists, {lists, map, 2}]}))).

no_measurement_yet_is_not_built_test() ->
    Probe = maps:remove(sides, probe(gives(1), gives(1), #{needs => [lists]})),
    ?assertMatch(#{verdict := not_built}, one(Probe)).

%% Each way to go wrong, on either side, is a FAIL that says why.
failures_test_() ->
    Bad = [
        {"wrong result", fun() -> {error, {wrong_result, 3, 4}} end, <<"wrong_result">>},
        {"crash", fun() -> error(boom) end, <<"boom">>},
        {"exit", fun() -> exit(shutdown) end, <<"shutdown">>},
        {"killed", fun() -> exit(self(), kill), receive never -> ok end end, <<"killed">>},
        {"nonsense", fun() -> 42 end, <<"bad_outcome">>}],
    [{Name, fun() ->
        #{verdict := fail, reason := Why} = one(probe(Side, gives(9))),
        ?assertNotEqual(nomatch, binary:match(Why, Text)),
        #{verdict := fail, reason := RivalWhy} = one(probe(gives(1), Side)),
        ?assertNotEqual(nomatch, binary:match(RivalWhy, Text))
     end} || {Name, Side, Text} <- Bad].

silence_is_a_failure_and_leaves_nothing_behind_test() ->
    Self = self(),
    Hang = fun() ->
        Child = spawn_link(fun() -> receive never -> ok end end),
        Self ! {child, Child},
        receive never -> ok end
    end,
    #{verdict := fail, reason := Why} = one(probe(Hang, gives(1), #{timeout => 100})),
    ?assertNotEqual(nomatch, binary:match(Why, <<"no_result_in_ms">>)),
    Child = receive {child, C} -> C end,
    Mon = monitor(process, Child),
    receive {'DOWN', Mon, process, Child, _} -> ok end.

failure_in_a_later_round_test() ->
    N = counters:new(1, []),
    Side = fun() ->
        counters:add(N, 1, 1),
        case counters:get(N, 1) of
            3 -> {error, broke_in_the_middle};
            _ -> {ok, #{v => 1}}
        end
    end,
    ?assertMatch(#{verdict := fail}, one(probe(Side, gives(9)))),
    ?assertEqual(3, counters:get(N, 1)).

absent_rival_test() ->
    Absent = {absent, "not installed"},
    ?assertMatch(#{verdict := absent, median := 1,
                   rival := #{name := <<"rival">>, absent := <<"not installed">>}},
                 one(probe(gives(1), Absent))),
    ByValue = metric(#{targets => [{value, '<', 5}]}),
    ?assertMatch(#{verdict := pass, ratio := undefined},
                 one(probe(gives(1), Absent, #{metrics => [ByValue]}))),
    ?assertMatch(#{verdict := absent},
                 one(probe(gives(1), fun() -> {absent, "no such thing"} end))),
    ?assertMatch(#{verdict := absent, reason := <<"no proc">>},
                 one(probe(fun() -> {absent, "no proc"} end, gives(1)))).

figure_that_this_system_has_not_test() ->
    Rss = metric(#{key => rss}),
    ?assertMatch(#{verdict := absent}, one(probe(gives(1), gives(1), #{metrics => [Rss]}))).

setup_and_teardown_test() ->
    Self = self(),
    Teardown = fun(State) -> Self ! {torn_down, State} end,
    Base = #{setup => fun() -> {ok, here} end, teardown => Teardown},
    ?assertMatch(#{verdict := fail}, one(probe(fun() -> error(x) end, gives(1), Base))),
    ?assertEqual({torn_down, here}, receive M -> M end),
    ?assertMatch(#{verdict := fail, reason := <<"no epmd">>},
                 one(probe(gives(1), gives(2), #{setup => fun() -> {error, <<"no epmd">>} end}))),
    ?assertMatch(#{verdict := fail},
                 one(probe(gives(1), gives(2), #{setup => fun() -> error(oops) end}))),
    ?assertMatch(#{verdict := absent},
                 one(probe(gives(1), gives(2), #{setup => fun() -> {absent, "none"} end}))),
    ?assertMatch(#{verdict := fail},
                 one(probe(gives(1), gives(2), Base#{sides => fun(_) -> error(oops) end}))),
    ?assertEqual({torn_down, here}, receive M2 -> M2 end).

%% A warm-up that leaves no sample, then the sides in turn, each first every other
%% round, each sample in a process of its own.
interleaving_test() ->
    Self = self(),
    Side = fun(Name) -> fun() -> Self ! {Name, self()}, {ok, #{v => 1}} end end,
    #{samples := Samples} = one(probe(Side(a), Side(b)), ctx(3)),
    ?assertEqual(3, length(Samples)),
    Calls = [receive {Name, Pid} -> {Name, Pid} end || _ <- lists:seq(1, 8)],
    {Order, Pids} = lists:unzip(Calls),
    ?assertEqual([b, a, a, b, b, a, a, b], Order),
    ?assertEqual(8, length(lists:usort(Pids))).

distributions_test() ->
    Side = fun() ->
        H = erlmcp_flow_histogram:new(),
        [erlmcp_flow_histogram:record(H, V) || V <- [1, 2, 2]],
        {ok, #{v => 1}, H}
    end,
    #{distributions := [D]} = ?ENGINE:run(probe(Side, gives(1)), ctx(2)),
    ?assertMatch(#{side := <<"own">>, count := 6, buckets := [[1, 2], [2, 4]]}, D).

loop_test() ->
    Work = fun() -> lists:sum(lists:seq(1, 100)) end,
    {ok, Ns} = erlmcp_flow_bench_loop:ns_per_call(Work, 5050, 5),
    ?assert(Ns > 50 andalso Ns < 1.0e6),
    ?assertMatch({error, {wrong_result, 5051, _}},
                 erlmcp_flow_bench_loop:ns_per_call(Work, 5051, 5)).

%% -- the agents see what is wrong ----------------------------------------

agent_test_() ->
    M = [#{1 => 1}, #{2 => 2}],
    [M1, M2] = M,
    Right = [{1, 0, M1}, {1, 1, M2}, {1, 2, M1}],
    [{Name, fun() -> ?assertMatch(Expected, talk(M, Messages)) end}
     || {Name, Expected, Messages} <- [
        {"one by one", done, Right},
        {"a batch", done, [{erlmcp_flow_batch, Right}]},
        {"a list", done, [Right]},
        {"out of order", wrong, [{1, 1, M2}, {1, 0, M1}]},
        {"twice", wrong, [{1, 0, M1}, {1, 0, M1}]},
        {"one too many in a batch", wrong, [{erlmcp_flow_batch, Right ++ [{1, 3, M2}]}]},
        {"one left out", wrong, [{1, 0, M1}, {1, 2, M1}]},
        {"wrong content", wrong, [{1, 0, M2}]},
        {"not a message of ours", wrong, [hello]},
        {"not all", {left, 1}, [{1, 0, M1}, {1, 1, M2}]}]].

talk(Terms, Messages) ->
    Self = self(),
    Pid = spawn_link(erlmcp_flow_bench_swarm, agent,
                     [Self, term_to_binary(Terms), 1, 0, 1, 3]),
    receive {ready, Pid} -> ok end,
    lists:foreach(fun(M) -> Pid ! M end, Messages),
    Pid ! {left, Self},
    Answers = collect(Pid, monitor(process, Pid), []),
    case Answers of
        [done, wrong] -> wrong;
        [First | _] -> First
    end.

collect(Pid, Mon, Acc) ->
    receive
        {done, Pid} -> collect(Pid, Mon, [done | Acc]);
        {wrong, Pid, _} -> collect(Pid, Mon, [wrong | Acc]);
        {left, Pid, N} -> unlink(Pid), exit(Pid, kill), collect(Pid, Mon, [{left, N} | Acc]);
        {'DOWN', Mon, process, Pid, _} -> lists:sort(Acc)
    end.

swarm_counts_test() ->
    Payload = term_to_binary([#{<<"a">> => 1}]),
    [?assertMatch({ok, #{msg_per_s := R}} when R > 0,
                  erlmcp_flow_bench_swarm:run(#{via => Via, agents => 7, senders => S,
                                                messages => 1000, payload => Payload}))
     || Via <- [plain, {lists, 10}], S <- [1, 4]].

%% What falls due while the sender is held up is late, and shows as late.
pace_test() ->
    Payload = term_to_binary([#{}]),
    {ok, F, H} = erlmcp_flow_bench_pace:run(#{via => plain, agents => 3, rate => 2000, ms => 200,
                                              payload => Payload}),
    ?assertEqual(400, erlmcp_flow_histogram:count(H)),
    #{p50 := P50, p99 := P99, max := Max, msg_per_s := Rate} = F,
    ?assert(P50 =< P99 andalso P99 =< Max),
    ?assert(Rate < 2100).

two_nodes_test_() ->
    {timeout, 60, fun() ->
        {ok, {A, B, Node}} = erlmcp_flow_bench_nodes:start_pair(),
        Spec = #{via => plain, agents => 5, senders => 2, messages => 500, node => Node,
                 payload => term_to_binary([#{<<"x">> => 1}])},
        ?assertMatch({ok, #{msg_per_s := _}},
                     erlmcp_flow_bench_nodes:call(A, erlmcp_flow_bench_swarm, run, [Spec], 20000)),
        %% The other node goes away: an error, and soon.
        ok = erlmcp_flow_bench_nodes:stop(B),
        ?assertMatch({error, _},
                     erlmcp_flow_bench_nodes:call(A, erlmcp_flow_bench_swarm, run, [Spec], 20000)),
        ok = erlmcp_flow_bench_nodes:stop(A),
        ?assertMatch({error, _}, erlmcp_flow_bench_nodes:call(A, erlang, node, [], 1000))
    end}.

epmd_less_names_test() ->
    ?assertEqual({ok, 41234}, erlmcp_flow_bench_epmd:listen_port_please('flow_41234@127.0.0.1', "h")),
    ?assertEqual({port, 41234, 6}, erlmcp_flow_bench_epmd:port_please("flow_41234", "h")).

%% -- what is printed -----------------------------------------------------

line(Result) -> unicode:characters_to_binary(erlmcp_flow_bench_print:line(Result)).

result() ->
    #{label => <<"Message throughput, local, 60 agents">>, unit => 'msg/s', better => higher,
      median => 2.41e6, min => 2.3e6, max => 2.5e6, ratio => 3.9, ratio_of => own_by_rival,
      rival => #{name => <<"plain !">>, median => 6.2e5}, verdict => pass, reason => undefined,
      targets => [{value, '>', 500000}, {ratio, '>=', 3}]}.

line_test() ->
    Squeezed = re:replace(line(result()), " +", " ", [global, {return, binary}]),
    ?assertEqual(<<" Message throughput, local, 60 agents 2.41M msg/s [2.30..2.50] "
                   "(plain !: 620K, 3.90x) target > 500K, >= 3x PASS">>, Squeezed).

lines_are_aligned_test() ->
    Column = fun(R) -> {At, _} = binary:match(line(R), <<"target">>), At end,
    ?assertEqual(Column(result()),
                 Column((result())#{median => 1.0, min => 1.0, max => 1.0, label => <<"x">>})).

ascii_only_test() ->
    [?assert(lists:all(fun(C) -> C >= 32 andalso C < 127 end, binary_to_list(line(R))))
     || R <- [result(), (result())#{verdict => fail, reason => <<"too slow">>},
              maps:without([median, rival, ratio], (result())#{verdict => not_built})]].

not_built_is_never_pass_test() ->
    Text = line(maps:without([median, min, max, rival, ratio],
                             (result())#{verdict => not_built, reason => <<"no module x">>})),
    ?assertEqual(nomatch, binary:match(Text, <<"PASS">>)),
    ?assertNotEqual(nomatch, binary:match(Text, <<"NOT BUILT  no module x">>)).

value_test() ->
    [?assertEqual(Expected, unicode:characters_to_list(erlmcp_flow_bench_print:value(Unit, V)))
     || {Expected, Unit, V} <- [
        {"531 ns", ns, 531.2}, {"12.3 us", ns, 12300}, {"3.40 ms", ns, 3.4e6},
        {"1.05 MB", bytes, 1048576}, {"0 %", pct, 0}, {"0 %", pct, 0.0}, {"1M msg/s", 'msg/s', 1000000},
        {"999K", count, 999000}, {"1.00M", count, 999999}, {"9999", count, 9999},
        {"0.0012 ms", ms, 0.00123}]].

%% What a function writes to its group leader.
printed(Fun) ->
    Before = group_leader(),
    Device = spawn_link(fun() -> device([]) end),
    group_leader(Device, self()),
    try Fun() after group_leader(Before, self()) end,
    Device ! {text, self()},
    receive {text, Text} -> Text end.

device(Acc) ->
    receive
        {io_request, From, Ref, {put_chars, _Encoding, M, F, A}} ->
            From ! {io_reply, Ref, ok},
            device([Acc, apply(M, F, A)]);
        {io_request, From, Ref, {put_chars, _Encoding, Chars}} ->
            From ! {io_reply, Ref, ok},
            device([Acc, Chars]);
        {io_request, From, Ref, _} ->
            From ! {io_reply, Ref, {error, enotsup}},
            device(Acc);
        {text, From} ->
            From ! {text, unicode:characters_to_binary(Acc)}
    end.

console_test() ->
    Text = printed(fun() ->
        erlmcp_flow_bench:run_all(#{quick => true, save => false, only => <<"failover">>})
    end),
    [?assertNotEqual(nomatch, binary:match(Text, Part), Text)
     || Part <- [<<"erlmcp_flow ">>, <<"== Reliability: other parts ==">>, <<"NOT BUILT">>,
                 <<"== Summary ==">>, <<"0 PASS, 0 FAIL, 1 NOT BUILT">>]].

%% On a terminal the progress stands on one line, which the result takes away; in a
%% file there is a line only when nothing else was written for two seconds.
progress_test() ->
    Event = {progress, #{label => <<"work">>}, <<"own">>, 1, 5},
    Run = fun(Mode) ->
        printed(fun() ->
            Printer = erlmcp_flow_bench_print:new(Mode),
            ok = erlmcp_flow_bench_print:notify(Printer, Event),
            ok = erlmcp_flow_bench_print:notify(Printer, {result, result()}),
            ok = erlmcp_flow_bench_print:notify(Printer, {result, (result())#{quiet => true}})
        end)
    end,
    ?assertMatch({match, _}, re:run(Run(tty), "\\r  .. work: round 1 of 5 \\(own\\)\\r *\\r.*PASS.*\\n$")),
    ?assertEqual(iolist_to_binary([line(result()), "\n"]), Run(plain)),
    ?assertEqual(<<>>, Run(silent)).

fail_is_in_the_summary_test() ->
    Record = #{results => [(result())#{verdict => fail, reason => <<"too slow by 3 %">>}],
               summary => #{fail => 1}, seconds => 2.0},
    Text = printed(fun() ->
        erlmcp_flow_bench_print:summary(erlmcp_flow_bench_print:new(plain), Record)
    end),
    ?assertNotEqual(nomatch, binary:match(
        Text, <<"FAIL Message throughput, local, 60 agents: too slow by 3 %">>)).

%% -- what runs in other VMs, here ----------------------------------------

waiting_messages_test_() ->
    {timeout, 30, fun() -> application_as_before(fun() ->
        Spec = #{agents => 3, messages => 300, payload => term_to_binary([#{<<"a">> => 1}])},
        [begin
             {ok, Figures} = erlmcp_flow_bench_memory:queued(Spec#{via => Via}),
             ?assertMatch(#{total := T, processes := P} when T > P, Figures)
         end || Via <- [mailbox, batch]]
    end) end}.

%% Some measurements start the application; other tests may want it stopped.
application_as_before(Fun) ->
    Running = lists:keymember(erlmcp_flow, 1, application:which_applications()),
    try Fun() after
        Running orelse application:stop(erlmcp_flow)
    end.

bomb_test() ->
    Bomb = zlib:compress(binary:copy(<<0>>, 5000000)),
    ?assertMatch({ok, #{ns := _}}, erlmcp_flow_bench_compress:refuse(Bomb, 1048576)),
    ?assertEqual({error, {not_refused, 5000000}},
                 erlmcp_flow_bench_compress:refuse(Bomb, 10000000)).

%% -- the record and its comparison ---------------------------------------

record(Results) ->
    #{format => 1, timestamp => <<"20260101T000000Z">>, seconds => 1.5, machine => #{cpu => <<"c">>},
      params => #{results_dir => <<"x">>, only => undefined}, results => Results,
      distributions => [#{probe => <<"p">>, buckets => [[1, 2]]}], summary => #{pass => 1}}.

measured(Id, Ratio) ->
    #{results := [R]} = ?ENGINE:run(
        probe(gives(10 / Ratio), gives(10), #{metrics => [metric(#{id => Id, targets => []})]}),
        ctx(1)),
    R.

write_and_read_test() ->
    Dir = temp_dir(),
    Record = record([measured(<<"a">>, 2.0), (measured(<<"b|c">>, 1))#{reason => undefined}]),
    {ok, #{json := Json, markdown := Markdown}} = erlmcp_flow_bench_report:write(Record, Dir),
    ?assertMatch("flow_benchmark_" ++ _, filename:basename(Json)),
    {ok, Read} = erlmcp_flow_bench_report:read(Json),
    ?assertEqual(erlmcp_flow_bench_report:plain(Record), Read),
    {ok, Text} = file:read_file(Markdown),
    ?assertNotEqual(nomatch, binary:match(Text, <<"| a metric |">>)),
    ok = file:del_dir_r(Dir).

temp_dir() ->
    Dir = filename:join(os:getenv("TMPDIR", "/tmp"),
                        "erlmcp_flow_bench_" ++ integer_to_list(erlang:unique_integer([positive]))
                        ++ os:getpid()),
    ok = filelib:ensure_path(Dir),
    Dir.

compare_test_() ->
    A = fun(Ratio) -> measured(<<"a">>, Ratio) end,
    Fails = fun(R) -> R#{verdict => fail, reason => <<"too slow">>} end,
    NotBuilt = maps:without([ratio, median], (A(1))#{verdict => not_built}),
    [{Name, fun() ->
        #{verdict := Verdict, regressions := Regressions} =
            erlmcp_flow_bench:compare(record(Base), record(New)),
        ?assertEqual(Expected, Verdict),
        ?assertEqual(Expected =:= pass, Regressions =:= [])
     end} || {Name, Expected, Base, New} <- [
        {"the same", pass, [A(2)], [A(2)]},
        {"better", pass, [A(2)], [A(3)]},
        {"within the tolerance", pass, [A(2)], [A(1.8)]},
        {"worse", fail, [A(2)], [A(1.6)]},
        {"more than before", pass, [A(2)], [A(2), measured(<<"b">>, 1)]},
        {"missing", fail, [A(2)], [measured(<<"b">>, 2)]},
        {"not built any more", fail, [A(2)], [NotBuilt]},
        {"no ratio any more", fail, [A(2)], [(A(2))#{ratio => undefined}]},
        {"fails now", fail, [A(2)], [Fails(A(2))]},
        {"failed before", pass, [Fails(A(2))], [Fails(A(2))]},
        {"not built before", pass, [A(2), NotBuilt#{id => <<"c">>}], [A(2)]},
        {"nothing in the base", fail, [], [A(2)]},
        {"nothing in the new one", fail, [A(2)], []}]].

compare_shares_test() ->
    Share = fun(Ratio) -> (measured(<<"a">>, 1))#{ratio => Ratio, ratio_of => own_by_rival} end,
    Verdict = fun(B, N) ->
        maps:get(verdict, erlmcp_flow_bench:compare(record([Share(B)]), record([Share(N)])))
    end,
    ?assertEqual(pass, Verdict(0.5, 0.4)),
    ?assertEqual(fail, Verdict(0.5, 0.7)),
    ?assertEqual(pass, Verdict(0, 0.0)),
    ?assertEqual(fail, Verdict(0, 0.1)).

compare_unreadable_test() ->
    Dir = temp_dir(),
    Junk = filename:join(Dir, "junk.json"),
    ok = file:write_file(Junk, "{\"results\": 7"),
    Good = record([measured(<<"a">>, 2)]),
    [?assertMatch(#{verdict := fail, regressions := [_]}, erlmcp_flow_bench:compare(A, B))
     || {A, B} <- [{Good, Junk}, {Junk, Good}, {Good, filename:join(Dir, "none.json")},
                   {Good, #{}}, {#{results => 7}, Good}]],
    ok = file:del_dir_r(Dir).

%% -- the whole -----------------------------------------------------------

quick_run_test_() ->
    {timeout, 60, fun() -> application_as_before(fun() ->
        Dir = temp_dir(),
        #{results := Results, files := #{json := Json}, summary := Summary, seconds := Seconds} =
            erlmcp_flow_bench:run_all(#{quick => true, print => false, results_dir => Dir}),
        ?assert(Seconds < 30),
        ?assertEqual(length(Results), lists:sum(maps:values(Summary))),
        Ids = [Id || #{id := Id} <- Results],
        ?assertEqual(length(Ids), length(lists:usort(Ids))),
        %% A tiny load may miss a target; it may not break, and its figure is there.
        [?assert(is_map_key(median, R), R) || R = #{verdict := V} <- Results,
                                              V =:= pass orelse V =:= fail orelse V =:= info],
        ?assertMatch(#{verdict := pass, regressions := []}, erlmcp_flow_bench:compare(Json, Json)),
        ok = file:del_dir_r(Dir)
    end) end}.

only_test() ->
    #{results := Results} =
        erlmcp_flow_bench:run_all(#{quick => true, print => false, save => false,
                                    only => <<"reliability.failover">>}),
    ?assertMatch([#{verdict := not_built}], Results).

missing_input_is_a_failure_test() ->
    #{results := [#{verdict := fail, reason := Why}], summary := #{fail := 1}} =
        erlmcp_flow_bench:run_all(#{quick => true, print => false, save => false,
                                    data_dir => "/nonexistent"}),
    ?assertNotEqual(nomatch, binary:match(Why, <<"no such file">>)).

record_that_cannot_be_written_is_a_failure_test() ->
    #{summary := #{fail := 1}} =
        erlmcp_flow_bench:run_all(#{quick => true, print => false, only => <<"failover">>,
                                    results_dir => "/dev/null/results"}).

options_test() ->
    ?assertError(badarg, erlmcp_flow_bench:run_all(#{quik => true})),
    ?assertError(badarg, erlmcp_flow_bench:run_all([quick])),
    ?assertError(badarg, erlmcp_flow_bench:generate_report(#{})).

%% A missed target is told, and ends the run with 1 only when asked for; a figure
%% that could not be taken always does.
status_test() ->
    Missed = #{verdict => fail, median => 1.0},
    Broken = #{verdict => fail, reason => <<"wrong result">>},
    Good = #{verdict => pass, median => 1.0},
    ?assertEqual(0, erlmcp_flow_bench:status([Good, Missed], false)),
    ?assertEqual(1, erlmcp_flow_bench:status([Good, Missed], true)),
    ?assertEqual(0, erlmcp_flow_bench:status([Good], true)),
    ?assertEqual(1, erlmcp_flow_bench:status([Good, Broken], false)).

%% `make bench' relies on it.
exit_status_test_() ->
    {timeout, 60, fun() ->
        ?assertEqual(1, main([{"ERLMCP_FLOW_DATA", "/nonexistent"}])),
        ?assertEqual(0, main([{"ONLY", "reliability.failover"}]))
    end}.

main(Env) ->
    %% With its own bench/data, the folder is the root that the record goes to.
    Dir = temp_dir(),
    Data = filename:join([Dir, "bench", "data"]),
    ok = filelib:ensure_path(Data),
    Source = filename:join([erlmcp_flow_bench_data:root(), "bench", "data"]),
    [{ok, _} = file:copy(filename:join(Source, F), filename:join(Data, F))
     || F <- ["mcp_messages.jsonl", "mcp_schema.json"]],
    Paths = lists:append([["-pa", filename:absname(P)] || P <- code:get_path(), P =/= "."]),
    Port = open_port({spawn_executable, os:find_executable("erl")},
        [{args, Paths ++ ["-noshell", "-eval", "erlmcp_flow_bench:main()"]}, {cd, Dir},
         {env, Env}, exit_status, binary]),
    Status = (fun Wait() ->
        receive
            {Port, {data, _}} -> Wait();
            {Port, {exit_status, S}} -> S
        end
    end)(),
    ?assertMatch([_], filelib:wildcard(filename:join([Dir, "bench", "results", "*.json"]))),
    ok = file:del_dir_r(Dir),
    Status.
