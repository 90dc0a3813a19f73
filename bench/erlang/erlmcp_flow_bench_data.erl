%% @private
%% @doc The benchmark's input: the MCP messages and the schema of `bench/data', or
%% of the folder that `ERLMCP_FLOW_DATA' names.
-module(erlmcp_flow_bench_data).

-export([root/0, dir/1, load/1, block/2]).
-export_type([data/0]).

-type data() :: #{
    terms := [map(), ...],           %% the messages as maps with binary keys
    json := [binary(), ...],         %% the same as compact JSON
    median := binary(),              %% the message of median size, as JSON
    schema := binary()               %% one large document, as JSON
}.

-define(MESSAGES, "mcp_messages.jsonl").
-define(SCHEMA, "mcp_schema.json").

%% @doc The folder under which `bench/' lies: the working directory, or the first
%% one upwards from where the library is installed that has it. Without either,
%% the working directory.
-spec root() -> file:filename().
root() ->
    {ok, Cwd} = file:get_cwd(),
    Candidates = [Cwd | upwards(lib_dir(Cwd))],
    case [D || D <- Candidates,
               filelib:is_regular(filename:join([D, "bench", "data", ?MESSAGES]))] of
        [Root | _] -> Root;
        [] -> Cwd
    end.

lib_dir(Cwd) ->
    case code:lib_dir(erlmcp_flow) of
        {error, bad_name} -> filename:absname(code:which(?MODULE), Cwd);
        Dir -> filename:absname(Dir, Cwd)
    end.

upwards(Dir) ->
    case filename:dirname(Dir) of
        Dir -> [Dir];
        Parent -> [Dir | upwards(Parent)]
    end.

%% @doc The folder of the input files: the option `data_dir', the environment, or
%% `bench/data'.
-spec dir(#{data_dir => file:name_all(), _ => _}) -> file:name_all().
dir(#{data_dir := Dir}) ->
    Dir;
dir(_Opts) ->
    case os:getenv("ERLMCP_FLOW_DATA") of
        Empty when Empty =:= false; Empty =:= "" -> filename:join([root(), "bench", "data"]);
        Dir -> Dir
    end.

%% @doc Reads the input; the messages are decoded by the library itself.
-spec load(file:name_all()) -> {ok, data()} | {error, unicode:chardata()}.
load(Dir) ->
    case {read(Dir, ?MESSAGES), read(Dir, ?SCHEMA)} of
        {{ok, Lines}, {ok, Schema}} ->
            try
                Terms = [message(L) || L <- binary:split(Lines, <<"\n">>, [global, trim_all])],
                Json = [json(T) || T <- Terms],
                {ok, #{terms => Terms, json => Json, median => median(Json), schema => Schema}}
            catch
                throw:Why -> {error, [?MESSAGES, ": ", Why]};
                %% The library itself does not load.
                error:Why -> {error, io_lib:format("the input is not decoded: ~0tP", [Why, 10])}
            end;
        {{error, Why}, _} -> {error, Why};
        {_, {error, Why}} -> {error, Why}
    end.

read(Dir, Name) ->
    Path = filename:join(Dir, Name),
    case file:read_file(Path) of
        {ok, Bytes} -> {ok, Bytes};
        {error, Why} -> {error, io_lib:format("~ts: ~ts", [Path, file:format_error(Why)])}
    end.

message(Line) ->
    case decode(Line) of
        #{<<"message">> := Message} -> Message;
        _ -> throw("a line without a member 'message'")
    end.

median(Json) ->
    Sorted = lists:sort(fun(A, B) -> byte_size(A) =< byte_size(B) end, Json),
    lists:nth((length(Sorted) + 1) div 2, Sorted).

decode(Bytes) ->
    case erlmcp_flow_serializer:decode(Bytes, #{format => json}) of
        {ok, Term} -> Term;
        {error, Why} -> throw(io_lib:format("~p", [Why]))
    end.

json(Term) ->
    {ok, Bytes} = erlmcp_flow_serializer:encode(Term, #{format => json}),
    Bytes.

%% @doc A block of `Size' bytes of real data: the pieces one after another, from
%% the start again where they do not suffice.
-spec block([binary(), ...], Size :: pos_integer()) -> binary().
block(Pieces, Size) ->
    All = iolist_to_binary(Pieces),
    Times = Size div byte_size(All) + 1,
    binary:part(binary:copy(All, Times), 0, Size).
