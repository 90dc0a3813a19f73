%% @private
%% @doc Shared state: a value is stored once, and only a reference travels. The values
%% are in native memory and never change; a table of the batch instance says which
%% one a key has now, so sharing again replaces it at once for all readers. The table
%% belongs to the instance's supervisor, an entry to the process that shared it.
%%
%% The twin keeps the values in the table itself: then reading a part copies all of
%% the value first.
-module(erlmcp_flow_shared).

-export([share/3, read/1, read/2, drop/1]).
-export_type([ref/0]).

-define(NIF, erlmcp_flow_nif).

-type ref() :: {state_ref, Table :: ets:tid(), Key :: term()}.

%% @doc One call to the keeper, then the value is written by the caller itself: it
%% never travels in a message.
-spec share(atom() | pid(), term(), term()) -> ref().
share(Instance, Key, Value) ->
    Keeper = erlmcp_flow_batch_sup:keeper(Instance),
    {Kind, Table} = erlmcp_flow_batch_keeper:own(Keeper, Key),
    Stored = case Kind of
        native -> {native, ?NIF:shared_new(Value)};
        twin -> {value, Value}
    end,
    true = ets:insert(Table, {Key, Stored, self()}),
    {state_ref, Table, Key}.

-spec read(ref()) -> {ok, term()} | {error, not_found}.
read({state_ref, _, _} = Ref) ->
    read(Ref, []);
read(Other) ->
    erlmcp_flow_error:badarg([Other], #{1 => "not a state reference"}).

-spec read(ref(), [term()]) -> {ok, term()} | {error, not_found}.
read({state_ref, Table, Key}, Path) when length(Path) >= 0 ->
    try ets:lookup_element(Table, Key, 2) of
        {native, Value} -> read_native(Value, Path);
        {value, Value} -> walk(Path, Value)
    catch
        error:badarg -> {error, not_found}
    end;
read(Ref, Path) ->
    erlmcp_flow_error:badarg([Ref, Path], #{2 => "not a list of map keys"}).

read_native(Value, Path) ->
    case ?NIF:shared_read(Value, Path) of
        large -> found(?NIF:shared_read_dirty(Value, Path));
        Found -> found(Found)
    end.

found({ok, Part}) -> {ok, Part};
found(not_found) -> {error, not_found}.

walk([], Value) ->
    {ok, Value};
walk([Key | Path], Value) when is_map_key(Key, Value) ->
    walk(Path, map_get(Key, Value));
walk(_, _) ->
    {error, not_found}.

-spec drop(ref()) -> ok.
drop({state_ref, Table, Key}) ->
    try ets:delete(Table, Key) of
        true -> ok
    catch
        error:badarg -> ok
    end;
drop(Other) ->
    erlmcp_flow_error:badarg([Other], #{1 => "not a state reference"}).
