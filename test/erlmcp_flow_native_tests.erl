-module(erlmcp_flow_native_tests).
-include_lib("eunit/include/eunit.hrl").

switch_test_() ->
    {setup, fun erlmcp_flow_native:get/0, fun erlmcp_flow_native:set/1, fun(_) -> [
        ?_test(begin
            ok = erlmcp_flow_native:set(true),
            ?assert(erlmcp_flow_native:enabled(serializer))
        end),
        ?_test(begin
            ok = erlmcp_flow_native:set(false),
            ?assertNot(erlmcp_flow_native:enabled(serializer))
        end),
        ?_test(begin
            ok = erlmcp_flow_native:set(#{serializer => false}),
            ?assertNot(erlmcp_flow_native:enabled(serializer)),
            ?assert(erlmcp_flow_native:enabled(compressor)),
            ?assertEqual(#{serializer => false}, erlmcp_flow_native:get())
        end),
        ?_assertEqual({error, {bad_option, native, {raft, false}}},
                      erlmcp_flow_native:set(#{raft => false})),
        ?_assertEqual({error, {bad_option, native, {queue, no}}},
                      erlmcp_flow_native:set(#{queue => no})),
        ?_assertEqual({error, {bad_option, native, on}}, erlmcp_flow_native:set(on))
    ] end}.

%% A bad setting in sys.config stops the application from starting, with the reason.
environment_test() ->
    Before = erlmcp_flow_native:get(),
    _ = application:stop(erlmcp_flow),
    ok = application:set_env(erlmcp_flow, native, maybe_so),
    try
        ?assertMatch({error, {erlmcp_flow, {{bad_option, native, maybe_so}, _}}},
                     application:ensure_all_started(erlmcp_flow)),
        ok = application:set_env(erlmcp_flow, native, false),
        ?assertMatch({ok, _}, application:ensure_all_started(erlmcp_flow)),
        ?assertNot(erlmcp_flow_native:enabled(queue))
    after
        _ = application:stop(erlmcp_flow),
        application:unset_env(erlmcp_flow, native),
        erlmcp_flow_native:set(Before)
    end.

%% The shell shows which argument is wrong and why (EEP 54).
error_info_test() ->
    try erlmcp_flow_error:badarg([a, b], #{2 => <<"not a number">>}) of
        _ -> error(no_exception)
    catch
        error:badarg:Stack ->
            ?assertEqual(#{2 => <<"not a number">>},
                         erlmcp_flow_error:format_error(badarg, Stack)),
            Shown = lists:flatten(io_lib:format("~ts", [erl_error:format_exception(
                error, badarg, Stack)])),
            ?assert(string:find(Shown, "not a number") =/= nomatch)
    end.

error_info_of_others_test() ->
    ?assertEqual(#{}, erlmcp_flow_error:format_error(badarg, [{m, f, 1, []}])),
    ?assertEqual(#{}, erlmcp_flow_error:format_error(badarg, [])).
