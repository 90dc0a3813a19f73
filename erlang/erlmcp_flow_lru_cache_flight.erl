%% @private
%% @doc Single flight: of the processes that miss a key at once, the first computes
%% the value and the others wait for it. The instance's process keeps the list; it is
%% asked after a miss only.
-module(erlmcp_flow_lru_cache_flight).

-export([fetch/5, peek/2]).
-export([new/1, call/3, cast/2, down/3]).
-export_type([flights/0]).

-record(flight, {
    mon :: reference(),
    since :: integer(),
    waiters = [] :: [gen_server:from()]
}).

-record(flights, {
    %% Milliseconds after which another caller takes a flight over.
    timeout :: timeout(),
    by_key = #{} :: #{term() => #flight{}},
    by_mon = #{} :: #{reference() => term()}
}).

-opaque flights() :: #flights{}.

-define(NIF, erlmcp_flow_nif).
-define(CACHE, erlmcp_flow_lru_cache).
-define(SERVER, erlmcp_flow_lru_cache_server).

%%% In the caller

-spec fetch(?CACHE:ref(), term(), fun(() -> term()), ?CACHE:put_opts(),
            timeout() | default) ->
    {ok, term()} | {error, ?CACHE:fetch_error()}.
fetch(Ref, Key, Fun, PutOpts, Timeout) ->
    case whereis_ref(Ref) of
        undefined -> {error, not_running};
        Pid ->
            case ask(Pid, Key, Timeout) of
                {go, Mon} -> lead(Pid, Mon, Key, Fun, PutOpts);
                Answer -> Answer
            end
    end.

whereis_ref(Pid) when is_pid(Pid) -> Pid;
whereis_ref(Name) when is_atom(Name) -> whereis(Name);
whereis_ref({global, Name}) -> global:whereis_name(Name);
whereis_ref({via, Module, Name}) -> Module:whereis_name(Name).

%% Without a time of its own a caller waits as long as the instance says.
ask(Pid, Key, default) ->
    case ?SERVER:call(Pid, {flight, timeout}) of
        {timeout, Timeout} -> ask(Pid, Key, Timeout);
        {error, _} = Error -> Error
    end;
ask(Pid, Key, Timeout) ->
    ?SERVER:call(Pid, {flight, {join, Key}}, Timeout).

%% The flight before may have landed between the miss and the answer.
lead(Pid, Mon, Key, Fun, PutOpts) ->
    case peek(Pid, Key) of
        {ok, _} = Hit -> land(Pid, Mon, Hit);
        _ ->
            try Fun() of
                Value ->
                    case ?CACHE:put(Pid, Key, Value, PutOpts) of
                        ok -> land(Pid, Mon, {ok, Value});
                        {error, _} = Error -> Error
                    end
            catch
                Class:Why -> land(Pid, Mon, {error, {failed, {Class, Why}}})
            end
    end.

%% The result goes to the instance's process only if anyone waits for it.
land(Pid, Mon, Result) ->
    case ?SERVER:call(Pid, {flight, {landing, Mon}}) of
        wanted -> gen_server:cast(Pid, {flight, {landed, Mon, Result}});
        _ -> ok
    end,
    Result.

%% @doc A read that the statistics do not see.
-spec peek(pid(), term()) -> {ok, term()} | miss | {error, ?CACHE:error_reason()}.
peek(Pid, Key) ->
    try ?NIF:cache_peek(Pid, Key) of
        dirty -> ?NIF:cache_get_dirty(Pid, Key, false);
        more -> ?NIF:cache_get_dirty(Pid, Key, false);
        not_running -> ?SERVER:call(Pid, {get, Key, false});
        Found -> Found
    catch
        error:undef -> ?SERVER:call(Pid, {get, Key, false})
    end.

%%% In the instance's process

-spec new(timeout()) -> flights().
new(Timeout) -> #flights{timeout = Timeout}.

-spec call(term(), gen_server:from(), flights()) ->
    {reply, term(), flights()} | {noreply, flights()}.
call(timeout, _From, #flights{timeout = Timeout} = Flights) ->
    {reply, {timeout, Timeout}, Flights};
call(waiting, _From, #flights{by_key = ByKey} = Flights) ->
    {reply, lists:sum([length(F#flight.waiters) || F <- maps:values(ByKey)]), Flights};
call({join, Key}, {Pid, _} = From, #flights{by_key = ByKey, timeout = Timeout} = Flights) ->
    case ByKey of
        #{Key := #flight{since = Since, waiters = Waiters} = Flight} ->
            case is_integer(Timeout) andalso now_ms() - Since > Timeout of
                true ->
                    start(Key, Pid, finish(Key, Flight, {error, timeout}, Flights));
                false ->
                    Flight1 = Flight#flight{waiters = [From | Waiters]},
                    {noreply, Flights#flights{by_key = ByKey#{Key := Flight1}}}
            end;
        #{} ->
            start(Key, Pid, Flights)
    end;
call({landing, Mon}, _From, #flights{by_key = ByKey, by_mon = ByMon} = Flights) ->
    case ByMon of
        #{Mon := Key} ->
            case ByKey of
                #{Key := #flight{waiters = []} = Flight} ->
                    {reply, ok, finish(Key, Flight, none, Flights)};
                #{} ->
                    {reply, wanted, Flights}
            end;
        #{} ->
            {reply, ok, Flights}
    end.

start(Key, Pid, #flights{by_key = ByKey, by_mon = ByMon} = Flights) ->
    Mon = erlang:monitor(process, Pid),
    Flight = #flight{mon = Mon, since = now_ms()},
    {reply, {go, Mon},
     Flights#flights{by_key = ByKey#{Key => Flight}, by_mon = ByMon#{Mon => Key}}}.

-spec cast({landed, reference(), term()}, flights()) -> flights().
cast({landed, Mon, Result}, Flights) ->
    ended(Mon, Result, Flights).

-spec down(reference(), term(), flights()) -> flights().
down(Mon, Why, Flights) ->
    ended(Mon, {error, {failed, {down, Why}}}, Flights).

ended(Mon, Result, #flights{by_key = ByKey, by_mon = ByMon} = Flights) ->
    case ByMon of
        #{Mon := Key} -> finish(Key, maps:get(Key, ByKey), Result, Flights);
        #{} -> Flights
    end.

finish(Key, #flight{mon = Mon, waiters = Waiters}, Result, Flights) ->
    #flights{by_key = ByKey, by_mon = ByMon} = Flights,
    true = erlang:demonitor(Mon, [flush]),
    lists:foreach(fun(From) -> gen_server:reply(From, Result) end, lists:reverse(Waiters)),
    Flights#flights{by_key = maps:remove(Key, ByKey), by_mon = maps:remove(Mon, ByMon)}.

now_ms() -> erlang:monotonic_time(millisecond).
