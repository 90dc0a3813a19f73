-module(erlmcp_flow_opts_tests).
-include_lib("eunit/include/eunit.hrl").

-define(SPEC, #{
    batch_size => {{integer, 1, 1000}, 100},
    cache_capacity => {{integer, 1, infinity}, 10000},
    capacity => {alias, cache_capacity},
    drop_policy => {{enum, [low_priority, oldest]}, low_priority},
    sink => {{any_of, [{enum, [undefined]}, {function, 1}]}, undefined},
    name => {name, undefined}}).

validate(Opts) -> erlmcp_flow_opts:validate(?SPEC, Opts).

defaults_test() ->
    ?assertEqual({ok, #{batch_size => 100, cache_capacity => 10000,
                        drop_policy => low_priority, sink => undefined,
                        name => undefined}}, validate(#{})).

map_and_proplist_agree_test() ->
    ?assertEqual(validate(#{batch_size => 7, name => x}), validate([{batch_size, 7}, {name, x}])).

first_of_equal_keys_wins_test() ->
    ?assertMatch({ok, #{batch_size := 7}}, validate([{batch_size, 7}, {batch_size, 8}])).

alias_test() ->
    ?assertMatch({ok, #{cache_capacity := 5}}, validate(#{capacity => 5})),
    ?assertEqual({error, {bad_option, capacity, 5}},
                 validate(#{capacity => 5, cache_capacity => 6})).

bad_test_() ->
    [?_assertEqual({error, {bad_option, K, V}}, validate(Opts))
     || {K, V, Opts} <- [
         {batch_size, 0, #{batch_size => 0}},
         {batch_size, 1001, [{batch_size, 1001}]},
         {batch_size, 1.0, #{batch_size => 1.0}},
         {cache_capacity, -1, #{capacity => -1}},
         {drop_policy, newest, #{drop_policy => newest}},
         {name, undefined, #{name => undefined}},
         {name, "x", #{name => "x"}},
         {btach_size, 5, #{btach_size => 5}},
         {batch_size, true, [batch_size]},
         {7, [7], [7]},
         {options, none, none},
         {options, [{batch_size, 1} | x], [{batch_size, 1} | x]}]].

%% The application environment stands between the caller and the default, and
%% is checked like the rest.
environment_test() ->
    ok = application:set_env(erlmcp_flow, batch_size, 42),
    try
        ?assertMatch({ok, #{batch_size := 42}}, validate(#{})),
        ?assertMatch({ok, #{batch_size := 7}}, validate(#{batch_size => 7})),
        ok = application:set_env(erlmcp_flow, batch_size, many),
        ?assertEqual({error, {bad_option, batch_size, many}}, validate(#{}))
    after
        application:unset_env(erlmcp_flow, batch_size)
    end.

names_test() ->
    [?assert(erlmcp_flow_opts:check(name, N))
     || N <- [a, {local, a}, {global, {any, term}}, {via, mod, 1}]],
    ?assertNot(erlmcp_flow_opts:check(name, {global, a, b})).

map_of_test() ->
    ?assert(erlmcp_flow_opts:check({map_of, boolean}, #{a => true})),
    ?assertNot(erlmcp_flow_opts:check({map_of, boolean}, #{a => 1})),
    ?assertNot(erlmcp_flow_opts:check({map_of, boolean}, [])).
