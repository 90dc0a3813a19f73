%% Properties of the serializer: round trips over all kinds of terms, agreement
%% with the VM, agreement of the two implementations, and junk.
-module(prop_serializer).
-include_lib("proper/include/proper.hrl").
-export([prop_etf_round_trip/0, prop_etf_agrees_with_vm/0, prop_batch_round_trip/0,
         prop_junk/0, prop_size_bound/0, any_term/0]).
-export([with/2, set_way/1, reset_way/1]).

%% Terms

any_term() ->
    ?SIZED(Size, term(Size)).

term(Size) when Size =< 1 ->
    leaf();
term(Size) ->
    Half = Size div 3,
    frequency([
        {6, leaf()},
        {3, ?LAZY(short_list(term(Half)))},
        {1, ?LAZY(?LET({Hs, T}, {non_empty(short_list(term(Half))), leaf()}, improper(Hs, T)))},
        {3, ?LAZY(?LET(L, short_list(term(Half)), list_to_tuple(L)))},
        {3, ?LAZY(a_map(term(Half), term(Half)))},
        {3, ?LAZY(a_map(key(), term(Half)))},
        {1, ?LAZY(?LET(Pairs, vector(40, {leaf(), leaf()}), maps:from_list(Pairs)))},
        {1, ?LAZY(?LET({X, A}, {term(Half), any_arity()}, closure(X, A)))}]).

leaf() ->
    frequency([
        {4, integer()},
        {2, oneof([0, -1, 63, 64, 127, 128, 255, 256, 1 bsl 31, -(1 bsl 31), 1 bsl 59,
                   (1 bsl 63) - 1, 1 bsl 63, -(1 bsl 63), -(1 bsl 63) - 1, 1 bsl 64])},
        {1, ?LET({N, S}, {range(60, 3000), oneof([1, -1])}, S * (1 bsl N + N))},
        {2, float()},
        {1, oneof([0.0, neg_zero(), 5.0e-324, 1.7976931348623157e308, 1.0e-300])},
        {3, atom()},
        {2, oneof([ok, true, undefined, '', 'with space', utf8_atom(), long_atom()])},
        {5, binary()},
        {3, key()},
        {1, ?LET(N, range(60, 300), binary(N))},
        {1, bitstring()},
        {1, oneof([self(), other_pid(), make_ref(), other_ref(), hd(erlang:ports()),
                   other_port()])},
        {1, oneof([fun lists:map/2, fun erlang:self/0])},
        {1, list(byte())},
        {1, oneof([[], {}, #{}, <<>>])}]).

a_map(K, V) ->
    ?LET(Pairs, short_list({K, V}), maps:from_list(Pairs)).

short_list(G) ->
    ?LET(N, range(0, 6), vector(N, G)).

key() ->
    oneof([<<"jsonrpc">>, <<"id">>, <<"method">>, <<"params">>, <<"name">>, <<"result">>,
           id, name, method, <<>>, binary(64), binary(65)]).

neg_zero() -> binary_to_term(<<131, 70, 16#8000000000000000:64>>).
utf8_atom() -> binary_to_atom(<<"日本語"/utf8>>, utf8).
long_atom() -> binary_to_atom(unicode:characters_to_binary(lists:duplicate(255, 16#1F600))).
other_pid() -> binary_to_term(<<131, 88, 119, 6, "a@b.cc", 7:32, 1:32, 3:32>>).
other_ref() -> binary_to_term(<<131, 90, 3:16, 119, 6, "a@b.cc", 1:32, 1:32, 2:32, 3:32>>).
other_port() -> binary_to_term(<<131, 120, 119, 6, "a@b.cc", 9:64, 1:32>>).

improper(Hs, T) -> lists:foldr(fun(H, Acc) -> [H | Acc] end, T, Hs).

any_arity() -> range(0, 2).
closure(X, 0) -> fun() -> X end;
closure(X, 1) -> fun(Y) -> {X, Y} end;
closure(X, 2) -> fun(Y, Z) -> {X, Y, Z} end.

%% `=:=' takes 0.0 and -0.0 for the same before OTP 27; their bytes do not.
same(A, B) ->
    A =:= B andalso term_to_binary(A) =:= term_to_binary(B).

opts() ->
    ?LET({C, D}, {oneof([never, auto, always]), oneof([[], [{max_depth, 10000}]])},
         {[{compress, C}], D}).

%% Properties

prop_etf_round_trip() ->
    ?FORALL({T, {Enc, Dec}, Native}, {any_term(), opts(), boolean()},
        true =:= with_native(Native, fun() ->
            {ok, Bin} = erlmcp_flow_serializer:encode(T, Enc),
            {ok, Back} = erlmcp_flow_serializer:decode(Bin, [{safe, false} | Dec]),
            same(T, Back)
        end)).

prop_etf_agrees_with_vm() ->
    ?FORALL({T, O}, {any_term(), vm_opts()},
        begin
            {ok, Bin} = erlmcp_flow_serializer:encode(T),
            {ok, Packed} = erlmcp_flow_serializer:encode(T, #{compress => always}),
            {ok, Back} = erlmcp_flow_serializer:decode(term_to_binary(T, O), #{safe => false}),
            same(T, binary_to_term(Bin)) andalso same(T, binary_to_term(Packed))
                andalso same(T, Back) andalso agree_safe(Bin)
        end).

vm_opts() ->
    list(oneof([compressed, {compressed, 9}, {minor_version, 1}, {minor_version, 2}])).

%% Without funs, safe decoding gives the term; with one, `unsafe' on both sides.
agree_safe(Bin) ->
    Native = with_native(true, fun() -> erlmcp_flow_serializer:decode(Bin) end),
    Twin = with_native(false, fun() -> erlmcp_flow_serializer:decode(Bin) end),
    case {Native, Twin} of
        {{ok, A}, {ok, B}} -> same(A, B) andalso same(A, binary_to_term(Bin));
        {{error, unsafe}, {error, unsafe}} -> true;
        _ -> false
    end.

prop_batch_round_trip() ->
    ?FORALL({Ts, Writer, Reader}, {repeating(), way(), way()},
        case with(Writer, fun() -> erlmcp_flow_serializer:encode_batch(Ts) end) of
            {ok, Bin} ->
                case with(Reader, fun() ->
                        erlmcp_flow_serializer:decode_batch(Bin, #{safe => false}) end) of
                    {ok, Back} -> same(Ts, Back);
                    Other -> ?WHENFAIL(io:format("~p~n", [Other]), false)
                end;
            Other -> ?WHENFAIL(io:format("~p~n", [Other]), false)
        end).

%% The bound never lies below what the VM really takes.
prop_size_bound() ->
    ?FORALL(T, any_term(),
        begin
            Bin = term_to_binary(T),
            Words = erts_debug:flat_size(binary_to_term(Bin)),
            Opts = #{safe => false, max_bytes => max(1, 8 * Words - 1)},
            Words =:= 0 orelse
                {error, too_large} =:= erlmcp_flow_serializer:decode(Bin, Opts)
        end).

%% Whatever is done to good bytes: a term or an error, the same from both.
prop_junk() ->
    ?FORALL({T, Format, Damages}, {any_term(), oneof([etf, packed, batch, noise]),
                                   non_empty(list(damage()))},
        begin
            Bin = lists:foldl(fun damage/2, good(Format, T), Damages),
            Decode = case Format of
                batch -> fun() -> erlmcp_flow_serializer:decode_batch(Bin) end;
                _ -> fun() -> erlmcp_flow_serializer:decode(Bin) end
            end,
            case {with(native, Decode), with(plain, Decode), with(twin, Decode)} of
                {{ok, A}, {ok, B}, {ok, C}} -> same(A, B) andalso same(B, C);
                {{error, A}, {error, A}, {error, A}} -> is_reason(A);
                %% With several faults in one map (equal keys, and something behind
                %% them) the two ways of building it meet another one first.
                {{error, {invalid, _} = A}, {error, {invalid, _} = B}, {error, {invalid, _} = C}} ->
                    lists:all(fun is_reason/1, [A, B, C]);
                Different -> ?WHENFAIL(io:format("~p ~p~n", [Bin, Different]), false)
            end
        end).

good(etf, T) -> term_to_binary(T);
good(packed, T) -> term_to_binary(T, [compressed]);
good(batch, T) -> {ok, Bin} = erlmcp_flow_serializer:encode_batch([T, T]), Bin;
good(noise, _) -> <<131>>.

damage() ->
    oneof([{flip, nat(), range(0, 7)}, {cut, nat()}, {set, nat(), byte()},
           {insert, nat(), binary()}, {append, binary()}]).

damage({flip, At, Bit}, Bin) ->
    change(At, fun(B) -> B bxor (1 bsl Bit) end, Bin);
damage({set, At, Byte}, Bin) ->
    change(At, fun(_) -> Byte end, Bin);
damage({cut, N}, Bin) ->
    binary:part(Bin, 0, max(0, byte_size(Bin) - N));
damage({insert, At, New}, Bin) ->
    {Head, Tail} = split_binary(Bin, min(At, byte_size(Bin))),
    <<Head/binary, New/binary, Tail/binary>>;
damage({append, New}, Bin) ->
    <<Bin/binary, New/binary>>.

change(_At, _F, <<>>) -> <<>>;
change(At, F, Bin) ->
    {Head, <<B, Tail/binary>>} = split_binary(Bin, At rem byte_size(Bin)),
    <<Head/binary, (F(B)), Tail/binary>>.

is_reason({invalid, At}) -> is_integer(At) andalso At >= 0;
is_reason(R) -> lists:member(R, [too_large, too_deep, unsafe, unknown_atom]).

with_native(true, F) -> with(native, F);
with_native(false, F) -> with(twin, F).

%% Three ways: native, native without what relies on the VM's layout of maps, and
%% the twin in Erlang.
way() ->
    oneof([native, plain, twin]).

with(Way, F) ->
    Before = set_way(Way),
    try
        F()
    catch
        Class:Reason:Stack -> {crashed, Class, Reason, Stack}
    after
        reset_way(Before)
    end.

set_way(Way) ->
    Before = erlmcp_flow_native:get(),
    _ = erlmcp_flow_nif:plain_maps(Way =:= plain),
    ok = erlmcp_flow_native:set(#{serializer => Way =/= twin}),
    Before.

reset_way(Before) ->
    _ = erlmcp_flow_nif:plain_maps(false),
    ok = erlmcp_flow_native:set(Before).

%% What is worth a template: more than two maps with the same keys.
repeating() ->
    ?LET({Ts, Keys, N}, {short_list(any_term()), list(key()), range(0, 6)},
         Ts ++ [maps:from_list([{K, {I, K}} || K <- Keys]) || I <- lists:seq(1, N)]).
