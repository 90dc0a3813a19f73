%% @private
%% @doc The Erlang twin of the native MessagePack codec: what runs with
%% `native => false', and what the tests hold the native side against. Results and
%% errors are the same to the offset; only the order of keys may differ in encoded
%% bytes.
-module(erlmcp_flow_msgpack_erl).

-export([encode/2, decode/4]).

%% As in native/codec/src/document/cost.rs.
-define(LIST, 8).
-define(ELEMENT, 16).
-define(MAP, 40).
-define(PAIR, 48).
-define(FLOAT, 16).
-define(BIG, 24).
-define(IMMEDIATE, (1 bsl 59)).

%% @doc As `erlmcp_flow_msgpack:decode/2'.
-spec decode(binary(), non_neg_integer(), non_neg_integer(), binaries | existing_atoms) ->
    {ok, term()} | {error, erlmcp_flow_msgpack:decode_error()}.
decode(Binary, MaxBytes, MaxDepth, Keys) ->
    %% An error in the bytes comes before an unknown atom, wherever they stand.
    case decode_as(Binary, MaxBytes, MaxDepth, binaries) of
        {ok, _} when Keys =:= existing_atoms ->
            decode_as(Binary, MaxBytes, MaxDepth, existing_atoms);
        Result ->
            Result
    end.

decode_as(Binary, MaxBytes, MaxDepth, Keys) ->
    try
        case value(Binary, MaxBytes, MaxDepth, Keys) of
            {Term, <<>>, _Left} -> {ok, Term};
            {_Term, Rest, _Left} -> invalid(Rest)
        end
    catch
        throw:{invalid, Remaining} -> {error, {invalid, byte_size(Binary) - Remaining}};
        throw:Reason -> {error, Reason}
    end.

-spec invalid(binary()) -> no_return().
invalid(Rest) ->
    throw({invalid, byte_size(Rest)}).

charge(Left, Bytes) when Bytes =< Left -> Left - Bytes;
charge(_Left, _Bytes) -> throw(too_large).

value(<<N, Rest/binary>>, Left, _Depth, _Keys) when N < 16#80 -> {N, Rest, Left};
value(<<16#8:4, N:4, Rest/binary>>, Left, Depth, Keys) -> map(N, Rest, Left, Depth, Keys);
value(<<16#9:4, N:4, Rest/binary>>, Left, Depth, Keys) -> array(N, Rest, Left, Depth, Keys);
value(<<5:3, N:5, Rest/binary>>, Left, _Depth, _Keys) -> bytes(N, Rest, Left);
value(<<16#c0, Rest/binary>>, Left, _Depth, _Keys) -> {null, Rest, Left};
value(<<16#c2, Rest/binary>>, Left, _Depth, _Keys) -> {false, Rest, Left};
value(<<16#c3, Rest/binary>>, Left, _Depth, _Keys) -> {true, Rest, Left};
value(<<16#c4, N:8, Rest/binary>>, Left, _Depth, _Keys) -> bytes(N, Rest, Left);
value(<<16#c5, N:16, Rest/binary>>, Left, _Depth, _Keys) -> bytes(N, Rest, Left);
value(<<16#c6, N:32, Rest/binary>>, Left, _Depth, _Keys) -> bytes(N, Rest, Left);
value(<<16#ca, F:32/float, Rest/binary>>, Left, _Depth, _Keys) ->
    {F, Rest, charge(Left, ?FLOAT)};
value(<<16#cb, F:64/float, Rest/binary>>, Left, _Depth, _Keys) ->
    {F, Rest, charge(Left, ?FLOAT)};
%% Infinities and NaN match neither.
value(<<16#ca, _:32, _/binary>> = Bin, _Left, _Depth, _Keys) -> invalid(Bin);
value(<<16#cb, _:64, _/binary>> = Bin, _Left, _Depth, _Keys) -> invalid(Bin);
value(<<16#cc, N:8, Rest/binary>>, Left, _Depth, _Keys) -> {N, Rest, Left};
value(<<16#cd, N:16, Rest/binary>>, Left, _Depth, _Keys) -> {N, Rest, Left};
value(<<16#ce, N:32, Rest/binary>>, Left, _Depth, _Keys) -> {N, Rest, Left};
value(<<16#cf, N:64, Rest/binary>>, Left, _Depth, _Keys) -> wide(N, Rest, Left);
value(<<16#d0, N:8/signed, Rest/binary>>, Left, _Depth, _Keys) -> {N, Rest, Left};
value(<<16#d1, N:16/signed, Rest/binary>>, Left, _Depth, _Keys) -> {N, Rest, Left};
value(<<16#d2, N:32/signed, Rest/binary>>, Left, _Depth, _Keys) -> {N, Rest, Left};
value(<<16#d3, N:64/signed, Rest/binary>>, Left, _Depth, _Keys) -> wide(N, Rest, Left);
value(<<16#d9, N:8, Rest/binary>>, Left, _Depth, _Keys) -> bytes(N, Rest, Left);
value(<<16#da, N:16, Rest/binary>>, Left, _Depth, _Keys) -> bytes(N, Rest, Left);
value(<<16#db, N:32, Rest/binary>>, Left, _Depth, _Keys) -> bytes(N, Rest, Left);
value(<<16#dc, N:16, Rest/binary>>, Left, Depth, Keys) -> array(N, Rest, Left, Depth, Keys);
value(<<16#dd, N:32, Rest/binary>>, Left, Depth, Keys) -> array(N, Rest, Left, Depth, Keys);
value(<<16#de, N:16, Rest/binary>>, Left, Depth, Keys) -> map(N, Rest, Left, Depth, Keys);
value(<<16#df, N:32, Rest/binary>>, Left, Depth, Keys) -> map(N, Rest, Left, Depth, Keys);
value(<<N:8/signed, Rest/binary>>, Left, _Depth, _Keys) when N >= -32, N < 0 ->
    {N, Rest, Left};
%% Extensions, and the byte that is never used.
value(<<Tag, _/binary>> = Bin, _Left, _Depth, _Keys)
  when Tag =:= 16#c1; Tag >= 16#c7, Tag =< 16#c9; Tag >= 16#d4, Tag =< 16#d8 ->
    invalid(Bin);
value(_TooShort, _Left, _Depth, _Keys) ->
    invalid(<<>>).

wide(N, Rest, Left) when abs(N) >= ?IMMEDIATE -> {N, Rest, charge(Left, ?BIG)};
wide(N, Rest, Left) -> {N, Rest, Left}.

bytes(Size, Bin, Left) ->
    case Bin of
        <<Bytes:Size/binary, Rest/binary>> ->
            %% Copied, as the native side does: a small part must not keep all
            %% of a large input alive.
            {binary:copy(Bytes), Rest, charge(Left, binary_cost(Size))};
        _ ->
            invalid(<<>>)
    end.

binary_cost(Size) when Size =< 64 -> Size + 24;
binary_cost(Size) -> Size + 88.

array(_N, _Bin, _Left, 0, _Keys) -> throw(too_deep);
array(N, Bin, Left, Depth, Keys) ->
    elements(N, Bin, charge(Left, ?LIST), Depth - 1, Keys, []).

elements(0, Rest, Left, _Depth, _Keys, Acc) ->
    {lists:reverse(Acc), Rest, Left};
elements(N, Bin, Left, Depth, Keys, Acc) ->
    {Term, Rest, Left1} = value(Bin, charge(Left, ?ELEMENT), Depth, Keys),
    elements(N - 1, Rest, Left1, Depth, Keys, [Term | Acc]).

map(_N, _Bin, _Left, 0, _Keys) -> throw(too_deep);
map(N, Bin, Left, Depth, Keys) ->
    pairs(N, Bin, charge(Left, ?MAP), Depth - 1, Keys, []).

pairs(0, Rest, Left, _Depth, _Keys, Acc) ->
    {maps:from_list(lists:reverse(Acc)), Rest, Left};
pairs(N, Bin, Left, Depth, Keys, Acc) ->
    {Key, Rest, Left1} = value(Bin, charge(Left, ?PAIR), Depth, Keys),
    {Term, Rest1, Left2} = value(Rest, Left1, Depth, Keys),
    pairs(N - 1, Rest1, Left2, Depth, Keys, [{key(Key, Bin, Keys), Term} | Acc]).

%% Only what was written as text may be an atom.
key(Key, <<Tag, _/binary>>, existing_atoms)
  when Tag >= 16#a0, Tag < 16#c0; Tag >= 16#d9, Tag =< 16#db ->
    try
        binary_to_existing_atom(Key, utf8)
    catch
        error:_ -> throw(unknown_atom)
    end;
key(Key, _Bin, _Keys) ->
    Key.

%% @doc As `erlmcp_flow_msgpack:encode/2'.
-spec encode(term(), non_neg_integer()) ->
    {ok, binary()} | {error, erlmcp_flow_msgpack:encode_error()}.
encode(Term, MaxDepth) ->
    try
        {ok, iolist_to_binary(pack(Term, MaxDepth))}
    catch
        throw:{reason, Reason} -> {error, Reason}
    end.

-spec unsupported(term()) -> no_return().
unsupported(Term) ->
    throw({reason, {unsupported, Term}}).

pack(null, _Depth) -> <<16#c0>>;
pack(false, _Depth) -> <<16#c2>>;
pack(true, _Depth) -> <<16#c3>>;
pack(Atom, _Depth) when is_atom(Atom) -> text(atom_to_binary(Atom, utf8));
pack(Binary, _Depth) when is_binary(Binary) ->
    case unicode:characters_to_binary(Binary) of
        Binary -> text(Binary);
        _ -> blob(Binary)
    end;
pack(Integer, _Depth) when is_integer(Integer) -> integer(Integer);
pack(Float, _Depth) when is_float(Float) -> <<16#cb, Float:64/float>>;
pack(Term, 0) when is_list(Term); is_map(Term) -> throw({reason, too_deep});
pack(List, Depth) when is_list(List) ->
    try length(List) of
        N -> [header(N, 16#90, 16#dc, List) | [pack(T, Depth - 1) || T <- List]]
    catch
        error:badarg -> unsupported(List)
    end;
pack(Map, Depth) when is_map(Map) ->
    [header(map_size(Map), 16#80, 16#de, Map)
     | [[pack(K, Depth - 1), pack(V, Depth - 1)] || {K, V} <- maps:to_list(Map)]];
pack(Term, _Depth) -> unsupported(Term).

header(N, Fix, _Tag16, _Term) when N < 16 -> <<(Fix + N)>>;
header(N, _Fix, Tag16, _Term) when N < 16#10000 -> <<Tag16, N:16>>;
header(N, _Fix, Tag16, _Term) when N < 16#100000000 -> <<(Tag16 + 1), N:32>>;
header(_N, _Fix, _Tag16, Term) -> unsupported(Term).

text(Text) when byte_size(Text) < 32 -> [<<(16#a0 + byte_size(Text))>>, Text];
text(Text) -> sized(Text, 16#d9).

blob(Bytes) -> sized(Bytes, 16#c4).

sized(B, Tag) when byte_size(B) < 16#100 -> [<<Tag, (byte_size(B)):8>>, B];
sized(B, Tag) when byte_size(B) < 16#10000 -> [<<(Tag + 1), (byte_size(B)):16>>, B];
sized(B, Tag) when byte_size(B) < 16#100000000 -> [<<(Tag + 2), (byte_size(B)):32>>, B];
sized(B, _Tag) -> unsupported(B).

integer(N) when N >= 0, N < 16#80 -> <<N>>;
integer(N) when N < 0, N >= -32 -> <<N:8>>;
integer(N) when N >= 0, N < 16#100 -> <<16#cc, N:8>>;
integer(N) when N >= 0, N < 16#10000 -> <<16#cd, N:16>>;
integer(N) when N >= 0, N < 16#100000000 -> <<16#ce, N:32>>;
integer(N) when N >= 0, N < 16#10000000000000000 -> <<16#cf, N:64>>;
integer(N) when N < 0, N >= -16#80 -> <<16#d0, N:8>>;
integer(N) when N < 0, N >= -16#8000 -> <<16#d1, N:16>>;
integer(N) when N < 0, N >= -16#80000000 -> <<16#d2, N:32>>;
integer(N) when N < 0, N >= -16#8000000000000000 -> <<16#d3, N:64>>;
integer(N) -> unsupported(N).
