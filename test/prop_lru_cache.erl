%% The cache against a list, oldest entry first: values, order, time, capacity, and
%% what the statistics say. Each run of `prop_cache' is one of the two builds.
-module(prop_lru_cache).
-behaviour(proper_statem).
-include_lib("proper/include/proper.hrl").
-export([prop_cache/0]).
-export([initial_state/0, command/1, precondition/2, next_state/3, postcondition/3]).
-export([get/1, put/2, put/3, fetch/2, delete/1, clear/0, advance/1, stats/0]).

-define(C, erlmcp_flow_lru_cache).
-define(NAME, prop_lru_cache).
%% The real clock goes on by some milliseconds during a run, the cache's by hours.
-define(UNIT, 10_000_000).

-record(model, {
    capacity :: pos_integer(),
    ttl :: pos_integer() | infinity,
    now = 0 :: non_neg_integer(),
    entries = [] :: [{Key :: term(), Value :: term(), Deadline :: term()}],
    hits = 0 :: non_neg_integer(),
    misses = 0 :: non_neg_integer(),
    evictions = 0 :: non_neg_integer(),
    expirations = 0 :: non_neg_integer()
}).

prop_cache() ->
    ?FORALL({Native, Capacity, Ttl},
            {boolean(), oneof([1, 2, 10, range(1, 20)]), oneof([infinity, range(1, 4)])},
        ?FORALL(Cmds, commands(?MODULE, #model{capacity = Capacity, ttl = Ttl}),
            begin
                Cache = start(Native, Capacity, Ttl),
                {History, Model, Result} = run_commands(?MODULE, Cmds),
                Stats = stats(),
                ok = ?C:stop(Cache),
                ?WHENFAIL(
                    io:format("native ~p~nhistory ~p~nmodel ~p~nresult ~p~nstats ~p~n",
                              [Native, History, Model, Result, Stats]),
                    Result =:= ok andalso same_stats(expire(Model), Stats))
            end)).

start(Native, Capacity, Ttl) ->
    Setting = erlmcp_flow_native:get(),
    ok = erlmcp_flow_native:set(Native),
    {ok, Cache} = ?C:start_link(#{name => ?NAME, capacity => Capacity, ttl => units(Ttl)}),
    ok = erlmcp_flow_native:set(Setting),
    Cache.

units(infinity) -> infinity;
units(N) -> N * ?UNIT.

initial_state() -> #model{capacity = 1, ttl = infinity}.

precondition(_Model, _Call) -> true.

command(_Model) ->
    frequency(
        [{10, {call, ?MODULE, get, [key()]}},
         {8, {call, ?MODULE, put, [key(), value()]}},
         {3, {call, ?MODULE, put, [key(), value(), oneof([infinity, range(1, 6)])]}},
         {2, {call, ?MODULE, fetch, [key(), value()]}},
         {2, {call, ?MODULE, delete, [key()]}},
         {1, {call, ?MODULE, clear, []}},
         {3, {call, ?MODULE, advance, [range(1, 3)]}},
         {1, {call, ?MODULE, stats, []}}]).

%% Few, so that they meet; of every kind; some `==' and not `=:='.
key() ->
    oneof([1, 1.0, -1, a, b, [], {}, {a, 1}, {a, 1.0}, "a", <<"a">>, <<"a":8, 1:1>>,
           <<"0123456789abcdef">>, binary:copy(<<"k">>, 70), 1 bsl 59, 1 bsl 70,
           #{a => 1}, #{a => 1.0}, [a | b], range(2, 9)]).

value() ->
    oneof([int(), any(), binary(), ?LET(N, range(0, 20_000), binary:copy(<<"v">>, N)),
           ?LET(N, range(0, 3_000), lists:seq(1, N))]).

%%% What is called

get(Key) -> ?C:get(?NAME, Key).
put(Key, Value) -> ?C:put(?NAME, Key, Value).
put(Key, Value, Ttl) -> ?C:put(?NAME, Key, Value, #{ttl => units(Ttl)}).
fetch(Key, Value) -> ?C:fetch(?NAME, Key, fun() -> Value end).
delete(Key) -> ?C:delete(?NAME, Key).
advance(N) -> ?C:advance(?NAME, N * ?UNIT).
stats() -> ?C:stats(?NAME).

%% Expired entries that nobody has met yet are counted first.
clear() ->
    #{} = stats(),
    ?C:clear(?NAME).

%%% The model

next_state(Model0, _Result, {call, _, Name, Args}) ->
    Model = expire(Model0),
    case {Name, Args} of
        {get, [Key]} -> read(Key, Model);
        {put, [Key, Value]} -> store(Key, Value, Model#model.ttl, Model);
        {put, [Key, Value, Ttl]} -> store(Key, Value, Ttl, Model);
        {fetch, [Key, Value]} ->
            Read = read(Key, Model),
            case find(Key, Model) of
                false -> store(Key, Value, Model#model.ttl, Read);
                _ -> Read
            end;
        {delete, [Key]} -> without(Key, Model);
        {clear, []} -> Model#model{entries = []};
        {advance, [N]} -> Model#model{now = Model#model.now + N};
        {stats, []} -> Model
    end.

postcondition(Model0, {call, _, Name, Args}, Result) ->
    Model = expire(Model0),
    case {Name, Args} of
        {get, [Key]} ->
            case find(Key, Model) of
                {_, Value, _} -> Result =:= {ok, Value};
                false -> Result =:= miss
            end;
        {fetch, [Key, Value]} ->
            case find(Key, Model) of
                {_, Known, _} -> Result =:= {ok, Known};
                false -> Result =:= {ok, Value}
            end;
        {stats, []} -> same_stats(Model, Result);
        _ -> Result =:= ok
    end.

same_stats(#model{entries = Entries} = Model, Stats) ->
    #{hits := Hits, misses := Misses, evictions := Evictions, expirations := Expirations,
      size := Size, bytes := Bytes} = Stats,
    {Hits, Misses, Evictions, Expirations, Size} =:=
        {Model#model.hits, Model#model.misses, Model#model.evictions,
         Model#model.expirations, length(Entries)}
        andalso (Bytes > 0) =:= (Entries =/= []).

expire(#model{entries = Entries, now = Now, expirations = Expirations} = Model) ->
    %% A number is less than an atom, and so less than `infinity'.
    {Live, Gone} = lists:partition(fun({_, _, Deadline}) -> Deadline > Now end, Entries),
    Model#model{entries = Live, expirations = Expirations + length(Gone)}.

find(Key, #model{entries = Entries}) ->
    case [E || {K, _, _} = E <- Entries, K =:= Key] of
        [Entry] -> Entry;
        [] -> false
    end.

without(Key, #model{entries = Entries} = Model) ->
    Model#model{entries = [E || {K, _, _} = E <- Entries, K =/= Key]}.

read(Key, Model) ->
    case find(Key, Model) of
        false -> Model#model{misses = Model#model.misses + 1};
        Entry ->
            #model{entries = Rest} = without(Key, Model),
            Model#model{entries = Rest ++ [Entry], hits = Model#model.hits + 1}
    end.

store(Key, Value, Ttl, #model{capacity = Capacity, now = Now} = Model0) ->
    #model{entries = Rest} = Model = without(Key, Model0),
    Deadline = case Ttl of infinity -> infinity; _ -> Now + Ttl end,
    {Kept, Evicted} =
        case length(Rest) >= Capacity of
            true -> {tl(Rest), 1};
            false -> {Rest, 0}
        end,
    Model#model{entries = Kept ++ [{Key, Value, Deadline}],
                evictions = Model#model.evictions + Evicted}.
