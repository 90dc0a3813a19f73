%% @private
%% @doc Shared state: a value is stored once, in a table of the batch instance, and
%% only a reference travels. The table belongs to the instance's supervisor, an
%% entry to the process that shared it.
-module(erlmcp_flow_shared).

-export([share/3, read/1, read/2, drop/1]).
-export_type([ref/0]).

-type ref() :: {state_ref, Table :: ets:tid(), Key :: term()}.

%% @doc One call to the keeper, then the value is written by the caller itself: it
%% never travels in a message.
-spec share(atom() | pid(), term(), term()) -> ref().
share(Instance, Key, Value) ->
    Table = erlmcp_flow_batch_keeper:own(erlmcp_flow_batch_sup:keeper(Instance), Key),
    true = ets:insert(Table, {Key, Value, self()}),
    {state_ref, Table, Key}.

-spec read(ref()) -> {ok, term()} | {error, not_found}.
read({state_ref, Table, Key}) ->
    try {ok, ets:lookup_element(Table, Key, 2)}
    catch error:badarg -> {error, not_found}
    end;
read(Other) ->
    erlmcp_flow_error:badarg([Other], #{1 => "not a state reference"}).

%% @doc The table copies only what the match specification's body returns.
-spec read(ref(), [term()]) -> {ok, term()} | {error, not_found}.
read(Ref, []) ->
    read(Ref);
read({state_ref, Table, Key} = Ref, Path) when is_list(Path) ->
    case is_pattern(Key) of
        true -> read_here(Ref, Path);
        false ->
            {Body, Guards} = part(Path, '$1', []),
            Spec = [{{Key, '$1', '_'}, Guards, [{{part, Body}}]}],
            try ets:select(Table, Spec) of
                [{part, Part}] -> {ok, Part};
                [] -> {error, not_found}
            catch
                error:badarg -> {error, not_found}
            end
    end;
read(Ref, Path) ->
    erlmcp_flow_error:badarg([Ref, Path], #{2 => "not a list of map keys"}).

part([], Body, Guards) ->
    {Body, lists:reverse(Guards)};
part([Key | Path], Body, Guards) ->
    Const = {const, Key},
    Guards1 = [{is_map_key, Const, Body}, {is_map, Body} | Guards],
    part(Path, {map_get, Const, Body}, Guards1).

%% A key that has a wildcard or a variable of match specifications in it cannot be
%% looked up by one: then all of the value is copied.
read_here(Ref, Path) ->
    case read(Ref) of
        {ok, Value} -> walk(Path, Value);
        Error -> Error
    end.

walk([], Value) ->
    {ok, Value};
walk([Key | Path], Value) when is_map_key(Key, Value) ->
    walk(Path, map_get(Key, Value));
walk(_, _) ->
    {error, not_found}.

is_pattern('_') -> true;
is_pattern(Atom) when is_atom(Atom) -> hd(atom_to_list(Atom) ++ [0]) =:= $$;
is_pattern([Head | Tail]) -> is_pattern(Head) orelse is_pattern(Tail);
is_pattern(Tuple) when is_tuple(Tuple) -> is_pattern(tuple_to_list(Tuple));
is_pattern(Map) when is_map(Map) -> is_pattern(maps:to_list(Map));
is_pattern(_) -> false.

-spec drop(ref()) -> ok.
drop({state_ref, Table, Key}) ->
    try ets:delete(Table, Key) of
        true -> ok
    catch
        error:badarg -> ok
    end;
drop(Other) ->
    erlmcp_flow_error:badarg([Other], #{1 => "not a state reference"}).
