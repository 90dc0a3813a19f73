%% @doc The metrics registry: lock-free counters, gauges and log-bucket
%% histograms, read as a map (`overview/0') or as Prometheus text
%% (`prometheus/0').
%%
%% Writing is one atomic operation on the handle that registering gave; no
%% process and no table is on the way. A metric belongs to the process that
%% registered it and leaves the registry when that process is gone. When the
%% application is not started, handles count all the same but nothing lists them.
%%
%% The documented names are used where they exist: `flow.throughput.msg_per_s',
%% `flow.latency.message_ms', `flow.memory.total_mb' and so on. Each instance
%% adds a label `instance'. Where a module `erlmcp_metrics' or `telemetry' is
%% loaded it is fed as well: see {@link erlmcp_flow_metrics_sinks}.
-module(erlmcp_flow_metrics).

-export([init/0]).
-export([counter/3, counter_fun/4, gauge/3, gauge_fun/4, histogram/4, unregister/1]).
-export([add/2, set/2, observe/2]).
-export([overview/0, prometheus/0, list/0]).
-export_type([name/0, labels/0, handle/0, sample/0]).

-type name() :: binary().
%% Dotted, as documented: `<<"flow.tasks.lost">>'.
-type labels() :: #{atom() => binary() | atom()}.
-opaque handle() ::
    {counter, name(), labels(), counters:counters_ref()}
    | {gauge, name(), labels(), atomics:atomics_ref()}
    | {counter_fun | gauge_fun, name(), labels(), fun(() -> number())}
    | {histogram, name(), labels(), erlmcp_flow_histogram:t(), float()}.
-type sample() :: #{
    name := name(), labels := labels(), type := counter | gauge | histogram,
    help := binary(), value := number() | map()}.

-define(TABLE, ?MODULE).
%% The registry looks for metrics of dead owners whenever it has doubled since
%% it last looked, so churn of short-lived instances cannot fill it.
-define(SWEEP_FIRST, 256).

%% @private
%% @doc Makes the registry's table; called by the process that starts the
%% application, which lives as long as the application does.
-spec init() -> ok.
init() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, ordered_set,
                              {write_concurrency, true}, {keypos, 1}]),
    true = ets:insert(?TABLE, {sweep_at, ?SWEEP_FIRST}),
    _ = gauge_fun(<<"flow.memory.total_mb">>, #{},
                  <<"Memory allocated by the VM (erlang:memory(total)), in MB">>,
                  fun() -> erlang:memory(total) / 1.0e6 end),
    ok.

%% @doc Registers a counter: it only grows.
-spec counter(name(), labels(), Help :: binary()) -> handle().
counter(Name, Labels, Help) ->
    enlist({counter, Name, Labels, counters:new(1, [write_concurrency])}, Help).

%% @doc Registers a counter that somebody else counts: it is asked for when it is
%% read, as with `gauge_fun/4'.
-spec counter_fun(name(), labels(), Help :: binary(), fun(() -> non_neg_integer())) -> handle().
counter_fun(Name, Labels, Help, Fun) when is_function(Fun, 0) ->
    enlist({counter_fun, Name, Labels, Fun}, Help).

%% @doc Registers a gauge: the last value set, a number.
-spec gauge(name(), labels(), Help :: binary()) -> handle().
gauge(Name, Labels, Help) ->
    enlist({gauge, Name, Labels, atomics:new(1, [{signed, false}])}, Help).

%% @doc Registers a gauge that is computed when it is read. The function runs in
%% the reading process; when it fails the metric is left out of that reading.
-spec gauge_fun(name(), labels(), Help :: binary(), fun(() -> number())) -> handle().
gauge_fun(Name, Labels, Help, Fun) when is_function(Fun, 0) ->
    enlist({gauge_fun, Name, Labels, Fun}, Help).

%% @doc Registers a histogram. Recorded values are non-negative integers; they
%% are shown multiplied by `Scale' (record microseconds, show milliseconds:
%% `1.0e-3'). Percentiles are within 3.2 percent.
-spec histogram(name(), labels(), Help :: binary(), Scale :: float()) -> handle().
histogram(Name, Labels, Help, Scale) ->
    enlist({histogram, Name, Labels, erlmcp_flow_histogram:new(), Scale}, Help).

enlist(Handle, Help) ->
    try
        true = ets:insert(?TABLE, {key(Handle), Handle, Help, self()}),
        sweep_if_doubled()
    catch
        %% The application is not started.
        error:badarg -> ok
    end,
    Handle.

%% @doc Takes a metric out of the registry.
-spec unregister(handle()) -> ok.
unregister(Handle) ->
    try
        true = ets:delete(?TABLE, key(Handle)),
        ok
    catch
        error:badarg -> ok
    end.

key(Handle) ->
    {element(2, Handle), lists:sort(maps:to_list(element(3, Handle)))}.

sweep_if_doubled() ->
    Size = ets:info(?TABLE, size),
    case ets:lookup(?TABLE, sweep_at) of
        [{sweep_at, At}] when Size > At ->
            _ = entries(),
            true = ets:insert(?TABLE, {sweep_at, max(?SWEEP_FIRST, 2 * ets:info(?TABLE, size))}),
            ok;
        _ ->
            ok
    end.

%% @doc Adds to a counter.
-spec add(handle(), non_neg_integer()) -> ok.
add({counter, _, _, Ref}, N) ->
    counters:add(Ref, 1, N).

%% @doc Sets a gauge.
-spec set(handle(), number()) -> ok.
set({gauge, _, _, Ref}, Value) ->
    <<Bits:64>> = <<Value/float>>,
    atomics:put(Ref, 1, Bits).

%% @doc Records a value in a histogram.
-spec observe(handle(), non_neg_integer()) -> ok.
observe({histogram, Name, _, Histogram, Scale}, Value) ->
    ok = erlmcp_flow_histogram:record(Histogram, Value),
    erlmcp_flow_metrics_sinks:histogram(Name, Value * Scale).

%% @doc Every registered metric with its value, sorted by name and labels.
-spec list() -> [sample()].
list() ->
    lists:flatmap(
        fun({_Key, Handle, Help, _Owner}) ->
            case read(Handle) of
                {ok, Type, Value} ->
                    [#{name => element(2, Handle), labels => element(3, Handle),
                       type => Type, help => Help, value => Value}];
                error ->
                    []
            end
        end, entries()).

%% Living entries; those of dead owners are removed on the way.
entries() ->
    try ets:tab2list(?TABLE) of
        Rows -> lists:filter(fun is_alive/1, Rows)
    catch
        error:badarg -> []
    end.

is_alive({sweep_at, _}) ->
    false;
is_alive({_Key, _Handle, _Help, Owner} = Row) ->
    case is_process_alive(Owner) of
        true -> true;
        false ->
            true = ets:delete_object(?TABLE, Row),
            false
    end.

read({counter, _, _, Ref}) ->
    {ok, counter, counters:get(Ref, 1)};
read({gauge, _, _, Ref}) ->
    <<Value/float>> = <<(atomics:get(Ref, 1)):64>>,
    {ok, gauge, Value};
read({counter_fun, _, _, Fun}) ->
    computed(counter, Fun);
read({gauge_fun, _, _, Fun}) ->
    computed(gauge, Fun);
read({histogram, _, _, H, Scale}) ->
    Percentile = fun(P) -> erlmcp_flow_histogram:percentile(H, P) * Scale end,
    {ok, histogram, #{
        count => erlmcp_flow_histogram:count(H),
        mean => erlmcp_flow_histogram:mean(H) * Scale,
        max => erlmcp_flow_histogram:max(H) * Scale,
        p50 => Percentile(50), p95 => Percentile(95), p99 => Percentile(99),
        scale => Scale,
        buckets => erlmcp_flow_histogram:to_list(H)}}.

computed(Type, Fun) ->
    try Fun() of
        Value when is_number(Value) -> {ok, Type, Value};
        _ -> error
    catch
        _:_ -> error
    end.

%% @doc All metrics as a map from name to a list of `{Labels, Value}'; histograms
%% as `#{count, mean, max, p50, p95, p99}'.
-spec overview() -> #{name() => [{labels(), number() | map()}]}.
overview() ->
    lists:foldr(
        fun(#{name := Name, labels := Labels, value := Value}, Acc) ->
            Shown = case Value of
                #{} -> maps:without([buckets, scale], Value);
                _ -> Value
            end,
            maps:update_with(Name, fun(L) -> [{Labels, Shown} | L] end,
                             [{Labels, Shown}], Acc)
        end, #{}, list()).

%% @doc All metrics in the Prometheus text format (version 0.0.4). Dots in names
%% become underscores, counters end in `_total'. To serve it, answer a request
%% for `/metrics' with this text; the library runs no HTTP server.
-spec prometheus() -> iodata().
prometheus() ->
    erlmcp_flow_metrics_text:format(list()).
