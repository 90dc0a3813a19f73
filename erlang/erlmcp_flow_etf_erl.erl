%% @private
%% @doc The bounded decoder of external term format in plain Erlang: what
%% `native => false' runs on, and what the native check is held against.
-module(erlmcp_flow_etf_erl).

-export([decode/4, checked_size/3, to_term/2]).
-export_type([reason/0]).

-type reason() :: too_large | too_deep | unsafe | unknown_atom
                | {invalid, non_neg_integer()}.

%% @doc The same as `erlmcp_flow_serializer:decode/2'.
-spec decode(binary(), pos_integer(), pos_integer() | infinity, boolean()) ->
    {ok, term()} | {error, reason()}.
decode(Bin, Max, Depth, Safe) ->
    try
        Plain = plain(Bin, Max),
        checked_size(Plain, Depth, Safe) =< Max orelse throw(too_large),
        to_term(Plain, Safe)
    of
        Term -> {ok, Term}
    catch
        throw:Reason -> {error, Reason}
    end.

%% @doc Decodes checked bytes, or throws why the VM does not take them.
-spec to_term(binary(), boolean()) -> term().
to_term(Plain, Safe) ->
    Opts = [safe || Safe],
    try
        binary_to_term(Plain, Opts)
    catch
        error:_ -> throw(why(Plain, Safe))
    end.

%% Compressed terms

plain(<<131, 80, Claimed:32, Stream/binary>>, Max) ->
    Claimed =< Max orelse throw(too_large),
    Z = zlib:open(),
    try
        ok = zlib:inflateInit(Z, 15, error),
        Body = inflate(Z, zlib:safeInflate(Z, Stream), Claimed, []),
        ok = zlib:inflateEnd(Z),
        <<131, Body/binary>>
    catch
        error:_ -> throw({invalid, 6})
    after
        zlib:close(Z)
    end;
plain(Bin, _Max) ->
    Bin.

inflate(Z, {Next, Data}, Left, Acc) ->
    case {Next, Left - iolist_size(Data)} of
        {_, Less} when Less < 0 -> throw({invalid, 6});
        {finished, 0} -> iolist_to_binary([Acc, Data]);
        {finished, _} -> throw({invalid, 6});
        {continue, Less} -> inflate(Z, zlib:safeInflate(Z, []), Less, [Acc, Data])
    end.

%% The check. Terms stand in prefix order: a container adds to the number of
%% terms still to come. `Open' has that number for each open container, and is
%% only kept when the depth is limited.

-record(scan, {size :: non_neg_integer(),
               depth :: pos_integer() | infinity,
               safe :: boolean(),
               visit = fun(_Start, _End) -> ok end
                   :: fun((non_neg_integer(), non_neg_integer()) -> ok)}).

%% @doc The bytes that the term takes at most, or a throw of why it is no term.
-spec checked_size(binary(), pos_integer() | infinity, boolean()) -> non_neg_integer().
checked_size(Bin, Depth, Safe) ->
    scan(Bin, #scan{size = byte_size(Bin), depth = Depth, safe = Safe}).

scan(<<131, Rest/binary>>, S) -> next(Rest, 1, [], 0, S);
scan(_, _) -> throw({invalid, 0}).

next(<<>>, 0, _Open, Bytes, _S) -> Bytes;
next(Rest, 0, _Open, _Bytes, S) -> throw({invalid, S#scan.size - byte_size(Rest)});
next(Bin, Pending, Open, Bytes, S) ->
    At = S#scan.size - byte_size(Bin),
    Opened = taken(Open),
    case own(Bin, At, S) of
        {More, Rest, 0} ->
            next(Rest, Pending - 1, Opened, Bytes + More, S);
        {More, Rest, Inside} ->
            Pending + Inside - 1 =< byte_size(Rest) orelse throw({invalid, At}),
            next(Rest, Pending + Inside - 1, enter(Inside, Opened, S), Bytes + More, S)
    end.

taken([0 | Open]) -> taken(Open);
taken([Left | Open]) -> [Left - 1 | Open];
taken([]) -> [].

enter(_Inside, _Open, #scan{depth = infinity}) -> [];
enter(_Inside, Open, #scan{depth = Max}) when length(Open) >= Max -> throw(too_deep);
enter(Inside, Open, _S) -> [Inside | Open].

%% A term's bytes in memory, what follows it, and how many terms are inside.
own(<<97, _, R/binary>>, _, _) -> {0, R, 0};
own(<<98, _:32, R/binary>>, _, _) -> {0, R, 0};
own(<<T, N, _:N/binary, R/binary>>, At, S) when T =:= 115; T =:= 119 ->
    visit(At, R, S),
    {0, R, 0};
own(<<T, N:16, _:N/binary, R/binary>>, At, S) when T =:= 100; T =:= 118 ->
    visit(At, R, S),
    {0, R, 0};
own(<<109, N:32, _:N/binary, R/binary>>, _, _) -> {binary(N), R, 0};
own(<<106, R/binary>>, _, _) -> {0, R, 0};
own(<<70, _:64, R/binary>>, At, S) -> leaf(16, At, R, S);
own(<<99, _:31/binary, R/binary>>, At, S) -> leaf(16, At, R, S);
own(<<107, N:16, _:N/binary, R/binary>>, _, _) -> {16 * N, R, 0};
own(<<110, N, _, _:N/binary, R/binary>>, At, S) -> leaf(8 + words(N), At, R, S);
own(<<111, N:32, _, _:N/binary, R/binary>>, At, S) -> leaf(8 + words(N), At, R, S);
own(<<77, N:32, _, _:N/binary, R/binary>>, At, S) -> leaf(64 + binary(N), At, R, S);
own(<<88, R/binary>>, At, S) -> identifier(12, R, At, S);
own(<<103, R/binary>>, At, S) -> identifier(9, R, At, S);
own(<<120, R/binary>>, At, S) -> identifier(12, R, At, S);
own(<<89, R/binary>>, At, S) -> identifier(8, R, At, S);
own(<<T, R/binary>>, At, S) when T =:= 101; T =:= 102 -> identifier(5, R, At, S);
own(<<T, N:16, R/binary>>, At, S) when T =:= 90; T =:= 114 ->
    Creation = if T =:= 90 -> 4; true -> 1 end,
    {More, Rest, 0} = identifier(Creation + 4 * N, R, At, S),
    {More + words(4 * N), Rest, 0};
own(<<116, N:32, R/binary>>, _, _) when N =< 32 -> {8 * (2 * N + 5), R, 2 * N};
own(<<116, N:32, R/binary>>, _, _) -> {8 * (5 * N + 2), R, 2 * N};
own(<<108, N:32, R/binary>>, _, _) -> {16 * N, R, N + 1};
own(<<104, N, R/binary>>, _, _) -> {8 + 8 * N, R, N};
own(<<105, N:32, R/binary>>, _, _) -> {8 + 8 * N, R, N};
own(<<T, _/binary>>, _, #scan{safe = true}) when T =:= 112; T =:= 113; T =:= 117 ->
    throw(unsafe);
own(<<113, R/binary>>, _, _) -> {64, R, 3};
own(<<112, _:25/binary, N:32, R/binary>>, _, _) -> {8 * (16 + N), R, 4 + N};
own(<<117, N:32, R/binary>>, _, _) -> {8 * (16 + N), R, 4 + N};
own(_, At, _) -> throw({invalid, At}).

leaf(Bytes, At, Rest, S) ->
    visit(At, Rest, S),
    {Bytes, Rest, 0}.

visit(At, Rest, #scan{size = Size, visit = Visit}) ->
    Visit(At, Size - byte_size(Rest)).

identifier(N, Bin, At, #scan{size = Size} = S) ->
    Node = Size - byte_size(Bin),
    After = case Bin of
        <<T, L, _:L/binary, R/binary>> when T =:= 115; T =:= 119 -> R;
        <<T, L:16, _:L/binary, R/binary>> when T =:= 100; T =:= 118 -> R;
        _ -> throw({invalid, At})
    end,
    visit(Node, After, S),
    case After of
        <<_:N/binary, Rest/binary>> -> leaf(64, At, Rest, S);
        _ -> throw({invalid, At})
    end.

words(N) -> 8 * ((N + 7) div 8).

binary(N) when N =< 64 -> 16 + words(N);
binary(N) -> 96 + N.

%% Why the VM refuses checked bytes: each leaf is offered to it by itself; when
%% all pass, the fault lies in a container (equal keys in a map).
why(Bin, Safe) ->
    Visit = fun(Start, End) -> offer(binary:part(Bin, Start, End - Start), Start, Safe) end,
    try scan(Bin, #scan{size = byte_size(Bin), depth = infinity, safe = false,
                        visit = Visit}) of
        _ -> {invalid, 1}
    catch
        throw:Reason -> Reason
    end.

offer(Leaf, Start, Safe) ->
    case is_atom_leaf(Leaf) of
        false -> throw({invalid, Start});
        _ when not Safe -> ok;
        IsAtom ->
            try binary_to_term(<<131, Leaf/binary>>, [safe]) of
                _ -> ok
            catch
                error:_ when IsAtom =:= true -> throw(unknown_atom);
                error:_ -> throw({invalid, Start})
            end
    end.

%% `true' for an atom that could exist, `false' for one that could not.
is_atom_leaf(<<100, _:16, Name/binary>>) -> byte_size(Name) =< 255;
is_atom_leaf(<<115, _, _/binary>>) -> true;
is_atom_leaf(<<118, _:16, Name/binary>>) -> is_name(Name);
is_atom_leaf(<<119, _, Name/binary>>) -> is_name(Name);
is_atom_leaf(_) -> not_an_atom.

is_name(Name) ->
    case unicode:characters_to_list(Name) of
        Chars when is_list(Chars) -> length(Chars) =< 255;
        _ -> false
    end.
