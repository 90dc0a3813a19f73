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
    Pid = spawn_link(fun() -> collect(#{ours => 0, all => 0}) end),
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

collect(Counts = #{ours := Ours, all := All}) ->
    receive
        {monitor, _Who, long_schedule, Info} ->
            Mine = lists:any(fun({_, {?NIFS, _, _}}) -> true; (_) -> false end, Info),
            collect(Counts#{all := All + 1, ours := Ours + case Mine of true -> 1; false -> 0 end});
        {counts, From} ->
            From ! {counts, self(), Counts},
            collect(Counts)
    end.

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
          %% Collections of large heaps, and a machine that has other things to do.
          Metric#{id => <<"reliability.schedulers.all">>, key => all,
                  label => <<"anything held one for over 5 ms">>}]}.

counts(Pid) ->
    Pid ! {counts, self()},
    receive {counts, Pid, Counts} -> {ok, Counts} end.
