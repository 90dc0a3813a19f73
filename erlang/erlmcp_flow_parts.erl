%% @private
%% @doc Parts of larger binaries: a term that holds one keeps all of the larger binary
%% alive, and native code cannot see which binary is one.
-module(erlmcp_flow_parts).

-export([own/1, heap/1]).

%% A part is copied when it is less than half of what it would keep alive; up to this
%% many bytes it does not matter.
-define(SLACK, 64).

%% @doc The same term without parts of binaries more than twice as large. O(terms in
%% it), in Erlang, so it may be interrupted.
-spec own(term()) -> term().
own(Term) when is_binary(Term) ->
    case pins(Term) of
        true -> binary:copy(Term);
        false -> Term
    end;
own(Term) when is_list(Term); is_tuple(Term); is_map(Term) ->
    %% Most terms are left as they are: no second copy of those.
    case pins(Term) of
        true -> copy(Term);
        false -> Term
    end;
own(Term) when is_bitstring(Term) ->
    copy(Term);
own(Term) ->
    Term.

pins(Term) when is_binary(Term) ->
    binary:referenced_byte_size(Term) > 2 * byte_size(Term) + ?SLACK;
pins(Term) when is_tuple(Term) ->
    pins(Term, tuple_size(Term));
pins([Head | Tail]) ->
    pins(Head) orelse pins(Tail);
pins(Term) when is_map(Term) ->
    any(maps:next(maps:iterator(Term)));
pins(Term) ->
    is_bitstring(Term).

pins(_Tuple, 0) -> false;
pins(Tuple, N) -> pins(element(N, Tuple)) orelse pins(Tuple, N - 1).

any(none) -> false;
any({Key, Value, Next}) -> pins(Key) orelse pins(Value) orelse any(maps:next(Next)).

copy(Term) when is_binary(Term) ->
    own(Term);
copy(Term) when is_tuple(Term) ->
    list_to_tuple([copy(Item) || Item <- tuple_to_list(Term)]);
copy([Head | Tail]) ->
    [copy(Head) | copy(Tail)];
copy(Term) when is_map(Term) ->
    maps:from_list([{copy(Key), copy(Value)} || {Key, Value} <- maps:to_list(Term)]);
copy(Term) when is_bitstring(Term) ->
    %% `binary:copy/1' takes whole bytes only.
    Size = bit_size(Term),
    Padding = 8 * ((Size + 7) div 8) - Size,
    <<Copy:Size/bitstring, _/bitstring>> =
        binary:copy(<<Term/bitstring, 0:Padding>>),
    Copy;
copy(Term) ->
    Term.

%% @doc Bytes on the heap. The VM's own walk: it does not yield, about 5 ns a term.
-spec heap(term()) -> non_neg_integer().
heap(Term) when is_binary(Term) -> 0;
heap(Term) -> erts_debug:flat_size(Term) * erlang:system_info(wordsize).
