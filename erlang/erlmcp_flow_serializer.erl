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

-export([encode/1, encode/2, decode/1, decode/2, compress_if_needed/2]).
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

%% Inputs up to here are checked on a normal scheduler. The check reads about a
%% byte a nanosecond at worst, so this is a tenth of a millisecond; beyond it the
%% 5 to 13 us of a dirty call are lost in what decoding costs anyway.
-define(NORMAL_CHECK, 65536).
%% Telling why the VM refused an input costs up to 100 ns a byte.
-define(NORMAL_WHY, 2048).

-define(MAX_BYTES, 67108864).
-define(MAX_DEPTH, 512).

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
                _Compressed -> decode_etf(Bin, ?MAX_BYTES, infinity, true)
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
decode(Bin, Opts) when is_binary(Bin) ->
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
    end;
decode(Other, Opts) ->
    erlmcp_flow_error:badarg([Other, Opts], #{1 => <<"not a binary">>}).

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

%% Compression

%% @doc Compresses a binary of more than `Threshold' bytes in zlib format, and
%% keeps the result where it saves a fifth or more.
-spec compress_if_needed(binary(), Threshold :: non_neg_integer()) ->
    {compressed, binary()} | {uncompressed, binary()}.
compress_if_needed(Bin, Threshold)
  when is_binary(Bin), is_integer(Threshold), Threshold >= 0 ->
    erlmcp_flow_compressor:compress_if_needed(Bin, Threshold);
compress_if_needed(Bin, Threshold) when is_binary(Bin) ->
    erlmcp_flow_error:badarg([Bin, Threshold], #{2 => <<"not a size in bytes">>});
compress_if_needed(Bin, Threshold) ->
    erlmcp_flow_error:badarg([Bin, Threshold], #{1 => <<"not a binary">>}).

-define(AUTO_THRESHOLD, 1024).

compress(never, _Format, Bin) ->
    Bin;
compress(auto, _Format, Bin) when byte_size(Bin) =< ?AUTO_THRESHOLD ->
    Bin;
compress(How, etf, <<131, Body/binary>> = Bin) when byte_size(Body) < 16#100000000 ->
    case deflate(How, Body) of
        {compressed, Data} -> <<131, 80, (byte_size(Body)):32, Data/binary>>;
        {uncompressed, _} -> Bin
    end;
compress(How, Format, Bin) when Format =/= etf ->
    {_, Data} = deflate(How, Bin),
    Data;
compress(_How, etf, Bin) ->
    %% Above 4 GiB the format has no room for the size.
    Bin.

deflate(auto, Body) ->
    erlmcp_flow_compressor:compress_if_needed(Body, 0);
deflate(always, Body) ->
    {ok, Data} = erlmcp_flow_compressor:compress(Body, #{}),
    {compressed, Data}.

%% No JSON text starts with the first byte of a zlib stream, and a MessagePack
%% that does is a single byte.
inflate(<<16#78, _, _/binary>> = Bin, Max) ->
    case erlmcp_flow_compressor:decompress(Bin, #{max_bytes => Max}) of
        {ok, Plain} -> {ok, Plain};
        {error, too_large} -> {error, too_large};
        {error, _} -> {error, {invalid, 0}}
    end;
inflate(Bin, _Max) ->
    {ok, Bin}.

%% Options

options(Opts) when is_map(Opts); is_list(Opts) ->
    try maps:fold(fun option/3, #{format => etf, compress => never, safe => true,
                                  max_bytes => ?MAX_BYTES, keys => binaries},
                  to_map(Opts)) of
        #{max_depth := _} = Valid -> {ok, Valid};
        #{format := etf} = Valid -> {ok, Valid#{max_depth => infinity}};
        Valid -> {ok, Valid#{max_depth => ?MAX_DEPTH}}
    catch
        throw:{bad_option, _, _} = Bad -> {error, Bad}
    end;
options(Opts) ->
    {error, {bad_option, options, Opts}}.

to_map(Opts) when is_map(Opts) ->
    Opts;
to_map(Opts) ->
    %% As in a proplist, the first of two equal keys wins.
    try
        lists:foldr(fun({Key, Value}, Acc) -> Acc#{Key => Value};
                       (Key, Acc) when is_atom(Key) -> Acc#{Key => true};
                       (Other, _Acc) -> throw({bad_option, Other, Opts})
                    end, #{}, Opts)
    catch
        error:_ -> throw({bad_option, options, Opts})
    end.

option(format, V, Acc) when V =:= etf; V =:= json; V =:= msgpack -> Acc#{format := V};
option(compress, V, Acc) when V =:= never; V =:= auto; V =:= always ->
    Acc#{compress := V};
option(safe, V, Acc) when is_boolean(V) -> Acc#{safe := V};
option(max_bytes, V, Acc) when is_integer(V), V > 0, V < 1 bsl 63 -> Acc#{max_bytes := V};
option(max_depth, infinity, Acc) -> Acc#{max_depth => infinity};
option(max_depth, V, Acc) when is_integer(V), V > 0, V < 1 bsl 32 -> Acc#{max_depth => V};
option(keys, V, Acc) when V =:= binaries; V =:= existing_atoms -> Acc#{keys := V};
option(Key, Value, _Acc) -> throw({bad_option, Key, Value}).
