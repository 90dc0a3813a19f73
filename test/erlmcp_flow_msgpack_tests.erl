-module(erlmcp_flow_msgpack_tests).

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
            {"formats, native ", fun formats/0},
            {"longer formats than needed, native ", fun longer/0},
            {"lengths, native ", fun lengths/0},
            {"invalid bytes, native ", fun invalid/0},
            {"depth, native ", fun depth/0},
            {"equal keys, native ", fun equal_keys/0},
            {"atom keys, native ", fun atom_keys/0},
            {"refused terms, native ", fun refused/0},
            {"bounds, native ", fun bounds/0}
        ]].

%% The spec's formats: what is written for a term, and the term it reads as.
formats() ->
    [begin
         ?assertEqual({ok, Bytes}, encode(Term)),
         ?assertEqual({ok, Term}, decode(Bytes))
     end || {Term, Bytes} <- [
        {null, <<16#c0>>}, {false, <<16#c2>>}, {true, <<16#c3>>},
        {0, <<0>>}, {127, <<127>>}, {128, <<16#cc, 128>>}, {255, <<16#cc, 255>>},
        {256, <<16#cd, 256:16>>}, {65535, <<16#cd, 65535:16>>}, {65536, <<16#ce, 65536:32>>},
        {16#ffffffff, <<16#ce, 16#ffffffff:32>>}, {16#100000000, <<16#cf, 16#100000000:64>>},
        {16#ffffffffffffffff, <<16#cf, 16#ffffffffffffffff:64>>},
        {-1, <<255>>}, {-32, <<16#e0>>}, {-33, <<16#d0, -33>>}, {-128, <<16#d0, -128>>},
        {-129, <<16#d1, -129:16>>}, {-32768, <<16#d1, -32768:16>>},
        {-32769, <<16#d2, -32769:32>>}, {-16#80000000, <<16#d2, -16#80000000:32>>},
        {-16#80000001, <<16#d3, -16#80000001:64>>},
        {-16#8000000000000000, <<16#d3, -16#8000000000000000:64>>},
        {1.5, <<16#cb, 1.5/float>>}, {5.0e-324, <<16#cb, 1:64>>},
        {<<>>, <<16#a0>>}, {<<"abc">>, <<16#a3, "abc">>}, {<<255>>, <<16#c4, 1, 255>>},
        {<<16#20ac/utf8>>, <<16#a3, 16#20ac/utf8>>},
        {[], <<16#90>>}, {[1, [2]], <<16#92, 1, 16#91, 2>>},
        {#{}, <<16#80>>}, {#{<<"a">> => [null]}, <<16#81, 16#a1, "a", 16#91, 16#c0>>},
        {#{1 => 2}, <<16#81, 1, 2>>}, {#{[1] => #{}}, <<16#81, 16#91, 1, 16#80>>},
        {#{#{} => []}, <<16#81, 16#80, 16#90>>}, {#{null => 1.0}, <<16#81, 16#c0, 16#cb, 1.0/float>>}]],
    %% Atoms come back as text.
    ?assertEqual({ok, <<16#a2, "id">>}, encode(id)),
    ?assertEqual({ok, <<16#a5, "élan"/utf8>>}, encode('élan')),
    ?assertEqual({ok, <<16#a6, "Ωmega"/utf8>>}, encode('Ωmega')),
    ?assertEqual({ok, <<16#81, 16#a1, "a", 1>>}, encode(#{a => 1})),
    ?assertEqual({ok, 1.5}, decode(<<16#ca, 1.5:32/float>>)).

longer() ->
    [?assertEqual({ok, Term}, decode(Bytes))
     || {Term, Bytes} <- [
        {1, <<16#cc, 1>>}, {1, <<16#cd, 1:16>>}, {1, <<16#ce, 1:32>>}, {1, <<16#cf, 1:64>>},
        {1, <<16#d0, 1>>}, {1, <<16#d1, 1:16>>}, {1, <<16#d2, 1:32>>}, {1, <<16#d3, 1:64>>},
        {<<"a">>, <<16#d9, 1, "a">>}, {<<"a">>, <<16#da, 1:16, "a">>}, {<<"a">>, <<16#db, 1:32, "a">>},
        {<<"a">>, <<16#c4, 1, "a">>}, {<<"a">>, <<16#c5, 1:16, "a">>}, {<<"a">>, <<16#c6, 1:32, "a">>},
        {[1], <<16#dc, 1:16, 1>>}, {[1], <<16#dd, 1:32, 1>>}, {[], <<16#dd, 0:32>>},
        {#{1 => 2}, <<16#de, 1:16, 1, 2>>}, {#{1 => 2}, <<16#df, 1:32, 1, 2>>}, {#{}, <<16#df, 0:32>>},
        %% A `str' that is not UTF-8 is a binary all the same.
        {<<255>>, <<16#a1, 255>>}]].

lengths() ->
    [begin
         Text = binary:copy(<<"t">>, N),
         Bytes = binary:copy(<<200>>, N),
         List = lists:duplicate(N, null),
         [begin
              {ok, Packed} = encode(Term),
              ?assertEqual({ok, Term}, decode(Packed)),
              ?assertEqual({N, Header}, {N, byte_size(Packed) - Content})
          end || {Term, Header, Content} <- [
              {Text, if N < 32 -> 1; N < 256 -> 2; N < 65536 -> 3; true -> 5 end, N},
              {Bytes, if N =:= 0 -> 1; N < 256 -> 2; N < 65536 -> 3; true -> 5 end, N},
              {List, if N < 16 -> 1; N < 65536 -> 3; true -> 5 end, N}]]
     end || N <- [0, 1, 15, 16, 31, 32, 64, 65, 255, 256, 65535, 65536]],
    [begin
         Map = maps:from_list([{I, true} || I <- lists:seq(1, N)]),
         {ok, Packed} = encode(Map),
         ?assertEqual({ok, Map}, decode(Packed))
     end || N <- [15, 16, 32, 33, 65535, 65536]].

invalid() ->
    [?assertEqual({Bytes, {error, {invalid, Offset}}}, {Bytes, decode(Bytes)})
     || {Offset, Bytes} <- [
        {0, <<>>}, {1, <<1, 2>>}, {0, <<16#c1>>}, {2, <<16#92, 1, 16#c1>>}, {1, <<16#91>>},
        {1, <<16#cc>>}, {2, <<16#cd, 1>>}, {4, <<16#ce, 1:24>>}, {8, <<16#cb, 1:56>>},
        {2, <<16#a2, "a">>}, {1, <<16#d9>>}, {2, <<16#81, 1>>},
        %% Extensions: fixext, ext and a timestamp.
        {0, <<16#d4, 1, 2>>}, {0, <<16#c7, 1, 2, 3>>}, {1, <<16#91, 16#d6, -1, 0:32>>},
        %% Not finite: an infinity and NaN, in both sizes.
        {0, <<16#cb, 16#7ff0000000000000:64>>}, {1, <<16#91, 16#cb, 16#7ff8000000000000:64>>},
        {0, <<16#ca, 16#7f800000:32>>}, {0, <<16#ca, 16#ffc00000:32>>},
        %% Claims of three and four gigabytes.
        {5, <<16#db, 3000000000:32>>}, {8, <<16#c6, 16#ffffffff:32, "abc">>},
        {6, <<16#dd, 16#ffffffff:32, 1>>}, {5, <<16#df, 3000000000:32>>}]].

depth() ->
    Nested = fun(N) -> <<(binary:copy(<<16#91>>, N - 1))/binary, 16#90>> end,
    {ok, Term} = decode(Nested(512)),
    ?assertEqual({ok, Nested(512)}, encode(Term)),
    ?assertEqual({error, too_deep}, decode(Nested(513))),
    ?assertEqual({error, too_deep}, encode([Term])),
    ?assertEqual({error, too_deep}, decode(binary:copy(<<16#91>>, 1000000))),
    ?assertEqual({error, too_deep}, decode(binary:copy(<<16#81>>, 1000000))),
    ?assertEqual({error, too_deep}, decode(binary:copy(<<16#dd, 16#ffffffff:32>>, 1000000))).

equal_keys() ->
    ?assertEqual({ok, #{<<"a">> => 2}}, decode(<<16#82, 16#a1, "a", 1, 16#a1, "a", 2>>)),
    %% By another format: one is `str', the other `bin'.
    ?assertEqual({ok, #{<<"a">> => 2}}, decode(<<16#82, 16#a1, "a", 1, 16#c4, 1, "a", 2>>)),
    ?assertEqual({ok, #{1 => 3, 1.0 => 4}},
                 decode(<<16#83, 1, 2, 16#cc, 1, 3, 16#cb, 1.0/float, 4>>)),
    ?assertEqual({ok, #{[1] => 3}}, decode(<<16#82, 16#91, 1, 2, 16#91, 1, 3>>)),
    %% Maps as keys, equal in another order: no comparison of bytes sees it.
    ?assertEqual({ok, #{#{1 => 2, 3 => 4} => b}},
                 with_b(decode(<<16#82, 16#82, 1, 2, 3, 4, 0, 16#82, 3, 4, 1, 2, 16#a1, "b">>))),
    %% Zeros: one key or two, as the VM has it.
    ?assertEqual({ok, maps:from_list([{0.0, 1}, {-0.0, 2}])},
                 decode(<<16#82, 16#cb, 0.0/float, 1, 16#cb, -0.0/float, 2>>)).

with_b({ok, Map}) -> {ok, maps:map(fun(_, <<"b">>) -> b end, Map)}.

atom_keys() ->
    Decode = fun(Bytes) -> erlmcp_flow_msgpack:decode(Bytes, ?OPTS#{keys := existing_atoms}) end,
    ?assertEqual({ok, #{id => <<"id">>}}, Decode(<<16#81, 16#a2, "id", 16#a2, "id">>)),
    %% `bin' stays a binary, numbers stay numbers.
    ?assertEqual({ok, #{<<"id">> => 1, 2 => #{id => 3}}},
                 Decode(<<16#82, 16#c4, 2, "id", 1, 2, 16#81, 16#d9, 2, "id", 3>>)),
    ?assertEqual({error, unknown_atom}, Decode(<<16#81, 16#ab, "never_seenX", 1>>)),
    ?assertEqual({error, unknown_atom}, Decode(<<16#81, 16#a1, 255, 1>>)),
    ?assertEqual({error, unknown_atom}, Decode(<<16#81, 16#da, 256:16, 0:256/unit:8, 1>>)),
    ?assertEqual({error, {invalid, 13}}, Decode(<<16#81, 16#ab, "never_seenX", 16#c1>>)).

refused() ->
    [?assertEqual({error, {unsupported, Bad}}, encode(Whole))
     || Bad <- [{}, self(), make_ref(), fun() -> ok end, <<1:3>>, [1 | 2], 1 bsl 64,
                -(1 bsl 63) - 1, 1 bsl 30000],
        Whole <- [Bad, [Bad], #{Bad => 1}, #{1 => Bad}, #{[Bad] => 1}, #{#{2 => Bad} => 1}]].

bounds() ->
    Small = fun(Max, Bytes) -> erlmcp_flow_msgpack:decode(Bytes, ?OPTS#{max_bytes := Max}) end,
    ?assertEqual({error, too_large}, Small(0, <<16#90>>)),
    ?assertEqual({ok, []}, Small(8, <<16#90>>)),
    ?assertEqual({ok, 1}, Small(0, <<1>>)),
    ?assertEqual({error, too_large}, Small(1 bsl 20, nils(1000000))),
    {ok, Many} = Small(1 bsl 25, nils(1000000)),
    ?assertEqual(1000000, length(Many)).

nils(N) -> <<16#dd, N:32, (binary:copy(<<16#c0>>, N))/binary>>.

%% What is only a question of the native side: sizes around the change to the
%% dirty scheduler and to the VM's own reader, with and without an equal key.
sizes_test_() ->
    {timeout, 60, fun() ->
        [begin
             Term = [#{<<"n">> => I, <<"t">> => <<"text">>, 0.5 => [I]} || I <- lists:seq(1, N)],
             {ok, Packed} = encode(Term),
             ?assertEqual({ok, Term}, decode(Packed)),
             ?assertEqual({ok, [#{1 => 2}, Term]},
                          decode(<<16#92, 16#82, 1, 1, 1, 2, Packed/binary>>))
         end || N <- [1, 10, 100, 500, 1000, 2000, 4000, 10000]]
    end}.

encode(Term) -> erlmcp_flow_msgpack:encode(Term, ?OPTS).

decode(Bytes) -> erlmcp_flow_msgpack:decode(Bytes, ?OPTS).
