%% @private
%% @doc A cache instance in the metrics registry: its counters, read when somebody
%% asks, so that reads and writes pay nothing for them.
-module(erlmcp_flow_lru_cache_metrics).

-export([register/1]).

-define(COUNTERS, [
    {hits, <<"Reads that found an entry">>},
    {misses, <<"Reads that found none, or an expired one">>},
    {evictions, <<"Entries removed for lack of room">>},
    {expirations, <<"Entries removed for their age">>}]).
-define(GAUGES, [
    {hit_rate_pct, <<"Hits among all reads, percent">>},
    {size, <<"Entries">>},
    {bytes, <<"Bytes of the entries">>}]).

%% @doc Registers the instance of the calling process under its name, or under its
%% pid when it has none. The metrics go when the process goes.
-spec register(Name :: term()) -> ok.
register(Name) ->
    Pid = self(),
    Labels = #{instance => label(Name, Pid)},
    _ = [erlmcp_flow_metrics:counter_fun(name(Key), Labels, Help, stat(Pid, Key))
         || {Key, Help} <- ?COUNTERS],
    _ = [erlmcp_flow_metrics:gauge_fun(name(Key), Labels, Help, stat(Pid, Key))
         || {Key, Help} <- ?GAUGES],
    ok.

name(Key) -> <<"flow.cache.", (atom_to_binary(Key))/binary>>.

stat(Pid, Key) ->
    fun() -> maps:get(Key, erlmcp_flow_lru_cache:stats(Pid)) end.

label(undefined, Pid) -> list_to_binary(pid_to_list(Pid));
label({local, Name}, _Pid) -> Name;
label(Name, _Pid) when is_atom(Name) -> Name;
label(Name, _Pid) -> iolist_to_binary(io_lib:format("~0tp", [Name])).
