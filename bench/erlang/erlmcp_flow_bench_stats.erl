%% @private
%% @doc Medians, ratios and verdicts: from samples to a judgement, no clock.
-module(erlmcp_flow_bench_stats).

-export([median/1, spread/1, ratios/3, judge/2]).
-export_type([target/0, op/0]).

-type op() :: '<' | '=<' | '>' | '>='.
-type target() :: {value | ratio, op(), number()}.
%% `value' is held against the median of the samples, `ratio' against the median
%% of the ratios to the rival.

%% @doc The middle of the samples; of an even number, the mean of the two middle ones.
-spec median([number(), ...]) -> number().
median(Samples) ->
    Sorted = lists:sort(Samples),
    N = length(Sorted),
    Upper = lists:nth(N div 2 + 1, Sorted),
    case N rem 2 of
        1 -> Upper;
        0 -> (lists:nth(N div 2, Sorted) + Upper) / 2
    end.

-spec spread([number(), ...]) -> #{median := number(), min := number(), max := number(),
                                   samples := [number()]}.
spread(Samples) ->
    #{median => median(Samples), min => lists:min(Samples), max => lists:max(Samples),
      samples => Samples}.

%% @doc One ratio for each round, from samples in the order of the rounds. The two
%% samples of a round were taken next to each other, so that a machine that
%% becomes slow half-way does not tilt their ratio. A zero on the dividing side
%% has no ratio and is left out.
-spec ratios(own_by_rival | rival_by_own, [number()], [number()]) -> [float()].
ratios(own_by_rival, Own, Rival) ->
    Rounds = min(length(Own), length(Rival)),
    [O / R || {O, R} <- lists:zip(lists:sublist(Own, Rounds),
                                  lists:sublist(Rival, Rounds)), R /= 0];
ratios(rival_by_own, Own, Rival) ->
    ratios(own_by_rival, Rival, Own).

%% @doc Holds a value and a ratio (`undefined' when there is none) against the
%% targets. No targets give `info'. A target on a ratio that could not be measured
%% is `absent', never `pass'; what is missed is `fail' with how far it is off.
-spec judge([target()], #{value := number(), ratio := number() | undefined}) ->
    {pass | info | absent, undefined | binary()} | {fail, binary()}.
judge([], _Figures) ->
    {info, undefined};
judge(Targets, Figures) ->
    Verdicts = [judge_one(T, Figures) || T <- Targets],
    case [Why || {fail, Why} <- Verdicts] of
        [_ | _] = Misses -> {fail, iolist_to_binary(lists:join("; ", Misses))};
        [] ->
            case [Why || {absent, Why} <- Verdicts] of
                [] -> {pass, undefined};
                [Why | _] -> {absent, Why}
            end
    end.

judge_one({ratio, _Op, _Limit}, #{ratio := undefined}) ->
    {absent, <<"no ratio: the rival was not measured">>};
judge_one({What, Op, Limit}, Figures) ->
    Figure = maps:get(What, Figures),
    case holds(Op, Figure, Limit) of
        true -> pass;
        false -> {fail, miss(What, Op, Figure, Limit)}
    end.

holds('<', A, B) -> A < B;
holds('=<', A, B) -> A =< B;
holds('>', A, B) -> A > B;
holds('>=', A, B) -> A >= B.

miss(What, Op, Figure, Limit) ->
    Off = case Limit == 0 of
        true -> "";
        false -> io_lib:format(", off by ~.1f %", [abs(Figure - Limit) / abs(Limit) * 100])
    end,
    iolist_to_binary(
        io_lib:format("~s ~s, needs ~s ~s~s",
            [What, number(Figure), Op, number(Limit), Off])).

number(N) when is_integer(N) -> integer_to_list(N);
number(N) when abs(N) >= 100 -> io_lib:format("~.1f", [float(N)]);
number(N) -> io_lib:format("~.3f", [float(N)]).
