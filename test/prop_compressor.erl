%% Properties of erlmcp_flow_compressor against OTP's zlib and against its own
%% twin. Run from erlmcp_flow_compressor_tests.
-module(prop_compressor).
-include_lib("proper/include/proper.hrl").
-compile([export_all, nowarn_export_all]).

-define(M, erlmcp_flow_compressor).

%% Runs, repeats, text, random bytes, nothing: what compressors have cases for.
data() ->
    frequency([
        {1, <<>>},
        {4, binary()},
        {2, ?LET({B, N}, {byte(), integer(0, 200000)}, binary:copy(<<B>>, N))},
        {3, ?LET({B, N}, {binary(), integer(0, 500)}, binary:copy(B, N))},
        {3, ?LET(Ts, list(term()), term_to_binary(Ts))},
        {2, ?LET(N, integer(0, 40000), crypto:strong_rand_bytes(N))},
        {2, ?LET(Bs, list(oneof([<<"\"jsonrpc\":">>, <<"\"method\":">>, binary()])),
                 binary:copy(iolist_to_binary(Bs), 10))}]).

algorithm() -> oneof([zlib, lz4, zstd]).

level(zlib) -> oneof([default, integer(0, 12)]);
level(zstd) -> oneof([default, integer(1, 19)]);
level(lz4) -> default.

opts() ->
    ?LET(A, algorithm(), ?LET(L, level(A), #{compression_algorithm => A, level => L})).

prop_round_trip() ->
    ?FORALL({Data, Opts}, {data(), opts()},
        begin
            {ok, Packed} = ?M:compress(Data, Opts),
            {ok, Data} =:= ?M:decompress(Packed, #{})
                andalso {ok, Data} =:= ?M:decompress(Packed, Opts)
                andalso {ok, Data} =:= ?M:decompress(Packed, #{max_bytes => max(1, byte_size(Data))})
        end).

prop_otp_reads_ours() ->
    ?FORALL({Data, Level}, {data(), level(zlib)},
        begin
            {ok, Packed} = ?M:compress(Data, #{level => Level}),
            zlib:uncompress(Packed) =:= Data
        end).

%% All levels, strategies, window sizes and memory levels of zlib.
prop_we_read_otp() ->
    ?FORALL({Data, Level, Bits, Mem, Strategy},
            {data(), integer(0, 9), integer(9, 15), integer(1, 9),
             oneof([default, filtered, huffman_only, rle])},
        begin
            Z = zlib:open(),
            ok = zlib:deflateInit(Z, Level, deflated, Bits, Mem, Strategy),
            {First, Second} = split_binary(Data, byte_size(Data) div 2),
            %% A flush in between leaves an empty stored block.
            Packed = iolist_to_binary([zlib:deflate(Z, First, full),
                                       zlib:deflate(Z, Second, finish)]),
            zlib:close(Z),
            {ok, Data} =:= ?M:decompress(Packed, #{})
                andalso {ok, Data} =:= twin(Packed, 1 bsl 26)
        end).

prop_terms() ->
    ?FORALL({Term, Threshold, Repeat}, {term(), integer(0, 2000), integer(0, 300)},
        begin
            Message = lists:duplicate(Repeat, Term),
            Tagged = ?M:compress_if_needed(Message, Threshold),
            Size = byte_size(term_to_binary(Message)),
            Kept = case Tagged of
                {compressed, C} -> Size > Threshold andalso byte_size(C) * 5 =< Size * 4;
                {uncompressed, B} -> B =:= term_to_binary(Message)
            end,
            Kept andalso ?M:decompress(Tagged) =:= Message
        end).

%% One byte changed, cut or added: never other content, and the same answer from
%% both implementations. (A changed byte may leave a valid stream of the same
%% content: the level hint in zlib's header is one. libdeflate also takes the
%% two length codes that DEFLATE leaves unused for the highest length, where zlib
%% refuses them; the checksum still holds.)
prop_damage() ->
    ?FORALL({Data, Level, Damage},
            {data(), integer(0, 9), {oneof([flip, cut, add]), non_neg_integer(), integer(1, 255)}},
        begin
            {ok, Packed} = ?M:compress(Data, #{level => Level}),
            Bad = damage(Damage, Packed),
            Native = ?M:decompress(Bad, #{max_bytes => 1 bsl 20}),
            Twin = twin(Bad, 1 bsl 20),
            ?WHENFAIL(io:format("native ~P~ntwin ~P~n", [Native, 9, Twin, 9]),
                Native =:= {ok, Data} andalso lists:member(Twin, [Native, {error, invalid}])
                orelse same(Native, Twin))
        end).

%% What exactly is wrong with damaged data depends on how far a reader gets.
same({error, A}, {error, B}) ->
    A =:= B orelse lists:all(
        fun(R) -> lists:member(R, [invalid, trailing_data, too_large]) end, [A, B]);
same(_, _) ->
    false.

prop_damage_lz4_zstd() ->
    ?FORALL({Data, A, Damage},
            {data(), oneof([lz4, zstd]),
             {oneof([flip, cut, add]), non_neg_integer(), integer(1, 255)}},
        begin
            {ok, Packed} = ?M:compress(Data, #{compression_algorithm => A}),
            Bad = damage(Damage, Packed),
            case ?M:decompress(Bad, #{compression_algorithm => A, max_bytes => 1 bsl 20}) of
                {ok, Got} -> Got =:= Data;
                {error, R} ->
                    lists:member(R, [invalid, trailing_data, too_large, dictionary_needed])
            end
        end).

prop_junk() ->
    ?FORALL({Junk, Head},
            {binary(), oneof([<<>>, <<16#78, 16#9C>>, <<16#28, 16#B5, 16#2F, 16#FD>>,
                              <<16#04, 16#22, 16#4D, 16#18, 16#40>>])},
        begin
            Bin = <<Head/binary, Junk/binary>>,
            lists:all(fun(O) ->
                case ?M:decompress(Bin, O#{max_bytes => 100000}) of
                    {ok, Got} -> byte_size(Got) =< 100000;
                    {error, R} when is_atom(R) -> true
                end
            end, [#{} | [#{compression_algorithm => A} || A <- [zlib, lz4, zstd]]])
        end).

prop_batch_is_each() ->
    ?FORALL({Items, Opts}, {list(data()), opts()},
        begin
            {ok, Packed} = ?M:compress_batch(Items, Opts),
            Packed =:= [element(2, {ok, _} = ?M:compress(I, Opts)) || I <- Items]
                andalso {ok, Items} =:= ?M:decompress_batch(Packed, #{})
        end).

twin(Packed, Max) ->
    erlmcp_flow_compressor_erl:decompress(detect, Packed, Max).

damage({flip, Where, With}, Bin) ->
    At = Where rem byte_size(Bin),
    <<Before:At/binary, Byte, After/binary>> = Bin,
    <<Before/binary, (Byte bxor With), After/binary>>;
damage({cut, Where, _}, Bin) ->
    binary:part(Bin, 0, Where rem byte_size(Bin));
damage({add, Where, With}, Bin) ->
    <<Bin/binary, (binary:copy(<<With>>, 1 + Where rem 9))/binary>>.
