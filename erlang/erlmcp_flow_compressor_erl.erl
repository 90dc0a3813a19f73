%% @private
%% @doc The compressor without native code: zlib on OTP's own library, with the
%% same bounds and the same answers.
-module(erlmcp_flow_compressor_erl).

-export([compress/4, decompress/3]).

%% @doc Levels above 9 exist in the native library only and are 9 here.
-spec compress(erlmcp_flow_compressor:algorithm(), binary(), Level :: default | 0..19,
               MaxOut :: non_neg_integer() | unlimited) ->
    {ok, binary()} | {error, erlmcp_flow_compressor:error_reason()}.
compress(zlib, Binary, default, MaxOut) ->
    compress(zlib, Binary, 6, MaxOut);
compress(zlib, Binary, Level, MaxOut) ->
    Z = zlib:open(),
    try
        ok = zlib:deflateInit(Z, min(Level, 9)),
        Compressed = iolist_to_binary(zlib:deflate(Z, Binary, finish)),
        ok = zlib:deflateEnd(Z),
        if
            byte_size(Compressed) > MaxOut -> {error, too_large};
            true -> {ok, Compressed}
        end
    after
        zlib:close(Z)
    end;
compress(_Algorithm, _Binary, _Level, _MaxOut) ->
    {error, not_available}.

-spec decompress(erlmcp_flow_compressor:algorithm() | detect, binary(),
                 MaxBytes :: non_neg_integer()) ->
    {ok, binary()} | {error, erlmcp_flow_compressor:error_reason()}.
decompress(detect, <<16#28, 16#B5, 16#2F, 16#FD, _/binary>>, _Max) ->
    {error, not_available};
decompress(detect, <<16#04, 16#22, 16#4D, 16#18, _/binary>>, _Max) ->
    {error, not_available};
decompress(Format, <<Header:16, _/binary>> = Binary, Max)
  when Format =/= lz4, Format =/= zstd, Header rem 31 =:= 0,
       Header band 16#0F00 =:= 16#0800, Header bsr 12 =< 7 ->
    if
        Header band 16#20 =/= 0 -> {error, dictionary_needed};
        byte_size(Binary) < 8 -> {error, invalid};
        true -> inflate(Binary, Max)
    end;
decompress(detect, _Binary, _Max) ->
    {error, unknown_format};
decompress(zlib, _Binary, _Max) ->
    {error, invalid};
decompress(_Algorithm, _Binary, _Max) ->
    {error, not_available}.

inflate(Binary, Max) ->
    Z = zlib:open(),
    try
        ok = zlib:inflateInit(Z),
        Content = inflate(Z, zlib:safeInflate(Z, Binary), Max, []),
        %% Raises `data_error' when the stream has not ended.
        ok = zlib:inflateEnd(Z),
        Sum = binary:decode_unsigned(binary:part(Binary, byte_size(Binary), -4)),
        case erlang:adler32(Content) of
            Sum -> {ok, Content};
            _ -> {error, trailing_data}
        end
    catch
        error:data_error -> {error, invalid};
        throw:too_large -> {error, too_large}
    after
        zlib:close(Z)
    end.

%% Each step gives a bounded piece, so that never more than `Max' and one piece
%% is held.
inflate(Z, {Step, Piece}, Max, Done) ->
    Left = Max - iolist_size(Piece),
    if
        Left < 0 -> throw(too_large);
        Step =:= finished -> iolist_to_binary(lists:reverse(Done, Piece));
        true -> inflate(Z, zlib:safeInflate(Z, []), Left, [Piece | Done])
    end.
