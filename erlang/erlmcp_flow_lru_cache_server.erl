%% @private
%% @doc The process of a cache instance. It holds the cache, sweeps what has expired
%% out of one that is idle, and knows which values are being computed by whom. The
%% twin without native code lives in it too.
-module(erlmcp_flow_lru_cache_server).
-behaviour(gen_server).

-export([start_link/1, call/2, call/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(NIF, erlmcp_flow_nif).
-define(TWIN, erlmcp_flow_lru_cache_erl).
-define(FLIGHT, erlmcp_flow_lru_cache_flight).

%% Between sweeps: a tenth of the time to live, within these bounds (ms).
-define(SWEEP_MIN, 100).
-define(SWEEP_MAX, 10_000).

-record(state, {
    %% The resource of the native cache, or the twin's tables.
    cache :: {native, reference()} | {twin, ?TWIN:state()},
    flights :: ?FLIGHT:flights(),
    sweep :: pos_integer()
}).

-spec start_link(#{atom() => term()}) -> {ok, pid()} | {error, term()}.
start_link(#{name := undefined} = Opts) ->
    gen_server:start_link(?MODULE, Opts, []);
start_link(#{name := Name} = Opts) when is_atom(Name) ->
    gen_server:start_link({local, Name}, ?MODULE, Opts, []);
start_link(#{name := Name} = Opts) ->
    gen_server:start_link(Name, ?MODULE, Opts, []).

-spec call(atom() | pid(), term()) -> term().
call(Ref, Op) ->
    call(Ref, Op, infinity).

-spec call(atom() | pid(), term(), timeout()) -> term().
call(Ref, Op, Timeout) ->
    try
        gen_server:call(Ref, Op, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:{calling_self, _} = Reason -> exit(Reason);
        exit:_ -> {error, not_running}
    end.

-spec init(#{atom() => term()}) -> {ok, #state{}}.
init(#{name := Name, cache_ttl := Ttl, fetch_timeout := Timeout} = Opts) ->
    %% The cache is closed by `terminate/2'.
    _ = process_flag(trap_exit, true),
    Cache =
        case erlmcp_flow_native:enabled(lru_cache) of
            true -> {native, new(Opts)};
            false -> {twin, ?TWIN:new(Opts)}
        end,
    Sweep =
        case Ttl of
            infinity -> ?SWEEP_MAX;
            _ -> min(?SWEEP_MAX, max(?SWEEP_MIN, Ttl div 10))
        end,
    State = #state{cache = Cache, flights = ?FLIGHT:new(Timeout), sweep = Sweep},
    ok = erlmcp_flow_lru_cache_metrics:register(Name),
    later(State),
    {ok, State}.

new(#{name := Name, cache_capacity := Capacity, cache_ttl := Ttl, max_bytes := Max}) ->
    Local = case Name of {local, N} -> N; N when is_atom(N) -> N; _ -> undefined end,
    ?NIF:cache_new(Local, Capacity, number(Ttl), number(Max)).

%% 0 stands for no limit.
number(infinity) -> 0;
number(N) -> N.

later(#state{sweep = Sweep}) ->
    _ = erlang:send_after(Sweep, self(), sweep),
    ok.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {reply, term(), #state{}} | {noreply, #state{}}.
handle_call({flight, Op}, From, #state{flights = Flights} = State) ->
    case ?FLIGHT:call(Op, From, Flights) of
        {reply, Reply, Flights1} -> {reply, Reply, State#state{flights = Flights1}};
        {noreply, Flights1} -> {noreply, State#state{flights = Flights1}}
    end;
handle_call(Op, _From, #state{cache = {twin, Twin}} = State) ->
    {Reply, Twin1} = ?TWIN:call(Op, Twin),
    {reply, Reply, State#state{cache = {twin, Twin1}}};
handle_call(_Op, _From, State) ->
    %% Native code knows this process: it was not found because it has just ended.
    {reply, {error, not_running}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({flight, Op}, #state{flights = Flights} = State) ->
    {noreply, State#state{flights = ?FLIGHT:cast(Op, Flights)}};
handle_cast(_Other, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info(sweep, #state{cache = Cache} = State) ->
    case Cache of
        {twin, Twin} ->
            later(State),
            {noreply, State#state{cache = {twin, ?TWIN:sweep(Twin)}}};
        {native, _} ->
            case ?NIF:cache_sweep(self()) of
                %% Others get their turn in between.
                more -> self() ! sweep, ok;
                _ -> later(State)
            end,
            {noreply, State}
    end;
handle_info({'DOWN', Mon, process, _Pid, Why}, #state{flights = Flights} = State) ->
    {noreply, State#state{flights = ?FLIGHT:down(Mon, Why, Flights)}};
handle_info({'EXIT', _Pid, Why}, State) ->
    {stop, Why, State};
handle_info(_Other, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Why, #state{cache = {native, Owner}}) ->
    ?NIF:cache_close(Owner);
terminate(_Why, #state{}) ->
    ok.
