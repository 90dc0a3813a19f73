-module(erlmcp_flow_serializer_tests).
-include_lib("eunit/include/eunit.hrl").

-define(S, erlmcp_flow_serializer).

%% One table of cases for both implementations.

both_test_() ->
    [{atom_to_list(Way),
      {setup,
       fun() -> prop_serializer:set_way(Way) end,
       fun prop_serializer:reset_way/1,
       [{N, F} || {N, F} <- cases()]}}
     || Way <- [native, plain, twin]].

cases() ->
    [{lists:flatten(io_lib:format("decode ~P", [Bin, 12])),
      fun() -> ?assertEqual(Expected, ?S:decode(Bin)) end}
     || {Bin, Expected} <- decode_table()]
    ++
    [{lists:flatten(io_lib:format("decode ~P ~p", [Bin, 12, Opts])),
      fun() -> ?assertEqual(Expected, ?S:decode(Bin, Opts)) end}
     || {Bin, Opts, Expected} <- decode_opts_table()]
    ++
    [{lists:flatten(io_lib:format("batch ~P", [Bin, 12])),
      fun() -> ?assertEqual(Expected, ?S:decode_batch(Bin)) end}
     || {Bin, Expected} <- batch_table()]
    ++
    [{"batch of " ++ Name,
      fun() ->
          {ok, Bin} = ?S:encode_batch(Terms),
          ?assertEqual({ok, Terms}, ?S:decode_batch(Bin))
      end}
     || {Name, Terms} <- batches()]
    ++
    [{"junk", fun junk/0},
     {"bombs", {timeout, 60, fun bombs/0}},
     {"deep", {timeout, 60, fun deep/0}}].

decode_table() ->
    [{<<131, 97, 1>>, {ok, 1}},
     {<<131, 98, 255, 255, 255, 255>>, {ok, -1}},
     {<<131, 106>>, {ok, []}},
     {<<131, 99, (iolist_to_binary(string:pad("1.50000000000000000000e+00", 31, trailing, 0)))/binary>>,
      {ok, 1.5}},
     {<<131, 100, 2:16, "ok">>, {ok, ok}},
     {<<131, 115, 2, "ok">>, {ok, ok}},
     {<<131, 118, 2:16, "ok">>, {ok, ok}},
     {<<131, 119, 2, "ok">>, {ok, ok}},
     {<<131, 107, 3:16, "abc">>, {ok, "abc"}},
     {<<131, 77, 1:32, 4, 16#A0>>, {ok, <<10:4>>}},
     {<<131, 110, 1, 1, 5>>, {ok, -5}},
     {<<131, 111, 1:32, 0, 5>>, {ok, 5}},
     {<<131, 105, 1:32, 106>>, {ok, {[]}}},
     %% Malformed.
     {<<>>, {error, {invalid, 0}}},
     {<<1>>, {error, {invalid, 0}}},
     {<<131>>, {error, {invalid, 1}}},
     {<<131, 97>>, {error, {invalid, 1}}},
     {<<131, 97, 1, 2>>, {error, {invalid, 3}}},
     {<<131, 0>>, {error, {invalid, 1}}},
     {<<131, 104, 2, 97, 1>>, {error, {invalid, 5}}},
     {<<131, 108, 1:32, 97, 1>>, {error, {invalid, 8}}},
     {<<131, 70, 16#7FF0000000000000:64>>, {error, {invalid, 1}}},
     {<<131, 119, 1, 255>>, {error, {invalid, 1}}},
     {<<131, 100, 256:16, 0:2048>>, {error, {invalid, 1}}},
     {<<131, 104, 1, 77, 1:32, 9, 1>>, {error, {invalid, 3}}},
     {<<131, 116, 2:32, 97, 1, 97, 1, 97, 1, 97, 2>>, {error, {invalid, 1}}},
     {<<131, 88, 97, 1, 0:96>>, {error, {invalid, 1}}},
     {<<131, 82, 0>>, {error, {invalid, 1}}},
     {<<131, 80, 0>>, {error, {invalid, 1}}},
     {<<131, 80, 5:32, "not zlib">>, {error, {invalid, 6}}},
     %% Claims without the bytes.
     {<<131, 105, 16#FFFFFFFF:32>>, {error, {invalid, 1}}},
     {<<131, 108, 16#FFFFFFFF:32, 106>>, {error, {invalid, 1}}},
     {<<131, 109, 16#FFFFFFFF:32, "x">>, {error, {invalid, 1}}},
     {<<131, 116, 16#FFFFFFFF:32, 106>>, {error, {invalid, 1}}},
     {<<131, 111, 16#FFFFFFFF:32, 0, 1>>, {error, {invalid, 1}}},
     {<<131, 80, 16#FFFFFFFF:32, (zlib:compress(<<106>>))/binary>>, {error, too_large}},
     %% What is not let in.
     {<<131, 119, 21, "no_such_atom_anywhere">>, {error, unknown_atom}},
     {<<131, 104, 1, 100, 21:16, "no_such_atom_anywhere">>, {error, unknown_atom}},
     {<<131, 88, 119, 18, "no_such_node@nohow", 1:32, 1:32, 1:32>>, {error, unknown_atom}},
     {term_to_binary(fun lists:map/2), {error, unsafe}},
     {term_to_binary({x, fun() -> ok end}), {error, unsafe}},
     %% Compressed.
     {term_to_binary(lists:duplicate(500, <<"abc">>), [compressed]),
      {ok, lists:duplicate(500, <<"abc">>)}},
     {packed(binary:copy(<<0>>, 40000)), {ok, binary:copy(<<0>>, 40000)}},
     {<<(packed(binary:copy(<<0>>, 4000)))/binary, "!">>, {error, {invalid, 6}}},
     {<<131, 80, 3:32, (zlib:compress(<<97, 1>>))/binary>>, {error, {invalid, 6}}},
     {<<131, 80, 1:32, (zlib:compress(<<97, 1>>))/binary>>, {error, {invalid, 6}}},
     {<<131, 80, 0:32, (zlib:compress(<<>>))/binary>>, {error, {invalid, 1}}},
     {<<131, 80, 7:32, (zlib:compress(<<80, 0:32, 97, 1>>))/binary>>, {error, {invalid, 1}}}].

packed(Term) ->
    term_to_binary(Term, [compressed]).

decode_opts_table() ->
    Big = binary:copy(<<0>>, 5000),
    Fun = fun lists:map/2,
    [{term_to_binary(Fun), #{safe => false}, {ok, Fun}},
     {term_to_binary([[[x]]]), #{max_depth => 3}, {ok, [[[x]]]}},
     {term_to_binary([[[x]]]), [{max_depth, 2}], {error, too_deep}},
     {term_to_binary({{}, [], #{}}), #{max_depth => 1}, {ok, {{}, [], #{}}}},
     {term_to_binary(Big), #{max_bytes => 6000}, {ok, Big}},
     {term_to_binary(Big), #{max_bytes => 5000}, {error, too_large}},
     {packed(Big), #{max_bytes => 6000}, {ok, Big}},
     {packed(Big), #{max_bytes => 5000}, {error, too_large}},
     {term_to_binary(lists:seq(1, 1000)), #{max_bytes => 16000}, {ok, lists:seq(1, 1000)}},
     {term_to_binary(lists:seq(1, 1000)), #{max_bytes => 15999}, {error, too_large}},
     {<<>>, #{unknown => 1}, {error, {bad_option, unknown, 1}}},
     {<<>>, #{max_bytes => 0}, {error, {bad_option, max_bytes, 0}}},
     {<<>>, #{max_depth => -1}, {error, {bad_option, max_depth, -1}}},
     {<<>>, #{format => json, max_depth => infinity}, {error, {bad_option, max_depth, infinity}}},
     {<<>>, #{safe => 1}, {error, {bad_option, safe, 1}}},
     {<<>>, #{format => xml}, {error, {bad_option, format, xml}}},
     {<<>>, #{keys => atoms}, {error, {bad_option, keys, atoms}}},
     {<<>>, [{safe, yes} | x], {error, {bad_option, options, [{safe, yes} | x]}}},
     {<<>>, [3], {error, {bad_option, 3, [3]}}},
     {<<>>, 3, {error, {bad_option, options, 3}}},
     {<<131, 97, 7>>, [safe, {safe, no}], {ok, 7}}].

batch_table() ->
    [{<<>>, {error, {invalid, 0}}},
     {<<131, 106>>, {error, {invalid, 0}}},
     {<<16#B5>>, {error, {invalid, 1}}},
     {<<16#B5, 9>>, {error, {invalid, 1}}},
     {<<16#B5, 1>>, {error, {invalid, 2}}},
     {<<16#B5, 1, 0>>, {ok, []}},
     {<<16#B5, 1, 0, 0>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1>>, {error, {invalid, 2}}},
     {<<16#B5, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1>>, {error, {invalid, 2}}},
     {<<16#B5, 1, 1, 63>>, {ok, [63]}},
     {<<16#B5, 1, 1, 16#40>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#80>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#C0>>, {error, {invalid, 4}}},
     {<<16#B5, 1, 1, 16#FF>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 2, 16#A1, "x", 16#40>>, {ok, [<<"x">>, <<"x">>]}},
     {<<16#B5, 1, 1, 16#E6, 255, 255, 255, 255, 15>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#E8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1>>,
      {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#E0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2>>,
      {error, {invalid, 4}}},
     {<<16#B5, 1, 1, 16#E0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1>>,
      {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#E2, 16#7FF8000000000000:64>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#E3, 21, "no_such_atom_anywhere">>, {error, unknown_atom}},
     {<<16#B5, 1, 1, 16#E3, 1, 255>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#E9, 0>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#E9, 33>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#E9, 2, 16#A1, "x", 16#40, 1, 2>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#E9, 1, 5, 5>>, {error, {invalid, 5}}},
     {<<16#B5, 1, 2, 16#E9, 1, 16#A1, "x", 5, 16#80, 6>>,
      {ok, [#{<<"x">> => 5}, #{<<"x">> => 6}]}},
     %% Keys in the order of no Erlang.
     {<<16#B5, 1, 2, 16#E9, 3, 16#A1, "z", 16#A1, "x", 16#A1, "y", 1, 2, 3, 16#80, 4, 5, 6>>,
      {ok, [#{<<"z">> => 1, <<"x">> => 2, <<"y">> => 3},
            #{<<"z">> => 4, <<"x">> => 5, <<"y">> => 6}]}},
     {<<16#B5, 1, 1, 16#EA, 2, 1, 1, 1, 1>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#E7, 0, 1>>, {error, {invalid, 3}}},
     {<<16#B5, 1, 1, 16#E7, 1, 1, 2>>, {ok, [[1 | 2]]}},
     {<<16#B5, 1, 1, 16#ED, 3, 131, 97, 9>>, {ok, [9]}},
     {<<16#B5, 1, 1, 16#ED, 3, 131, 97, 9, 9>>, {error, {invalid, 8}}},
     {<<16#B5, 1, 1, 16#ED, 2, 131, 97>>, {error, {invalid, 3}}},
     {batch_of_external(<<131, 119, 21, "no_such_atom_anywhere">>), {error, unknown_atom}},
     {batch_of_external(term_to_binary(fun lists:map/2)), {error, unsafe}},
     {batch_of_external(packed(binary:copy(<<0>>, 1000))), {error, {invalid, 3}}}].

batch_of_external(Bin) ->
    <<16#B5, 1, 1, 16#ED, (byte_size(Bin)), Bin/binary>>.

batches() ->
    Messages = messages(),
    [{"nothing", []},
     {"one", [hd(Messages)]},
     {"messages", Messages},
     {"messages with atoms", [atoms(M) || M <- Messages]},
     {"the same messages many times", lists:append(lists:duplicate(30, Messages))},
     {"numbers", [0, 63, 64, -1, 1 bsl 62, 1 bsl 63, -(1 bsl 63), -(1 bsl 63) - 1, 1 bsl 200,
                  1.5, -2.25, 1.0e300]},
     {"binaries", [binary:copy(<<"a">>, N) || N <- lists:seq(0, 70)]
                  ++ [binary:copy(<<"a">>, N) || N <- lists:seq(0, 70)]},
     {"bits", [<<1:1>>, <<5:7>>, <<1:9>>]},
     {"identifiers", [self(), make_ref(), hd(erlang:ports())]},
     {"improper lists", [[1 | 2], [a, b | <<"c">>], [[1 | 2] | 3]]},
     {"tuples", [{}, {1}, list_to_tuple(lists:seq(1, 5000))]},
     {"maps", [#{}, #{1 => 2}, #{{a} => b}, #{<<>> => 1}, #{1.0 => x, 1 => y},
               maps:from_list([{integer_to_binary(N), N} || N <- lists:seq(1, 32)]),
               #{binary:copy(<<"k">>, 65) => v}]},
     {"large maps", [maps:from_list([{N, N} || N <- lists:seq(1, 40)]),
                     maps:from_list([{integer_to_binary(N), N} || N <- lists:seq(1, 33)])]},
     {"many words", [integer_to_binary(N) || N <- lists:seq(1, 10000)]
                    ++ [integer_to_binary(N) || N <- lists:seq(10000, 1, -1)]},
     {"many shapes", [#{integer_to_binary(N) => N} || N <- lists:seq(1, 20000)]},
     {"charlists", ["abc", "hello world", lists:seq(1, 3000)]},
     {"atoms of all sorts", [binary_to_atom(<<"é"/utf8>>), binary_to_atom(<<"日本"/utf8>>),
                             '', ok, binary_to_atom(binary:copy(<<"x">>, 255)),
                             binary_to_atom(<<"é"/utf8>>)]}].

messages() ->
    [#{<<"jsonrpc">> => <<"2.0">>, <<"id">> => N, <<"method">> => method(N),
       <<"params">> => params(N rem 5, N)}
     || N <- lists:seq(1, 100)].

method(N) -> lists:nth(1 + N rem 3, [<<"tools/call">>, <<"tools/list">>, <<"ping">>]).

params(0, _) -> #{};
params(1, N) -> #{<<"cursor">> => integer_to_binary(N * N)};
params(2, N) -> #{<<"name">> => <<"search">>, <<"arguments">> => #{<<"limit">> => N}};
params(3, N) -> #{<<"content">> => [#{<<"type">> => <<"text">>, <<"text">> => text(N)}]};
params(4, N) -> [N / 7, true, null, <<"x">> | text(N)].

text(N) -> binary:copy(<<"lorem ipsum ">>, N).

atoms(M) when is_map(M) ->
    maps:from_list([{binary_to_atom(K), atoms(V)} || {K, V} <- maps:to_list(M)]);
atoms(Other) ->
    Other.

%% Junk and bombs: an error within milliseconds, and the memory stays.

junk() ->
    Bin = term_to_binary(messages()),
    {ok, Batch} = ?S:encode_batch(messages()),
    lists:foreach(
        fun(N) ->
            ?assertMatch({error, _}, ?S:decode(binary:part(Bin, 0, N))),
            ?assertMatch({error, _}, ?S:decode_batch(binary:part(Batch, 0, min(N, byte_size(Batch) - 1))))
        end, lists:seq(0, byte_size(Bin) - 1, 509)).

bombs() ->
    Zeros = zlib:compress(<<109, 80000000:32, 0:640000000>>),
    Words = binary:copy(<<108, 1:32, 106>>, 100000),
    Cases = [
        <<131, 105, 16#FFFFFFFF:32, 0:8000>>,
        <<131, 80, 80000005:32, Zeros/binary>>,
        <<131, 80, 60000000:32, Zeros/binary>>,
        <<131, 80, 1000:32, Zeros/binary>>,
        <<131, Words/binary>>],
    [begin
         {Micros, Result} = timer:tc(fun() -> ?S:decode(Bin) end),
         ?assertMatch({error, _}, Result),
         ?assert(Micros < 2000000)
     end || Bin <- Cases],
    %% One map of 32 values of 64 bytes, in 33 bytes for each further one.
    Value = binary:copy(<<"v">>, 64),
    Map = maps:from_list([{integer_to_binary(N), Value} || N <- lists:seq(1, 32)]),
    {ok, One} = ?S:encode_batch(lists:duplicate(30000, Map)),
    ?assert(byte_size(One) < 2000000),
    ?assertEqual({error, too_large}, ?S:decode_batch(One)),
    {ok, Few} = ?S:encode_batch(lists:duplicate(1000, Map)),
    ?assertMatch({ok, [_ | _]}, ?S:decode_batch(Few)),
    ?assertEqual({error, too_large}, ?S:decode_batch(Few, #{max_bytes => 100000})).

deep() ->
    [begin
         Lists = <<131, (binary:copy(<<108, 1:32>>, N))/binary, (binary:copy(<<106>>, N + 1))/binary>>,
         {ok, Deep} = ?S:decode(Lists),
         ?assert(is_list(Deep)),
         ?assertEqual({error, too_deep}, ?S:decode(Lists, #{max_depth => 512})),
         {ok, Batch} = ?S:encode_batch([Deep]),
         {ok, [Back]} = ?S:decode_batch(Batch),
         ?assert(Back =:= Deep)
     end || N <- [100000, 1000000]].

%% What both sides write can be read by both.

cross_test_() ->
    [{lists:concat([Name, " ", Writer, " ", Reader]),
      fun() ->
          {ok, Bin} = prop_serializer:with(Writer, fun() -> ?S:encode_batch(Terms) end),
          ?assertEqual({ok, Terms},
                       prop_serializer:with(Reader, fun() -> ?S:decode_batch(Bin) end))
      end}
     || {Name, Terms} <- batches(),
        {Writer, Reader} <- [{native, twin}, {plain, twin}, {twin, native}, {twin, plain}]].

same_bytes_test() ->
    %% How maps are read is no part of the format.
    [?assertEqual({Name, prop_serializer:with(native, fun() -> ?S:encode_batch(T) end)},
                  {Name, prop_serializer:with(plain, fun() -> ?S:encode_batch(T) end)})
     || {Name, T} <- batches()].

%% What recurs is written once, by either side.
size_test() ->
    %% Those without long texts, which are written as they are.
    Messages = [M || #{<<"id">> := N} = M <- messages(), N rem 5 < 3],
    Limit = byte_size(term_to_binary(Messages)) * 6 div 10,
    Small = [element(2, prop_serializer:with(Way, fun() -> ?S:encode_batch(Messages) end))
             || Way <- [native, twin]],
    ?assertMatch([N, T] when N < Limit andalso T < Limit, [byte_size(B) || B <- Small]).

%% The fast way is on where this suite has to pass for it, and only there.
maps_in_place_test() ->
    Tried = lists:member(erlang:system_info(otp_release), ["25"]) andalso
            erlang:system_info(build_type) =:= opt,
    ?assertEqual(false, erlmcp_flow_nif:plain_maps(true)),
    ?assertEqual(Tried, erlmcp_flow_nif:plain_maps(false)).

%% Encoding

encode_test() ->
    T = #{a => [1, 2.0, <<"x">>], {b} => self()},
    ?assertEqual({ok, term_to_binary(T)}, ?S:encode(T)),
    ?assertEqual({ok, term_to_binary(T)}, ?S:encode(T, #{compress => auto})),
    ?assertEqual({error, {bad_option, compress, 9}}, ?S:encode(T, #{compress => 9})).

compress_test() ->
    T = lists:duplicate(1000, #{<<"key">> => <<"value">>}),
    {ok, Auto} = ?S:encode(T, [{compress, auto}]),
    ?assertMatch(<<131, 80, _/binary>>, Auto),
    ?assert(byte_size(Auto) < byte_size(term_to_binary(T)) div 10),
    ?assertEqual(T, binary_to_term(Auto)),
    ?assertEqual({ok, T}, ?S:decode(Auto)),
    {ok, Always} = ?S:encode(7, #{compress => always}),
    ?assertMatch(<<131, 80, 2:32, _/binary>>, Always),
    ?assertEqual(7, binary_to_term(Always)),
    Noise = crypto:strong_rand_bytes(5000),
    ?assertEqual({ok, term_to_binary(Noise)}, ?S:encode(Noise, #{compress => auto})).

compress_if_needed_test() ->
    Text = binary:copy(<<"abc">>, 1000),
    {compressed, Data} = ?S:compress_if_needed(Text, 1024),
    ?assertEqual(Text, zlib:uncompress(Data)),
    ?assertEqual({uncompressed, Text}, ?S:compress_if_needed(Text, 3000)),
    ?assertError(badarg, ?S:compress_if_needed(Text, -1)),
    ?assertError(badarg, ?S:compress_if_needed(text, 10)).

programmer_errors_test() ->
    ?assertError(badarg, ?S:decode(not_a_binary)),
    ?assertError(badarg, ?S:decode(<<1:1>>, #{})),
    ?assertError(badarg, ?S:encode_batch([a | b])),
    ?assertError(badarg, ?S:encode_batch(a)),
    ?assertError(badarg, ?S:decode_batch([])),
    ?assertError(badarg, ?S:decode_batch([], #{})),
    ?assertEqual({error, {bad_option, format, etf}}, ?S:decode_batch(<<>>, #{format => etf})).

%% No atom is made, whatever is refused.
no_new_atoms_test() ->
    Bins = [<<131, 119, 8, "fresh", (N + 100):24>> || N <- lists:seq(1, 100)],
    Before = erlang:system_info(atom_count),
    [?assertMatch({error, _}, ?S:decode(Bin)) || Bin <- Bins],
    ?assertEqual(Before, erlang:system_info(atom_count)).

%% A decoded message does not keep its batch alive.
no_reference_to_the_input_test() ->
    {ok, Bin} = ?S:encode_batch([binary:copy(<<"x">>, 100), binary:copy(<<"y">>, 100000)]),
    {ok, [X, _]} = ?S:decode_batch(Bin),
    ?assertEqual(100, binary:referenced_byte_size(X)).

%% Properties

check_etf_round_trip_test_() -> check(prop_etf_round_trip, 300).
check_etf_agrees_with_vm_test_() -> check(prop_etf_agrees_with_vm, 300).
check_batch_round_trip_test_() -> check(prop_batch_round_trip, 300).
check_size_bound_test_() -> check(prop_size_bound, 300).
check_junk_test_() -> check(prop_junk, 2000).

check(Property, N) ->
    {timeout, 120, fun() ->
        ?assertEqual(true, proper:quickcheck(prop_serializer:Property(),
                                             [{numtests, N}, {to_file, user}, long_result]))
    end}.

%% The short way for `#{format => F}' alone answers as the long one does.
usual_options_test_() ->
    Long = fun(F) -> #{format => F, compress => never} end,
    [?_assertEqual({F, erlmcp_flow_serializer:decode(Bin, Long(F))},
                   {F, erlmcp_flow_serializer:decode(Bin, #{format => F})})
     || F <- [json, msgpack],
        Bin <- [<<>>, <<"x">>, <<"x1">>, <<"x12">>, <<"{\"a\":1}">>, <<"[1">>, <<16#81, 16#A1, $a, 1>>,
                zlib:compress(<<"{\"a\":1}">>), zlib:compress(<<"[1">>),
                zlib:compress(<<16#81, 16#A1, $a, 1>>), <<16#78, 16#9C, 0>>]]
    ++ [?_assertEqual(erlmcp_flow_serializer:encode(T, Long(F)),
                      erlmcp_flow_serializer:encode(T, #{format => F}))
        || F <- [json, msgpack], T <- [#{a => 1}, {tuple}, [], <<255>>]].
