%% @private
%% @doc Watches the schedulers while the benchmark runs: whoever keeps one for 5 ms
%% and more without a break shows up here. A NIF that does is a defect.
-module(erlmcp_flow_bench_watch).

-export([start/0, stop/1, probe/1]).
-export_type([watch/0]).

-opaque watch() :: {pid(), Previous :: term()}.

-define(MS, 5).
-define(NIFS, erlmcp_flow_nif).

%% @doc There is one system monitor in a VM: whose it was before gets it back.
-spec start() -> watch().
start() ->
    Pid = spawn_link(fun() -> collect(#{}, 0) end),
    {Pid, erlang:system_monitor(Pid, [{long_schedule, ?MS}])}.

-spec stop(watch()) -> ok.
stop({Pid, Previous}) ->
    _ = case Previous of
        undefined -> erlang:system_monitor(undefined);
        {Before, Options} -> erlang:system_monitor(Before, Options)
    end,
    unlink(Pid),
    exit(Pid, kill),
    ok.

collect(Ours, All) ->
    receive
        {monitor, _Who, long_schedule, Info} ->
            Seen = lists:usort([{F, A} || {_, {?NIFS, F, A}} <- Info]),
            collect(lists:foldl(fun one_more/2, Ours, Seen), All + 1);
        {seen, From} ->
            From ! {seen, self(), Ours, All},
            collect(Ours, All)
    end.

one_more(Nif, Counts) ->
    maps:update_with(Nif, fun(N) -> N + 1 end, 1, Counts).

%% @doc The last probe of a run: what was seen during it.
-spec probe(watch()) -> erlmcp_flow_bench_engine:probe().
probe({Pid, _}) ->
    Metric = #{better => lower, unit => count},
    #{id => <<"reliability.schedulers">>, group => reliability,
      section => <<"Reliability: schedulers during this run">>,
      label => <<"schedulers">>, needs => [?NIFS], warmup => false, rounds => 1,
      params => #{ms => ?MS},
      sides => fun(_) -> [{<<"this run">>, fun() -> counts(Pid) end}] end,
      metrics => [
          Metric#{id => <<"reliability.schedulers.nif">>, key => ours,
                  label => <<"a NIF of ours held one for over 5 ms">>,
                  targets => [{value, '=<', 0}]},
          %% Collections of large heaps, and whatever else the machine does.
          Metric#{id => <<"reliability.schedulers.all">>, key => all,
                  label => <<"anything held one for over 5 ms">>}]}.

%% A machine with other things to do takes the processor away in the middle of any
%% code, so the names are said: one name time and again is a defect, a few here and
%% there on a busy machine are not.
counts(Pid) ->
    Pid ! {seen, self()},
    receive
        {seen, Pid, Ours, All} ->
            Names = [io_lib:format("~s/~b ~b", [F, A, N])
                     || {{F, A}, N} <- lists:reverse(lists:keysort(2, maps:to_list(Ours)))],
            {ok, #{ours => lists:sum(maps:values(Ours)), all => All,
                   because => iolist_to_binary(lists:join(", ", Names))}}
    end.
