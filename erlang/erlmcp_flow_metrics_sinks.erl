%% @doc Where metrics go besides the registry, if the user has it: a module with
%% `counter/2', `gauge/2' and `histogram/2' (`erlmcp_metrics'), and a module with
%% `execute/3' (`telemetry'). Neither is a dependency: both are looked up at run
%% time, and an absent one costs one look at the export table.
%%
%% Other modules can take their place: application environment keys
%% `metrics_sink' and `telemetry_module'.
%%
%% Every `metrics_interval' (10,000 ms) a counter's growth goes to `counter/2' and
%% a gauge's value to `gauge/2', from a process of its own; a histogram's values
%% go to `histogram/2' as they come. A sink that raises is logged once and
%% tried again at the next value.
-module(erlmcp_flow_metrics_sinks).
-behaviour(gen_server).

-export([start_link/0, publish/0, histogram/2, event/4]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-define(SINK, {?MODULE, sink}).
-define(TELEMETRY, {?MODULE, telemetry}).
-define(OPTIONS, #{
    metrics_sink => {atom, erlmcp_metrics},
    telemetry_module => {atom, telemetry},
    metrics_interval => {{integer, 10, 86400000}, 10000}}).

%% @private
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Feeds the sink now, without waiting for the interval. `ok' also when
%% there is no sink.
-spec publish() -> ok.
publish() ->
    gen_server:call(?MODULE, publish).

%% @doc Executes the telemetry event `[erlmcp_flow, Component, Action]'.
-spec event(Component :: atom(), Action :: atom(), Measurements :: map(), Metadata :: map()) -> ok.
event(Component, Action, Measurements, Metadata) ->
    Module = persistent_term:get(?TELEMETRY, telemetry),
    case erlang:function_exported(Module, execute, 3) of
        true ->
            guarded(fun() ->
                Module:execute([erlmcp_flow, Component, Action], Measurements, Metadata)
            end);
        false ->
            ok
    end.

%% @private
-spec histogram(erlmcp_flow_metrics:name(), number()) -> ok.
histogram(Name, Value) ->
    Module = persistent_term:get(?SINK, erlmcp_metrics),
    case erlang:function_exported(Module, histogram, 2) of
        true -> guarded(fun() -> Module:histogram(Name, Value) end);
        false -> ok
    end.

guarded(Fun) ->
    try Fun() of
        _ -> ok
    catch
        Class:Reason:Stack ->
            Key = {?MODULE, warned, Class, element(1, hd(Stack))},
            case persistent_term:get(Key, false) of
                true -> ok;
                false ->
                    persistent_term:put(Key, true),
                    logger:warning("erlmcp_flow: a metrics sink raised ~p:~p; this is "
                                   "said once", [Class, Reason],
                                   #{domain => [erlmcp_flow]})
            end
    end.

%% @private
-spec init([]) -> {ok, map()} | {stop, term()}.
init([]) ->
    case erlmcp_flow_opts:validate(?OPTIONS, []) of
        {ok, #{metrics_sink := Sink, telemetry_module := Telemetry, metrics_interval := Ms}} ->
            persistent_term:put(?SINK, Sink),
            persistent_term:put(?TELEMETRY, Telemetry),
            %% function_exported/3 is false until a module is loaded.
            _ = code:ensure_loaded(Sink),
            _ = code:ensure_loaded(Telemetry),
            {ok, tick(#{sink => Sink, interval => Ms, last => #{}})};
        {error, Reason} ->
            {stop, Reason}
    end.

%% @private
-spec handle_call(publish, term(), map()) -> {reply, ok, map()}.
handle_call(publish, _From, State) ->
    {reply, ok, feed(State)}.

%% @private
-spec handle_cast(term(), map()) -> {noreply, map()}.
handle_cast(_, State) ->
    {noreply, State}.

%% @private
-spec handle_info(term(), map()) -> {noreply, map()}.
handle_info(publish, State) ->
    {noreply, tick(feed(State))};
handle_info(_, State) ->
    {noreply, State}.

tick(#{interval := Ms} = State) ->
    _ = erlang:send_after(Ms, self(), publish),
    State.

feed(#{sink := Sink, last := Last} = State) ->
    case erlang:function_exported(Sink, gauge, 2)
        andalso erlang:function_exported(Sink, counter, 2) of
        true -> State#{last := lists:foldl(
                    fun(Sample, Acc) -> feed(Sink, Sample, Last, Acc) end,
                    #{}, erlmcp_flow_metrics:list())};
        false -> State
    end.

feed(Sink, #{type := gauge, name := Name, value := Value}, _Last, Acc) ->
    ok = guarded(fun() -> Sink:gauge(Name, Value) end),
    Acc;
feed(Sink, #{type := counter, name := Name, labels := Labels, value := Value}, Last, Acc) ->
    Key = {Name, Labels},
    case Value - maps:get(Key, Last, 0) of
        Growth when Growth > 0 -> ok = guarded(fun() -> Sink:counter(Name, Growth) end);
        _ -> ok
    end,
    Acc#{Key => Value};
feed(_Sink, #{type := histogram}, _Last, Acc) ->
    Acc.
