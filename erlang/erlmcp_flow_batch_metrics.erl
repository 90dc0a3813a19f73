%% @private
%% @doc A batch instance in the metrics registry: its counters, read when somebody
%% asks, so that sending pays nothing for them.
-module(erlmcp_flow_batch_metrics).

-export([register/1]).

-define(COUNTERS, [
    {accepted, <<"Messages taken by send_message and send_batch">>},
    {delivered, <<"Messages in a mailbox, on a connection, or acknowledged">>},
    {undelivered, <<"Messages handed to the undelivered callback">>},
    {overloaded, <<"Messages refused because max_pending were waiting">>},
    {batches, <<"Batches sent">>},
    {retries, <<"Messages tried again one by one">>}]).

%% @doc Registers the instance of the calling supervisor under its name, or under
%% its pid when it has none. The metrics go when the supervisor goes.
-spec register(Name :: term()) -> ok.
register(Name) ->
    Sup = self(),
    Labels = #{instance => label(Name, Sup)},
    lists:foreach(
        fun({Key, Help}) ->
            erlmcp_flow_metrics:counter_fun(
                <<"flow.batch.", (atom_to_binary(Key))/binary>>, Labels, Help,
                fun() -> stat(Sup, Key) end)
        end, ?COUNTERS),
    _ = erlmcp_flow_metrics:gauge_fun(
        <<"flow.batch.pending">>, Labels, <<"Messages accepted and not yet settled">>,
        fun() -> stat(Sup, pending) end),
    _ = erlmcp_flow_metrics:gauge_fun(
        <<"flow.throughput.msg_per_s">>, Labels,
        <<"Messages delivered a second since this was last read">>,
        rate(fun() -> stat(Sup, delivered) end)),
    ok.

stat(Sup, Key) ->
    maps:get(Key, erlmcp_flow_batch_processor:stats(Sup)).

%% Growth since the last reading. Two readers at once get each other's rest.
rate(Count) ->
    Last = atomics:new(2, []),
    ok = atomics:put(Last, 2, erlang:monotonic_time(microsecond)),
    fun() ->
        Now = erlang:monotonic_time(microsecond),
        Total = Count(),
        Before = atomics:exchange(Last, 1, Total),
        Then = atomics:exchange(Last, 2, Now),
        max(0, Total - Before) * 1.0e6 / max(1, Now - Then)
    end.

label(undefined, Sup) -> list_to_binary(pid_to_list(Sup));
label({local, Name}, _Sup) -> Name;
label(Name, _Sup) when is_atom(Name) -> Name;
label(Name, _Sup) -> iolist_to_binary(io_lib:format("~0tp", [Name])).
