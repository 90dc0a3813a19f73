%% @private
%% @doc The record of a run as JSON and as Markdown.
-module(erlmcp_flow_bench_report).

-export([write/2, read/1, plain/1, markdown/1]).

%% @doc Writes `flow_benchmark_<timestamp>.json' and `.md' into a folder, which is
%% made if need be.
-spec write(map(), file:name_all()) ->
    {ok, #{json := file:name_all(), markdown := file:name_all()}} | {error, term()}.
write(Record = #{timestamp := Timestamp}, Dir) ->
    Base = "flow_benchmark_" ++ binary_to_list(Timestamp),
    Json = filename:join(Dir, Base ++ ".json"),
    Markdown = filename:join(Dir, Base ++ ".md"),
    try
        maybe_all([
            fun() -> filelib:ensure_dir(Json) end,
            fun() ->
                Text = unicode:characters_to_binary(markdown(Record)),
                file:write_file(Markdown, Text)
            end,
            fun() -> file:write_file(Json, json(plain(Record))) end
        ], {ok, #{json => Json, markdown => Markdown}})
    catch
        %% The JSON comes from the library that is measured.
        error:Why -> {error, Why}
    end.

maybe_all([], Done) -> Done;
maybe_all([F | Rest], Done) ->
    case F() of
        ok -> maybe_all(Rest, Done);
        {error, _} = Error -> Error
    end.

%% @doc Reads a record that `write/2' wrote, keys as binaries.
-spec read(file:name_all()) -> {ok, #{binary() => term()}} | {error, term()}.
read(Path) ->
    case file:read_file(Path) of
        {ok, Bytes} ->
            case decode(Bytes) of
                {ok, Record} when is_map(Record) -> {ok, Record};
                {ok, _} -> {error, not_a_record};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

%% One line for each member, and for each element of the two long lists: so that a
%% record can be read and compared as text.
json(Record) ->
    Members = [[encode(K), ": ", value(K, V)] || {K, V} <- lists:sort(maps:to_list(Record))],
    ["{\n", lists:join(",\n", Members), "\n}\n"].

value(Key, List) when Key =:= <<"results">>; Key =:= <<"distributions">> ->
    ["[\n", lists:join(",\n", [["  ", encode(E)] || E <- List]), "\n]"];
value(_Key, Value) ->
    encode(Value).

encode(Term) ->
    {ok, Json} = erlmcp_flow_serializer:encode(Term, #{format => json}),
    Json.

decode(Bytes) ->
    erlmcp_flow_serializer:decode(Bytes, #{format => json}).

%% @doc The record in terms that JSON has: binaries for atoms and keys, `null' for
%% `undefined', objects for targets.
-spec plain(term()) -> term().
plain(Map) when is_map(Map) ->
    maps:from_list([{key(K), plain(V)} || {K, V} <- maps:to_list(Map)]);
plain(List) when is_list(List) -> [plain(E) || E <- List];
plain({What, Op, Limit}) -> #{<<"what">> => plain(What), <<"op">> => plain(Op),
                              <<"limit">> => Limit};
plain(undefined) -> null;
plain(Atom) when Atom =:= true; Atom =:= false; Atom =:= null -> Atom;
plain(Atom) when is_atom(Atom) -> atom_to_binary(Atom);
plain(Other) -> Other.

key(K) when is_atom(K) -> atom_to_binary(K);
key(K) when is_binary(K) -> K.

%% @doc A summary with a table for each section.
-spec markdown(map()) -> unicode:chardata().
markdown(#{machine := Machine, results := Results, timestamp := Timestamp,
           summary := Counts, seconds := Seconds}) ->
    Shown = [R || R <- Results, not maps:get(quiet, R, false)],
    ["# erlmcp_flow benchmark ", Timestamp, "\n\n",
     io_lib:format("~ts, ~ts cores, ~ts; OTP ~ts (~ts); erlmcp_flow ~ts",
                   [said(maps:get(K, Machine, "?"))
                    || K <- [cpu, cores, os, otp, flavour, version]]),
     case Machine of
         #{commit := Commit} -> [", commit `", Commit, "`"];
         _ -> ""
     end,
     io_lib:format(".\n\n~b PASS, ~b FAIL, ~b NOT BUILT, ~b ABSENT, ~b without a target, "
                   "in ~.1f seconds.\n",
                   [maps:get(V, Counts, 0) || V <- [pass, fail, not_built, absent, info]]
                   ++ [float(Seconds)]),
     [section(S, [R || R <- Shown, maps:get(section, R) =:= S]) || S <- sections(Shown)]].

said(N) when is_integer(N) -> integer_to_list(N);
said(Text) -> Text.

sections(Results) ->
    lists:reverse(lists:foldl(
        fun(#{section := S}, Acc) ->
            case lists:member(S, Acc) of
                true -> Acc;
                false -> [S | Acc]
            end
        end, [], Results)).

section(Name, Results) ->
    ["\n## ", Name, "\n\n",
     "| metric | median | min .. max | rival | ratio | target | |\n",
     "|---|---|---|---|---|---|---|\n",
     [row(R) || R <- Results]].

row(R = #{label := Label, unit := Unit, targets := Targets, verdict := Verdict}) ->
    Value = fun(V) -> erlmcp_flow_bench_print:value(Unit, V) end,
    {Median, Spread} = case R of
        #{median := M, min := Min, max := Max} ->
            {Value(M), [Value(Min), " .. ", Value(Max)]};
        _ -> {"", ""}
    end,
    Rival = case R of
        #{rival := #{name := N, median := RM}} -> [N, ": ", Value(RM)];
        #{rival := #{name := N, absent := Why}} -> [N, ": absent, ", Why];
        _ -> ""
    end,
    Wanted = lists:join(", ", [erlmcp_flow_bench_print:target(T, Unit) || T <- Targets]),
    Reason = case R of
        #{reason := Text} when is_binary(Text), Verdict =/= not_built -> [" ", Text];
        _ -> ""
    end,
    Cells = [Label, Median, Spread, Rival, erlmcp_flow_bench_print:ratio(R), Wanted,
             [verdict(Verdict), Reason]],
    ["| ", lists:join(" | ", [cell(C) || C <- Cells]), " |\n"].

cell(Text) ->
    string:replace(unicode:characters_to_list(Text), "|", "\\|", all).

verdict(info) -> "";
verdict(not_built) -> "NOT BUILT";
verdict(V) -> string:uppercase(atom_to_list(V)).
