%% @private
%% @doc JSON (RFC 8259), bytes to terms and back.
%%
%% Objects are maps with binary keys, arrays are lists, strings are binaries,
%% `true', `false' and `null' are atoms; a number with a fraction or an exponent
%% is a float, any other an integer. Both directions take time proportional to
%% their input, save that integers of many digits take time by the square of
%% their length and so are limited to 10,000 digits (`too_large').
%%
%% With `native => false' for the component `serializer' both run in Erlang, with
%% the same results.
-module(erlmcp_flow_json).

-export([encode/2, decode/2]).
-export_type([encode_error/0, decode_error/0, encode_opts/0, decode_opts/0]).

-type encode_opts() :: #{max_depth := non_neg_integer(), atom() => term()}.
%% How many lists and maps may be within one another.

-type decode_opts() :: #{max_bytes := non_neg_integer(),
                         max_depth := non_neg_integer(),
                         keys := binaries | existing_atoms,
                         atom() => term()}.
%% `max_bytes' bounds the memory of the decoded term, estimated from above.

-type encode_error() :: {unsupported, term()} | too_deep | too_large.
%% `unsupported' carries the part of the term that JSON cannot express: tuples,
%% pids, ports, references, funs, improper lists, bitstrings, binaries that are
%% not UTF-8, and keys that are neither binary, atom nor integer.

-type decode_error() ::
    {invalid, Offset :: non_neg_integer()} | too_deep | too_large | unknown_atom.
%% `Offset' is that of the first byte that no JSON text can have there, or the
%% size of the input where it ends too early; for a number beyond the range of a
%% double and for a lone surrogate it is where that begins.

%% Input above this size goes to a dirty scheduler at once. Below it the normal
%% NIF begins, and gives up (`busy') after about 0.2 ms, which only input denser
%% than most comes to; a dirty call costs 5 microseconds on an idle machine and
%% often more than a hundred on a busy one.
-define(NORMAL_INPUT, 256 * 1024).

%% @doc Writes a term as JSON.
%%
%% Keys may be binaries, atoms and integers; all are written as strings, and when
%% two of a map are the same string, both are written. Atoms other than `true',
%% `false' and `null' are written as strings (`undefined' too: nothing but `null'
%% is null). Floats have the shortest text that reads as the same float. Nothing
%% is escaped that need not be.
-spec encode(term(), encode_opts()) -> {ok, binary()} | {error, encode_error()}.
encode(Term, #{max_depth := MaxDepth}) ->
    case erlmcp_flow_native:enabled(serializer) of
        true ->
            case erlmcp_flow_nif:json_encode(Term, MaxDepth) of
                busy -> erlmcp_flow_nif:json_encode_dirty(Term, MaxDepth);
                Result -> Result
            end;
        false ->
            erlmcp_flow_json_erl:encode(Term, MaxDepth)
    end.

%% @doc Reads one JSON text, with nothing around it but white space. Of equal names
%% in one object the last one holds. With `keys => existing_atoms' the names become
%% atoms, and one that does not exist is `{error, unknown_atom}'.
-spec decode(binary(), decode_opts()) -> {ok, term()} | {error, decode_error()}.
decode(Binary, #{max_bytes := MaxBytes, max_depth := MaxDepth, keys := Keys}) ->
    case erlmcp_flow_native:enabled(serializer) of
        true -> native(Binary, MaxBytes, MaxDepth, Keys);
        false -> erlmcp_flow_json_erl:decode(Binary, MaxBytes, MaxDepth, Keys)
    end.

native(Binary, MaxBytes, MaxDepth, Keys) ->
    Atoms = Keys =:= existing_atoms,
    First = case byte_size(Binary) =< ?NORMAL_INPUT of
        true -> erlmcp_flow_nif:json_decode(Binary, MaxBytes, MaxDepth, Atoms, false);
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
                erlmcp_flow_nif:json_decode_dirty(Binary, MaxBytes, MaxDepth, Atoms, Resolve);
               (false, Resolve) ->
                erlmcp_flow_nif:json_decode(Binary, MaxBytes, MaxDepth, Atoms, Resolve)
            end,
    case erlmcp_flow_document:decoded(First, Again) of
        %% An atom that does not exist: JSON has no other keys than texts.
        repeats -> {error, unknown_atom};
        Decoded -> Decoded
    end.
