%% @private
%% @doc Runs probes. A probe is data: sides (ours first, then the rivals) that each
%% give named figures, and the metrics that are read from those figures. The engine
%% takes the samples side by side, round by round, and judges the metrics.
%%
%% What a part cannot show is never a PASS: a missing module is `not_built', a
%% missing rival `absent', a wrong result, a crash or silence `fail'.
-module(erlmcp_flow_bench_engine).

-export([run/2, built/1]).
-export([take_sample/1]).
-export_type([probe/0, metric/0, side/0, outcome/0, need/0, result/0, verdict/0,
              context/0, event/0]).

-type text() :: unicode:chardata().
-type figures() :: #{because => binary(), atom() => number()}.
%% What was measured. `because' is added to the reason when a target is missed.
-type outcome() ::
    {ok, figures()}
    | {ok, figures(), erlmcp_flow_histogram:t()}
    | {absent, text()}
    | {error, term()}.
-type side() :: {Name :: binary(), fun(() -> outcome()) | {absent, text()}}.
-type need() :: module() | mfa().
-type metric() :: #{
    id := binary(),                  %% unique within a record: what compare/2 goes by
    name => binary(),                %% the documented name, where there is one
    labels => #{atom() => binary() | number()},
    label := text(),
    key := atom(),                   %% which figure of the sides
    side => binary(),                %% whose figure it is, if not the first side's
    unit := erlmcp_flow_bench_print:unit(),
    better := higher | lower,
    rival => binary(),               %% the name of a side
    ratio => own_by_rival | rival_by_own | none,
    targets => [erlmcp_flow_bench_stats:target()],
    quiet => boolean()               %% in the record only
}.
-type probe() :: #{
    id := binary(),
    group := throughput | latency | memory | reliability,
    section := binary(),
    label := binary(),
    needs => [need()],
    params => #{atom() => term()},
    setup => fun(() -> {ok, State :: term()} | {absent, text()} | {error, term()}),
    teardown => fun((State :: term()) -> term()),
    sides => fun((State :: term()) -> [side()]),
    rounds => pos_integer(),         %% instead of the context's
    warmup => boolean(),
    timeout => pos_integer(),        %% of one sample, ms
    metrics := [metric()]
}.
-type verdict() :: pass | fail | not_built | absent | info.
-type result() :: #{atom() => term()}.
-type event() ::
    {section, binary()}
    | {progress, probe(), Side :: binary(), Round :: non_neg_integer(), Rounds :: pos_integer()}
    | {result, result()}.
-type context() :: #{rounds := pos_integer(), notify := fun((event()) -> term()), _ => _}.

-define(TIMEOUT, 120000).
%% How often a waiting engine says that it still waits.
-define(TICK, 500).
%% Words: large enough that the heap of a short sample does not start by growing.
-define(MIN_HEAP, 100000).

%% @doc Runs one probe and returns a result for each of its metrics, and the
%% distributions that its sides recorded.
-spec run(probe(), context()) ->
    #{results := [result()], distributions := [#{atom() => term()}]}.
run(Probe, Ctx = #{notify := Notify}) ->
    {Results, Distributions} =
        case built(maps:get(needs, Probe, [])) of
            {missing, Need} -> {all(Probe, not_built, need_text(Need)), []};
            true when not is_map_key(sides, Probe) ->
                {all(Probe, not_built, <<"no measurement of it yet">>), []};
            true -> with_setup(Probe, Ctx)
        end,
    lists:foreach(fun(R) -> Notify({result, R}) end, Results),
    #{results => Results, distributions => Distributions}.

%% @doc Is everything there that a probe needs? A module without the function
%% counts as not built.
-spec built([need()]) -> true | {missing, need()}.
built([]) -> true;
built([Need | Rest]) ->
    case exists(Need) of
        true -> built(Rest);
        false -> {missing, Need}
    end.

exists({M, F, A}) -> exists(M) andalso erlang:function_exported(M, F, A);
exists(M) ->
    case code:ensure_loaded(M) of
        {module, M} -> true;
        {error, _} -> false
    end.

need_text({M, F, A}) -> text("no ~s:~s/~b", [M, F, A]);
need_text(M) -> text("no module ~s", [M]).

with_setup(Probe, Ctx) ->
    Setup = maps:get(setup, Probe, fun() -> {ok, undefined} end),
    case guarded(Setup) of
        {ok, State} ->
            Teardown = maps:get(teardown, Probe, fun(_) -> ok end),
            try
                with_sides(Probe, Ctx, guarded(fun() -> (maps:get(sides, Probe))(State) end))
            after
                Teardown(State)
            end;
        {absent, Why} -> {all(Probe, absent, text("~ts", [Why])), []};
        {error, Why} -> {all(Probe, fail, reason(Why)), []}
    end.

%% Making the sides may already call what is to be measured.
with_sides(Probe, _Ctx, {error, Why}) -> {all(Probe, fail, reason(Why)), []};
with_sides(Probe, Ctx, Sides) -> measure(Probe, Ctx, Sides).

guarded(Fun) ->
    try Fun() catch Class:Why:Stack -> {error, {Class, Why, Stack}} end.

measure(Probe, Ctx, Sides = [{Own, _} | _]) ->
    Rounds = maps:get(rounds, Probe, maps:get(rounds, Ctx)),
    Warm = case maps:get(warmup, Probe, true) of
        true -> 1;
        false -> 0
    end,
    Taken = rounds(1 - Warm, Rounds, Probe, Ctx, Sides, #{}),
    {[result(M, Probe, Own, Taken) || M <- maps:get(metrics, Probe)],
     distributions(Probe, Sides, Taken)}.

%% Round 0 is the warm-up and leaves no sample. The first to go alternates.
rounds(Round, Rounds, _Probe, _Ctx, _Sides, Taken) when Round > Rounds ->
    Taken;
rounds(Round, Rounds, Probe, Ctx, Sides, Taken0) ->
    Order = case Round rem 2 of
        0 -> lists:reverse(Sides);
        _ -> Sides
    end,
    Taken = lists:foldl(
        fun({Name, Side}, Acc) -> take(Name, Side, Round, Rounds, Probe, Ctx, Acc) end,
        Taken0, Order),
    case lists:any(fun({error, _}) -> true; (_) -> false end, maps:values(Taken)) of
        true -> Taken;
        false -> rounds(Round + 1, Rounds, Probe, Ctx, Sides, Taken)
    end.

take(Name, Side, Round, Rounds, Probe, Ctx, Taken) ->
    case {Taken, Side} of
        {#{Name := {Bad, _}}, _} when Bad =:= error; Bad =:= absent -> Taken;
        {_, {absent, Why}} -> Taken#{Name => {absent, text("~ts", [Why])}};
        {_, _} ->
            Notify = maps:get(notify, Ctx),
            Tick = fun() -> Notify({progress, Probe, Name, Round, Rounds}) end,
            Tick(),
            case sample(Side, maps:get(timeout, Probe, ?TIMEOUT), Tick) of
                {ok, Figures} -> keep(Name, Round, Figures, none, Taken);
                {ok, Figures, Hist} -> keep(Name, Round, Figures, Hist, Taken);
                {absent, Why} -> Taken#{Name => {absent, text("~ts", [Why])}};
                {error, Why} -> Taken#{Name => {error, reason(Why)}}
            end
    end.

keep(_Name, 0, _Figures, _Hist, Taken) ->
    Taken;
keep(Name, _Round, Figures, Hist, Taken) ->
    {Samples, Merged} = maps:get(Name, Taken, {[], none}),
    Taken#{Name => {[Figures | Samples], merged(Merged, Hist)}}.

merged(Merged, none) -> Merged;
merged(none, Hist) -> Hist;
merged(Merged, Hist) ->
    ok = erlmcp_flow_histogram:merge(Merged, Hist),
    Merged.

%% Each sample has a process of its own: no side inherits the other's heap, and
%% one that hangs is killed with all that it started.
sample(Side, Timeout, Tick) ->
    {Pid, Mon} = spawn_opt(?MODULE, take_sample, [Side],
                           [monitor, {min_heap_size, ?MIN_HEAP}]),
    await(Pid, Mon, erlang:monotonic_time(millisecond) + Timeout, Timeout, Tick).

%% @private
%% It ends abnormally in any case, so that what it linked to and left goes too.
-spec take_sample(fun(() -> outcome())) -> no_return().
take_sample(Side) ->
    exit({sampled, guarded(Side)}).

await(Pid, Mon, Deadline, Timeout, Tick) ->
    receive
        {'DOWN', Mon, process, Pid, {sampled, Outcome}} -> outcome(Outcome);
        {'DOWN', Mon, process, Pid, Reason} -> {error, Reason}
    after ?TICK ->
        case erlang:monotonic_time(millisecond) >= Deadline of
            true ->
                exit(Pid, kill),
                receive {'DOWN', Mon, process, Pid, _} -> ok end,
                {error, {no_result_in_ms, Timeout}};
            false ->
                Tick(),
                await(Pid, Mon, Deadline, Timeout, Tick)
        end
    end.

outcome({ok, F} = Ok) when is_map(F) -> Ok;
outcome({ok, F, _} = Ok) when is_map(F) -> Ok;
outcome({absent, _} = Absent) -> Absent;
outcome({error, _} = Error) -> Error;
outcome(Other) -> {error, {bad_outcome, Other}}.

result(Metric, Probe, First, Taken) ->
    Key = maps:get(key, Metric),
    case figures(Key, maps:get(side, Metric, First), Taken) of
        {ok, Samples} ->
            explained(rated(Metric, Probe, Samples, rival(Metric, Key, Taken)),
                      figures(because, maps:get(side, Metric, First), Taken));
        {error, Why} ->
            base(Metric, Probe, #{verdict => fail, reason => Why});
        {absent, Why} ->
            base(Metric, Probe, #{verdict => absent, reason => Why})
    end.

explained(Result = #{verdict := fail, reason := Why}, {ok, Because}) ->
    Result#{reason := text("~ts: ~ts", [Why, lists:last(Because)])};
explained(Result, _) ->
    Result.

rated(Metric, Probe, Samples, {error, Name, Why}) ->
    base(Metric, Probe, (erlmcp_flow_bench_stats:spread(Samples))#{
        verdict => fail, reason => text("rival ~ts: ~ts", [Name, Why])});
rated(Metric, Probe, Samples, Rival) ->
    Of = maps:get(ratio, Metric, default_ratio(maps:get(better, Metric))),
    Spread = #{median := Median} = erlmcp_flow_bench_stats:spread(Samples),
    {Ratios, Extra} =
        case Rival of
            {ok, Name, RivalSamples} when Of =:= none ->
                {[], #{rival => (erlmcp_flow_bench_stats:spread(RivalSamples))#{name => Name}}};
            {ok, Name, RivalSamples} ->
                {erlmcp_flow_bench_stats:ratios(Of, Samples, RivalSamples),
                 #{rival => (erlmcp_flow_bench_stats:spread(RivalSamples))#{name => Name}}};
            {absent, Name, Why} ->
                {[], #{rival => #{name => Name, absent => Why}}};
            none ->
                {[], #{}}
        end,
    Ratio = case Ratios of
        [] -> undefined;
        _ -> erlmcp_flow_bench_stats:median(Ratios)
    end,
    {Verdict, Reason} = erlmcp_flow_bench_stats:judge(
        maps:get(targets, Metric, []), #{value => Median, ratio => Ratio}),
    base(Metric, Probe, maps:merge(Extra, Spread#{
        ratio => Ratio, ratios => Ratios, ratio_of => Of,
        verdict => Verdict, reason => Reason})).

default_ratio(higher) -> own_by_rival;
default_ratio(lower) -> rival_by_own.

rival(#{rival := Name}, Key, Taken) ->
    case figures(Key, Name, Taken) of
        {ok, Samples} -> {ok, Name, Samples};
        {Bad, Why} -> {Bad, Name, Why}
    end;
rival(_Metric, _Key, _Taken) ->
    none.

%% The samples of one figure in the order in which they were taken.
figures(Key, Name, Taken) ->
    case Taken of
        #{Name := {error, Why}} -> {error, Why};
        #{Name := {absent, Why}} -> {absent, Why};
        #{Name := {Samples, _Hist}} ->
            case [V || #{Key := V} <- Samples] of
                Values when length(Values) =:= length(Samples) ->
                    {ok, lists:reverse(Values)};
                _ -> {absent, text("no figure '~s' on this system", [Key])}
            end;
        _ ->
            {error, other_failure(Taken)}
    end.

%% Another side failed before this one had its turn.
other_failure(Taken) ->
    case [text("~ts: ~ts", [Name, Why]) || {Name, {error, Why}} <- maps:to_list(Taken)] of
        [First | _] -> First;
        [] -> <<"not measured">>
    end.

all(Probe, Verdict, Reason) ->
    [base(M, Probe, #{verdict => Verdict, reason => Reason})
     || M <- maps:get(metrics, Probe)].

base(Metric, Probe, Found) ->
    Id = maps:get(id, Metric),
    maps:merge(
        #{id => Id,
          name => maps:get(name, Metric, Id),
          labels => maps:get(labels, Metric, #{}),
          label => text("~ts", [maps:get(label, Metric)]),
          probe => maps:get(id, Probe),
          group => maps:get(group, Probe),
          section => maps:get(section, Probe),
          params => maps:get(params, Probe, #{}),
          unit => maps:get(unit, Metric),
          better => maps:get(better, Metric),
          targets => maps:get(targets, Metric, []),
          quiet => maps:get(quiet, Metric, false)},
        Found).

distributions(Probe, Sides, Taken) ->
    [#{probe => maps:get(id, Probe), side => Name, unit => ns, group => maps:get(group, Probe),
       count => erlmcp_flow_histogram:count(Hist),
       mean => erlmcp_flow_histogram:mean(Hist),
       min => erlmcp_flow_histogram:min(Hist),
       max => erlmcp_flow_histogram:max(Hist),
       buckets => [[U, N] || {U, N} <- erlmcp_flow_histogram:to_list(Hist)]}
     || {Name, _} <- Sides,
        {Samples, Hist} <- [maps:get(Name, Taken, {error, none})],
        is_list(Samples), Hist =/= none].

%% A reason a person can read on one line.
reason(Why) when is_binary(Why) -> Why;
reason({Class, Why, Stack}) when is_list(Stack), Class =:= error;
                                 is_list(Stack), Class =:= exit;
                                 is_list(Stack), Class =:= throw ->
    Where = case Stack of
        [{M, F, A, Info} | _] ->
            Arity = if is_list(A) -> length(A); true -> A end,
            text(" in ~s:~s/~b line ~p", [M, F, Arity, proplists:get_value(line, Info, 0)]);
        _ -> <<>>
    end,
    text("~s ~0tP~ts", [Class, Why, 20, Where]);
reason(Why) ->
    text("~0tP", [Why, 30]).

text(Format, Args) ->
    unicode:characters_to_binary(io_lib:format(Format, Args)).
