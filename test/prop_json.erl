%% Properties of the JSON and MessagePack codecs, native and in Erlang. The check_
%% functions run them under EUnit.
-module(prop_json).

-include_lib("proper/include/proper.hrl").
-include_lib("eunit/include/eunit.hrl").

-define(OPTS, #{max_bytes => 1 bsl 26, max_depth => 512, keys => binaries}).

check_round_trip_test_() -> check(prop_round_trip(), 1000).
check_packed_round_trip_test_() -> check(prop_packed_round_trip(), 1000).
check_refused_terms_test_() -> check(prop_refused_terms(), 500).
check_junk_test_() -> check(prop_junk(), 4000).
check_packed_junk_test_() -> check(prop_packed_junk(), 4000).
check_bounds_test_() -> check(prop_bounds(), 1000).
check_cost_test_() -> check(prop_cost(), 1000).

check(Property, N) ->
    {timeout, 120,
     fun() -> ?assert(proper:quickcheck(Property, [{numtests, N}, quiet,
                                                   {max_size, 40}])) end}.

%% What is encoded comes back, whichever side encodes and decodes.
prop_round_trip() ->
    ?FORALL(Term, document(text()),
        begin
            {ok, Native} = erlmcp_flow_json:encode(Term, ?OPTS),
            {ok, Erl} = erlmcp_flow_json_erl:encode(Term, 512),
            lists:all(fun(R) -> same({ok, Term}, R) end,
                      [erlmcp_flow_json:decode(Native, ?OPTS),
                       erlmcp_flow_json:decode(Erl, ?OPTS),
                       json_erl(Native, ?OPTS),
                       json_erl(Erl, ?OPTS)])
                andalso jiffy_reads(Native, Term)
        end).

prop_packed_round_trip() ->
    ?FORALL(Term, packable(),
        begin
            {ok, Native} = erlmcp_flow_msgpack:encode(Term, ?OPTS),
            {ok, Erl} = erlmcp_flow_msgpack_erl:encode(Term, 512),
            byte_size(Native) =:= byte_size(Erl) andalso
            lists:all(fun(R) -> same({ok, Term}, R) end,
                      [erlmcp_flow_msgpack:decode(Native, ?OPTS),
                       erlmcp_flow_msgpack:decode(Erl, ?OPTS),
                       packed_erl(Native, ?OPTS),
                       packed_erl(Erl, ?OPTS)])
        end).

%% Terms of every kind: both sides agree on what they refuse. A map is only one
%% with a single pair, since the order decides which of two faults is found.
prop_refused_terms() ->
    ?FORALL({Term, Depth}, {any_term(), range(0, 5)},
        begin
            Opts = #{max_depth => Depth},
            agree(erlmcp_flow_json:encode(Term, Opts),
                  erlmcp_flow_json_erl:encode(Term, Depth))
                andalso
            agree(erlmcp_flow_msgpack:encode(Term, Opts),
                  erlmcp_flow_msgpack_erl:encode(Term, Depth))
        end).

%% Texts with damage: both sides give the same term or the same error, to the
%% offset.
prop_junk() ->
    ?FORALL({Junk, Keys}, {damaged(json_text()), keys()},
        begin
            Opts = ?OPTS#{keys := Keys},
            same(json_erl(Junk, Opts), erlmcp_flow_json:decode(Junk, Opts))
        end).

prop_packed_junk() ->
    ?FORALL({Junk, Keys}, {oneof([damaged(packed()), binary()]), keys()},
        begin
            Opts = ?OPTS#{keys := Keys},
            same(packed_erl(Junk, Opts), erlmcp_flow_msgpack:decode(Junk, Opts))
        end).

%% Both sides draw the lines of size and depth at the same place.
prop_bounds() ->
    ?FORALL({Text, Packed, Bytes, Depth}, {json_text(), packed(), range(0, 2000), range(0, 6)},
        begin
            Opts = #{max_bytes => Bytes, max_depth => Depth, keys => binaries},
            same(json_erl(Text, Opts), erlmcp_flow_json:decode(Text, Opts))
                andalso
            same(packed_erl(Packed, Opts), erlmcp_flow_msgpack:decode(Packed, Opts))
        end).

%% No decoded term takes more memory than `max_bytes'.
prop_cost() ->
    ?FORALL({Text, Packed, Bytes}, {json_text(), packed(), range(0, 3000)},
        begin
            Opts = #{max_bytes => Bytes, max_depth => 512, keys => binaries},
            lists:all(fun({ok, Term}) -> memory(Term) =< Bytes;
                         ({error, too_large}) -> true
                      end,
                      [erlmcp_flow_json:decode(Text, Opts),
                       erlmcp_flow_msgpack:decode(Packed, Opts)])
        end).

%%% Helpers

json_erl(Text, #{max_bytes := Bytes, max_depth := Depth, keys := Keys}) ->
    erlmcp_flow_json_erl:decode(Text, Bytes, Depth, Keys).

packed_erl(Packed, #{max_bytes := Bytes, max_depth := Depth, keys := Keys}) ->
    erlmcp_flow_msgpack_erl:decode(Packed, Bytes, Depth, Keys).

%% Exactly the same, the sign of zero included (`=:=' sees it from OTP 27 on).
same(A, A) -> zeros(A) =:= zeros(A);
same(_, _) -> false.

zeros(Term) -> term_to_binary(Term, [deterministic]).

agree({ok, A}, {ok, B}) -> byte_size(A) > 0 andalso byte_size(B) > 0;
agree(A, B) -> A =:= B.

jiffy_reads(Text, Term) ->
    case code:which(jiffy) of
        non_existing -> true;
        _ -> normal(jiffy:decode(Text, [return_maps])) =:= normal(Term)
    end.

%% jiffy 1.1.1 reads 5e-324 as 0.0; below the normal doubles it is no measure.
normal(F) when is_float(F), abs(F) < 2.3e-308 -> 0.0;
normal(L) when is_list(L) -> [normal(T) || T <- L];
normal(M) when is_map(M) -> maps:map(fun(_, V) -> normal(V) end, M);
normal(T) -> T.

memory(Term) ->
    erts_debug:flat_size(Term) * erlang:system_info(wordsize) + outside(Term).

%% Binaries above 64 bytes lie outside the heap, with a header of three words.
outside(B) when is_binary(B), byte_size(B) > 64 -> byte_size(B) + 24;
outside(L) when is_list(L) -> lists:sum([outside(T) || T <- L]);
outside(M) when is_map(M) -> outside(maps:keys(M)) + outside(maps:values(M));
outside(_) -> 0.

%%% Generators

document(Key) ->
    ?SIZED(Size, document(Size, Key)).

document(0, _Key) -> scalar();
document(Size, Key) ->
    frequency([
        {2, scalar()},
        {2, ?LAZY(?LET(N, range(0, 6), vector(N, document(Size div 3, Key))))},
        {2, ?LAZY(?LET(N, range(0, 6),
                       ?LET(Pairs, vector(N, {Key, document(Size div 3, Key)}),
                            maps:from_list(Pairs))))},
        {1, ?LAZY(?LET(Pairs, vector(40, {Key, scalar()}), maps:from_list(Pairs)))}
    ]).

scalar() ->
    frequency([{3, text()}, {3, a_number()}, {1, oneof([true, false, null])}]).

text() ->
    oneof([utf8(), ?LET(Cs, list(character()), unicode:characters_to_binary(Cs)),
           ?LET({N, C}, {range(1, 200), character()},
                unicode:characters_to_binary(lists:duplicate(N, C)))]).

character() ->
    frequency([{6, range($\s, $~)}, {3, oneof([$", $\\, $/, $\b, $\f, $\n, $\r, $\t])},
               {1, range(0, 16#1f)}, {1, range(16#7f, 16#7ff)},
               {1, range(16#800, 16#d7ff)}, {1, range(16#e000, 16#ffff)},
               {1, range(16#10000, 16#10ffff)}]).

a_number() ->
    oneof([integer(), float(), big(), hard_float(), range(-70000, 70000), edge()]).

%% Integers at powers of two, where representations change.
edge() ->
    ?LET({Bits, Off, Sign}, {range(0, 200), range(-2, 2), oneof([1, -1])},
         Sign * ((1 bsl Bits) + Off)).

big() ->
    ?LET({Bytes, Sign}, {binary(), oneof([1, -1])}, Sign * binary:decode_unsigned(Bytes)).

%% Any finite double, by its bits: subnormals and both zeros are among them.
hard_float() ->
    ?LET(Bits, oneof([range(0, 1 bsl 64 - 1), range(0, 1 bsl 52), 1 bsl 63]),
         case <<Bits:64>> of
             <<F/float>> -> F;
             _ -> 0.5
         end).

packable() ->
    Key = oneof([text(), binary(), fits(integer()), true, null, fits(edge()), float(),
                 [range(0, 3)], ?LET(N, range(0, 3), #{1 => N})]),
    ?LET(Term, document(Key), small_integers(Term)).

fits(Type) ->
    ?LET(N, Type, fit(N)).

fit(N) when N >= -(1 bsl 63), N < 1 bsl 64 -> N;
fit(N) -> N rem (1 bsl 63).

small_integers(N) when is_integer(N) -> fit(N);
small_integers(L) when is_list(L) -> [small_integers(T) || T <- L];
small_integers(M) when is_map(M) -> maps:map(fun(_, V) -> small_integers(V) end, M);
small_integers(T) -> T.

any_term() ->
    ?SIZED(Size, any_term(Size)).

any_term(0) ->
    oneof([scalar(), atom(), binary(), bitstring(), {}, self(), make_ref(),
           fun erlang:abs/1, 'true', 'élan', 'Ωmega', '']);
any_term(Size) ->
    Part = any_term(Size div 3),
    oneof([any_term(0),
           ?LAZY(?LET(N, range(0, 3), vector(N, Part))),
           ?LAZY([Part | oneof([a, 1, <<>>])]),
           ?LAZY({Part, Part}),
           ?LAZY(?LET({K, V}, {Part, Part}, #{K => V}))]).

keys() -> oneof([binaries, existing_atoms]).

%% Short names repeat, and many of them are atoms.
name() -> oneof([text(), <<"a">>, <<"b">>, <<"id">>, <<"no_such_atom_", 16#e9/utf8>>,
                 binary:copy(<<"x">>, 256)]).

%% Text with white space and escapes that need not be, and with equal names.
json_text() ->
    ?LET({Term, Seed}, {document(name()), integer()},
         begin
             _ = rand:seed(exsss, Seed),
             iolist_to_binary(loose(Term))
         end).

loose(M) when is_map(M) ->
    Pairs = [[space(), loose(K), space(), $:, loose(V)] || {K, V} <- maps:to_list(M)],
    Twice = case {Pairs, rand:uniform(4)} of
        {[First | _], 1} -> Pairs ++ [First];
        _ -> Pairs
    end,
    [space(), ${, lists:join($,, Twice), space(), $}, space()];
loose(L) when is_list(L) ->
    [space(), $[, lists:join($,, [loose(T) || T <- L]), space(), $], space()];
loose(B) when is_binary(B) ->
    [$", [loose_char(C) || C <- unicode:characters_to_list(B)], $"];
loose(Scalar) ->
    {ok, Text} = erlmcp_flow_json_erl:encode(Scalar, 1),
    [space(), Text, space()].

space() ->
    lists:nth(rand:uniform(6), ["", "", "", " ", "\n\t", "\r"]).

loose_char(C) ->
    case rand:uniform(5) of
        1 when C < 16#10000 -> io_lib:format("\\u~4.16.0b", [C]);
        1 ->
            High = 16#d800 + ((C - 16#10000) bsr 10),
            Low = 16#dc00 + (C band 16#3ff),
            io_lib:format("\\u~4.16.0B\\u~4.16.0b", [High, Low]);
        _ when C < 16#20; C =:= $"; C =:= $\\ -> io_lib:format("\\u~4.16.0b", [C]);
        2 when C =:= $/ -> "\\/";
        _ -> <<C/utf8>>
    end.

packed() ->
    ?LET(Term, document(name()),
         begin
             {ok, Packed} = erlmcp_flow_msgpack_erl:encode(small_integers(Term), 512),
             Packed
         end).

damaged(Type) ->
    ?LET({Bytes, Damages}, {Type, list(damage())}, lists:foldl(fun damage/2, Bytes, Damages)).

damage() ->
    {oneof([cut, flip, drop, insert, twice]), range(0, 100000),
     oneof([byte(), oneof("\"\\[]{},:0e-.u ")])}.

damage(_, <<>>) -> <<>>;
damage({Kind, Where, Byte}, Bytes) ->
    At = Where rem byte_size(Bytes),
    <<Head:At/binary, Old, Tail/binary>> = Bytes,
    case Kind of
        cut -> Head;
        flip -> <<Head/binary, (Old bxor (1 bsl (Byte rem 8))), Tail/binary>>;
        drop -> <<Head/binary, Tail/binary>>;
        insert -> <<Head/binary, Byte, Old, Tail/binary>>;
        twice -> <<Head/binary, Old, Tail/binary, Tail/binary>>
    end.
