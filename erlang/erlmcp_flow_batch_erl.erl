%% @private
%% @doc The batch format (native/codec/src/batch) in plain Erlang: what
%% `native => false' runs on, and what the native codec is held against. Either
%% side reads what the other one writes.
-module(erlmcp_flow_batch_erl).

-export([encode/1, decode/3]).

-define(MAGIC, 16#B5).
-define(VERSION, 1).
%% Binaries of 1 to 64 bytes and all atoms are numbered; maps of 1 to 32 such keys
%% have shapes.
-define(MAX_SHARED, 64).
-define(MAX_SHAPE, 32).

-define(REF, 16#40).
-define(SHAPE, 16#80).
-define(BINARY, 16#A0).
-define(REF_12, 16#C0).
-define(LIST, 16#D0).
-define(TUPLE, 16#D8).
-define(POSITIVE, 16#E0).
-define(NEGATIVE, 16#E1).
-define(FLOAT, 16#E2).
-define(ATOM, 16#E3).
-define(BINARY_N, 16#E4).
-define(PLAIN_BINARY, 16#E5).
-define(LIST_N, 16#E6).
-define(IMPROPER, 16#E7).
-define(TUPLE_N, 16#E8).
-define(NEW_SHAPE, 16#E9).
-define(PAIRS, 16#EA).
-define(REF_N, 16#EB).
-define(SHAPE_N, 16#EC).
-define(EXTERNAL, 16#ED).

-define(IS_SHARED(B), (byte_size(B) >= 1 andalso byte_size(B) =< ?MAX_SHARED)).

%% Encoding: the state is what has been numbered so far.

-spec encode([term()]) -> binary().
encode(Terms) ->
    {Body, _} = terms(Terms, {#{}, #{}}),
    iolist_to_binary([?MAGIC, ?VERSION, number(length(Terms)), Body]).

terms(Terms, State) ->
    lists:mapfoldl(fun term/2, State, Terms).

term(I, S) when is_integer(I), I >= 0, I < 64 -> {I, S};
term(I, S) when is_integer(I), I >= 0, I < 1 bsl 63 -> {[?POSITIVE, number(I)], S};
term(I, S) when is_integer(I), I < 0, I >= -(1 bsl 63) ->
    {[?NEGATIVE, number(-1 - I)], S};
term(F, S) when is_float(F) -> {<<?FLOAT, F:64/float>>, S};
term(A, S) when is_atom(A) -> shared(A, S);
term(<<>>, S) -> {?BINARY, S};
term(B, S) when is_binary(B), ?IS_SHARED(B) -> shared(B, S);
term(B, S) when is_binary(B) -> {[?PLAIN_BINARY, number(byte_size(B)), B], S};
term(L, S) when is_list(L) -> list(L, S);
term(T, S) when is_tuple(T) ->
    {Body, S1} = terms(tuple_to_list(T), S),
    {[count(?TUPLE, ?TUPLE_N, tuple_size(T)), Body], S1};
term(M, S) when is_map(M) -> map(M, S);
term(Other, S) ->
    Bin = term_to_binary(Other),
    {[?EXTERNAL, number(byte_size(Bin)), Bin], S}.

list(L, S) ->
    {Elements, Tail} = split(L, []),
    {Body, S1} = terms(Elements, S),
    case Tail of
        [] ->
            {[count(?LIST, ?LIST_N, length(Elements)), Body], S1};
        _ ->
            {Last, S2} = term(Tail, S1),
            {[?IMPROPER, number(length(Elements)), Body, Last], S2}
    end.

split([H | T], Acc) -> split(T, [H | Acc]);
split(Tail, Acc) -> {lists:reverse(Acc), Tail}.

map(M, S) ->
    Pairs = maps:to_list(M),
    case map_size(M) of
        N when N >= 1, N =< ?MAX_SHAPE ->
            case lists:all(fun({K, _}) -> is_key(K) end, Pairs) of
                true -> shaped(Pairs, N, S);
                false -> pairs(Pairs, N, S)
            end;
        N ->
            pairs(Pairs, N, S)
    end.

is_key(K) when is_atom(K) -> true;
is_key(K) when is_binary(K) -> ?IS_SHARED(K);
is_key(_) -> false.

shaped(Pairs, N, {_, Shapes} = S) ->
    {Keys, Values} = lists:unzip(Pairs),
    case Shapes of
        #{Keys := Id} ->
            Head = if Id < 32 -> ?SHAPE + Id; true -> [?SHAPE_N, number(Id)] end,
            {Body, S1} = terms(Values, S),
            {[Head, Body], S1};
        #{} ->
            {KeyBytes, {Known, _}} = lists:mapfoldl(fun shared/2, S, Keys),
            Numbered = {Known, Shapes#{Keys => map_size(Shapes)}},
            {Body, S1} = terms(Values, Numbered),
            {[?NEW_SHAPE, number(N), KeyBytes, Body], S1}
    end.

pairs(Pairs, N, S) ->
    {Body, S1} = terms(lists:append([[K, V] || {K, V} <- Pairs]), S),
    {[?PAIRS, number(N), Body], S1}.

shared(Term, {Known, Shapes} = S) ->
    case Known of
        #{Term := Id} when Id < 64 -> {?REF + Id, S};
        #{Term := Id} when Id < 64 + 4096 ->
            {[?REF_12 bor ((Id - 64) bsr 8), (Id - 64) band 255], S};
        #{Term := Id} -> {[?REF_N, number(Id)], S};
        #{} -> {literal(Term), {Known#{Term => map_size(Known)}, Shapes}}
    end.

literal(B) when is_binary(B), byte_size(B) < 32 -> [?BINARY + byte_size(B), B];
literal(B) when is_binary(B) -> [?BINARY_N, number(byte_size(B)), B];
literal(A) ->
    Name = atom_to_binary(A, utf8),
    [?ATOM, number(byte_size(Name)), Name].

count(Small, _Tag, N) when N < 8 -> Small + N;
count(_Small, Tag, N) -> [Tag, number(N)].

number(N) when N < 128 -> <<N>>;
number(N) -> <<1:1, N:7, (number(N bsr 7))/binary>>.

%% Decoding. The bounds are those of the native decoder: each term is charged the
%% words it takes when nothing is shared.

-record(d, {size :: non_neg_integer(),
            safe :: boolean(),
            words :: integer(),
            depth = 0 :: non_neg_integer(),
            entries = #{} :: #{non_neg_integer() => {term(), non_neg_integer()}},
            shapes = #{} :: #{non_neg_integer() => {[term()], integer()}}}).

-spec decode(binary(), pos_integer(), boolean()) ->
    {ok, [term()]} | {error, erlmcp_flow_etf_erl:reason()}.
decode(Bin, Max, Safe) ->
    try
        Rest = head(Bin),
        S = #d{size = byte_size(Bin), safe = Safe, words = Max div 8},
        {Count, Rest1} = read_number(Rest, S),
        {Terms, Rest2, S1} = read_many(Count, 2 * Count, Rest1, 2, S),
        Rest2 =:= <<>> orelse invalid(at(Rest2, S1)),
        Terms
    of
        Terms -> {ok, Terms}
    catch
        throw:Reason -> {error, Reason}
    end.

head(<<?MAGIC, ?VERSION, Rest/binary>>) -> Rest;
head(<<?MAGIC, _/binary>>) -> invalid(1);
head(_) -> invalid(0).

-spec invalid(non_neg_integer()) -> no_return().
invalid(At) -> throw({invalid, At}).

at(Rest, #d{size = Size}) -> Size - byte_size(Rest).

spend(Words, #d{words = Left} = S) when Words =< Left -> S#d{words = Left - Words};
spend(_, _) -> throw(too_large).

read_number(Bin, S) -> read_number(Bin, 0, 0, at(Bin, S), S).

read_number(<<B, _/binary>>, 63, _N, Start, _S) when B > 1 -> invalid(Start);
read_number(<<1:1, Low:7, Rest/binary>>, Shift, N, Start, S) ->
    read_number(Rest, Shift + 7, N bor (Low bsl Shift), Start, S);
read_number(<<0:1, Low:7, Rest/binary>>, Shift, N, _Start, _S) ->
    {N bor (Low bsl Shift), Rest};
read_number(<<>>, _Shift, _N, _Start, S) ->
    invalid(S#d.size).

%% The terms of a container that starts at `Start' and takes `Words' by itself.
read_many(N, Words, Bin, Start, S) ->
    N =< byte_size(Bin) orelse invalid(Start),
    #d{words = Left, depth = Depth} = S1 = spend(Words, S),
    3 * Depth =< Left orelse throw(too_large),
    {Terms, Rest, S2} = read_all(N, Bin, [], S1#d{depth = Depth + 1}),
    {Terms, Rest, S2#d{depth = Depth}}.

read_all(0, Bin, Acc, S) -> {lists:reverse(Acc), Bin, S};
read_all(N, Bin, Acc, S) ->
    {Term, Rest, S1} = read(Bin, S),
    read_all(N - 1, Rest, [Term | Acc], S1).

read(<<>>, S) -> invalid(S#d.size);
read(<<Tag, Rest/binary>> = Bin, S) -> read(Tag, Rest, at(Bin, S), S).

read(I, Rest, _, S) when I < ?REF -> {I, Rest, S};
read(Tag, Rest, At, S) when Tag < ?SHAPE -> refer(Tag - ?REF, Rest, At, S);
read(Tag, Rest, At, S) when Tag < ?BINARY -> read_shaped(Tag - ?SHAPE, Rest, At, S);
read(Tag, Rest, At, S) when Tag < ?REF_12 -> read_binary(Tag - ?BINARY, true, Rest, At, S);
read(Tag, <<Low, Rest/binary>>, At, S) when Tag < ?LIST ->
    refer(64 + ((Tag - ?REF_12) bsl 8 bor Low), Rest, At, S);
read(Tag, <<>>, _At, S) when Tag < ?LIST -> invalid(S#d.size);
read(Tag, Rest, At, S) when Tag < ?TUPLE ->
    read_many(Tag - ?LIST, 2 * (Tag - ?LIST), Rest, At, S);
read(Tag, Rest, At, S) when Tag < ?POSITIVE -> read_tuple(Tag - ?TUPLE, Rest, At, S);
read(?FLOAT, <<F:64/float, Rest/binary>>, _At, S) -> {F, Rest, spend(2, S)};
read(?FLOAT, _, At, _S) -> invalid(At);
read(Tag, _, At, _S) when Tag > ?EXTERNAL -> invalid(At);
read(Tag, Bin, At, S) ->
    {N, Rest} = read_number(Bin, S),
    read_long(Tag, N, Rest, At, S).

read_long(?POSITIVE, N, Rest, _, S) when N < 1 bsl 63 -> {N, Rest, spend(2, S)};
read_long(?NEGATIVE, N, Rest, _, S) when N < 1 bsl 63 -> {-1 - N, Rest, spend(2, S)};
read_long(?ATOM, N, Rest, At, S) -> read_atom(N, Rest, At, S);
read_long(?BINARY_N, N, Rest, At, S) -> read_binary(N, true, Rest, At, S);
read_long(?PLAIN_BINARY, N, Rest, At, S) -> read_binary(N, false, Rest, At, S);
read_long(?REF_N, N, Rest, At, S) -> refer(N, Rest, At, S);
read_long(?SHAPE_N, N, Rest, At, S) -> read_shaped(N, Rest, At, S);
read_long(?LIST_N, N, Rest, At, S) -> read_many(N, 2 * N, Rest, At, S);
read_long(?IMPROPER, N, Rest, At, S) when N > 0 ->
    {Terms, Rest1, S1} = read_many(N + 1, 2 * N, Rest, At, S),
    {Elements, [Tail]} = lists:split(N, Terms),
    {lists:foldr(fun(H, T) -> [H | T] end, Tail, Elements), Rest1, S1};
read_long(?TUPLE_N, N, Rest, At, S) -> read_tuple(N, Rest, At, S);
read_long(?PAIRS, N, Rest, At, S) ->
    {Terms, Rest1, S1} = read_many(2 * N, 5 * N + 5, Rest, At, S),
    Map = to_map(Terms, #{}),
    map_size(Map) =:= N orelse invalid(At),
    {Map, Rest1, S1};
read_long(?NEW_SHAPE, N, Rest, At, S) -> new_shape(N, Rest, At, S);
read_long(?EXTERNAL, N, Bin, At, S) ->
    case Bin of
        <<External:N/binary, Rest/binary>> -> external(External, Rest, At, S);
        _ -> invalid(At)
    end;
read_long(_, _, _, At, _) -> invalid(At).

to_map([K, V | Rest], Map) -> to_map(Rest, Map#{K => V});
to_map([], Map) -> Map.

read_tuple(N, Rest, At, S) ->
    {Terms, Rest1, S1} = read_many(N, 1 + N, Rest, At, S),
    {list_to_tuple(Terms), Rest1, S1}.

refer(Id, Rest, At, #d{entries = Entries} = S) ->
    case Entries of
        #{Id := {Term, Words}} -> {Term, Rest, spend(Words, S)};
        #{} -> invalid(At)
    end.

number_it(Term, Words, #d{entries = Entries} = S) ->
    S#d{entries = Entries#{map_size(Entries) => {Term, Words}}}.

read_binary(N, Shared, Bin, At, S) ->
    case Bin of
        <<Slice:N/binary, Rest/binary>> ->
            Words = if N =< 64 -> 2; true -> 12 end + (N + 7) div 8,
            S1 = spend(Words, S),
            Term = binary:copy(Slice),
            case Shared andalso ?IS_SHARED(Term) of
                true -> {Term, Rest, number_it(Term, Words, S1)};
                false -> {Term, Rest, S1}
            end;
        _ ->
            invalid(At)
    end.

read_atom(N, Bin, At, #d{safe = Safe} = S) ->
    case Bin of
        <<Name:N/binary, Rest/binary>> ->
            case unicode:characters_to_list(Name) of
                Chars when is_list(Chars), length(Chars) =< 255 -> ok;
                _ -> invalid(At)
            end,
            Atom = try
                case Safe of
                    true -> binary_to_existing_atom(Name, utf8);
                    false -> binary_to_atom(Name, utf8)
                end
            catch
                error:_ -> throw(unknown_atom)
            end,
            {Atom, Rest, number_it(Atom, 0, S)};
        _ ->
            invalid(At)
    end.

new_shape(N, Bin, At, S) when N >= 1, N =< ?MAX_SHAPE ->
    #d{words = Before} = S1 = spend(8 + 4 * N, S),
    {Keys, Rest, #d{words = After, shapes = Shapes} = S2} = read_keys(N, Bin, [], S1),
    Id = map_size(Shapes),
    Shape = {Keys, Before - After + 2 * N + 4},
    read_shaped(Id, Rest, At, S2#d{shapes = Shapes#{Id => Shape}});
new_shape(_, _, At, _) ->
    invalid(At).

read_keys(0, Bin, Acc, S) -> {lists:reverse(Acc), Bin, S};
read_keys(N, Bin, Acc, S) ->
    {Key, Rest, S1} = read_key(Bin, S),
    read_keys(N - 1, Rest, [Key | Acc], S1).

read_key(<<Tag, _/binary>> = Bin, S)
  when Tag >= ?REF, Tag < ?SHAPE;
       Tag >= ?BINARY, Tag < ?LIST;
       Tag =:= ?ATOM; Tag =:= ?BINARY_N; Tag =:= ?PLAIN_BINARY; Tag =:= ?REF_N ->
    read(Bin, S);
read_key(Bin, S) ->
    invalid(at(Bin, S)).

read_shaped(Id, Rest, At, #d{shapes = Shapes} = S) ->
    case Shapes of
        #{Id := {Keys, Words}} ->
            {Values, Rest1, S1} = read_many(length(Keys), Words, Rest, At, S),
            Map = maps:from_list(lists:zip(Keys, Values)),
            map_size(Map) =:= length(Keys) orelse invalid(At),
            {Map, Rest1, S1};
        #{} ->
            invalid(At)
    end.

external(External, Rest, At, #d{words = Left, safe = Safe} = S) ->
    Bytes = try erlmcp_flow_etf_erl:checked_size(External, infinity, Safe) of
        Size -> Size
    catch
        throw:{invalid, _} -> invalid(At)
    end,
    Bytes =< 8 * Left orelse throw(too_large),
    S1 = spend((Bytes + 7) div 8, S),
    try erlmcp_flow_etf_erl:to_term(External, Safe) of
        Term -> {Term, Rest, S1}
    catch
        throw:{invalid, _} -> invalid(At)
    end.
