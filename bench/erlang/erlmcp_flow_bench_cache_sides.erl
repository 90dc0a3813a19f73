%% @private
%% @doc The cache and its rivals behind one set of functions: raw ets, ets with a
%% time to live, ets in a gen_server (one process for every read and write), an LRU of
%% two ets tables, and `ets_cache' of p1_cache_tab where it is installed.
-module(erlmcp_flow_bench_cache_sides).
-behaviour(gen_server).

-export([names/0, available/1, new/3, stop/1, get/2, put/3, name/1]).
-export([init/1, handle_call/3, handle_cast/2]).
-export_type([side/0]).

-type name() :: none | ours | ets | ets_ttl | gen_server | two_tables | ets_cache.
-type side() :: {name(), term()}.

-spec names() -> [name()].
names() -> [ours, ets, ets_ttl, gen_server, two_tables, ets_cache].

-spec name(name()) -> binary().
name(ours) -> <<"lru_cache">>;
name(ets) -> <<"ets:lookup">>;
name(ets_ttl) -> <<"ets and a TTL check">>;
name(gen_server) -> <<"gen_server + ets">>;
name(two_tables) -> <<"LRU of two ets tables">>;
name(ets_cache) -> <<"p1_cache_tab">>.

-spec available(name()) -> boolean().
available(ets_cache) ->
    case code:ensure_loaded(ets_cache) of
        {module, _} -> {ok, _} = application:ensure_all_started(cache_tab), true;
        {error, _} -> false
    end;
available(_) -> true.

-define(TABLE, [public, {read_concurrency, true}, {write_concurrency, true}]).

-spec new(name(), pos_integer(), pos_integer()) -> side().
new(ours, Capacity, Ttl) ->
    {ok, Pid} = erlmcp_flow_lru_cache:start_link(
        #{capacity => Capacity, ttl => Ttl, name => erlmcp_flow_bench_cache}),
    {ours, Pid};
new(ets, _Capacity, _Ttl) ->
    {ets, ets:new(?MODULE, ?TABLE)};
new(ets_ttl, _Capacity, Ttl) ->
    {ets_ttl, {ets:new(?MODULE, ?TABLE), Ttl}};
new(gen_server, _Capacity, Ttl) ->
    {ok, Pid} = gen_server:start_link(?MODULE, Ttl, []),
    {gen_server, Pid};
new(two_tables, Capacity, Ttl) ->
    {two_tables, {ets:new(?MODULE, ?TABLE), ets:new(?MODULE, [ordered_set | ?TABLE]),
                  Capacity, Ttl}};
new(ets_cache, Capacity, Ttl) ->
    Cache = dynamic(ets_cache),
    Cache:new(erlmcp_flow_bench_p1, [{max_size, Capacity}, {life_time, Ttl},
                                     {cache_missed, false}]),
    {ets_cache, erlmcp_flow_bench_p1}.

%% Not a dependency: known at run time only.
dynamic(Module) -> Module.

-spec stop(side()) -> term().
stop({ours, Pid}) -> erlmcp_flow_lru_cache:stop(Pid);
stop({ets, Table}) -> ets:delete(Table);
stop({ets_ttl, {Table, _}}) -> ets:delete(Table);
stop({gen_server, Pid}) -> gen_server:stop(Pid);
stop({two_tables, {Entries, Order, _, _}}) -> ets:delete(Entries), ets:delete(Order);
stop({ets_cache, Name}) -> Cache = dynamic(ets_cache), Cache:delete(Name).

-spec get(side(), term()) -> {ok, term()} | miss.
get({ours, _}, Key) ->
    erlmcp_flow_lru_cache:get(erlmcp_flow_bench_cache, Key);
get({ets, Table}, Key) ->
    case ets:lookup(Table, Key) of
        [{_, Value}] -> {ok, Value};
        [] -> miss
    end;
get({ets_ttl, {Table, _}}, Key) ->
    case ets:lookup(Table, Key) of
        [{_, Value, Deadline}] ->
            case erlang:monotonic_time(millisecond) < Deadline of
                true -> {ok, Value};
                false -> ets:delete(Table, Key), miss
            end;
        [] -> miss
    end;
get({gen_server, Pid}, Key) ->
    gen_server:call(Pid, {get, Key});
get({two_tables, {Entries, Order, _, _}}, Key) ->
    case ets:lookup(Entries, Key) of
        [{_, Value, Deadline, Used}] ->
            case erlang:monotonic_time(millisecond) < Deadline of
                true ->
                    Tick = erlang:unique_integer([monotonic]),
                    ets:delete(Order, Used),
                    ets:insert(Order, {Tick, Key}),
                    ets:update_element(Entries, Key, {4, Tick}),
                    {ok, Value};
                false ->
                    ets:delete(Order, Used),
                    ets:delete(Entries, Key),
                    miss
            end;
        [] -> miss
    end;
get({ets_cache, Name}, Key) ->
    Cache = dynamic(ets_cache),
    case Cache:lookup(Name, Key) of
        {ok, _} = Found -> Found;
        error -> miss
    end.

-spec put(side(), term(), term()) -> term().
put({ours, _}, Key, Value) ->
    erlmcp_flow_lru_cache:put(erlmcp_flow_bench_cache, Key, Value);
put({none, _}, _Key, _Value) ->
    ok;
put({ets, Table}, Key, Value) ->
    ets:insert(Table, {Key, Value});
put({ets_ttl, {Table, Ttl}}, Key, Value) ->
    ets:insert(Table, {Key, Value, erlang:monotonic_time(millisecond) + Ttl});
put({gen_server, Pid}, Key, Value) ->
    gen_server:call(Pid, {put, Key, Value});
put({two_tables, {Entries, Order, Capacity, Ttl}}, Key, Value) ->
    Tick = erlang:unique_integer([monotonic]),
    case ets:lookup(Entries, Key) of
        [{_, _, _, Used}] -> ets:delete(Order, Used);
        [] -> make_room(ets:info(Entries, size) >= Capacity, Entries, Order)
    end,
    ets:insert(Order, {Tick, Key}),
    ets:insert(Entries, {Key, Value, erlang:monotonic_time(millisecond) + Ttl, Tick});
put({ets_cache, Name}, Key, Value) ->
    Cache = dynamic(ets_cache),
    Cache:delete(Name, Key),
    Cache:insert_new(Name, Key, Value).

make_room(false, _Entries, _Order) ->
    ok;
make_room(true, Entries, Order) ->
    Oldest = ets:first(Order),
    [{_, Key}] = ets:lookup(Order, Oldest),
    ets:delete(Order, Oldest),
    ets:delete(Entries, Key).

-spec init(pos_integer()) -> {ok, side()}.
init(Ttl) -> {ok, new(ets_ttl, 1, Ttl)}.

-spec handle_call(term(), gen_server:from(), side()) -> {reply, term(), side()}.
handle_call({get, Key}, _From, Side) -> {reply, get(Side, Key), Side};
handle_call({put, Key, Value}, _From, Side) -> {reply, put(Side, Key, Value), Side}.

-spec handle_cast(term(), side()) -> {noreply, side()}.
handle_cast(_, Side) -> {noreply, Side}.
