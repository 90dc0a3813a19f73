%% @private
%% @doc JSON (RFC 8259).
-module(erlmcp_flow_json).

-export([encode/2, decode/2]).

-define(DIRTY_INPUT, 16384).

-spec encode(term(), map()) -> {ok, binary()} | {error, term()}.
encode(Term, #{max_depth := MaxDepth}) ->
    case erlmcp_flow_nif:json_encode(Term, MaxDepth) of
        busy -> erlmcp_flow_nif:json_encode_dirty(Term, MaxDepth);
        Result -> Result
    end.

-spec decode(binary(), map()) -> {ok, term()} | {error, term()}.
decode(Binary, #{max_bytes := MaxBytes, max_depth := MaxDepth, keys := Keys}) ->
    Atoms = Keys =:= existing_atoms,
    Result = case byte_size(Binary) of
        Size when Size =< ?DIRTY_INPUT ->
            erlmcp_flow_nif:json_decode(Binary, MaxBytes, MaxDepth, Atoms);
        _ ->
            erlmcp_flow_nif:json_decode_dirty(Binary, MaxBytes, MaxDepth, Atoms)
    end,
    case Result of
        {etf, Etf} -> {ok, binary_to_term(Etf, [safe])};
        _ -> Result
    end.
