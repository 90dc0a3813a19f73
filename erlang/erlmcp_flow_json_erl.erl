%% @private
%% @doc The Erlang twin of the native JSON codec: what runs with `native => false',
%% and what the tests hold the native side against. Results and errors are the
%% same to the offset; only the order of names and the form of floats (`1e+22',
%% `1.0e22') may differ in encoded text.
-module(erlmcp_flow_json_erl).

-export([encode/2, decode/4]).

%% As in native/codec/src/json/mod.rs and document/cost.rs.
-define(MAX_DIGITS, 10000).
-define(LIST, 8).
-define(ELEMENT, 16).
-define(MAP, 40).
-define(PAIR, 48).
-define(FLOAT, 16).
-define(BIG, 16).
-define(IMMEDIATE, (1 bsl 59)).

-define(IS_SPACE(C), (C =:= $\s orelse C =:= $\t orelse C =:= $\n orelse C =:= $\r)).
-define(IS_DIGIT(C), (C >= $0 andalso C =< $9)).

%% @doc As `erlmcp_flow_json:decode/2'.
-spec decode(binary(), non_neg_integer(), non_neg_integer(), binaries | existing_atoms) ->
    {ok, term()} | {error, erlmcp_flow_json:decode_error()}.
decode(Binary, MaxBytes, MaxDepth, binaries) ->
    try
        {Term, Rest, _Left} = value(Binary, MaxBytes, MaxDepth),
        case space(Rest) of
            <<>> -> {ok, Term};
            More -> invalid(More)
        end
    catch
        throw:{invalid, Remaining} -> {error, {invalid, byte_size(Binary) - Remaining}};
        throw:Reason -> {error, Reason}
    end;
decode(Binary, MaxBytes, MaxDepth, existing_atoms) ->
    %% An error in the text comes before an unknown atom, wherever they stand.
    case decode(Binary, MaxBytes, MaxDepth, binaries) of
        {ok, Term} ->
            try
                {ok, atom_keys(Term)}
            catch
                error:badarg -> {error, unknown_atom};
                error:system_limit -> {error, unknown_atom}
            end;
        {error, _} = Error ->
            Error
    end.

-spec invalid(binary()) -> no_return().
invalid(Rest) ->
    throw({invalid, byte_size(Rest)}).

charge(Left, Bytes) when Bytes =< Left -> Left - Bytes;
charge(_Left, _Bytes) -> throw(too_large).

space(<<C, Rest/binary>>) when ?IS_SPACE(C) -> space(Rest);
space(Rest) -> Rest.

value(Bin, Left, Depth) ->
    case space(Bin) of
        <<$", Rest/binary>> -> string(Rest, Left);
        <<${, _/binary>> when Depth =:= 0 -> throw(too_deep);
        <<${, Rest/binary>> -> object(space(Rest), charge(Left, ?MAP), Depth - 1);
        <<$[, _/binary>> when Depth =:= 0 -> throw(too_deep);
        <<$[, Rest/binary>> -> array(space(Rest), charge(Left, ?LIST), Depth - 1);
        <<$t, Rest/binary>> -> literal(<<"rue">>, Rest, true, Left);
        <<$f, Rest/binary>> -> literal(<<"alse">>, Rest, false, Left);
        <<$n, Rest/binary>> -> literal(<<"ull">>, Rest, null, Left);
        <<$-, Rest/binary>> = Number -> number(Number, Rest, 1, Left);
        <<C, _/binary>> = Number when ?IS_DIGIT(C) -> number(Number, Number, 0, Left);
        Other -> invalid(Other)
    end.

literal(<<C, Word/binary>>, <<C, Rest/binary>>, Term, Left) ->
    literal(Word, Rest, Term, Left);
literal(<<>>, Rest, Term, Left) ->
    {Term, Rest, Left};
literal(_Word, Rest, _Term, _Left) ->
    invalid(Rest).

array(<<$], Rest/binary>>, Left, _Depth) ->
    {[], Rest, Left};
array(Bin, Left, Depth) ->
    elements(Bin, charge(Left, ?ELEMENT), Depth, []).

elements(Bin, Left, Depth, Acc) ->
    {Term, Rest, Left1} = value(Bin, Left, Depth),
    case space(Rest) of
        <<$,, More/binary>> ->
            elements(More, charge(Left1, ?ELEMENT), Depth, [Term | Acc]);
        <<$], More/binary>> ->
            {lists:reverse(Acc, [Term]), More, Left1};
        Other ->
            invalid(Other)
    end.

object(<<$}, Rest/binary>>, Left, _Depth) ->
    {#{}, Rest, Left};
object(Bin, Left, Depth) ->
    pairs(Bin, Left, Depth, []).

pairs(<<$", Bin/binary>>, Left, Depth, Acc) ->
    {Key, Rest, Left1} = string(Bin, charge(Left, ?PAIR)),
    Bin1 = case space(Rest) of
        <<$:, Rest1/binary>> -> Rest1;
        Other -> invalid(Other)
    end,
    {Term, Rest2, Left2} = value(Bin1, Left1, Depth),
    Acc1 = [{Key, Term} | Acc],
    case space(Rest2) of
        <<$,, More/binary>> -> pairs(space(More), Left2, Depth, Acc1);
        <<$}, More/binary>> -> {maps:from_list(lists:reverse(Acc1)), More, Left2};
        Other2 -> invalid(Other2)
    end;
pairs(Bin, _Left, _Depth, _Acc) ->
    invalid(Bin).

string(Bin, Left) ->
    {Text, Rest} = text(Bin, <<>>),
    {Text, Rest, charge(Left, binary_cost(byte_size(Text)))}.

binary_cost(Size) when Size =< 64 -> Size + 24;
binary_cost(Size) -> Size + 88.

text(<<$", Rest/binary>>, Acc) -> {Acc, Rest};
text(<<$\\, Rest/binary>> = Bin, Acc) -> escape(Rest, Bin, Acc);
text(<<C, _/binary>> = Bin, _Acc) when C < 16#20 -> invalid(Bin);
text(<<C/utf8, Rest/binary>>, Acc) -> text(Rest, <<Acc/binary, C/utf8>>);
text(Bin, _Acc) -> invalid(Bin).

escape(<<C, Rest/binary>>, _Bin, Acc) when C =:= $"; C =:= $\\; C =:= $/ ->
    text(Rest, <<Acc/binary, C>>);
escape(<<$b, Rest/binary>>, _Bin, Acc) -> text(Rest, <<Acc/binary, $\b>>);
escape(<<$f, Rest/binary>>, _Bin, Acc) -> text(Rest, <<Acc/binary, $\f>>);
escape(<<$n, Rest/binary>>, _Bin, Acc) -> text(Rest, <<Acc/binary, $\n>>);
escape(<<$r, Rest/binary>>, _Bin, Acc) -> text(Rest, <<Acc/binary, $\r>>);
escape(<<$t, Rest/binary>>, _Bin, Acc) -> text(Rest, <<Acc/binary, $\t>>);
escape(<<$u, Hex/binary>>, Bin, Acc) ->
    case hex4(Hex, 4, 0) of
        {High, <<$\\, $u, Hex2/binary>>} when High >= 16#D800, High < 16#DC00 ->
            case hex4(Hex2, 4, 0) of
                {Low, Rest} when Low >= 16#DC00, Low < 16#E000 ->
                    C = 16#10000 + ((High - 16#D800) bsl 10) + (Low - 16#DC00),
                    text(Rest, <<Acc/binary, C/utf8>>);
                _ ->
                    invalid(Bin)
            end;
        {Half, _} when Half >= 16#D800, Half < 16#E000 ->
            invalid(Bin);
        {C, Rest} ->
            text(Rest, <<Acc/binary, C/utf8>>)
    end;
escape(Rest, _Bin, _Acc) ->
    invalid(Rest).

hex4(Rest, 0, N) -> {N, Rest};
hex4(<<C, Rest/binary>>, I, N) when ?IS_DIGIT(C) -> hex4(Rest, I - 1, N * 16 + C - $0);
hex4(<<C, Rest/binary>>, I, N) when C >= $a, C =< $f -> hex4(Rest, I - 1, N * 16 + C - $a + 10);
hex4(<<C, Rest/binary>>, I, N) when C >= $A, C =< $F -> hex4(Rest, I - 1, N * 16 + C - $A + 10);
hex4(Rest, _I, _N) -> invalid(Rest).

%% `Number' is the whole, `Bin' what is behind the minus, if there is one.
number(Number, Bin, Sign, Left) ->
    {Digits, Rest} = digits(Bin),
    case Bin of
        <<$0, More/binary>> when Digits > 1 -> invalid(More);
        _ -> ok
    end,
    case Rest of
        <<C, _/binary>> when C =:= $.; C =:= $e; C =:= $E ->
            float(Number, Sign + Digits, Rest, Left);
        _ when Digits > ?MAX_DIGITS ->
            throw(too_large);
        _ ->
            N = binary_to_integer(binary:part(Number, 0, Sign + Digits)),
            {N, Rest, charge(Left, integer_cost(abs(N)))}
    end.

integer_cost(N) when N < ?IMMEDIATE -> 0;
integer_cost(N) -> ?BIG + (byte_size(binary:encode_unsigned(N)) + 7) div 8 * 8.

digits(Bin) ->
    case digits(Bin, 0) of
        {0, Rest} -> invalid(Rest);
        Found -> Found
    end.

digits(<<C, Rest/binary>>, N) when ?IS_DIGIT(C) -> digits(Rest, N + 1);
digits(Rest, N) -> {N, Rest}.

float(Number, IntegerSize, Rest, Left) ->
    {Fraction, Rest1} = case Rest of
        <<$., More/binary>> ->
            {Size, AfterFraction} = digits(More),
            {binary:part(More, 0, Size), AfterFraction};
        _ ->
            {<<"0">>, Rest}
    end,
    {Exponent, Rest2} = exponent(Rest1),
    Integer = binary:part(Number, 0, IntegerSize),
    try binary_to_float(<<Integer/binary, $., Fraction/binary, Exponent/binary>>) of
        Float -> {Float, Rest2, charge(Left, ?FLOAT)}
    catch
        error:badarg -> invalid(Number)
    end.

exponent(<<E, Bin/binary>>) when E =:= $e; E =:= $E ->
    {Sign, Bin1} = case Bin of
        <<S, More/binary>> when S =:= $+; S =:= $- -> {<<S>>, More};
        _ -> {<<>>, Bin}
    end,
    {Size, Rest} = digits(Bin1),
    {<<$e, Sign/binary, (binary:part(Bin1, 0, Size))/binary>>, Rest};
exponent(Rest) ->
    {<<>>, Rest}.

atom_keys(Map) when is_map(Map) ->
    maps:from_list([{binary_to_existing_atom(K, utf8), atom_keys(V)}
                    || {K, V} <- maps:to_list(Map)]);
atom_keys(List) when is_list(List) -> [atom_keys(T) || T <- List];
atom_keys(Term) -> Term.

%% @doc As `erlmcp_flow_json:encode/2'.
-spec encode(term(), non_neg_integer()) ->
    {ok, binary()} | {error, erlmcp_flow_json:encode_error()}.
encode(Term, MaxDepth) ->
    try
        {ok, iolist_to_binary(json(Term, MaxDepth))}
    catch
        throw:{reason, Reason} -> {error, Reason}
    end.

-spec unsupported(term()) -> no_return().
unsupported(Term) ->
    throw({reason, {unsupported, Term}}).

json(null, _Depth) -> <<"null">>;
json(true, _Depth) -> <<"true">>;
json(false, _Depth) -> <<"false">>;
json(Atom, _Depth) when is_atom(Atom) -> quoted(atom_to_binary(Atom, utf8), Atom);
json(Binary, _Depth) when is_binary(Binary) -> quoted(Binary, Binary);
json(Integer, _Depth) when is_integer(Integer) -> integer(Integer);
json(Float, _Depth) when is_float(Float) -> float_to_binary(Float, [short]);
json([], Depth) when Depth > 0 -> <<"[]">>;
json(List, Depth) when is_list(List), Depth > 0 ->
    [$[, list(List, List, Depth - 1), $]];
json(Map, Depth) when is_map(Map), Depth > 0 ->
    Pairs = [[key(K), $:, json(V, Depth - 1)] || {K, V} <- maps:to_list(Map)],
    [${, lists:join($,, Pairs), $}];
json(Term, _Depth) when is_list(Term); is_map(Term) -> throw({reason, too_deep});
json(Term, _Depth) -> unsupported(Term).

list([Last], _Whole, Depth) -> json(Last, Depth);
list([Term | Rest], Whole, Depth) when is_list(Rest) ->
    [json(Term, Depth), $, | list(Rest, Whole, Depth)];
list([Term | _Improper], Whole, Depth) ->
    _ = json(Term, Depth),
    unsupported(Whole).

key(Key) when is_binary(Key) -> quoted(Key, Key);
key(Key) when is_atom(Key) -> quoted(atom_to_binary(Key, utf8), Key);
key(Key) when is_integer(Key) -> [$", integer(Key), $"];
key(Key) -> unsupported(Key).

%% No integer of more digits has so few bytes, so the conversion is bounded.
integer(N) when abs(N) < (1 bsl 63) -> integer_to_binary(N);
integer(N) ->
    Size = byte_size(binary:encode_unsigned(abs(N))),
    case Size * 2 =< ?MAX_DIGITS andalso integer_to_binary(abs(N)) of
        Digits when is_binary(Digits), byte_size(Digits) =< ?MAX_DIGITS, N < 0 ->
            [$-, Digits];
        Digits when is_binary(Digits), byte_size(Digits) =< ?MAX_DIGITS -> Digits;
        _ -> throw({reason, too_large})
    end.

quoted(Binary, Term) ->
    [$", escaped(Binary, <<>>, Term), $"].

escaped(<<>>, Acc, _Term) -> Acc;
escaped(<<$", Rest/binary>>, Acc, Term) -> escaped(Rest, <<Acc/binary, "\\\"">>, Term);
escaped(<<$\\, Rest/binary>>, Acc, Term) -> escaped(Rest, <<Acc/binary, "\\\\">>, Term);
escaped(<<$\b, Rest/binary>>, Acc, Term) -> escaped(Rest, <<Acc/binary, "\\b">>, Term);
escaped(<<$\f, Rest/binary>>, Acc, Term) -> escaped(Rest, <<Acc/binary, "\\f">>, Term);
escaped(<<$\n, Rest/binary>>, Acc, Term) -> escaped(Rest, <<Acc/binary, "\\n">>, Term);
escaped(<<$\r, Rest/binary>>, Acc, Term) -> escaped(Rest, <<Acc/binary, "\\r">>, Term);
escaped(<<$\t, Rest/binary>>, Acc, Term) -> escaped(Rest, <<Acc/binary, "\\t">>, Term);
escaped(<<C, Rest/binary>>, Acc, Term) when C < 16#20 ->
    Hex = integer_to_binary(16#10000 + C, 16),
    escaped(Rest, <<Acc/binary, "\\u", (binary:part(Hex, 1, 4))/binary>>, Term);
escaped(<<C/utf8, Rest/binary>>, Acc, Term) -> escaped(Rest, <<Acc/binary, C/utf8>>, Term);
escaped(_NotUtf8, _Acc, Term) -> unsupported(Term).
