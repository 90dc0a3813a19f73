#!/usr/bin/env escript
%% Builds the manual's raw material and holds that nothing public lacks it:
%%   doc/edoc/        HTML pages
%%   _build/.../doc/chunks   doc chunks: h/1 in the shell, Code.fetch_docs in Elixir
%% Fails when a public function (exported, its module not @private) has no @doc
%% or no -spec.
-mode(compile).

main(_) ->
    All = lists:sort(filelib:wildcard("erlang/*.erl") ++ filelib:wildcard("bench/erlang/*.erl")),
    Public = [F || F <- All, not is_private(F)],
    io:format("~b public modules of ~b~n", [length(Public), length(All)]),
    Opts = [{preprocess, true}, {includes, ["include"]}, {new, true}, no_packages],
    ok = edoc:files(Public, [{dir, "doc/edoc"} | Opts]),
    ok = edoc:files(Public, [{doclet, edoc_doclet_chunks}, {layout, edoc_layout_chunks},
                             {dir, "_build/default/lib/erlmcp_flow/doc"} | Opts]),
    case lists:flatmap(fun missing/1, Public) of
        [] ->
            io:format("every public function has a spec and a doc~n");
        Missing ->
            [io:format("~s: ~s/~b has no ~s~n", [F, N, A, What]) || {F, N, A, What} <- Missing],
            halt(1)
    end.

is_private(File) ->
    {ok, Bin} = file:read_file(File),
    %% The tag stands before -module.
    [Head | _] = binary:split(Bin, <<"\n-module(">>),
    binary:match(Head, [<<"@private">>, <<"@hidden">>]) =/= nomatch.

missing(File) ->
    {ok, Forms} = epp:parse_file(File, ["include"], []),
    Exports = lists:append([E || {attribute, _, export, E} <- Forms]),
    Specs = [spec_name(S) || {attribute, _, spec, {S, _}} <- Forms],
    {_, Doc} = edoc:get_doc(File, [{preprocess, true}, {hidden, true}, {private, true}]),
    Functions = [{attr(name, E), list_to_integer(attr(arity, E)), E}
                 || E <- find(function, Doc)],
    Documented = [{list_to_atom(N), A} || {N, A, E} <- Functions,
                  find(description, E) =/= [] orelse attr(private, E) =:= "yes"
                      orelse attr(hidden, E) =:= "yes" orelse find(equiv, E) =/= []],
    Callbacks = callbacks(Forms),
    [{File, N, A, "-spec"} || {N, A} <- Exports -- Specs] ++
    [{File, N, A, "@doc"} || {N, A} <- (Exports -- Documented) -- Callbacks].

spec_name({_M, N, A}) -> {N, A};
spec_name(NA) -> NA.

%% What a behaviour demands is documented by the behaviour.
callbacks(Forms) ->
    lists:flatmap(
        fun(B) ->
            try B:behaviour_info(callbacks) catch error:undef -> [] end
        end,
        [B || {attribute, _, Kind, B} <- Forms, Kind =:= behaviour orelse Kind =:= behavior]).

%% xmerl elements, as plain tuples: {xmlElement, Name, ..., Attributes, Content, ...}.
find(Name, {xmlElement, Name, _, _, _, _, _, _, _, _, _, _} = E) -> [E];
find(Name, E) when element(1, E) =:= xmlElement ->
    lists:flatmap(fun(C) -> find(Name, C) end, element(9, E));
find(_, _) -> [].

attr(Name, E) ->
    case [element(9, A) || A <- element(8, E), element(2, A) =:= Name] of
        [V | _] -> V;
        [] -> undefined
    end.
