-module(erlmcp_flow_metrics_tests).
-include_lib("eunit/include/eunit.hrl").

-define(M, erlmcp_flow_metrics).

all_test_() ->
    {foreach,
     fun() ->
         _ = application:stop(erlmcp_flow),
         {ok, _} = application:ensure_all_started(erlmcp_flow)
     end,
     fun(_) -> application:stop(erlmcp_flow) end,
     [fun counter/0, fun gauge/0, fun gauge_fun/0, fun histogram/0, fun unregister/0,
      fun dead_owner/0, fun churn/0, fun prometheus/0, fun memory/0, fun concurrent/0,
      fun sinks/0, fun failing_sink/0]}.

value(Name, Labels) ->
    proplists:get_value(Labels, maps:get(Name, ?M:overview(), [])).

counter() ->
    C = ?M:counter(<<"flow.test.count">>, #{instance => a}, <<"help">>),
    ok = ?M:add(C, 3),
    ok = ?M:add(C, 4),
    ?assertEqual(7, value(<<"flow.test.count">>, #{instance => a})).

gauge() ->
    G = ?M:gauge(<<"flow.test.gauge">>, #{}, <<"help">>),
    ok = ?M:set(G, -1.5),
    ?assertEqual(-1.5, value(<<"flow.test.gauge">>, #{})),
    ok = ?M:set(G, 7),
    ?assertEqual(7.0, value(<<"flow.test.gauge">>, #{})).

%% A gauge that cannot be computed is left out; the others stay readable.
gauge_fun() ->
    _ = ?M:gauge_fun(<<"flow.test.fun">>, #{}, <<"h">>, fun() -> 42 end),
    _ = ?M:gauge_fun(<<"flow.test.bad">>, #{}, <<"h">>, fun() -> error(oops) end),
    _ = ?M:gauge_fun(<<"flow.test.odd">>, #{}, <<"h">>, fun() -> none end),
    _ = ?M:counter_fun(<<"flow.test.total">>, #{}, <<"h">>, fun() -> 7 end),
    ?assertEqual(42, value(<<"flow.test.fun">>, #{})),
    ?assertEqual(7, value(<<"flow.test.total">>, #{})),
    ?assertNot(maps:is_key(<<"flow.test.bad">>, ?M:overview())),
    ?assertNot(maps:is_key(<<"flow.test.odd">>, ?M:overview())).

histogram() ->
    H = ?M:histogram(<<"flow.test.ms">>, #{}, <<"h">>, 1.0e-3),
    [ok = ?M:observe(H, N) || N <- lists:seq(1, 1000)],
    #{count := 1000, p50 := P50, p99 := P99, max := Max} = value(<<"flow.test.ms">>, #{}),
    ?assert(abs(P50 - 0.5) < 0.5 * 0.04),
    ?assert(abs(P99 - 0.99) < 0.99 * 0.04),
    ?assert(Max >= 0.99).

unregister() ->
    C = ?M:counter(<<"flow.test.gone">>, #{}, <<"h">>),
    ok = ?M:unregister(C),
    ?assertNot(maps:is_key(<<"flow.test.gone">>, ?M:overview())),
    ok = ?M:add(C, 1).

owned(Fun) ->
    Parent = self(),
    {Pid, Ref} = spawn_monitor(fun() -> Fun(), Parent ! {ready, self()}, receive stop -> ok end end),
    receive {ready, Pid} -> ok end,
    {Pid, Ref}.

dead_owner() ->
    {Pid, Ref} = owned(fun() -> ?M:counter(<<"flow.test.owned">>, #{}, <<"h">>) end),
    ?assertEqual(0, value(<<"flow.test.owned">>, #{})),
    Pid ! stop,
    receive {'DOWN', Ref, process, Pid, _} -> ok end,
    ?assertNot(maps:is_key(<<"flow.test.owned">>, ?M:overview())).

%% 5,000 short-lived owners that nobody ever lists do not fill the table.
churn() ->
    [begin
         {Pid, Ref} = owned(fun() ->
             ?M:counter(<<"flow.test.churn">>, #{instance => integer_to_binary(N)}, <<"h">>)
         end),
         Pid ! stop,
         receive {'DOWN', Ref, process, Pid, _} -> ok end
     end || N <- lists:seq(1, 5000)],
    ?assert(ets:info(erlmcp_flow_metrics, size) < 1000).

prometheus() ->
    C = ?M:counter(<<"flow.test.count">>, #{instance => <<"a\"\\\n">>}, <<"line\nbreak">>),
    _ = ?M:counter(<<"flow.test.count">>, #{instance => b}, <<"line\nbreak">>),
    ok = ?M:add(C, 2),
    H = ?M:histogram(<<"flow.test.lat">>, #{}, <<"h">>, 1.0),
    [ok = ?M:observe(H, N) || N <- [0, 1, 2, 3, 1000]],
    Text = iolist_to_binary(?M:prometheus()),
    Lines = binary:split(Text, <<"\n">>, [global]),
    Has = fun(L) -> ?assert(lists:member(L, Lines), L) end,
    Has(<<"# HELP flow_test_count_total line\\nbreak">>),
    Has(<<"# TYPE flow_test_count_total counter">>),
    Has(<<"flow_test_count_total{instance=\"a\\\"\\\\\\n\"} 2">>),
    Has(<<"flow_test_count_total{instance=\"b\"} 0">>),
    Has(<<"# TYPE flow_test_lat histogram">>),
    Has(<<"flow_test_lat_bucket{le=\"+Inf\"} 5">>),
    Has(<<"flow_test_lat_count 5">>),
    %% HELP and TYPE stand once a name.
    ?assertEqual(1, length([L || <<"# TYPE flow_test_count_total", _/binary>> = L <- Lines])),
    %% Buckets grow, and the last bound holds everything.
    Buckets = [binary_to_integer(lists:last(binary:split(L, <<" ">>)))
               || <<"flow_test_lat_bucket", _/binary>> = L <- Lines],
    ?assertEqual(Buckets, lists:sort(Buckets)),
    ?assertEqual(5, lists:last(Buckets)),
    ?assertEqual(<<>>, lists:last(Lines)),
    [?assertMatch(match, re:run(L, "^(#|[a-zA-Z_:][a-zA-Z0-9_:]*(\\{.*\\})? [-0-9.e+]+$)",
                                [{capture, none}])) || L <- Lines, L =/= <<>>].

memory() ->
    Mb = value(<<"flow.memory.total_mb">>, #{}),
    ?assert(Mb > 1 andalso Mb < 100000).

concurrent() ->
    C = ?M:counter(<<"flow.test.many">>, #{}, <<"h">>),
    Workers = [spawn_monitor(fun() -> [?M:add(C, 1) || _ <- lists:seq(1, 10000)] end)
               || _ <- lists:seq(1, 16)],
    [receive {'DOWN', Ref, process, Pid, normal} -> ok end || {Pid, Ref} <- Workers],
    ?assertEqual(160000, value(<<"flow.test.many">>, #{})).

load_sink(Module, Text) ->
    Forms = [begin {ok, T, _} = erl_scan:string(L), {ok, F} = erl_parse:parse_form(T), F end
             || L <- Text],
    {ok, Module, Beam} = compile:forms(Forms, [export_all, nowarn_export_all]),
    {module, Module} = code:load_binary(Module, "sink", Beam).

unload(Module) ->
    _ = code:delete(Module),
    _ = code:purge(Module).

sinks() ->
    load_sink(erlmcp_metrics, [
        "-module(erlmcp_metrics).",
        "counter(N, V) -> flow_sink_test ! {counter, N, V}.",
        "gauge(N, V) -> flow_sink_test ! {gauge, N, V}.",
        "histogram(N, V) -> flow_sink_test ! {histogram, N, V}."]),
    load_sink(telemetry, [
        "-module(telemetry).",
        "execute(E, M, D) -> flow_sink_test ! {event, E, M, D}."]),
    true = register(flow_sink_test, self()),
    try
        C = ?M:counter(<<"flow.test.fed">>, #{}, <<"h">>),
        ok = ?M:add(C, 5),
        ok = erlmcp_flow_metrics_sinks:publish(),
        receive {counter, <<"flow.test.fed">>, 5} -> ok end,
        receive {gauge, <<"flow.memory.total_mb">>, V} -> ?assert(V > 0) end,
        %% Only the growth goes out.
        ok = ?M:add(C, 2),
        ok = erlmcp_flow_metrics_sinks:publish(),
        receive {counter, <<"flow.test.fed">>, 2} -> ok end,
        H = ?M:histogram(<<"flow.test.fed_ms">>, #{}, <<"h">>, 0.5),
        ok = ?M:observe(H, 10),
        receive {histogram, <<"flow.test.fed_ms">>, 5.0} -> ok end,
        ok = erlmcp_flow_metrics_sinks:event(batch, sent, #{count => 1}, #{}),
        receive {event, [erlmcp_flow, batch, sent], #{count := 1}, #{}} -> ok end
    after
        unregister(flow_sink_test),
        unload(erlmcp_metrics),
        unload(telemetry)
    end,
    %% Without the modules the same calls do nothing.
    ok = erlmcp_flow_metrics_sinks:event(batch, sent, #{count => 1}, #{}),
    ok = erlmcp_flow_metrics_sinks:publish().

failing_sink() ->
    load_sink(erlmcp_metrics, [
        "-module(erlmcp_metrics).",
        "counter(_, _) -> error(down).", "gauge(_, _) -> exit(down).",
        "histogram(_, _) -> throw(down)."]),
    try
        _ = ?M:add(?M:counter(<<"flow.test.x">>, #{}, <<"h">>), 1),
        ok = erlmcp_flow_metrics_sinks:publish(),
        ok = ?M:observe(?M:histogram(<<"flow.test.y">>, #{}, <<"h">>, 1.0), 10),
        ok = erlmcp_flow_metrics_sinks:publish()
    after
        unload(erlmcp_metrics)
    end.
