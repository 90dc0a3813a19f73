-module(erlmcp_flow_batch_metrics_tests).
-include_lib("eunit/include/eunit.hrl").

-define(B, erlmcp_flow_batch_processor).

value(Name, Instance) ->
    proplists:get_value(#{instance => Instance}, maps:get(Name, erlmcp_flow_metrics:overview(), [])).

%% A receiver of its own: EUnit's process keeps its mailbox for the tests after this.
receiver() ->
    spawn_link(fun Loop() -> receive stop -> ok; _ -> Loop() end end).

all_test_() ->
    {setup,
     fun() -> {ok, _} = application:ensure_all_started(erlmcp_flow) end,
     fun(_) -> application:stop(erlmcp_flow) end,
     [fun instance/0, fun rate/0]}.

%% What the registry shows is what the instance counted, and goes with it.
instance() ->
    {ok, Pid} = ?B:start_link(#{name => batch_metrics_test}),
    unlink(Pid),
    To = receiver(),
    [ok = ?B:send_message(Pid, To, N) || N <- lists:seq(1, 250)],
    ok = ?B:flush_batch(Pid),
    ?assertEqual(250, value(<<"flow.batch.accepted">>, batch_metrics_test)),
    ?assertEqual(250, value(<<"flow.batch.delivered">>, batch_metrics_test)),
    ?assertEqual(0, value(<<"flow.batch.undelivered">>, batch_metrics_test)),
    ?assertEqual(0, value(<<"flow.batch.pending">>, batch_metrics_test)),
    %% The rate is of the time since the last reading: none since.
    _ = value(<<"flow.throughput.msg_per_s">>, batch_metrics_test),
    ?assertEqual(0.0, value(<<"flow.throughput.msg_per_s">>, batch_metrics_test)),
    ok = ?B:stop(Pid),
    To ! stop,
    ?assertEqual(undefined, value(<<"flow.batch.accepted">>, batch_metrics_test)),
    %% The default instance is there.
    ?assertEqual(0, value(<<"flow.batch.pending">>, ?B)).

rate() ->
    {ok, Pid} = ?B:start_link(#{name => batch_rate_test}),
    unlink(Pid),
    To = receiver(),
    ok = ?B:send_batch(Pid, To, lists:seq(1, 1000)),
    ok = ?B:flush_batch(Pid),
    ?assert(value(<<"flow.throughput.msg_per_s">>, batch_rate_test) > 0),
    ok = ?B:stop(Pid),
    To ! stop.
