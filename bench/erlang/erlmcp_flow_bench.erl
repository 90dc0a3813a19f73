%% @doc The benchmark: what each part does on real input, next to what one would
%% use without it, in the same run, with the result checked while it is timed.
%%
%% Every figure is the median of several rounds in which the two sides take turns.
%% A line is PASS or FAIL against its target, NOT BUILT where the part does not
%% exist, ABSENT where this system cannot measure it. See `doc/benchmarking.md'.
-module(erlmcp_flow_bench).

-export([run_all/0, run_all/1, run_throughput/0, run_latency/0, run_memory/0,
         run_reliability/0, generate_report/1, compare/2, compare/3, main/0]).
-export([run/2, status/2]).
-export_type([opts/0, results/0, group/0]).

-type group() :: throughput | latency | memory | reliability.
-type opts() :: #{
    quick => boolean(),              %% tiny loads: does it run at all
    full => boolean(),               %% more and longer samples; also FULL=1
    rounds => pos_integer(),         %% samples of each side, 5 by default
    only => binary(),                %% probes whose id contains this; also ONLY=
    agents => pos_integer(),         %% 60
    data_dir => file:name_all(),     %% input; also ERLMCP_FLOW_DATA
    results_dir => file:name_all(),  %% bench/results
    save => boolean(),               %% write the record; true for run_all
    print => boolean()
}.
-type results() :: #{
    format := pos_integer(),
    timestamp := binary(),           %% UTC
    seconds := float(),
    machine := #{atom() => term()},
    params := #{atom() => term()},
    results := [erlmcp_flow_bench_engine:result()],
    distributions := [#{atom() => term()}],
    summary := #{erlmcp_flow_bench_engine:verdict() => non_neg_integer()},
    files => #{json := file:name_all(), markdown := file:name_all()}
}.

-define(FORMAT, 1).
-define(GROUPS, [throughput, latency, memory, reliability]).
-define(OPTIONS, [quick, full, rounds, only, agents, data_dir, results_dir, save, print]).

%% @doc Runs everything, prints it, and writes the record to `bench/results/'.
-spec run_all() -> results().
run_all() ->
    run_all(#{}).

%% @doc As `run_all/0', with options. An unknown option is `badarg'.
-spec run_all(opts()) -> results().
run_all(Opts) when is_map(Opts) ->
    case maps:keys(maps:without(?OPTIONS, Opts)) of
        [] -> run(maps:merge(#{save => true}, Opts), ?GROUPS);
        [Unknown | _] ->
            Why = io_lib:format("no option '~p'; there are ~p", [Unknown, ?OPTIONS]),
            erlmcp_flow_error:badarg([Opts], #{1 => Why})
    end;
run_all(Opts) ->
    erlmcp_flow_error:badarg([Opts], #{1 => "not a map of options"}).

%% @doc Messages, serializer, compressor: how much in a second.
-spec run_throughput() -> results().
run_throughput() -> run(#{}, [throughput]).

%% @doc Message latencies under a fixed pace.
-spec run_latency() -> results().
run_latency() -> run(#{}, [latency]).

%% @doc Memory of waiting messages and of shared state.
-spec run_memory() -> results().
run_memory() -> run(#{}, [memory]).

%% @doc What becomes of messages whose destinations die.
-spec run_reliability() -> results().
run_reliability() -> run(#{}, [reliability]).

%% @doc Writes what a run returned as JSON and as Markdown, and says where.
-spec generate_report(results()) ->
    {ok, #{json := file:name_all(), markdown := file:name_all()}} | {error, term()}.
generate_report(#{params := #{results_dir := Dir}, results := _} = Record) ->
    erlmcp_flow_bench_report:write(Record, Dir);
generate_report(Other) ->
    erlmcp_flow_error:badarg([Other], #{1 => "not what run_all returns"}).

%% @doc Two records (or their files): by how much the ratios to the rivals moved,
%% and which of them got worse by more than 15 %.
-spec compare(erlmcp_flow_bench_compare:source(), erlmcp_flow_bench_compare:source()) ->
    erlmcp_flow_bench_compare:report().
compare(Base, New) ->
    compare(Base, New, #{}).

%% @doc As `compare/2', with a `tolerance' (0.15).
-spec compare(erlmcp_flow_bench_compare:source(), erlmcp_flow_bench_compare:source(),
              #{tolerance => float()}) -> erlmcp_flow_bench_compare:report().
compare(Base, New, Opts) ->
    erlmcp_flow_bench_compare:compare(Base, New, Opts).

%% @doc For `make bench': runs everything and ends the VM. The status is 1 when
%% something could not be measured (wrong results, a crash, missing input), and with
%% `STRICT=1' also when a target was missed.
-spec main() -> no_return().
main() ->
    #{results := Results} = run_all(),
    halt(status(Results, os:getenv("STRICT", "") =/= "")).

%% @private
-spec status([erlmcp_flow_bench_engine:result()], Strict :: boolean()) -> 0 | 1.
status(Results, Strict) ->
    Failed = [R || #{verdict := fail} = R <- Results],
    Broken = [R || R <- Failed, not is_map_key(median, R)],
    case Broken =/= [] orelse (Strict andalso Failed =/= []) of
        true -> 1;
        false -> 0
    end.

%% @private
%% @doc Runs the probes of some groups.
-spec run(opts(), [group()]) -> results().
run(Opts, Groups) ->
    T0 = erlang:monotonic_time(millisecond),
    Printer = erlmcp_flow_bench_print:new(case maps:get(print, Opts, true) of
        true -> auto;
        false -> silent
    end),
    Machine = erlmcp_flow_bench_machine:describe(erlmcp_flow_bench_data:root()),
    ok = erlmcp_flow_bench_print:header(Printer, Machine),
    Ctx = context(Opts, Printer),
    {Results, Distributions} = measured(Ctx, Groups),
    Record = #{
        format => ?FORMAT,
        timestamp => timestamp(),
        seconds => (erlang:monotonic_time(millisecond) - T0) / 1000,
        machine => Machine,
        params => maps:without([data, notify], Ctx),
        results => Results,
        distributions => Distributions,
        summary => summary(Results)},
    ok = erlmcp_flow_bench_print:summary(Printer, Record),
    saved(Record, Opts, Printer).

saved(Record, #{save := true}, Printer) ->
    case generate_report(Record) of
        {ok, Files = #{json := Json}} ->
            ok = erlmcp_flow_bench_print:note(Printer, ["  record: ", Json]),
            Record#{files => Files};
        {error, Why} ->
            %% A run without a record must not look like a success.
            Failure = failure(<<"record">>, io_lib:format("not written: ~0tp", [Why])),
            ok = erlmcp_flow_bench_print:notify(Printer, {result, Failure}),
            Results = maps:get(results, Record) ++ [Failure],
            Record#{results => Results, summary => summary(Results)}
    end;
saved(Record, _Opts, _Printer) ->
    Record.

measured(Ctx, Groups) ->
    case erlmcp_flow_bench_data:load(maps:get(data_dir, Ctx)) of
        {ok, Data} ->
            WithData = Ctx#{data => Data},
            Watch = erlmcp_flow_bench_watch:start(),
            try
                Probes = [P || G <- Groups, P <- probes(G, WithData)]
                    ++ [erlmcp_flow_bench_watch:probe(Watch)],
                run_probes([P || P <- Probes, wanted(P, Ctx)], WithData, none, {[], []})
            after
                erlmcp_flow_bench_watch:stop(Watch)
            end;
        {error, Why} ->
            Failure = failure(<<"input">>, Why),
            (maps:get(notify, Ctx))({result, Failure}),
            {[Failure], []}
    end.

failure(Id, Why) ->
    #{id => Id, name => Id, labels => #{}, label => Id, probe => Id, group => all,
      section => <<"The benchmark itself">>, params => #{}, unit => count, better => lower,
      targets => [], quiet => false, verdict => fail,
      reason => unicode:characters_to_binary(Why)}.

probes(throughput, Ctx) -> erlmcp_flow_bench_throughput:probes(Ctx);
probes(latency, Ctx) -> erlmcp_flow_bench_latency:probes(Ctx);
probes(memory, Ctx) -> erlmcp_flow_bench_memory:probes(Ctx);
probes(reliability, Ctx) -> erlmcp_flow_bench_reliability:probes(Ctx).

wanted(_Probe, #{only := undefined}) -> true;
wanted(#{id := Id}, #{only := Part}) -> binary:match(Id, Part) =/= nomatch.

run_probes([], _Ctx, _Section, {Results, Distributions}) ->
    {lists:append(lists:reverse(Results)), lists:append(lists:reverse(Distributions))};
run_probes([Probe = #{section := Section} | Rest], Ctx, Before, {Results, Distributions}) ->
    _ = [(maps:get(notify, Ctx))({section, Section}) || Section =/= Before],
    #{results := R, distributions := D} = erlmcp_flow_bench_engine:run(Probe, Ctx),
    run_probes(Rest, Ctx, Section, {[R | Results], [D | Distributions]}).

context(Opts, Printer) ->
    Full = maps:get(full, Opts, os:getenv("FULL") =:= "1"),
    Quick = maps:get(quick, Opts, false),
    Size = if Quick -> quick(); Full -> full(); true -> usual() end,
    Root = erlmcp_flow_bench_data:root(),
    maps:merge(Size#{
        quick => Quick,
        full => Full andalso not Quick,
        only => only(Opts),
        agents => maps:get(agents, Opts, 60),
        data_dir => path(erlmcp_flow_bench_data:dir(Opts)),
        results_dir => path(maps:get(results_dir, Opts,
                                     filename:join([Root, "bench", "results"]))),
        notify => fun(Event) -> erlmcp_flow_bench_print:notify(Printer, Event) end},
        maps:with([rounds], Opts)).

%% As a binary, which JSON can say.
path(Path) -> unicode:characters_to_binary(filename:flatten(Path)).

only(#{only := Part}) -> Part;
only(_) ->
    case os:getenv("ONLY") of
        Empty when Empty =:= false; Empty =:= "" -> undefined;
        Part -> unicode:characters_to_binary(Part)
    end.

usual() ->
    #{rounds => 5, sample_ms => 25, messages => [100000, 1000000], rates => [50000, 200000],
      pace_ms => 1000, queued => 100000, mortal => 1000000, death_every_ms => 5}.

full() ->
    (usual())#{rounds => 9, sample_ms => 100, pace_ms => 2000}.

quick() ->
    #{rounds => 1, sample_ms => 1, messages => [2000], rates => [50000],
      pace_ms => 200, queued => 5000, mortal => 20000, death_every_ms => 1}.

summary(Results) ->
    lists:foldl(
        fun(#{verdict := V}, Acc) -> maps:update_with(V, fun(N) -> N + 1 end, 1, Acc) end,
        #{}, Results).

timestamp() ->
    {{Y, M, D}, {H, Min, S}} = calendar:universal_time(),
    iolist_to_binary(io_lib:format("~4..0b~2..0b~2..0bT~2..0b~2..0b~2..0bZ",
                                   [Y, M, D, H, Min, S])).
