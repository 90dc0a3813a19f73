%% @doc A cache: at most so many entries, at most so many bytes, each for at most so
%% long; when it is full, what was used least recently goes.
%%
%% Keys and values are any terms; keys are the same when they are `=:='. A read or a
%% write is one native call in the calling process; no process is asked. Times are
%% milliseconds.
%%
%% == Options ==
%% <dl>
%% <dt>`cache_capacity' or `capacity' (10000)</dt>
%% <dd>Entries, from 1 on. `size/1' is never more.</dd>
%% <dt>`cache_ttl' or `ttl' (5000)</dt>
%% <dd>How long an entry is returned after its `put', or `infinity'. A `get' does not
%%     prolong it.</dd>
%% <dt>`max_bytes' (`infinity')</dt>
%% <dd>Bytes of keys, values and what an entry costs besides (about 100). When a put
%%     takes the cache above this, entries are evicted until they fit. An entry that
%%     is larger all alone is not stored: `put' answers `ok', the statistics count it
%%     as `refused', and an older value under its key is gone. Removed entries may
%%     still take as much memory as live ones for a while; they are not counted.</dd>
%% <dt>`name'</dt>
%% <dd>Registers the instance; without it the pid is the only way to it.</dd>
%% <dt>`fetch_timeout' (5000)</dt>
%% <dd>How long {@link fetch/3} waits for another process's computation, or
%%     `infinity'.</dd>
%% </dl>
%%
%% == Caveats ==
%% <ul>
%% <li>With a capacity above 1024 "least recently used" holds closely, not exactly:
%%     the cache has parts, and the entry that goes is the oldest of some of
%%     them.</li>
%% <li>A value of many terms is copied at each `get', as with ets; binaries of more
%%     than 64 bytes are shared. A part of a larger binary is copied at `put', so
%%     that it does not keep the larger one.</li>
%% <li>`clear/1' empties a large cache part by part: what is put meanwhile stays or
%%     goes.</li>
%% <li>Funs and big integers of many thousand words are copied on a normal scheduler:
%%     native code cannot see how large they are before.</li>
%% </ul>
-module(erlmcp_flow_lru_cache).

-export([start_link/0, start_link/1, child_spec/1, stop/1]).
-export([get/1, get/2, put/2, put/3, put/4, fetch/2, fetch/3, fetch/4]).
-export([delete/1, delete/2, clear/0, clear/1, size/0, size/1, stats/0, stats/1]).
-export([advance/2]).
-export_type([ref/0, opts/0, put_opts/0, fetch_opts/0, error_reason/0, fetch_error/0,
              stats/0, ttl/0]).

-type ref() :: atom() | pid() | {global, term()} | {via, module(), term()}.
%% An instance: its name or its pid.

-type ttl() :: pos_integer() | infinity.
-type opts() :: erlmcp_flow_opts:opts().
-type put_opts() :: #{ttl => ttl()}.
-type fetch_opts() :: #{ttl => ttl(), timeout => timeout()}.

-type error_reason() :: not_running.
%% No such instance.

-type fetch_error() ::
    error_reason()
    | timeout
    | {failed, {error | exit | throw, term()} | {down, term()}}.
%% `timeout': another process computes the value and has not come to an end.
%% `{failed, {Class, Why}}': the function raised this; `{failed, {down, Why}}': the
%% process that computed has died.

-type stats() ::
    #{hits | misses | evictions | expirations | refused | size | bytes
          := non_neg_integer(),
      hit_rate_pct := float(),
      capacity := pos_integer(),
      ttl := ttl(),
      max_bytes := pos_integer() | infinity}.

-define(NIF, erlmcp_flow_nif).
-define(SERVER, erlmcp_flow_lru_cache_server).

%%% Instances

%% @doc Starts the default instance, named `erlmcp_flow_lru_cache'.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    start_link(#{name => ?MODULE}).

%% @doc Starts an instance. A wrong option is `{error, {bad_option, Key, Value}}'.
-spec start_link(opts()) -> {ok, pid()} | {error, term()}.
start_link(Opts) ->
    case erlmcp_flow_opts:validate(option_spec(), Opts) of
        {ok, Valid} -> ?SERVER:start_link(Valid);
        {error, _} = Error -> Error
    end.

option_spec() ->
    Ttl = {any_of, [{integer, 1, 1 bsl 48}, {enum, [infinity]}]},
    #{name => {{any_of, [name, {enum, [undefined]}]}, undefined},
      %% Places of entries have 32-bit numbers.
      cache_capacity => {{integer, 1, 4_000_000_000}, 10_000},
      capacity => {alias, cache_capacity},
      cache_ttl => {Ttl, 5_000},
      ttl => {alias, cache_ttl},
      max_bytes => {{any_of, [{integer, 1, 1 bsl 62}, {enum, [infinity]}]}, infinity},
      fetch_timeout => {{any_of, [{integer, 1, 16#FFFFFFFF}, {enum, [infinity]}]}, 5_000}}.

%% @doc A child specification for a supervisor of yours.
-spec child_spec(opts()) -> supervisor:child_spec().
child_spec(Opts) ->
    #{id => child_id(Opts), start => {?MODULE, start_link, [Opts]}}.

child_id(#{name := Name}) -> {?MODULE, Name};
child_id(Opts) when is_list(Opts) -> {?MODULE, proplists:get_value(name, Opts)};
child_id(_) -> ?MODULE.

%% @doc Ends an instance and frees what it holds.
-spec stop(ref()) -> ok.
stop(Ref) ->
    gen_server:stop(Ref, normal, infinity).

%%% Entries

%% @doc The value under a key of the default instance.
-spec get(term()) -> {ok, term()} | miss | {error, error_reason()}.
get(Key) ->
    get(?MODULE, Key).

%% @doc The value under a key. O(1), and a copy of the value.
-spec get(ref(), term()) -> {ok, term()} | miss | {error, error_reason()}.
get(Ref, Key) ->
    try ?NIF:cache_get(Ref, Key) of
        {ok, _} = Hit -> Hit;
        miss -> miss;
        Other -> get(Other, Ref, Key)
    catch
        %% The library is not there at all: all instances are twins.
        error:undef -> get(not_running, Ref, Key)
    end.

get(dirty, Ref, Key) -> known(?NIF:cache_get_dirty(Ref, Key, true), Ref, Key);
get(more, Ref, Key) -> known(?NIF:cache_get_dirty(Ref, Key, false), Ref, Key);
get(not_running, Ref, Key) -> elsewhere(Ref, {get, Key, true}).

known(not_running, Ref, Key) -> get(not_running, Ref, Key);
known(Found, _Ref, _Key) -> Found.

%% @doc Puts a value under a key of the default instance.
-spec put(term(), term()) -> ok | {error, error_reason()}.
put(Key, Value) ->
    put(?MODULE, Key, Value).

%% @doc Puts a value under a key, in place of what was there. O(1), and a copy of
%% both.
-spec put(ref(), term(), term()) -> ok | {error, error_reason()}.
put(Ref, Key, Value) ->
    do_put(Ref, Key, Value, 0).

%% @doc Puts a value with a time to live of its own: `#{ttl => Milliseconds |
%% infinity}'.
-spec put(ref(), term(), term(), put_opts()) -> ok | {error, error_reason()}.
put(Ref, Key, Value, Opts) ->
    case Opts of
        #{ttl := Ttl} when map_size(Opts) =:= 1 ->
            do_put(Ref, Key, Value, ttl(Ttl, [Ref, Key, Value, Opts]));
        #{} when map_size(Opts) =:= 0 ->
            do_put(Ref, Key, Value, 0);
        _ ->
            bad_opts([Ref, Key, Value, Opts])
    end.

%% 0 stands for the instance's own.
ttl(infinity, _Args) -> 16#FFFFFFFFFFFFFFFF;
ttl(Ttl, _Args) when is_integer(Ttl), Ttl > 0, Ttl =< 1 bsl 48 -> Ttl;
ttl(_Ttl, Args) -> bad_opts(Args).

-spec bad_opts([term()]) -> no_return().
bad_opts(Args) ->
    erlmcp_flow_error:badarg(
        Args, #{4 => "options have to be a map; ttl and timeout are milliseconds, "
                     "1 or more, or infinity"}).

do_put(Ref, Key, Value, Ttl) when is_binary(Value), byte_size(Value) > 64 ->
    %% Native code would ask for this anyway.
    do_put(Ref, Key, erlmcp_flow_parts:own(Value), Ttl, -2);
do_put(Ref, Key, Value, Ttl) ->
    do_put(Ref, Key, Value, Ttl, -1).

do_put(Ref, Key, Value, Ttl, Checked) ->
    try ?NIF:cache_put(Ref, Key, Value, Ttl, Checked) of
        ok -> ok;
        Other -> put(Other, Ref, Key, Value, Ttl, Checked)
    catch
        error:undef -> put(not_running, Ref, Key, Value, Ttl, Checked)
    end.

put(ok, _Ref, _Key, _Value, _Ttl, _Heap) ->
    ok;
put(dirty, Ref, Key, Value, Ttl, Heap) ->
    put(?NIF:cache_put_dirty(Ref, Key, Value, Ttl, Heap), Ref, Key, Value, Ttl, Heap);
put(check, Ref, Key, Value, Ttl, _) ->
    Key1 = erlmcp_flow_parts:own(Key),
    Value1 = erlmcp_flow_parts:own(Value),
    Heap = erlmcp_flow_parts:heap(Value1),
    put(?NIF:cache_put(Ref, Key1, Value1, Ttl, Heap), Ref, Key1, Value1, Ttl, Heap);
put(not_running, Ref, Key, Value, Ttl, _Heap) ->
    elsewhere(Ref, {put, erlmcp_flow_parts:own(Key), erlmcp_flow_parts:own(Value), Ttl}).

%% An instance that native code does not know by this reference: a twin without
%% native code, or one that is named by a registry.
elsewhere({global, Name}, Op) -> again(global:whereis_name(Name), Op);
elsewhere({via, Module, Name}, Op) -> again(Module:whereis_name(Name), Op);
elsewhere(Ref, Op) when is_atom(Ref); is_pid(Ref) -> ?SERVER:call(Ref, Op);
elsewhere(Ref, _Op) -> erlmcp_flow_error:badarg([Ref], #{1 => "not a cache"}).

again(undefined, _Op) -> {error, not_running};
again(Pid, {get, Key, true}) -> get(Pid, Key);
again(Pid, {put, Key, Value, Ttl}) -> do_put(Pid, Key, Value, Ttl);
again(Pid, {delete, Key}) -> delete(Pid, Key);
again(Pid, clear) -> clear(Pid);
again(Pid, stats) -> counts(Pid);
again(Pid, {advance, Ms}) -> advance(Pid, Ms).

%% @doc `fetch/3' with the default instance.
-spec fetch(term(), fun(() -> term())) -> {ok, term()} | {error, fetch_error()}.
fetch(Key, Fun) ->
    fetch(?MODULE, Key, Fun).

%% @doc The value under a key; when there is none, `Fun()' makes it, and it is put.
-spec fetch(ref(), term(), fun(() -> term())) -> {ok, term()} | {error, fetch_error()}.
fetch(Ref, Key, Fun) ->
    fetch(Ref, Key, Fun, #{}).

%% @doc `fetch/3' with a time to live, and a time to wait for others (instead of the
%% instance's `fetch_timeout').
%%
%% However many processes miss at once, one of them calls its function and the others
%% wait for the value. When the function raises, or the process that called it dies,
%% all of them get `{error, {failed, _}}', and the next one to ask computes anew. A
%% computation that takes longer than `fetch_timeout' does not keep later callers
%% waiting: the next one takes over. `Fun' must not fetch its own key.
-spec fetch(ref(), term(), fun(() -> term()), fetch_opts()) ->
    {ok, term()} | {error, fetch_error()}.
fetch(Ref, Key, Fun, Opts) when is_function(Fun, 0), is_map(Opts) ->
    case get(Ref, Key) of
        miss ->
            Args = [Ref, Key, Fun, Opts],
            PutOpts = maps:with([ttl], Opts),
            map_size(Opts) =:= map_size(maps:with([ttl, timeout], Opts))
                orelse bad_opts(Args),
            _ = [ttl(Ttl, Args) || Ttl <- maps:values(PutOpts)],
            Timeout = wait(maps:get(timeout, Opts, default), Args),
            erlmcp_flow_lru_cache_flight:fetch(Ref, Key, Fun, PutOpts, Timeout);
        Known ->
            Known
    end;
fetch(Ref, Key, Fun, Opts) when is_map(Opts) ->
    erlmcp_flow_error:badarg([Ref, Key, Fun, Opts], #{3 => "not a function of arity 0"});
fetch(Ref, Key, Fun, Opts) ->
    bad_opts([Ref, Key, Fun, Opts]).

wait(Timeout, _Args) when Timeout =:= default; Timeout =:= infinity -> Timeout;
wait(Timeout, _Args) when is_integer(Timeout), Timeout > 0, Timeout =< 16#FFFFFFFF -> Timeout;
wait(_Timeout, Args) -> bad_opts(Args).

%% @doc Removes a key of the default instance.
-spec delete(term()) -> ok | {error, error_reason()}.
delete(Key) ->
    delete(?MODULE, Key).

%% @doc Removes a key, if it is there.
-spec delete(ref(), term()) -> ok | {error, error_reason()}.
delete(Ref, Key) ->
    case native(fun() -> delete_native(Ref, Key) end) of
        ok -> ok;
        not_running -> elsewhere(Ref, {delete, Key})
    end.

delete_native(Ref, Key) ->
    case ?NIF:cache_delete(Ref, Key) of
        dirty -> ?NIF:cache_delete_dirty(Ref, Key);
        Done -> Done
    end.

%% @doc Empties the default instance.
-spec clear() -> ok | {error, error_reason()}.
clear() ->
    clear(?MODULE).

%% @doc Removes every entry; the counters stay. Takes microseconds however many there
%% are: they are freed later, in the background.
-spec clear(ref()) -> ok | {error, error_reason()}.
clear(Ref) ->
    case native(fun() -> ?NIF:cache_clear(Ref) end) of
        ok -> ok;
        not_running -> elsewhere(Ref, clear)
    end.

%% @doc Entries in the default instance.
-spec size() -> non_neg_integer() | {error, error_reason()}.
size() ->
    ?MODULE:size(?MODULE).

%% @doc Entries that have not expired. Removes those that have, and so takes O(their
%% number), once.
-spec size(ref()) -> non_neg_integer() | {error, error_reason()}.
size(Ref) ->
    case stats(Ref) of
        #{size := Size} -> Size;
        {error, _} = Error -> Error
    end.

%% @doc The statistics of the default instance.
-spec stats() -> stats() | {error, error_reason()}.
stats() ->
    stats(?MODULE).

%% @doc Counts since the start, and what is in the cache now; expired entries are
%% removed first, as by {@link size/1}. `evictions': removed for lack of room;
%% `expirations': removed for their age; `refused': larger than `max_bytes'.
%% `hit_rate_pct' is 0.0 before the first read. A `fetch' counts as one read.
-spec stats(ref()) -> stats() | {error, error_reason()}.
stats(Ref) ->
    case counts(Ref) of
        [Hits, Misses, Evictions, Expirations, Refused, Size, Bytes, Capacity, Ttl, Max] ->
            #{hits => Hits, misses => Misses, hit_rate_pct => rate(Hits, Hits + Misses),
              evictions => Evictions, expirations => Expirations, refused => Refused,
              size => Size, bytes => Bytes, capacity => Capacity,
              ttl => limit(Ttl), max_bytes => limit(Max)};
        {error, _} = Error ->
            Error
    end.

counts(Ref) ->
    case native(fun() -> sweep(Ref) end) of
        not_running -> elsewhere(Ref, stats);
        Counts -> Counts
    end.

sweep(Ref) ->
    case ?NIF:cache_sweep(Ref) of
        more -> sweep(Ref);
        ok -> ?NIF:cache_stats(Ref);
        not_running -> not_running
    end.

rate(_Hits, 0) -> 0.0;
rate(Hits, Reads) -> 100 * Hits / Reads.

limit(0) -> infinity;
limit(Limit) -> Limit.

native(Call) ->
    try Call()
    catch error:undef -> not_running
    end.

%% @private
%% @doc For tests: lets the clock of an instance go on by so many milliseconds.
-spec advance(ref(), non_neg_integer()) -> ok | {error, error_reason()}.
advance(Ref, Ms) ->
    case native(fun() -> ?NIF:cache_advance(Ref, Ms) end) of
        ok -> ok;
        not_running -> elsewhere(Ref, {advance, Ms})
    end.
