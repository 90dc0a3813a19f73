-module(erlmcp_flow_json_tests).

-include_lib("eunit/include/eunit.hrl").

-define(OPTS, #{max_bytes => 1 bsl 26, max_depth => 512, keys => binaries}).

%% Every case with the native codec and with its Erlang twin.
both_test_() ->
    [{Name ++ atom_to_list(Native), {setup,
      fun() -> ok = erlmcp_flow_native:set(#{serializer => Native}) end,
      fun(ok) -> ok = erlmcp_flow_native:set(true) end,
      {timeout, 60, Test}}}
     || Native <- [true, false],
        {Name, Test} <- [
            {"the cases of RFC 8259, native ", fun cases/0},
            {"depth, native ", fun depth/0},
            {"offsets, native ", fun offsets/0},
            {"numbers, native ", fun numbers/0},
            {"digits, native ", fun digits/0},
            {"repeated names, native ", fun repeated/0},
            {"large objects, native ", fun large_objects/0},
            {"atom keys, native ", fun atom_keys/0},
            {"encoded text, native ", fun texts/0},
            {"refused terms, native ", fun refused/0},
            {"bounds, native ", fun bounds/0},
            {"the MCP messages, native ", fun messages/0}
        ]].

cases() ->
    {ok, Cases} = file:consult(data("json_cases.eterm")),
    ?assert(length(Cases) > 300),
    lists:foreach(fun a_case/1, Cases).

a_case({accepted, Text, Term}) ->
    ?assertEqual({Text, {ok, Term}}, {Text, decode(Text)});
a_case({refused, What, Text}) ->
    ?assertMatch({What, {error, {invalid, _}}}, {What, decode(Text)});
a_case({chosen, What, Text, error}) ->
    ?assertMatch({What, {error, {invalid, _}}}, {What, decode(Text)});
a_case({chosen, What, Text, Term}) ->
    ?assertEqual({What, {ok, Term}}, {What, decode(Text)}).

depth() ->
    Nested = fun(N) -> iolist_to_binary([lists:duplicate(N, $[), lists:duplicate(N, $])]) end,
    {ok, Term} = decode(Nested(512)),
    ?assertEqual({ok, Nested(512)}, encode(Term)),
    ?assertEqual({error, too_deep}, decode(Nested(513))),
    ?assertEqual({error, too_deep}, encode([Term])),
    ?assertEqual({error, too_deep}, encode(#{<<"a">> => Term})),
    %% The suite's open arrays and objects, and a million.
    ?assertEqual({error, too_deep}, decode(binary:copy(<<"[">>, 100000))),
    ?assertEqual({error, too_deep}, decode(binary:copy(<<"[{\"\":">>, 50000))),
    ?assertEqual({error, too_deep}, decode(binary:copy(<<"[">>, 1000000))),
    ?assertEqual({ok, 1}, erlmcp_flow_json:decode(<<"1">>, ?OPTS#{max_depth := 0})),
    ?assertEqual({error, too_deep}, erlmcp_flow_json:decode(<<"[]">>, ?OPTS#{max_depth := 0})),
    ?assertEqual({error, too_deep}, erlmcp_flow_json:encode(#{}, #{max_depth => 0})).

offsets() ->
    [?assertEqual({Text, {error, {invalid, Offset}}}, {Text, decode(Text)})
     || {Offset, Text} <- [
        {0, <<>>}, {2, <<"  ">>}, {2, <<"1 2">>}, {3, <<"trux">>}, {2, <<"tr">>},
        {1, <<"01">>}, {2, <<"-01">>}, {1, <<"-">>}, {2, <<"1.">>}, {3, <<"1e+">>},
        {1, <<"[1e400]">>}, {1, <<"\"">>}, {2, <<"\"\\">>}, {2, <<"\"\\q\"">>},
        {5, <<"\"\\u12g4\"">>}, {1, <<"\"\\ud800\"">>}, {1, <<"\"\\udc00\"">>},
        {7, <<"\"abcdef", 16#ff, "\"">>}, {9, <<"\"abcdefgh", 16#e2, 16#82, "\"">>},
        {4, <<"\"abc", 10, "\"">>}, {1, <<"{1:2}">>}, {5, <<"{\"a\" 1}">>}, {7, <<"{\"a\":1,}">>},
        {20, <<"[\"0123456789012345\" x]">>}, {3, <<"[1,]">>}]].

numbers() ->
    %% The sign of a float zero is kept; an integer has none.
    {ok, MinusZero} = decode(<<"-0.0">>),
    ?assertEqual(<<16#8000000000000000:64>>, <<MinusZero/float>>),
    ?assertEqual({ok, 0}, decode(<<"-0">>)),
    {ok, Text} = encode(-0.0),
    {ok, Again} = decode(Text),
    ?assertEqual(<<16#8000000000000000:64>>, <<Again/float>>),
    [begin
         {ok, T} = encode(F),
         ?assertEqual({ok, F}, decode(T))
     end || F <- [0.1, 1.0e22, 1.0e23, 5.0e-324, 1.7976931348623157e308, 9007199254740993.0,
                  2.2250738585072011e-308, 123456789.123456789, -1.0e-7, 1.0e15, 1.0e16]],
    %% Halfway between two doubles, and one digit beyond.
    ?assertEqual({ok, 9007199254740992.0}, decode(<<"9007199254740993e0">>)),
    ?assertEqual({ok, 9007199254740994.0},
                 decode(<<"9007199254740993.", (binary:copy(<<"0">>, 800))/binary, "1">>)),
    [begin
         ?assertEqual({ok, integer_to_binary(N)}, encode(N)),
         ?assertEqual({ok, N}, decode(integer_to_binary(N)))
     end || Bits <- [7, 8, 15, 16, 31, 32, 58, 59, 60, 63, 64, 65, 127, 128, 2000, 2040, 30000],
            Off <- [-1, 0, 1], Sign <- [1, -1], N <- [Sign * ((1 bsl Bits) + Off)]].

digits() ->
    Most = binary:copy(<<"9">>, 10000),
    N = binary_to_integer(Most),
    ?assertEqual({ok, N}, decode(Most)),
    ?assertEqual({ok, -N}, decode(<<"-", Most/binary>>)),
    ?assertEqual({ok, Most}, encode(N)),
    ?assertEqual({error, too_large}, decode(<<"1", Most/binary>>)),
    ?assertEqual({error, too_large}, encode(N + 1)),
    ?assertEqual({error, too_large}, decode(binary:copy(<<"1">>, 1000000))),
    %% As a float they are no work.
    ?assertMatch({ok, F} when is_float(F),
                 decode(<<(binary:copy(<<"0">>, 1))/binary, ".",
                          (binary:copy(<<"1">>, 100000))/binary>>)).

repeated() ->
    ?assertEqual({ok, #{<<"a">> => 2}}, decode(<<"{\"a\":1,\"a\":2}">>)),
    %% The same name by another spelling.
    ?assertEqual({ok, #{<<"a">> => 2}}, decode(<<"{\"a\":1,\"\\u0061\":2}">>)),
    %% In, around and beside other repeated ones.
    ?assertEqual({ok, #{<<"a">> => #{<<"b">> => [3], <<"c">> => 4}, <<"d">> => 5}},
                 decode(<<"{\"a\":{\"b\":1,\"b\":2},\"d\":0,\"a\":{\"b\":2,\"c\":4,\"b\":[3]},"
                          "\"d\":5}">>)),
    Names = [integer_to_binary(N rem 1000) || N <- lists:seq(1, 3000)],
    Values = lists:seq(1, 3000),
    Text = object(lists:zip(Names, Values)),
    ?assertEqual({ok, maps:from_list(lists:zip(Names, Values))}, decode(Text)),
    %% Many in each of many levels.
    Level = fun(_, T) -> iolist_to_binary(["{\"x\":1,\"x\":", T, ",\"y\":[],\"y\":0}"]) end,
    Deep = lists:foldl(Level, <<"[]">>, lists:seq(1, 500)),
    {ok, Term} = decode(Deep),
    Want = fun(_, T) -> #{<<"x">> => T, <<"y">> => 0} end,
    ?assertEqual(lists:foldl(Want, [], lists:seq(1, 500)), Term).

large_objects() ->
    [begin
         Pairs = [{integer_to_binary(I), I} || I <- lists:seq(1, N)],
         Map = maps:from_list(Pairs),
         ?assertEqual({ok, Map}, decode(object(Pairs))),
         {ok, Text} = encode(Map),
         ?assertEqual({ok, Map}, decode(Text))
     end || N <- [31, 32, 33, 200, 20000]],
    %% Long texts on either side of the size of a binary in the heap.
    [begin
         Text = binary:copy(<<"x">>, N),
         ?assertEqual({ok, [Text]}, decode(<<"[\"", Text/binary, "\"]">>)),
         ?assertEqual({ok, <<"[\"", Text/binary, "\"]">>}, encode([Text]))
     end || N <- lists:seq(0, 80) ++ [255, 256, 4095, 4096, 4097, 70000, 300000]].

object(Pairs) ->
    iolist_to_binary([${, lists:join($,, [[$", K, "\":", integer_to_binary(V)]
                                          || {K, V} <- Pairs]), $}]).

atom_keys() ->
    Opts = ?OPTS#{keys := existing_atoms},
    Decode = fun(Text) -> erlmcp_flow_json:decode(Text, Opts) end,
    ?assertEqual({ok, #{id => <<"id">>, method => [#{'' => null}]}},
                 Decode(<<"{\"id\":\"id\",\"method\":[{\"\":null}]}">>)),
    ?assertEqual({ok, #{'Ωmega' => 1, 'élan' => 2}},
                 Decode(<<"{\"Ωmega\":1,\"\\u00e9lan\":2}"/utf8>>)),
    Atoms = erlang:system_info(atom_count),
    [?assertEqual({error, unknown_atom},
                  Decode(<<"{\"never_seen_", (integer_to_binary(I))/binary, "\":1}">>))
     || I <- lists:seq(1, 100)],
    ?assert(erlang:system_info(atom_count) - Atoms < 50),
    ?assertEqual({error, unknown_atom}, Decode(object([{binary:copy(<<"x">>, 256), 1}]))),
    ?assertEqual({error, unknown_atom}, Decode(object([{binary:copy(<<"x">>, 100000), 1}]))),
    %% An error in the text comes first, wherever it is.
    ?assertEqual({error, {invalid, 20}}, Decode(<<"{\"never_seen_1000\":1]">>)),
    ?assertEqual({ok, #{id => 2}}, Decode(<<"{\"id\":1,\"id\":2}">>)).

texts() ->
    [?assertEqual({ok, Text}, encode(Term))
     || {Term, Text} <- [
        {null, <<"null">>}, {true, <<"true">>}, {false, <<"false">>},
        {undefined, <<"\"undefined\"">>}, {nil, <<"\"nil\"">>}, {'', <<"\"\"">>},
        {'élan', <<"\"élan\""/utf8>>}, {'Ωmega', <<"\"Ωmega\""/utf8>>}, {'a"b', <<"\"a\\\"b\"">>},
        {0, <<"0">>}, {-1, <<"-1">>}, {1.5, <<"1.5">>}, {[], <<"[]">>}, {#{}, <<"{}">>},
        {[1, [2, []], #{}], <<"[1,[2,[]],{}]">>}, {"abc", <<"[97,98,99]">>},
        {#{a => 1}, <<"{\"a\":1}">>}, {#{<<"a">> => #{}}, <<"{\"a\":{}}">>},
        {#{1 => -1}, <<"{\"1\":-1}">>}, {#{-5 => []}, <<"{\"-5\":[]}">>},
        {#{true => true}, <<"{\"true\":true}">>}, {#{null => null}, <<"{\"null\":null}">>},
        {#{(1 bsl 70) => 0}, <<"{\"1180591620717411303424\":0}">>},
        {#{a => 1, <<"b">> => 2}, <<"{\"a\":1,\"b\":2}">>},
        %% Equal once they are texts: both are written.
        {#{a => 1, <<"a">> => 2}, <<"{\"a\":1,\"a\":2}">>},
        {<<"/ \x7f"/utf8, 16#20ac/utf8, 16#1f600/utf8>>,
         <<"\"/ \x7f"/utf8, 16#20ac/utf8, 16#1f600/utf8, "\"">>},
        {<<0, 31, "\"\\\b\f\n\r\t">>, <<"\"\\u0000\\u001F\\\"\\\\\\b\\f\\n\\r\\t\"">>}]],
    [begin
         %% An escape at every place of a text of every length up to three blocks.
         Text = <<(binary:copy(<<"a">>, At))/binary, C, (binary:copy(<<"z">>, Len - At))/binary>>,
         {ok, Json} = encode(Text),
         ?assertEqual({ok, Text}, decode(Json))
     end || Len <- lists:seq(0, 48), At <- lists:seq(0, Len), C <- [$", $\\, 0, 31, $\n, $\s, 127]].

refused() ->
    Pid = self(),
    Fun = fun() -> ok end,
    [?assertEqual({error, {unsupported, Bad}}, encode(Whole))
     || Bad <- [{}, {1, 2}, Pid, Fun, make_ref(), <<1:3>>, <<255>>, <<16#ed, 16#a0, 16#80>>,
                <<"abcdefghijklmnopqrstuvwxyz", 128>>, [1 | 2], [a, b | c]],
        Whole <- [Bad, [Bad], [1, [#{<<"a">> => Bad}]], #{a => [0, Bad]}]],
    [?assertEqual({error, {unsupported, Bad}}, encode([#{Bad => 1}]))
     || Bad <- [1.0, {a}, [], <<"abc">> == x, #{}, Pid, <<255>>, <<1:1>>], not is_atom(Bad)].

bounds() ->
    Small = fun(Max, Text) -> erlmcp_flow_json:decode(Text, ?OPTS#{max_bytes := Max}) end,
    ?assertEqual({error, too_large}, Small(0, <<"[]">>)),
    ?assertEqual({ok, []}, Small(8, <<"[]">>)),
    ?assertEqual({ok, 1}, Small(0, <<"1">>)),
    ?assertEqual({error, too_large}, Small(1000, <<"\"", (binary:copy(<<"x">>, 1000))/binary, "\"">>)),
    %% Eight times its text: one megabyte of it is refused within its bound.
    ?assertEqual({error, too_large},
                 Small(1 bsl 20, <<"[", (binary:copy(<<"1,">>, 500000))/binary, "1]">>)),
    ?assertEqual({error, {invalid, 1000001}},
                 decode(<<"[", (binary:copy(<<"1,">>, 500000))/binary>>)).

messages() ->
    Texts = [iolist_to_binary(T) || T <- mcp_texts()],
    ?assert(length(Texts) > 150),
    [begin
         {ok, Term} = decode(Text),
         {ok, Json} = encode(Term),
         ?assertEqual({ok, Term}, decode(Json)),
         case code:which(jiffy) of
             non_existing -> ok;
             _ -> ?assertEqual(jiffy:decode(Text, [return_maps]), Term)
         end
     end || Text <- Texts].

%% What is only a question of the native side.

%% Every cut of a message, and a bit of every byte flipped: an answer, and the same
%% as from the twin.
damage_test_() ->
    {timeout, 60, fun() ->
        Text = lists:nth(40, mcp_texts()),
        Junk = [binary:part(Text, 0, N) || N <- lists:seq(0, byte_size(Text) - 1)]
            ++ [begin
                    <<A:N/binary, B, C/binary>> = Text,
                    <<A/binary, (B bxor (1 bsl Bit)), C/binary>>
                end || N <- lists:seq(0, byte_size(Text) - 1), Bit <- [0, 2, 5, 7]],
        [?assertEqual(erlmcp_flow_json_erl:decode(J, 1 bsl 26, 512, binaries),
                      erlmcp_flow_json:decode(J, ?OPTS)) || J <- Junk]
    end}.

%% Documents of every size around the change to the dirty scheduler and to the
%% VM's own reader.
sizes_test_() ->
    {timeout, 60, fun() ->
        [begin
             Term = [#{<<"n">> => I, <<"t">> => <<"text">>, <<"f">> => 0.5} || I <- lists:seq(1, N)],
             {ok, Text} = encode(Term),
             ?assertEqual({ok, Term}, decode(Text)),
             %% The last name twice: the second pass, in all sizes too.
             Open = binary:part(Text, 0, byte_size(Text) - 2),
             ?assertEqual({ok, lists:droplast(Term) ++ [(lists:last(Term))#{<<"n">> := 0}]},
                          decode(<<Open/binary, ",\"n\":0}]">>))
         end || N <- [1, 10, 100, 300, 500, 900, 1000, 1100, 2000, 10000]]
    end}.

%% A binary in the decoded term is no part of the input: it would keep it alive.
copies_test() ->
    Text = iolist_to_binary(["[\"", binary:copy(<<"a">>, 100), "\",\"", binary:copy(<<"b">>, 100000),
                             "\"]"]),
    {ok, [A, _]} = decode(Text),
    ?assertEqual(100, binary:referenced_byte_size(A)).

%% What the normal NIFs do with input that they must give up on: the time of one
%% call, the best of a few, since the machine may be busy with something else.
schedulers_stay_free_test_() ->
    {timeout, 60, fun() ->
        Terms = [binary:copy(<<"x">>, 20000000), binary:copy(<<"\"">>, 5000000),
                 lists:duplicate(1000, binary:copy(<<"\"">>, 4096)), lists:seq(1, 1000000),
                 maps:from_list([{I, I} || I <- lists:seq(1, 200000)]),
                 lists:duplicate(200000, 'Ωmega'), lists:duplicate(200000, 1.1),
                 lists:duplicate(200000, 'éèêéèêéèêéèê'), lists:duplicate(1000, (1 bsl 30000)),
                 lists:duplicate(100000, []), lists:duplicate(100000, #{a => #{}})],
        [begin
             ?assertEqual(busy, erlmcp_flow_nif:json_encode(T, 512)),
             ?assert(best(fun() -> erlmcp_flow_nif:json_encode(T, 512) end) < 2000),
             _ = erlmcp_flow_nif:msgpack_encode(T, 512),
             ?assert(best(fun() -> erlmcp_flow_nif:msgpack_encode(T, 512) end) < 2000)
         end || T <- Terms],
        Fill = fun(Open, Part, Close) ->
            <<Open/binary, (binary:copy(Part, 262000 div byte_size(Part)))/binary, Close/binary>>
        end,
        Nines = binary:copy(<<"9">>, 10000),
        Texts = [Fill(<<$">>, <<"\\n">>, <<$">>), Fill(<<$[>>, <<"1,">>, <<"1]">>),
                 Fill(<<$[>>, <<"1e9,">>, <<"1]">>), Fill(<<$[>>, <<Nines/binary, $,>>, <<"1]">>),
                 Fill(<<$[>>, <<"12345678901234567890,">>, <<"1]">>), Fill(<<$[>>, <<"{},">>, <<"1]">>),
                 Fill(<<${>>, <<"\"a\":1,">>, <<"\"b\":1}">>), Fill(<<$[>>, <<" ">>, <<$]>>),
                 object([{integer_to_binary(I), I} || I <- lists:seq(1, 18000)])],
        [begin
             Read = fun(Resolve) ->
                 fun() -> erlmcp_flow_nif:json_decode(T, 1 bsl 26, 512, false, Resolve) end
             end,
             ?assert(best(Read(false)) < 2000),
             ?assert(best(Read(true)) < 2000)
         end || T <- Texts, byte_size(T) < 400000]
    end}.

%% Microseconds of the fastest of seven calls.
best(Call) ->
    lists:min([element(1, timer:tc(Call)) || _ <- lists:seq(1, 7)]).

encode(Term) -> erlmcp_flow_json:encode(Term, ?OPTS).

decode(Text) -> erlmcp_flow_json:decode(Text, ?OPTS).

mcp_texts() ->
    {ok, Bytes} = file:read_file(root(["bench", "data", "mcp_messages.jsonl"])),
    {ok, Schema} = file:read_file(root(["bench", "data", "mcp_schema.json"])),
    [Schema | [Line || Line <- binary:split(Bytes, <<"\n">>, [global]), Line =/= <<>>]].

data(Name) -> root(["test", "data", Name]).

%% The tests run from the project's folder, or from somewhere below it.
root(Path) ->
    {ok, Dir} = file:get_cwd(),
    root(Dir, Path).

root(Dir, Path) ->
    File = filename:join([Dir | Path]),
    case filelib:is_regular(File) of
        true -> File;
        false when Dir =/= "/" -> root(filename:dirname(Dir), Path)
    end.
