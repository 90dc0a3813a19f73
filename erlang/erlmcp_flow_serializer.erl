%% @doc Terms to bytes and back: external term format (ETF), JSON, MessagePack,
%% and a format of its own for batches of similar messages.
%%
%% ETF is the VM's own `term_to_binary/1', which no native code beats on a single
%% message; what this module adds is a decoder that is safe on bytes from
%% anywhere. Decoding is bounded whatever the input claims, makes no atoms and no
%% funs, and answers `{error, _}' instead of raising.
%%
%% Options are a map or a proplist:
%% <ul>
%% <li>`format': `etf' (default), `json' or `msgpack'</li>
%% <li>`compress' (encode): `never' (default), `auto' (above 1024 bytes, and only
%%     where it saves a fifth or more) or `always'</li>
%% <li>`safe' (decode, `true'): refuse funs and atoms that do not exist yet</li>
%% <li>`max_bytes' (decode, 64 MiB): bytes of memory that the result may take</li>
%% <li>`max_depth': how deep containers may nest; 512 for `json' and `msgpack',
%%     `infinity' for `etf', whose decoder does not recurse</li>
%% <li>`keys' (decode, `json' and `msgpack'): `binaries' (default) or
%%     `existing_atoms'</li>
%% </ul>
%% They belong to the call: the application environment is not read.
-module(erlmcp_flow_serializer).

-export([encode/1, encode/2, decode/1, decode/2,
         encode_batch/1, decode_batch/1, decode_batch/2, compress_if_needed/2]).
-export_type([format/0, opts/0, error_reason/0]).

-type format() :: etf | json | msgpack.

-type opts() ::
    #{format => format(),
      compress => never | auto | always,
      safe => boolean(),
      max_bytes => pos_integer(),
      max_depth => pos_integer() | infinity,
      keys => binaries | existing_atoms}
    | [{atom(), term()} | atom()].

-type error_reason() ::
    too_large
    | too_deep
    | unsafe
    | unknown_atom
    | {invalid, Offset :: non_neg_integer()}
    | {unsupported, term()}
    | erlmcp_flow_opts:error().
%% `too_large': the result would be larger than `max_bytes'. `too_deep': deeper
%% than `max_depth'. `unsafe': the input holds a fun. `unknown_atom': it holds an
%% atom that does not exist on this node. `{invalid, Offset}': no term of this
%% format; the byte where it was noticed (for compressed input, in the inflated
%% term). `{unsupported, Term}': JSON and MessagePack cannot carry this term.

%% Inputs up to here are checked on a normal scheduler. The check takes 5 ns a byte
%% at worst (a list of empty lists), so this is less than 200 us; beyond it the 5 to
%% 13 us of a dirty call are lost in what decoding costs anyway.
-define(NORMAL_CHECK, 32768).
%% Batches are given up on a normal scheduler after so much work, whatever their size;
%% those above it would be in any case.
-define(NORMAL_BATCH, 65536).
%% Telling why the VM refused an input costs up to 100 ns a byte.
-define(NORMAL_WHY, 2048).

-define(MAX_BYTES, 67108864).
-define(MAX_DEPTH, 512).
-define(DOCUMENT, #{max_bytes => ?MAX_BYTES, max_depth => ?MAX_DEPTH, keys => binaries}).

%% @doc Encodes a term in external term format: the bytes of `term_to_binary/1'.
%% It fails with `too_large' only beyond what a binary can hold.
-spec encode(term()) -> {ok, binary()} | {error, error_reason()}.
encode(Term) ->
    try term_to_binary(Term) of
        Bin -> {ok, Bin}
    catch
        error:system_limit -> {error, too_large}
    end.

%% @doc Encodes a term in the format of the options. A compressed ETF is standard
%% compressed ETF, which `binary_to_term/1' reads; a compressed JSON or
%% MessagePack is zlib data around it, which `decode/2' recognizes.
-spec encode(term(), opts()) -> {ok, binary()} | {error, error_reason()}.
encode(Term, #{format := json} = Opts) when map_size(Opts) =:= 1 ->
    %% The usual options, without a look at each: that would take a quarter of what
    %% a small message takes.
    erlmcp_flow_json:encode(Term, #{max_depth => ?MAX_DEPTH});
encode(Term, #{format := msgpack} = Opts) when map_size(Opts) =:= 1 ->
    erlmcp_flow_msgpack:encode(Term, #{max_depth => ?MAX_DEPTH});
encode(Term, Opts) ->
    case options(Opts) of
        {ok, #{format := Format, compress := Compress} = Valid} ->
            case encode_as(Format, Term, Valid) of
                {ok, Bin} -> {ok, compress(Compress, Format, Bin)};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

encode_as(etf, Term, _Opts) ->
    encode(Term);
encode_as(json, Term, Opts) ->
    erlmcp_flow_json:encode(Term, maps:with([max_depth], Opts));
encode_as(msgpack, Term, Opts) ->
    erlmcp_flow_msgpack:encode(Term, maps:with([max_depth], Opts)).

%% @doc Decodes external term format, safely and bounded: the same as
%% `decode(Bin, #{})'.
-spec decode(binary()) -> {ok, term()} | {error, error_reason()}.
decode(Bin) when is_binary(Bin), byte_size(Bin) =< ?NORMAL_CHECK ->
    case erlmcp_flow_native:enabled(serializer) of
        true ->
            case erlmcp_flow_nif:etf_check_default(Bin) of
                ok -> to_term(Bin, true);
                {error, _} = Error -> Error;
                dirty -> decode_etf(Bin, ?MAX_BYTES, infinity, true)
            end;
        false ->
            erlmcp_flow_etf_erl:decode(Bin, ?MAX_BYTES, infinity, true)
    end;
decode(Bin) when is_binary(Bin) ->
    decode_etf(Bin, ?MAX_BYTES, infinity, true);
decode(Other) ->
    erlmcp_flow_error:badarg([Other], #{1 => <<"not a binary">>}).

%% @doc Decodes bytes of the format of the options. Time grows with the input,
%% memory is bounded by `max_bytes' (and the input), and no input raises.
%%
%% With `safe => false' atoms are made and funs let in, which only bytes from a
%% trusted sender may ask for; the bounds stay.
-spec decode(binary(), opts()) -> {ok, term()} | {error, error_reason()}.
decode(Bin, #{format := json} = Opts) when map_size(Opts) =:= 1, is_binary(Bin) ->
    plain_or_packed(erlmcp_flow_json:decode(Bin, ?DOCUMENT), Bin, Opts);
decode(Bin, #{format := msgpack} = Opts) when map_size(Opts) =:= 1, is_binary(Bin) ->
    plain_or_packed(erlmcp_flow_msgpack:decode(Bin, ?DOCUMENT), Bin, Opts);
decode(Bin, Opts) when is_binary(Bin) ->
    decode_any(Bin, Opts);
decode(Other, Opts) ->
    erlmcp_flow_error:badarg([Other, Opts], #{1 => <<"not a binary">>}).

%% What begins like a zlib stream is refused at once by either decoder (see
%% `inflate/2'), and only what is refused is looked at for that.
plain_or_packed({ok, _} = Decoded, _Bin, _Opts) ->
    Decoded;
plain_or_packed({error, _}, <<16#78, _, _/binary>> = Bin, Opts) ->
    decode_any(Bin, Opts);
plain_or_packed({error, _} = Error, _Bin, _Opts) ->
    Error.

decode_any(Bin, Opts) ->
    case options(Opts) of
        {ok, #{format := etf, max_bytes := Max, max_depth := Depth, safe := Safe}} ->
            decode_etf(Bin, Max, Depth, Safe);
        {ok, #{format := Format, max_bytes := Max} = Valid} ->
            case inflate(Bin, Max) of
                {ok, Plain} -> decode_as(Format, Plain, Valid);
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

decode_as(json, Bin, Opts) ->
    erlmcp_flow_json:decode(Bin, maps:with([max_bytes, max_depth, keys], Opts));
decode_as(msgpack, Bin, Opts) ->
    erlmcp_flow_msgpack:decode(Bin, maps:with([max_bytes, max_depth, keys], Opts)).

decode_etf(Bin, Max, Depth, Safe) ->
    case erlmcp_flow_native:enabled(serializer) of
        true ->
            case check(Bin, Max, depth(Depth), Safe) of
                ok -> to_term(Bin, Safe);
                {ok, Plain} -> to_term(Plain, Safe);
                {error, _} = Error -> Error
            end;
        false ->
            erlmcp_flow_etf_erl:decode(Bin, Max, Depth, Safe)
    end.

%% The NIFs take 0 for "no limit".
depth(infinity) -> 0;
depth(Depth) -> Depth.

check(Bin, Max, Depth, Safe) when byte_size(Bin) =< ?NORMAL_CHECK ->
    case erlmcp_flow_nif:etf_check(Bin, Max, Depth, Safe) of
        dirty -> erlmcp_flow_nif:etf_check_dirty(Bin, Max, Depth, Safe);
        Checked -> Checked
    end;
check(Bin, Max, Depth, Safe) ->
    erlmcp_flow_nif:etf_check_dirty(Bin, Max, Depth, Safe).

%% The bytes are checked: form and size are right. The BIF yields, so it may run
%% here however large they are; what it can still refuse is a value.
to_term(Bin, true) ->
    try binary_to_term(Bin, [safe]) of
        Term -> {ok, Term}
    catch
        error:_ -> {error, why(Bin, true)}
    end;
to_term(Bin, false) ->
    try binary_to_term(Bin) of
        Term -> {ok, Term}
    catch
        error:_ -> {error, why(Bin, false)}
    end.

why(Bin, Safe) when byte_size(Bin) =< ?NORMAL_WHY ->
    erlmcp_flow_nif:etf_why(Bin, Safe);
why(Bin, Safe) ->
    erlmcp_flow_nif:etf_why_dirty(Bin, Safe).

%% Batches

%% @doc Encodes a list of terms, of any kind, in a format of its own: what recurs
%% (map keys, atoms, short binaries, the key sets of maps) is written once. For
%% messages of the same few kinds that is a quarter to a half of the size of
%% `term_to_binary/1', and it decodes faster; what does not recur is about as
%% large as there. Only `decode_batch/1,2' reads it.
-spec encode_batch([term()]) -> {ok, binary()} | {error, error_reason()}.
encode_batch(Terms) when length(Terms) >= 0 ->
    case erlmcp_flow_native:enabled(serializer) of
        true ->
            case erlmcp_flow_nif:batch_encode(Terms) of
                dirty -> erlmcp_flow_nif:batch_encode_dirty(Terms);
                {ok, _} = Encoded -> Encoded
            end;
        false ->
            {ok, erlmcp_flow_batch_erl:encode(Terms)}
    end;
encode_batch(Other) ->
    erlmcp_flow_error:badarg([Other], #{1 => <<"not a proper list">>}).

%% @doc Decodes what `encode_batch/1' made: the same as `decode_batch(Bin, #{})'.
-spec decode_batch(binary()) -> {ok, [term()]} | {error, error_reason()}.
decode_batch(Bin) when is_binary(Bin) ->
    decode_batch_(Bin, ?MAX_BYTES, true);
decode_batch(Other) ->
    erlmcp_flow_error:badarg([Other], #{1 => <<"not a binary">>}).

%% @doc Decodes a batch with the options `safe' and `max_bytes'. The bytes of the
%% result are counted as if the terms shared nothing, as they take them when they
%% are sent on; in the process that decodes them they do share their keys.
-spec decode_batch(binary(), opts()) -> {ok, [term()]} | {error, error_reason()}.
decode_batch(Bin, Opts) when is_binary(Bin) ->
    case options(Opts, [safe, max_bytes]) of
        {ok, #{safe := Safe, max_bytes := Max}} -> decode_batch_(Bin, Max, Safe);
        {error, _} = Error -> Error
    end;
decode_batch(Other, Opts) ->
    erlmcp_flow_error:badarg([Other, Opts], #{1 => <<"not a binary">>}).

decode_batch_(Bin, Max, Safe) ->
    case erlmcp_flow_native:enabled(serializer) of
        true when byte_size(Bin) =< ?NORMAL_BATCH ->
            case erlmcp_flow_nif:batch_decode(Bin, Max, Safe) of
                dirty -> erlmcp_flow_nif:batch_decode_dirty(Bin, Max, Safe);
                Decoded -> Decoded
            end;
        true ->
            erlmcp_flow_nif:batch_decode_dirty(Bin, Max, Safe);
        false ->
            erlmcp_flow_batch_erl:decode(Bin, Max, Safe)
    end.

%% Compression

%% @doc Compresses a binary of more than `Threshold' bytes, and keeps the result
%% where it saves a fifth or more.
-spec compress_if_needed(binary(), Threshold :: non_neg_integer()) ->
    {compressed, binary()} | {uncompressed, binary()}.
compress_if_needed(Bin, Threshold) ->
    erlmcp_flow_compressor:compress_binary_if_needed(Bin, Threshold).

-define(AUTO_THRESHOLD, 1024).

compress(never, _Format, Bin) ->
    Bin;
compress(auto, _Format, Bin) when byte_size(Bin) =< ?AUTO_THRESHOLD ->
    Bin;
compress(How, etf, <<131, Body/binary>> = Bin) when byte_size(Body) < 16#100000000 ->
    case deflate(How, Body) of
        {ok, Data} -> <<131, 80, (byte_size(Body)):32, Data/binary>>;
        no -> Bin
    end;
compress(_How, etf, Bin) ->
    %% Above 4 GiB the format has no room for the size.
    Bin;
compress(How, _Format, Bin) ->
    case deflate(How, Bin) of
        {ok, Data} -> Data;
        no -> Bin
    end.

%% Always zlib format, whatever is configured: that is what readers expect here.
deflate(How, Body) ->
    Opts = #{compression_algorithm => zlib, level => default, max_bytes => 1 bsl 59 - 1},
    case erlmcp_flow_compressor:compress(Body, Opts) of
        {ok, Data} when How =:= auto, byte_size(Data) * 5 > byte_size(Body) * 4 -> no;
        {ok, _} = Deflated -> Deflated;
        {error, _} -> no
    end.

%% No JSON text starts with the first byte of a zlib stream, and a MessagePack
%% that does is a single byte.
inflate(<<16#78, _, _/binary>> = Bin, Max) ->
    Opts = #{compression_algorithm => zlib, max_bytes => min(Max, 1 bsl 59 - 1)},
    case erlmcp_flow_compressor:decompress(Bin, Opts) of
        {ok, Plain} -> {ok, Plain};
        {error, too_large} -> {error, too_large};
        {error, _} -> {error, {invalid, 0}}
    end;
inflate(Bin, _Max) ->
    {ok, Bin}.

%% Options

-define(KEYS, [format, compress, safe, max_bytes, max_depth, keys]).

options(Opts) ->
    options(Opts, ?KEYS).

options(Opts, Keys) ->
    try maps:fold(fun(Key, Value, Acc) -> option(lists:member(Key, Keys), Key, Value, Acc) end,
                  #{format => etf, compress => never, safe => true,
                    max_bytes => ?MAX_BYTES, keys => binaries},
                  erlmcp_flow_opts:to_map(Opts)) of
        #{format := etf, max_depth := _} = Valid -> {ok, Valid};
        #{format := etf} = Valid -> {ok, Valid#{max_depth => infinity}};
        %% The other formats have no decoder without a limit.
        #{max_depth := infinity} -> {error, {bad_option, max_depth, infinity}};
        #{max_depth := _} = Valid -> {ok, Valid};
        Valid -> {ok, Valid#{max_depth => ?MAX_DEPTH}}
    catch
        throw:{bad_option, _, _} = Bad -> {error, Bad}
    end.

option(true, format, V, Acc) when V =:= etf; V =:= json; V =:= msgpack ->
    Acc#{format := V};
option(true, compress, V, Acc) when V =:= never; V =:= auto; V =:= always ->
    Acc#{compress := V};
option(true, safe, V, Acc) when is_boolean(V) ->
    Acc#{safe := V};
option(true, max_bytes, V, Acc) when is_integer(V), V > 0, V < 1 bsl 63 ->
    Acc#{max_bytes := V};
option(true, max_depth, infinity, Acc) ->
    Acc#{max_depth => infinity};
option(true, max_depth, V, Acc) when is_integer(V), V > 0, V < 1 bsl 32 ->
    Acc#{max_depth => V};
option(true, keys, V, Acc) when V =:= binaries; V =:= existing_atoms ->
    Acc#{keys := V};
option(_Known, Key, Value, _Acc) ->
    throw({bad_option, Key, Value}).
