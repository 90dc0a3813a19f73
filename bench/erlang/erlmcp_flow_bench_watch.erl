%% @private
%% @doc Watches the schedulers while the benchmark runs: a process that stays on
%% a normal scheduler for 5 ms or longer and goes in or out in one of our NIFs is
%% our failure.
%%
%% The VM sees only how long, not why: on a machine whose cores are taken away by
%% others, a thread that the system put aside for 5 ms looks the same. That is why
%% the report names the functions.
-module(erlmcp_flow_bench_watch).

-export([start/0, stop/1]).
-export_type([watch/0, report/0]).

-opaque watch() :: pid() | taken.
-type report() :: #{ours := [{mfa(), Ms :: pos_integer()}], all := non_neg_integer()}.

-define(LIMIT_MS, 5).

%% @doc Starts watching. There is one system monitor in a node: when somebody
%% else has it, it is left alone, and `stop/1' says so.
-spec start() -> watch().
start() ->
    case erlang:system_monitor() of
        undefined ->
            Owner = self(),
            Pid = spawn_link(fun() -> init(Owner) end),
            receive {Pid, ready} -> Pid end;
        _ ->
            taken
    end.

%% @doc Ends watching and tells what was seen.
-spec stop(watch()) -> {ok, report()} | {error, taken}.
stop(taken) ->
    {error, taken};
stop(Pid) ->
    Ref = monitor(process, Pid),
    Pid ! {self(), stop},
    receive
        {Pid, Report} -> demonitor(Ref, [flush]), {ok, Report};
        {'DOWN', Ref, process, Pid, Reason} -> exit(Reason)
    end.

init(Owner) ->
    _ = erlang:system_monitor(self(), [{long_schedule, ?LIMIT_MS}]),
    Owner ! {self(), ready},
    loop([], 0).

loop(Ours, All) ->
    receive
        {monitor, _Pid, long_schedule, Info} ->
            Ms = proplists:get_value(timeout, Info, ?LIMIT_MS),
            Mine = lists:usort([MFA || {Where, {erlmcp_flow_nif, _, _} = MFA} <- Info,
                                       Where =:= in orelse Where =:= out]),
            loop([{MFA, Ms} || MFA <- Mine] ++ Ours, All + 1);
        {From, stop} ->
            _ = erlang:system_monitor(undefined),
            From ! {self(), #{ours => lists:reverse(Ours), all => All}}
    end.
