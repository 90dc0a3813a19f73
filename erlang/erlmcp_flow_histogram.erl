%% @doc A histogram of non-negative integers with logarithmic buckets, which any
%% number of processes fill at once without a lock.
%%
%% Values below 32 have a bucket each; above, every power of two is split into 32
%% equal buckets, so that a reported value is at most 1/32 (3.1 %) off the recorded
%% one. Values from 2^48 on are counted in the last bucket, negative
%% ones as 0. One histogram takes 11 KB, whatever it holds.
%%
%% The unit is the caller's. Reading while others record gives a value that was
%% true for some recent mixture of the records; nothing is lost.
-module(erlmcp_flow_histogram).

-export([new/0, record/2, merge/2, reset/1]).
-export([count/1, sum/1, mean/1, min/1, max/1, percentile/2, to_list/1]).
-export_type([t/0]).

-opaque t() :: atomics:atomics_ref().

%% 2^5 sub-buckets: 32 buckets for 0..31, and 32 for each of the exponents 5..47.
-define(BITS, 5).
-define(SUB, (1 bsl ?BITS)).
-define(TOP, ((1 bsl 48) - 1)).
-define(BUCKETS, ((48 - ?BITS + 1) * ?SUB)).
-define(SUM, (?BUCKETS + 1)).
-define(MAX, (?BUCKETS + 2)).
%% Kept as TOP - min, so that the zero of a fresh array means "nothing yet" and a
%% new minimum is a new maximum.
-define(MIN, (?BUCKETS + 3)).
-define(SLOTS, (?BUCKETS + 3)).

%% @doc A new, empty histogram. It is freed with the last reference to it.
-spec new() -> t().
new() ->
    atomics:new(?SLOTS, [{signed, false}]).

%% @doc Counts one value; about 0.1 microseconds.
-spec record(t(), integer()) -> ok.
record(H, Value) when is_integer(Value) ->
    V = clamp(Value),
    ok = atomics:add(H, index(V), 1),
    ok = atomics:add(H, ?SUM, V),
    raise(H, ?MAX, V),
    raise(H, ?MIN, ?TOP - V).

clamp(V) when V < 0 -> 0;
clamp(V) when V > ?TOP -> ?TOP;
clamp(V) -> V.

raise(H, Slot, V) ->
    raise(H, Slot, V, atomics:get(H, Slot)).

raise(_H, _Slot, V, Seen) when V =< Seen ->
    ok;
raise(H, Slot, V, Seen) ->
    case atomics:compare_exchange(H, Slot, Seen, V) of
        ok -> ok;
        Now -> raise(H, Slot, V, Now)
    end.

%% @doc Adds all that `From' holds to `Into'. `From' stays as it is.
-spec merge(Into :: t(), From :: t()) -> ok.
merge(Into, From) ->
    _ = [atomics:add(Into, I, N)
         || I <- lists:seq(1, ?SUM), (N = atomics:get(From, I)) > 0],
    raise(Into, ?MAX, atomics:get(From, ?MAX)),
    raise(Into, ?MIN, atomics:get(From, ?MIN)).

%% @doc Empties the histogram. A record made at the same time may be half lost.
-spec reset(t()) -> ok.
reset(H) ->
    lists:foreach(fun(I) -> atomics:put(H, I, 0) end, lists:seq(1, ?SLOTS)).

%% @doc How many values were recorded.
-spec count(t()) -> non_neg_integer().
count(H) ->
    lists:sum([atomics:get(H, I) || I <- lists:seq(1, ?BUCKETS)]).

%% @doc The exact sum of the values (as clamped to 0..2^48-1), modulo 2^64.
-spec sum(t()) -> non_neg_integer().
sum(H) ->
    atomics:get(H, ?SUM).

%% @doc The exact mean, `undefined' when nothing was recorded.
-spec mean(t()) -> float() | undefined.
mean(H) ->
    case count(H) of
        0 -> undefined;
        N -> sum(H) / N
    end.

%% @doc The exact smallest value, `undefined' when nothing was recorded.
-spec min(t()) -> non_neg_integer() | undefined.
min(H) ->
    case count(H) of
        0 -> undefined;
        _ -> ?TOP - atomics:get(H, ?MIN)
    end.

%% @doc The exact largest value, `undefined' when nothing was recorded.
-spec max(t()) -> non_neg_integer() | undefined.
max(H) ->
    case count(H) of
        0 -> undefined;
        _ -> atomics:get(H, ?MAX)
    end.

%% @doc The value that `P' percent of the records do not exceed, taken from within its
%% bucket by rank: at most 1/32 off to either side, never outside of what was
%% recorded. `undefined' when nothing was recorded.
-spec percentile(t(), P :: number()) -> non_neg_integer() | undefined.
percentile(H, P) when is_number(P), P >= 0, P =< 100 ->
    Buckets = numbered(H),
    case lists:sum([N || {_, N} <- Buckets]) of
        0 ->
            undefined;
        Count ->
            Rank = erlang:max(1, ceil(Count * P / 100)),
            Value = at_rank(Rank, Buckets),
            erlang:min(erlang:max(Value, ?TOP - atomics:get(H, ?MIN)), atomics:get(H, ?MAX))
    end;
percentile(H, P) ->
    erlmcp_flow_error:badarg([H, P], #{2 => "not a number from 0 to 100"}).

at_rank(Rank, [{I, N} | _]) when Rank =< N ->
    Lower = upper(I - 1) + 1,
    Lower + (upper(I) - Lower) * Rank div N;
at_rank(_Rank, [{I, _}]) -> upper(I);
at_rank(Rank, [{_, N} | Rest]) -> at_rank(Rank - N, Rest).

%% @doc The buckets that hold something, smallest first: the largest value that
%% falls into the bucket, and how many did.
-spec to_list(t()) -> [{Upper :: non_neg_integer(), Count :: pos_integer()}].
to_list(H) ->
    [{upper(I), N} || {I, N} <- numbered(H)].

numbered(H) ->
    [{I, N} || I <- lists:seq(1, ?BUCKETS), (N = atomics:get(H, I)) > 0].

%% Bucket numbers start at 1, as atomics do.
index(V) when V < ?SUB ->
    V + 1;
index(V) ->
    Shift = msb(V) - ?BITS,
    %% V bsr Shift lies in SUB..2*SUB-1.
    Shift * ?SUB + (V bsr Shift) + 1.

upper(Index) when Index =< 2 * ?SUB ->
    Index - 1;
upper(Index) ->
    I = Index - 1,
    Shift = I div ?SUB - 1,
    ((I rem ?SUB + ?SUB + 1) bsl Shift) - 1.

%% The place of the highest bit that is set; there is no BIF for it, and six
%% comparisons are cheaper than a float.
msb(V) when V >= 1 bsl 32 -> 32 + msb(V bsr 32);
msb(V) when V >= 1 bsl 16 -> 16 + msb(V bsr 16);
msb(V) when V >= 1 bsl 8 -> 8 + msb(V bsr 8);
msb(V) when V >= 1 bsl 4 -> 4 + msb(V bsr 4);
msb(V) when V >= 4 -> 2 + msb(V bsr 2);
msb(V) when V >= 2 -> 1;
msb(1) -> 0.
