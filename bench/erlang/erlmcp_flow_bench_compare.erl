%% @private
%% @doc Two records against each other, by the ratio to the rival of the same run:
%% that ratio, unlike the figure itself, survives a change of machine.
-module(erlmcp_flow_bench_compare).

-export([compare/3]).
-export_type([source/0, report/0]).

-type source() :: file:name_all() | map().
%% A record as `run_all' returns it, or the file that it wrote.
-type report() :: #{
    verdict := pass | fail,
    metrics := [#{id := binary(), base := number() | null, new := number() | null,
                  change := float() | null}],
    regressions := [#{id := binary(), reason := binary()}]
}.

%% @doc `change' is how many times better the new ratio is. What the base measured
%% and the new one did not is a regression, and so is a record that cannot be read:
%% silence must not pass.
-spec compare(source(), source(), #{tolerance => float()}) -> report().
compare(Base, New, Opts) ->
    case {results(Base), results(New)} of
        {{ok, []}, _} -> failed(<<"base">>, <<"nothing was measured">>);
        {{ok, B}, {ok, N}} -> compared(B, index(N), maps:get(tolerance, Opts, 0.15));
        {{error, Why}, _} -> failed(<<"base">>, Why);
        {_, {error, Why}} -> failed(<<"new">>, Why)
    end.

failed(Which, Why) ->
    #{verdict => fail, metrics => [], regressions => [#{id => Which, reason => Why}]}.

%% Only what was measured can be compared.
results(Source) ->
    case record(Source) of
        {ok, #{<<"results">> := Results}} when is_list(Results) ->
            {ok, [R || R = #{<<"id">> := _, <<"verdict">> := V} <- Results,
                       V =/= <<"not_built">>, V =/= <<"absent">>]};
        {ok, _} -> {error, <<"the record has no results">>};
        {error, Why} -> {error, text("unreadable: ~0tp", [Why])}
    end.

record(Map) when is_map(Map) -> {ok, erlmcp_flow_bench_report:plain(Map)};
record(Path) -> erlmcp_flow_bench_report:read(Path).

index(Results) ->
    maps:from_list([{maps:get(<<"id">>, R), R} || R <- Results]).

compared(Base, New, Tolerance) ->
    Pairs = [{B, maps:get(maps:get(<<"id">>, B), New, missing)} || B <- Base],
    Regressions = lists:append([regression(B, N, Tolerance) || {B, N} <- Pairs]),
    #{verdict => case Regressions of [] -> pass; _ -> fail end,
      metrics => [metric(B, N) || {B, N} <- Pairs],
      regressions => Regressions}.

metric(B, missing) -> metric(B, #{});
metric(B, N) ->
    #{id => maps:get(<<"id">>, B),
      base => maps:get(<<"ratio">>, B, null), new => maps:get(<<"ratio">>, N, null),
      change => change(B, N)}.

regression(#{<<"id">> := Id}, missing, _Tolerance) ->
    [#{id => Id, reason => <<"no figure in the new record">>}];
regression(B = #{<<"id">> := Id, <<"verdict">> := Before}, N, Tolerance) ->
    Reason = case {N, change(B, N)} of
        {#{<<"verdict">> := <<"fail">>}, _} when Before =/= <<"fail">> ->
            text("fails now: ~ts", [maps:get(<<"reason">>, N, <<"no reason given">>)]);
        {_, null} ->
            case has_ratio(B) of
                true -> <<"no ratio in the new record">>;
                false -> none
            end;
        {_, Change} when Change < 1 - Tolerance ->
            text("~.2f times as good: ratio ~.3f, was ~.3f",
                 [Change, float(maps:get(<<"ratio">>, N)), float(maps:get(<<"ratio">>, B))]);
        _ ->
            none
    end,
    [#{id => Id, reason => Reason} || Reason =/= none].

has_ratio(#{<<"ratio">> := R}) -> is_number(R);
has_ratio(_) -> false.

change(#{<<"ratio">> := Old0} = B, #{<<"ratio">> := New0})
        when is_number(Old0), is_number(New0) ->
    %% A ratio of nothing is still one to compare with.
    {Old, New} = {max(Old0, 1.0e-9), max(New0, 1.0e-9)},
    case B of
        %% A share of the rival's cost: less is better.
        #{<<"ratio_of">> := <<"own_by_rival">>, <<"better">> := <<"lower">>} -> Old / New;
        _ -> New / Old
    end;
change(_, _) ->
    null.

text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
