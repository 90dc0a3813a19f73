%% @private
%% @doc Options: what the caller gives, over the application environment (the
%% same flat keys), over the documented defaults; each value checked, nothing
%% unknown let through.
-module(erlmcp_flow_opts).

-export([validate/2, check/2, to_map/1]).
-export_type([opts/0, type/0, spec/0, error/0]).

-type opts() :: #{atom() => term()} | [{atom(), term()} | atom()].
%% What a caller may pass: a map or a proplist.

-type type() ::
    boolean
    | atom
    | any
    | binary
    | pid
    | name
    | {integer, Min :: integer(), Max :: integer() | infinity}
    | {enum, [term()]}
    | {function, arity()}
    | {map_of, type()}
    | {any_of, [type()]}.
%% `name' is a local name, `{local, Name}', `{global, Term}' or `{via, Mod, Term}'.

-type spec() :: #{atom() => {type(), Default :: term()} | {alias, atom()}}.
-type error() :: {bad_option, Key :: term(), Value :: term()}.

%% @doc Returns a map with every key of `Spec' (aliases folded into the key they
%% stand for), or the first option that is unknown or does not fit its type. A
%% bad value in the application environment is an error too: a typing mistake in
%% `sys.config' must not pass silently.
-spec validate(spec(), opts()) -> {ok, #{atom() => term()}} | {error, error()}.
validate(Spec, Opts) ->
    try
        Given = canonical(Spec, to_map(Opts)),
        {ok, maps:filtermap(
            fun(_Key, {alias, _}) -> false;
               (Key, {Type, Default}) -> {true, value(Key, Type, Default, Given)}
            end, Spec)}
    catch
        throw:{bad_option, _, _} = Bad -> {error, Bad}
    end.

%% @doc Options as a map; of a proplist the first of two equal keys. Throws
%% `{bad_option, _, _}' for anything else.
-spec to_map(term()) -> #{term() => term()}.
to_map(Opts) when is_map(Opts) ->
    Opts;
to_map(Opts) when is_list(Opts) ->
    %% As in a proplist, the first of two equal keys wins.
    try
        lists:foldr(
            fun({Key, Value}, Acc) -> Acc#{Key => Value};
               (Key, Acc) when is_atom(Key) -> Acc#{Key => true};
               (Other, _Acc) -> throw({bad_option, Other, Opts})
            end, #{}, Opts)
    catch
        %% An improper list.
        error:_ -> throw({bad_option, options, Opts})
    end;
to_map(Opts) ->
    throw({bad_option, options, Opts}).

canonical(Spec, Given) ->
    maps:fold(
        fun(Key, Value, Acc) ->
            case Spec of
                #{Key := {alias, Real}} when is_map_key(Real, Given) ->
                    %% Both spellings at once would leave it to chance which holds.
                    throw({bad_option, Key, Value});
                #{Key := {alias, Real}} -> Acc#{Real => Value};
                #{Key := _} -> Acc#{Key => Value};
                _ -> throw({bad_option, Key, Value})
            end
        end, #{}, Given).

value(Key, Type, Default, Given) ->
    case Given of
        #{Key := Value} ->
            checked(Key, Type, Value);
        _ ->
            case application:get_env(erlmcp_flow, Key) of
                {ok, Value} -> checked(Key, Type, Value);
                undefined -> Default
            end
    end.

checked(Key, Type, Value) ->
    case check(Type, Value) of
        true -> Value;
        false -> throw({bad_option, Key, Value})
    end.

%% @doc Does the value fit the type?
-spec check(type(), term()) -> boolean().
check(any, _) -> true;
check(boolean, V) -> is_boolean(V);
check(atom, V) -> is_atom(V);
check(binary, V) -> is_binary(V);
check(pid, V) -> is_pid(V);
check(name, {local, N}) -> is_name(N);
check(name, {global, _}) -> true;
check(name, {via, M, _}) -> is_atom(M);
check(name, N) -> is_name(N);
check({integer, Min, infinity}, V) -> is_integer(V) andalso V >= Min;
check({integer, Min, Max}, V) -> is_integer(V) andalso V >= Min andalso V =< Max;
check({enum, Values}, V) -> lists:any(fun(X) -> X =:= V end, Values);
check({function, Arity}, V) -> is_function(V, Arity);
check({map_of, Type}, V) ->
    is_map(V) andalso lists:all(fun(X) -> check(Type, X) end, maps:values(V));
check({any_of, Types}, V) -> lists:any(fun(T) -> check(T, V) end, Types).

is_name(undefined) -> false;
is_name(N) -> is_atom(N).
