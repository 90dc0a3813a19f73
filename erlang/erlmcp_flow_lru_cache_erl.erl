%% @private
%% @doc The cache without native code: three ets tables, in the instance's process.
%% It is the reference: an exact LRU whatever the capacity.
%%
%% `bytes' are those of the external format and a fixed sum an entry: close to, not
%% the same as, what the native cache counts.
-module(erlmcp_flow_lru_cache_erl).

-export([new/1, call/2, sweep/1]).
-export_type([state/0]).

-record(cache, {
    capacity :: pos_integer(),
    ttl :: erlmcp_flow_lru_cache:ttl(),
    max_bytes :: pos_integer() | infinity,
    %% {Key, Value, Tick, Deadline, Bytes}
    entries = ets:new(?MODULE, [set, private]) :: ets:tid(),
    %% {Tick, Key}: by use.
    recent = ets:new(?MODULE, [ordered_set, private]) :: ets:tid(),
    %% {{Deadline, Tick of the put}, Key}; `infinity' has no place here.
    expiry = ets:new(?MODULE, [ordered_set, private]) :: ets:tid(),
    tick = 0 :: non_neg_integer(),
    advanced = 0 :: non_neg_integer(),
    bytes = 0 :: non_neg_integer(),
    hits = 0 :: non_neg_integer(),
    misses = 0 :: non_neg_integer(),
    evictions = 0 :: non_neg_integer(),
    expirations = 0 :: non_neg_integer(),
    refused = 0 :: non_neg_integer()
}).

-opaque state() :: #cache{}.

%% What the tables take for an entry.
-define(ENTRY, 100).

-spec new(#{atom() => term()}) -> state().
new(#{cache_capacity := Capacity, cache_ttl := Ttl, max_bytes := Max}) ->
    #cache{capacity = Capacity, ttl = Ttl, max_bytes = Max}.

-spec call(term(), state()) -> {term(), state()}.
call({get, Key, Count}, C0) ->
    #cache{entries = Entries, recent = Recent, tick = Tick} = C = sweep(C0),
    case ets:lookup(Entries, Key) of
        [{_, Value, Used, _, _}] ->
            true = ets:delete(Recent, Used),
            true = ets:insert(Recent, {Tick, Key}),
            true = ets:update_element(Entries, Key, {3, Tick}),
            {{ok, Value}, counted(Count, #cache.hits, C#cache{tick = Tick + 1})};
        [] ->
            {miss, counted(Count, #cache.misses, C)}
    end;
call({put, Key, Value, Ttl}, C0) ->
    #cache{max_bytes = Max} = C = remove(Key, sweep(C0)),
    Bytes = erlang:external_size(Key) + erlang:external_size(Value) + ?ENTRY,
    case Bytes > Max of
        true -> {ok, counted(true, #cache.refused, C)};
        false -> {ok, insert(Key, Value, Ttl, Bytes, make_room(Bytes, C))}
    end;
call({delete, Key}, C) ->
    {ok, remove(Key, sweep(C))};
call(clear, C) ->
    #cache{entries = Entries, recent = Recent, expiry = Expiry} = C,
    _ = [true = ets:delete_all_objects(Table) || Table <- [Entries, Recent, Expiry]],
    {ok, C#cache{bytes = 0}};
call(stats, C0) ->
    C = sweep(C0),
    {[C#cache.hits, C#cache.misses, C#cache.evictions, C#cache.expirations,
      C#cache.refused, ets:info(C#cache.entries, size), C#cache.bytes,
      C#cache.capacity, number(C#cache.ttl), number(C#cache.max_bytes)], C};
call({advance, Ms}, #cache{advanced = Advanced} = C) ->
    {ok, C#cache{advanced = Advanced + Ms}}.

%% 0 stands for no limit.
number(infinity) -> 0;
number(N) -> N.

counted(false, _Field, C) -> C;
counted(true, Field, C) -> setelement(Field, C, element(Field, C) + 1).

%% @doc Removes what has expired.
-spec sweep(state()) -> state().
sweep(#cache{expiry = Expiry} = C) ->
    case ets:first(Expiry) of
        {Deadline, _} = First ->
            case Deadline =< now_ms(C) of
                true ->
                    [{_, Key}] = ets:lookup(Expiry, First),
                    sweep(counted(true, #cache.expirations, remove(Key, C)));
                false ->
                    C
            end;
        '$end_of_table' ->
            C
    end.

make_room(Bytes, #cache{entries = Entries, recent = Recent} = C) ->
    Full = ets:info(Entries, size) >= C#cache.capacity
        orelse C#cache.bytes + Bytes > C#cache.max_bytes,
    case Full of
        true ->
            [{_, Key}] = ets:lookup(Recent, ets:first(Recent)),
            make_room(Bytes, counted(true, #cache.evictions, remove(Key, C)));
        false ->
            C
    end.

insert(Key, Value, Ttl0, Bytes, C) ->
    #cache{entries = Entries, recent = Recent, expiry = Expiry, tick = Tick} = C,
    Ttl = case Ttl0 of 0 -> number(C#cache.ttl); _ -> Ttl0 end,
    Deadline =
        case Ttl of
            0 -> infinity;
            16#FFFFFFFFFFFFFFFF -> infinity;
            _ -> {now_ms(C) + Ttl, Tick}
        end,
    true = ets:insert(Entries, {Key, Value, Tick, Deadline, Bytes}),
    true = ets:insert(Recent, {Tick, Key}),
    _ = Deadline =/= infinity andalso ets:insert(Expiry, {Deadline, Key}),
    C#cache{tick = Tick + 1, bytes = C#cache.bytes + Bytes}.

remove(Key, #cache{entries = Entries, recent = Recent, expiry = Expiry} = C) ->
    case ets:lookup(Entries, Key) of
        [{_, _, Used, Deadline, Bytes}] ->
            true = ets:delete(Entries, Key),
            true = ets:delete(Recent, Used),
            _ = Deadline =/= infinity andalso ets:delete(Expiry, Deadline),
            C#cache{bytes = C#cache.bytes - Bytes};
        [] ->
            C
    end.

now_ms(#cache{advanced = Advanced}) ->
    erlang:monotonic_time(millisecond) + Advanced.
