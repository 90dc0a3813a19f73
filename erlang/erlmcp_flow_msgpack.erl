%% @private
%% @doc MessagePack (spec of 2017), bytes to terms and back.
%%
%% Maps are maps with keys of any kind, arrays are lists, `str' and `bin' are
%% binaries, `nil' is `null', `true' and `false' are atoms. Both directions take
%% time proportional to their input.
%%
%% With `native => false' for the component `serializer' both run in Erlang, with
%% the same results.
-module(erlmcp_flow_msgpack).

-export([encode/2, decode/2]).
-export_type([encode_error/0, decode_error/0, encode_opts/0, decode_opts/0]).

-type encode_opts() :: erlmcp_flow_json:encode_opts().
-type decode_opts() :: erlmcp_flow_json:decode_opts().

-type encode_error() :: {unsupported, term()} | too_deep | too_large.
%% `unsupported' carries the part of the term that MessagePack cannot express:
%% tuples, pids, ports, references, funs, improper lists, bitstrings, integers
%% beyond 64 bits, and anything of 4 GiB or more.

-type decode_error() ::
    {invalid, Offset :: non_neg_integer()} | too_deep | too_large | unknown_atom.
%% `Offset' is that of the value that cannot be (an extension type, a float that is
%% not finite, the byte 0xC1), that of bytes behind the value, or the size of the
%% input where it ends too early.

%% Input above this size goes to a dirty scheduler at once. Below it the normal
%% NIF begins, and gives up (`busy') after about 0.2 ms, which only input denser
%% than most comes to; a dirty call costs 5 microseconds on an idle machine and
%% often more than a hundred on a busy one.
-define(NORMAL_INPUT, 256 * 1024).

%% @doc Writes a term as MessagePack, each value in its shortest format. A binary
%% is `str' where it is UTF-8, else `bin'. Atoms other than `null', `true' and
%% `false' are written as `str'; floats have 64 bits.
-spec encode(term(), encode_opts()) -> {ok, binary()} | {error, encode_error()}.
encode(Term, #{max_depth := MaxDepth}) ->
    case erlmcp_flow_native:enabled(serializer) of
        true ->
            case erlmcp_flow_nif:msgpack_encode(Term, MaxDepth) of
                busy -> erlmcp_flow_nif:msgpack_encode_dirty(Term, MaxDepth);
                Result -> Result
            end;
        false ->
            erlmcp_flow_msgpack_erl:encode(Term, MaxDepth)
    end.

%% @doc Reads one value and nothing behind it. Extension types, the timestamp among
%% them, are refused. Of equal keys in one map the last one holds. With
%% `keys => existing_atoms' the keys that are `str' become atoms, and one that does
%% not exist is `{error, unknown_atom}'.
-spec decode(binary(), decode_opts()) -> {ok, term()} | {error, decode_error()}.
decode(Binary, #{max_bytes := MaxBytes, max_depth := MaxDepth, keys := Keys}) ->
    case erlmcp_flow_native:enabled(serializer) of
        true -> native(Binary, MaxBytes, MaxDepth, Keys);
        false -> erlmcp_flow_msgpack_erl:decode(Binary, MaxBytes, MaxDepth, Keys)
    end.

native(Binary, MaxBytes, MaxDepth, Keys) ->
    Atoms = Keys =:= existing_atoms,
    First = case byte_size(Binary) =< ?NORMAL_INPUT of
        true -> erlmcp_flow_nif:msgpack_decode(Binary, MaxBytes, MaxDepth, Atoms, false);
        false -> busy
    end,
    case First of
        {ok, _} ->
            First;
        _ ->
            unfinished(First, Binary, MaxBytes, MaxDepth, Keys)
    end.

unfinished(First, Binary, MaxBytes, MaxDepth, Keys) ->
    Atoms = Keys =:= existing_atoms,
    Again = fun(true, Resolve) ->
                erlmcp_flow_nif:msgpack_decode_dirty(Binary, MaxBytes, MaxDepth, Atoms, Resolve);
               (false, Resolve) ->
                erlmcp_flow_nif:msgpack_decode(Binary, MaxBytes, MaxDepth, Atoms, Resolve)
            end,
    case erlmcp_flow_document:decoded(First, Again) of
        %% For keys that are equal without having the same bytes (maps as keys,
        %% 0.0 and -0.0 before OTP 27) the twin has the VM compare them.
        repeats -> erlmcp_flow_msgpack_erl:decode(Binary, MaxBytes, MaxDepth, Keys);
        Decoded -> Decoded
    end.
