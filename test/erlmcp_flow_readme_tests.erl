%% Runs the shell tour of README.md, so that it stays true.
-module(erlmcp_flow_readme_tests).
-include_lib("eunit/include/eunit.hrl").

tour_test_() ->
    {setup,
     fun() -> {ok, _} = application:ensure_all_started(erlmcp_flow) end,
     fun(_) -> application:stop(erlmcp_flow) end,
     fun(_) ->
         Blocks = blocks(),
         [?_assert(length(Blocks) >= 5)] ++
         [{title(B), {timeout, 30, fun() -> evaluate(B) end}} || B <- Blocks]
     end}.

blocks() ->
    {ok, Text} = file:read_file(filename:join(root(), "README.md")),
    {match, Found} = re:run(Text, "```erlang\n(.*?)```",
                            [global, dotall, {capture, [1], list}]),
    [B || [B] <- Found].

%% The checkout: the folder above _build.
root() ->
    root(filename:absname(code:lib_dir(erlmcp_flow))).

root(Dir) ->
    case filelib:is_regular(filename:join(Dir, "README.md")) of
        true -> Dir;
        false -> root(filename:dirname(Dir))
    end.

title(Block) -> hd(string:split(Block, "\n")).

evaluate(Block) ->
    {ok, Tokens, _} = erl_scan:string(Block),
    run(Tokens, erl_eval:new_bindings()).

run([], _) ->
    ok;
run(Tokens, Bindings) ->
    {Form, Rest} = lists:splitwith(fun(T) -> element(1, T) =/= dot end, Tokens),
    {ok, Exprs} = erl_parse:parse_exprs(Form ++ [hd(Rest)]),
    {value, _, Next} = erl_eval:exprs(Exprs, Bindings),
    run(tl(Rest), Next).
