%% @doc Compression of messages and binaries, with every result bounded.
%%
%% Three formats: `zlib' (what OTP's `zlib:uncompress/1' reads, and the other way
%% round), `lz4' (LZ4 frames; the fastest) and `zstd' (Zstandard frames; about
%% the speed of lz4 at about the ratio of zlib). Which one a compressed binary
%% has is seen from its first bytes, so readers need no option for it.
%%
%% Options are a map or a proplist, over the application environment of
%% `erlmcp_flow' (same keys), over the defaults:
%%
%% <dl>
%% <dt>`compression_threshold' (1024)</dt>
%% <dd>Bytes. What is not larger is left as it is by the `_if_needed'
%% functions.</dd>
%% <dt>`compression_algorithm' (`zlib')</dt>
%% <dd>`zlib', `lz4' or `zstd'. Decompression uses it only when it is given in the
%% call; the environment and the default say how to write, not how to
%% read.</dd>
%% <dt>`level' (`default')</dt>
%% <dd>`default' (zlib: by size, from 1 for up to 2 KB to 6 above 64 KB, which stays
%% within 5 % of zlib's own 6; zstd: 3), or for zlib 0 to 12 (10 to 12 search
%% exhaustively: about 10 times slower) and for zstd 1 to 19. lz4 has one level and
%% ignores it.</dd>
%% <dt>`max_bytes' (64 MiB)</dt>
%% <dd>The largest uncompressed size: what is larger is neither compressed nor
%% decompressed. An input that claims or unfolds to more is refused without the
%% memory for it being taken. In a batch it holds for the sum.</dd>
%% </dl>
%%
%% With the native switch off (`{native, #{compressor => false}}') zlib runs on
%% OTP's own library, levels above 9 are 9, and `lz4' and `zstd' are
%% `{error, not_available}'.
-module(erlmcp_flow_compressor).

-export([compress_if_needed/1, compress_if_needed/2, decompress/1]).
-export([compress/2, decompress/2, compress_batch/2, decompress_batch/2]).
-export([compress_binary_if_needed/2]).
-export_type([algorithm/0, opts/0, tagged/0, error_reason/0]).

-type algorithm() :: zlib | lz4 | zstd.
-type opts() ::
    #{compression_threshold => non_neg_integer(),
      compression_algorithm => algorithm(),
      level => default | 0..19,
      max_bytes => pos_integer()}
    | [{atom(), term()}].
-type tagged() :: {compressed | uncompressed, binary()}.
-type error_reason() ::
    %% the uncompressed data exceeds `max_bytes'
    too_large
    %% not data of the format, damaged, or cut short
    | invalid
    %% a complete stream and then more bytes
    | trailing_data
    %% compressed with a dictionary
    | dictionary_needed
    %% does not start like zlib, lz4 or zstd
    | unknown_format
    %% lz4 or zstd with the native switch off
    | not_available
    | enomem
    | {bad_option, Key :: term(), Value :: term()}.

-define(DEFAULT_THRESHOLD, 1024).
-define(DEFAULT_MAX_BYTES, 64 * 1024 * 1024).
-define(THRESHOLD, compression_threshold => {{integer, 0, infinity}, ?DEFAULT_THRESHOLD}).
-define(WRITE, compression_algorithm => {{enum, [zlib, lz4, zstd]}, zlib},
               level => {{any_of, [{enum, [default]}, {integer, 0, 19}]}, default}).
%% An Erlang binary cannot be larger.
-define(READ, max_bytes => {{integer, 1, 1 bsl 59 - 1}, ?DEFAULT_MAX_BYTES}).

%% Decompression runs on a normal scheduler for inputs up to this size: what they
%% really hold takes 50 microseconds at most. Input made up to be slow (DEFLATE
%% blocks that hold nothing but their own code tables) takes 50 microseconds a
%% kilobyte, so the size also keeps that to some 0.6 milliseconds.
-define(NORMAL_IN, 12288).
%% And it stops there at this size of the result: the rare input that unfolds to
%% more starts anew on a dirty scheduler.
-define(NORMAL_OUT, 131072).

%% A batch to decompress of fewer bytes than this (some 3 milliseconds) gains
%% nothing from a second core; measured on two cores that others used as well.
-define(PARALLEL_DECOMPRESS, 524288).

%% @doc As {@link compress_if_needed/2} with the configured
%% `compression_threshold'.
-spec compress_if_needed(Message :: term()) -> tagged().
compress_if_needed(Message) ->
    case options([], threshold) of
        {ok, #{compression_threshold := Threshold}} ->
            if_needed(term_to_binary(Message), Threshold, [Message]);
        {error, Bad} ->
            erlmcp_flow_error:badarg([Message], #{general => bad_env(Bad)})
    end.

%% @doc Encodes any term in the external term format, and compresses that when
%% it has more than `Threshold' bytes and compressing saves at least a fifth.
%% {@link decompress/1} gives the term back. A configured algorithm that is not
%% available leaves everything uncompressed.
-spec compress_if_needed(Message :: term(), Threshold :: non_neg_integer()) -> tagged().
compress_if_needed(Message, Threshold) when is_integer(Threshold), Threshold >= 0 ->
    if_needed(term_to_binary(Message), Threshold, [Message, Threshold]);
compress_if_needed(Message, Threshold) ->
    erlmcp_flow_error:badarg([Message, Threshold], #{2 => "not a number of bytes"}).

%% @private
%% @doc The same for a binary that is already encoded.
-spec compress_binary_if_needed(binary(), Threshold :: non_neg_integer()) -> tagged().
compress_binary_if_needed(Binary, Threshold)
  when is_binary(Binary), is_integer(Threshold), Threshold >= 0 ->
    if_needed(Binary, Threshold, [Binary, Threshold]);
compress_binary_if_needed(Binary, Threshold) when is_binary(Binary) ->
    erlmcp_flow_error:badarg([Binary, Threshold], #{2 => "not a number of bytes"});
compress_binary_if_needed(Binary, Threshold) ->
    erlmcp_flow_error:badarg([Binary, Threshold], #{1 => "not a binary"}).

if_needed(Binary, Threshold, _Args) when byte_size(Binary) =< Threshold ->
    {uncompressed, Binary};
if_needed(Binary, _Threshold, Args) ->
    case options([], write) of
        {ok, Opts} ->
            %% The compressor gives up at four fifths of the size.
            case pack(Binary, Opts, byte_size(Binary) * 4 div 5) of
                {ok, Compressed} -> {compressed, Compressed};
                {error, _} -> {uncompressed, Binary}
            end;
        {error, Bad} ->
            erlmcp_flow_error:badarg(Args, #{general => bad_env(Bad)})
    end.

%% @doc The inverse of {@link compress_if_needed/1}: gives the term back.
%%
%% Raises `badarg', with `error_info' that says why, for anything that
%% `compress_if_needed' cannot have written: damaged data, more than
%% `max_bytes', and terms that this node must not make from foreign bytes (new
%% atoms, as in `binary_to_term(_, [safe])'). What this node wrote it
%% reads, since its atoms exist. For a message of another node whose atoms may be
%% new here, take {@link decompress/2} and your own `binary_to_term/1'.
-spec decompress(tagged()) -> term().
decompress({uncompressed, Binary}) when is_binary(Binary) ->
    case options([], read) of
        {ok, #{max_bytes := Max}} -> to_term(Binary, Max, {uncompressed, Binary});
        {error, Bad} -> bad_message({uncompressed, Binary}, bad_env(Bad))
    end;
decompress({compressed, Binary}) when is_binary(Binary) ->
    case options([], read) of
        {ok, #{max_bytes := Max}} ->
            case unpack(detect, Binary, Max) of
                {ok, Encoded} -> to_term(Encoded, Max, {compressed, Binary});
                {error, Reason} -> bad_message({compressed, Binary}, why(Reason))
            end;
        {error, Bad} ->
            bad_message({compressed, Binary}, bad_env(Bad))
    end;
decompress(Other) ->
    bad_message(Other, "neither {compressed, binary()} nor {uncompressed, binary()}").

%% The external term format has a compression of its own, which could unfold to
%% any size. `compress_if_needed' never writes it.
to_term(<<131, 80, Size:32, _/binary>>, Max, Tagged) when Size > Max ->
    bad_message(Tagged, why(too_large));
to_term(Encoded, _Max, Tagged) ->
    try binary_to_term(Encoded, [safe, used]) of
        {Term, Used} when Used =:= byte_size(Encoded) -> Term;
        {_Term, _Used} -> bad_message(Tagged, why(trailing_data))
    catch
        error:badarg ->
            bad_message(Tagged, "not an encoded term, or one with atoms unknown to this node")
    end.

-spec bad_message(term(), unicode:chardata()) -> no_return().
bad_message(Tagged, Why) ->
    erlmcp_flow_error:badarg([Tagged], #{1 => Why}).

%% @doc Compresses a binary, whatever its size and however little that saves.
-spec compress(binary(), opts()) -> {ok, binary()} | {error, error_reason()}.
compress(Binary, Opts) when is_binary(Binary) ->
    case options(Opts, write) of
        {ok, Valid} -> pack(Binary, Valid, unlimited);
        {error, _} = Error -> Error
    end;
compress(Binary, Opts) ->
    erlmcp_flow_error:badarg([Binary, Opts], #{1 => "not a binary"}).

%% @doc Decompresses a binary. The format is the `compression_algorithm' in
%% `Opts', or else the one that the binary starts like.
-spec decompress(binary(), opts()) -> {ok, binary()} | {error, error_reason()}.
decompress(Binary, Opts) when is_binary(Binary) ->
    case options(Opts, read) of
        {ok, #{max_bytes := Max}} -> unpack(format(Opts), Binary, Max);
        {error, _} = Error -> Error
    end;
decompress(Binary, Opts) ->
    erlmcp_flow_error:badarg([Binary, Opts], #{1 => "not a binary"}).

%% @doc Compresses each binary of a list; the results have the same order. Larger
%% batches are shared among the machine's cores. The first binary that fails (in
%% order of the list) is told by its position, counted from 1, and then there is
%% no result. `max_bytes' holds for all of them together.
-spec compress_batch([binary()], opts()) ->
    {ok, [binary()]} | {error, {Position :: pos_integer(), error_reason()}}
    | {error, {bad_option, term(), term()}}.
compress_batch(Binaries, Opts) ->
    Bytes = total(Binaries, [Binaries, Opts]),
    case options(Opts, write) of
        {ok, Valid} -> pack_batch(Binaries, Bytes, Valid);
        {error, _} = Error -> Error
    end.

%% @doc Decompresses each binary of a list, as {@link compress_batch/2}. `max_bytes'
%% holds for the results together; with a larger batch that exceeds it, the
%% position is that of one which found no more room.
-spec decompress_batch([binary()], opts()) ->
    {ok, [binary()]} | {error, {Position :: pos_integer(), error_reason()}}
    | {error, {bad_option, term(), term()}}.
decompress_batch(Binaries, Opts) ->
    Bytes = total(Binaries, [Binaries, Opts]),
    case options(Opts, read) of
        {ok, #{max_bytes := Max}} -> unpack_batch(format(Opts), Binaries, Bytes, Max);
        {error, _} = Error -> Error
    end.

%% The work

pack(Binary, #{max_bytes := Max}, _Limit) when byte_size(Binary) > Max ->
    {error, too_large};
pack(Binary, #{compression_algorithm := Algorithm, level := Level}, Limit) ->
    Normal = normal_bytes(Algorithm, Level),
    case erlmcp_flow_native:enabled(compressor) of
        true when byte_size(Binary) =< Normal ->
            erlmcp_flow_nif:compress(Algorithm, Binary, Level, max_out(Limit));
        true ->
            erlmcp_flow_nif:compress_dirty(Algorithm, Binary, Level, max_out(Limit));
        false ->
            erlmcp_flow_compressor_erl:compress(Algorithm, Binary, Level, Limit)
    end.

%% Up to these sizes a call takes at most about 100 microseconds (400 for input made
%% to be slow), and so runs on a normal scheduler, where a dirty one would add 5
%% to 13 (doc/compression.md).
normal_bytes(lz4, _Level) -> 65536;
normal_bytes(zlib, default) -> 16384;
normal_bytes(zlib, Level) when Level =< 6 -> 8192;
normal_bytes(zlib, Level) when Level =< 9 -> 4096;
normal_bytes(zstd, default) -> 32768;
normal_bytes(zstd, Level) when Level =< 3 -> 32768;
normal_bytes(zstd, Level) when Level =< 9 -> 4096;
normal_bytes(_Algorithm, _Level) -> 0.

%% A batch of more bytes than this, about a millisecond of work, is shared.
parallel_bytes(zlib) -> 131072;
parallel_bytes(zstd) -> 524288;
parallel_bytes(lz4) -> 2097152.

max_out(unlimited) -> 1 bsl 63;
max_out(Limit) -> Limit.

unpack(Format, Binary, Max) ->
    case erlmcp_flow_native:enabled(compressor) of
        true when byte_size(Binary) > ?NORMAL_IN ->
            erlmcp_flow_nif:decompress_dirty(Format, Binary, Max);
        true when Max =< ?NORMAL_OUT ->
            erlmcp_flow_nif:decompress(Format, Binary, Max);
        true ->
            case erlmcp_flow_nif:decompress(Format, Binary, ?NORMAL_OUT) of
                {error, too_large} ->
                    erlmcp_flow_nif:decompress_dirty(Format, Binary, Max);
                Result ->
                    Result
            end;
        false ->
            erlmcp_flow_compressor_erl:decompress(Format, Binary, Max)
    end.

pack_batch(Binaries, Bytes, #{compression_algorithm := Algorithm, level := Level,
                              max_bytes := Max} = Opts) ->
    Native = erlmcp_flow_native:enabled(compressor),
    Normal = normal_bytes(Algorithm, Level),
    if
        Native, Bytes =< Max, Bytes > Normal ->
            erlmcp_flow_nif:compress_batch(
                Algorithm, Binaries, Level, Bytes > parallel_bytes(Algorithm));
        true ->
            %% Also to find which binary exceeds the limit.
            each(Binaries, Max, fun(Binary, Left) ->
                case pack(Binary, Opts#{max_bytes := Left}, unlimited) of
                    {ok, Packed} -> {ok, Packed, Left - byte_size(Binary)};
                    {error, _} = Error -> Error
                end
            end)
    end.

unpack_batch(Format, Binaries, Bytes, Max) ->
    case erlmcp_flow_native:enabled(compressor) of
        true when Bytes > ?NORMAL_IN ->
            erlmcp_flow_nif:decompress_batch(
                Format, Binaries, Max, Bytes > ?PARALLEL_DECOMPRESS);
        _ ->
            each(Binaries, Max, fun(Binary, Left) ->
                case unpack(Format, Binary, Left) of
                    {ok, Content} -> {ok, Content, Left - byte_size(Content)};
                    {error, _} = Error -> Error
                end
            end)
    end.

each(Binaries, Left, Fun) ->
    each(Binaries, Left, Fun, 1, []).

each([Binary | Rest], Left, Fun, Position, Done) ->
    case Fun(Binary, Left) of
        {ok, Result, StillLeft} -> each(Rest, StillLeft, Fun, Position + 1, [Result | Done]);
        {error, Reason} -> {error, {Position, Reason}}
    end;
each([], _Left, _Fun, _Position, Done) ->
    {ok, lists:reverse(Done)}.

total(Binaries, Args) ->
    try
        lists:foldl(fun(B, Sum) when is_binary(B) -> Sum + byte_size(B) end, 0, Binaries)
    catch
        error:_ -> erlmcp_flow_error:badarg(Args, #{1 => "not a list of binaries"})
    end.

%% Options

%% Without options in the call, only those are looked up in the environment that
%% the call goes by: on small messages the four look-ups cost as much as the
%% decompression.
options(Opts, What) ->
    Spec = case What of
        read when Opts =:= #{}; Opts =:= [] -> #{?READ};
        write when Opts =:= #{}; Opts =:= [] -> #{?WRITE, ?READ};
        threshold when Opts =:= [] -> #{?THRESHOLD};
        _ -> #{?THRESHOLD, ?WRITE, ?READ}
    end,
    case erlmcp_flow_opts:validate(Spec, Opts) of
        {ok, #{compression_algorithm := Algorithm, level := Level} = Valid} ->
            case fits(Algorithm, Level) of
                true -> {ok, Valid};
                false -> {error, {bad_option, level, Level}}
            end;
        Result ->
            Result
    end.

fits(_, default) -> true;
fits(zlib, Level) -> Level =< 12;
fits(zstd, Level) -> Level >= 1;
fits(lz4, _) -> true.

format(#{compression_algorithm := Algorithm}) -> Algorithm;
format(Opts) when is_list(Opts) ->
    proplists:get_value(compression_algorithm, Opts, detect);
format(_) -> detect.

bad_env({bad_option, Key, Value}) ->
    io_lib:format("the application environment has a bad ~tp: ~tP", [Key, Value, 10]).

why(too_large) -> "the data unfold to more than max_bytes";
why(invalid) -> "invalid or truncated data";
why(trailing_data) -> "bytes after the end of the data";
why(dictionary_needed) -> "compressed with a dictionary";
why(unknown_format) -> "not zlib, lz4 or zstd data";
why(not_available) -> "lz4 and zstd need the native library, which is switched off";
why(enomem) -> "out of memory".
