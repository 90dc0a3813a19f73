%% @private
%% @doc The cache beside its rivals: reads that hit, writes, expiry and eviction, the
%% memory of an entry, and hit rates.
%%
%% Every figure is a ratio of medians over rounds in which the sides take turns; the
%% six kinds of key and value are those that a design decision was made with.
-module(erlmcp_flow_bench_cache).

-export([throughput/1, kept/1, run/0, run/1, memory/0, memory/3, hit_rates/0]).

-define(SIDES, erlmcp_flow_bench_cache_sides).
-define(ENTRIES, 10_000).
-define(TTL, 3_600_000).

%% @doc Prints everything: some minutes.
-spec run() -> ok.
run() ->
    lists:foreach(
        fun(P) -> [table(Op, P, run(#{op => Op, processes => P})) || Op <- [get, put]] end,
        [1, 2, 16]),
    table(churn, 1, run(#{op => churn, processes => 1})),
    table(churn, 2, run(#{op => churn, processes => 2})),
    lists:foreach(
        fun({Load, Exact, Ours}) ->
            io:format("hit rate ~-28s exact LRU ~6.2f %, lru_cache ~6.2f %~n",
                      [Load, Exact, Ours])
        end, hit_rates()),
    memory().

table(Op, P, Results) ->
    io:format("~n~s, ~b processes: ns an operation, and x the time of lru_cache~n", [Op, P]),
    lists:foreach(
        fun({Kind, [{_, Ours} | _] = Sides}) ->
            io:format("  ~-14s", [Kind]),
            [io:format(" ~s ~b (~.2f)", [Side, round(Ns), Ns / Ours]) || {Side, Ns} <- Sides],
            io:nl()
        end, Results),
    [{_, [_ | Rivals]} | _] = Results,
    lists:foreach(
        fun({Side, _}) ->
            Ratios = [proplists:get_value(Side, Sides) / Ours
                      || {_, [{_, Ours} | _] = Sides} <- Results],
            io:format("  geometric mean, ~s: ~.2f~n", [Side, geomean(Ratios)])
        end, Rivals).

geomean(Ratios) ->
    math:exp(lists:sum([math:log(R) || R <- Ratios]) / length(Ratios)).

%% @doc `op': get (hits), put (overwrites), or churn (a put of a new key into a full
%% cache, a read of a key that has expired or was evicted, a read that hits).
-spec run(map()) -> [{atom(), [{atom(), float()}]}].
run(Opts) ->
    Default = #{op => get, processes => 1, rounds => 15, ms => 15, kinds => kinds()},
    #{kinds := Kinds} = Full = maps:merge(Default, Opts),
    [{Kind, measure(Kind, Full)} || Kind <- Kinds].

kinds() -> [atom_pid, int_map, bin_map, tuple_map, bin_1k, bin_10k].

pair(atom_pid, I) -> {list_to_atom("bench_agent_" ++ integer_to_list(I rem 100_000)), self()};
pair(int_map, I) -> {I, map(I)};
pair(bin_map, I) -> {bin(I), map(I)};
pair(tuple_map, I) -> {{agent, bin(I)}, map(I)};
pair(bin_1k, I) -> {bin(I), binary:copy(<<I:64>>, 128)};
pair(bin_10k, I) -> {bin(I), binary:copy(<<I:64>>, 1280)}.

bin(I) -> <<I:64, (I * 7919):64>>.

map(I) ->
    #{id => I, name => <<"agent-", (integer_to_binary(I))/binary>>, status => idle,
      load => 0.5, tags => [worker, gpu], parent => none}.

measure(Kind, #{op := Op, processes := P, rounds := Rounds, ms := Ms}) ->
    Names = [Name || Name <- ?SIDES:names(), ?SIDES:available(Name),
                     Op =/= churn orelse Name =/= ets],
    %% An expiry is 1 ms after the put: the rivals read the same clock.
    Ttl = case Op of churn -> 50; _ -> ?TTL end,
    Sides = [?SIDES:new(Name, ?ENTRIES, Ttl) || Name <- Names],
    Pairs = [pair(Kind, I) || I <- lists:seq(1, ?ENTRIES)],
    _ = [?SIDES:put(Side, Key, Value) || Side <- Sides, {Key, Value} <- Pairs],
    Work = [{Name, worker(Op, Side, Kind, Pairs)} || {Name, _} = Side <- Sides],
    Samples = [[{Name, sample(Fun, P, Ms)} || {Name, Fun} <- order(Round, Work)]
               || Round <- lists:seq(0, Rounds)],
    %% The first round is the warm-up.
    Result = [{Name, median([proplists:get_value(Name, S) || S <- tl(Samples)])}
              || Name <- Names],
    lists:foreach(fun ?SIDES:stop/1, Sides),
    Result.

order(Round, Work) when Round rem 2 =:= 0 -> Work;
order(_, Work) -> lists:reverse(Work).

%% A function of the number of a round over all keys; it returns its operations.
worker(get, Side, _Kind, Pairs) ->
    N = length(Pairs),
    Keys = shuffled([Key || {Key, _} <- Pairs]),
    fun(_) ->
        lists:foreach(fun(Key) -> {ok, _} = ?SIDES:get(Side, Key) end, Keys),
        N
    end;
worker(put, Side, _Kind, Pairs) ->
    N = length(Pairs),
    Shuffled = shuffled(Pairs),
    fun(_) ->
        lists:foreach(fun({Key, Value}) -> ?SIDES:put(Side, Key, Value) end, Shuffled),
        N
    end;
worker(churn, Side, Kind, Pairs) ->
    Batches = list_to_tuple(
        [[pair(Kind, I) || I <- lists:seq(B * 1000, B * 1000 + 999)] || B <- lists:seq(1, 20)]),
    Old = [Key || {Key, _} <- lists:sublist(Pairs, 1000)],
    fun(Round) ->
        New = element(Round rem 20 + 1, Batches),
        churn(Side, New, Old),
        3 * 1000
    end.

churn(_Side, [], []) -> ok;
churn(Side, [{Key, Value} | New], [Gone | Old]) ->
    _ = ?SIDES:put(Side, Key, Value),
    _ = ?SIDES:get(Side, Gone),
    _ = ?SIDES:get(Side, Key),
    churn(Side, New, Old).

shuffled(List) ->
    _ = rand:seed(exsss, 42),
    [X || {_, X} <- lists:sort([{rand:uniform(), X} || X <- List])].

%% Nanoseconds an operation, of one process while P of them work.
sample(Fun, P, Ms) ->
    Self = self(),
    Pids = [spawn_opt(fun() -> work(Self, Fun, Ms) end, [link, {min_heap_size, 300_000}])
            || _ <- lists:seq(1, P)],
    _ = [receive {Pid, ready} -> ok end || Pid <- Pids],
    _ = [Pid ! go || Pid <- Pids],
    Each = [receive {Pid, Ns} -> Ns end || Pid <- Pids],
    lists:sum(Each) / P.

work(Parent, Fun, Ms) ->
    garbage_collect(),
    Parent ! {self(), ready},
    receive go -> ok end,
    T0 = erlang:monotonic_time(nanosecond),
    Ops = until(Fun, T0 + Ms * 1_000_000, 0, 0),
    Parent ! {self(), (erlang:monotonic_time(nanosecond) - T0) / Ops}.

until(Fun, End, Round, Ops) ->
    Ops1 = Ops + Fun(Round),
    case erlang:monotonic_time(nanosecond) < End of
        true -> until(Fun, End, Round + 1, Ops1);
        false -> Ops1
    end.

median(List) ->
    lists:nth((length(List) + 1) div 2, lists:sort(List)).

%%% Hit rates

%% @doc `[{Load, ExactLRU, Ours}]', percent; the exact one is the twin without native
%% code.
-spec hit_rates() -> [{string(), float(), float()}].
hit_rates() ->
    [{Load, hit_rate(false, Keys, Exponent, Capacity), hit_rate(true, Keys, Exponent, Capacity)}
     || {Load, Keys, Exponent, Capacity} <-
            [{"20K keys, zipf 1.1, 10K", 20_000, 1.1, 10_000},
             {"100K keys, zipf 0.9, 10K", 100_000, 0.9, 10_000},
             {"100K keys, zipf 1.1, 2K", 100_000, 1.1, 2_000},
             {"10K keys, zipf 1.0, 500", 10_000, 1.0, 500}]].

hit_rate(Native, Keys, Exponent, Capacity) ->
    hit_rate(Native, Keys, Exponent, Capacity, 200_000).

hit_rate(Native, Keys, Exponent, Capacity, Reads) ->
    Setting = erlmcp_flow_native:get(),
    ok = erlmcp_flow_native:set(Native),
    {ok, Cache} = erlmcp_flow_lru_cache:start_link(#{capacity => Capacity, ttl => infinity}),
    ok = erlmcp_flow_native:set(Setting),
    Zipf = zipf(Keys, Exponent),
    _ = rand:seed(exsss, 7),
    Loads = [key(Zipf) || _ <- lists:seq(1, Reads)],
    {Warm, Counted} = lists:split(Reads div 4, Loads),
    _ = reads(Cache, Warm, 0),
    Hits = reads(Cache, Counted, 0),
    true = erlmcp_flow_lru_cache:size(Cache) =< Capacity,
    ok = erlmcp_flow_lru_cache:stop(Cache),
    100 * Hits / length(Counted).

reads(_Cache, [], Hits) -> Hits;
reads(Cache, [Key | Keys], Hits) ->
    case erlmcp_flow_lru_cache:get(Cache, Key) of
        {ok, Key} -> reads(Cache, Keys, Hits + 1);
        miss -> ok = erlmcp_flow_lru_cache:put(Cache, Key, Key), reads(Cache, Keys, Hits)
    end.

zipf(Keys, Exponent) ->
    {Sums, _} = lists:mapfoldl(
        fun(I, Sum) -> S = Sum + math:pow(I, -Exponent), {S, S} end, 0.0, lists:seq(1, Keys)),
    list_to_tuple(Sums).

key(Sums) ->
    N = tuple_size(Sums),
    search(Sums, rand:uniform() * element(N, Sums), 1, N).

search(_Sums, _At, Low, High) when Low >= High -> Low;
search(Sums, At, Low, High) ->
    Mid = (Low + High) div 2,
    case element(Mid, Sums) < At of
        true -> search(Sums, At, Mid + 1, High);
        false -> search(Sums, At, Low, Mid)
    end.

%%% Memory

%% @doc Bytes of an entry, by the resident size of a fresh VM for each figure: after a
%% fill, and after everything was overwritten twice.
-spec memory() -> ok.
memory() ->
    lists:foreach(
        fun(Kind) ->
            Own = in_new_vm(ours, Kind),
            Ets = in_new_vm(ets, Kind),
            Two = in_new_vm(two_tables, Kind),
            io:format("memory ~-10s bytes an entry (filled, overwritten): lru_cache ~w ets ~w "
                      "two tables ~w; ~.2f and ~.2f x ets~n",
                      [Kind, Own, Ets, Two, element(1, Own) / element(1, Ets),
                       element(2, Own) / element(2, Ets)])
        end, kinds()).

in_new_vm(Side, Kind) -> in_new_vm(Side, Kind, entries(Kind)).

in_new_vm(Side, Kind, N) ->
    Paths = lists:append([["-pa", P] || P <- code:get_path(), filelib:is_dir(P)]),
    Code = io_lib:format("erlmcp_flow_bench_cache:memory(~p, ~p, ~b), halt().",
                         [Side, Kind, N]),
    Erl = os:find_executable("erl"),
    Port = open_port({spawn_executable, Erl},
                     %% Freed segments that the VM keeps for some seconds are neither
                     %% side's: none are kept.
                     [{args, ["+MMmcs", "0" | Paths]
                             ++ ["-noshell", "-eval", lists:flatten(Code)]},
                      exit_status, binary]),
    {Filled, Overwritten} = answer(Port, <<>>),
    {Filled, Overwritten}.

entries(bin_10k) -> 20_000;
entries(_) -> 100_000.

answer(Port, Acc) ->
    receive
        {Port, {data, Data}} -> answer(Port, <<Acc/binary, Data/binary>>);
        {Port, {exit_status, 0}} ->
            [Filled, Overwritten] = binary:split(string:trim(Acc), <<" ">>),
            {binary_to_integer(Filled), binary_to_integer(Overwritten)}
    end.

%% @doc In the fresh VM: prints both figures.
-spec memory(atom(), atom(), pos_integer()) -> ok.
memory(Name, Kind, N) ->
    Side = ?SIDES:new(Name, N, ?TTL),
    %% Atoms are not the cache's.
    fill({none, none}, Kind, N, 7919),
    Before = resident(),
    fill(Side, Kind, N, 7919),
    Filled = resident(),
    fill(Side, Kind, N, 48_271),
    fill(Side, Kind, N, 15_485_863),
    Overwritten = resident(),
    io:format("~b ~b", [(Filled - Before) div N, (Overwritten - Before) div N]).

%% In the scattered order that a prime makes, another one each time, by a process that
%% allocates next to nothing itself.
fill(Side, Kind, N, Prime) ->
    {Pid, Mon} = spawn_monitor(fun() -> fill(Side, Kind, N, Prime, 0) end),
    receive {'DOWN', Mon, process, Pid, normal} -> ok end.

fill(_Side, _Kind, N, _Prime, N) -> ok;
fill(Side, Kind, N, Prime, I) ->
    {Key, Value} = pair(Kind, I * Prime rem N + 1),
    _ = ?SIDES:put(Side, Key, Value),
    fill(Side, Kind, N, Prime, I + 1).

resident() ->
    _ = [garbage_collect(P) || P <- processes()],
    timer:sleep(300),
    {ok, Status} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = binary:split(Status, <<" ">>, [global]),
    binary_to_integer(Pages) * 4096.

%%% For the suite

%% @doc Speed and hit rate, in the form that the suite's engine takes.
-spec throughput(map()) -> [erlmcp_flow_bench_engine:probe()].
throughput(Ctx) ->
    [probe(Ctx, Op, P, Targets)
     || {Op, P, Targets} <-
            [{get, 1, [{ets, 1 / 1.3}, {gen_server, 5}, {two_tables, 3}]},
             {get, 2, [{ets, 1 / 1.3}, {gen_server, 6}, {two_tables, 3}]},
             {get, 16, [{ets, 1 / 1.3}, {gen_server, 6}, {two_tables, 3}]},
             {put, 1, []}, {put, 2, []}, {put, 16, []},
             {churn, 1, []}, {churn, 2, []}],
        P =:= 1 orelse Op =:= get orelse maps:get(full, Ctx, false)] ++ [hits(Ctx)].

%% A sample has all kinds one after the other; its figure is their geometric mean.
probe(Ctx, Op, P, Targets) ->
    Id = text("cache.~s.~b", [Op, P]),
    Label = text("cache ~s, ~b process~s", [Op, P, case P of 1 -> ""; _ -> "es" end]),
    Rivals = [Name || Name <- tl(?SIDES:names()), Op =/= churn orelse Name =/= ets],
    #{id => Id, group => throughput, label => Label,
      section => <<"Throughput: cache, geometric mean of six kinds of key and value">>,
      needs => [{erlmcp_flow_lru_cache, get, 2}, {erlmcp_flow_lru_cache, put, 3}],
      params => #{processes => P, entries => ?ENTRIES}, rounds => suite_rounds(Ctx),
      warmup => not maps:get(quick, Ctx, false),
      setup => fun() ->
          case application:ensure_all_started(erlmcp_flow) of
              {ok, _} -> {ok, none};
              {error, _} = Error -> Error
          end
      end,
      sides => fun(_) ->
          [{?SIDES:name(Name), fun() -> figure(Ctx, Op, P, Name) end}
           || Name <- [ours | Rivals]]
      end,
      metrics => [#{id => <<Id/binary, $., (atom_to_binary(Rival))/binary>>,
                    label => Label, key => ns, unit => ns, better => lower,
                    rival => ?SIDES:name(Rival), ratio => rival_by_own,
                    targets => [{ratio, '>=', Factor} || {R, Factor} <- Targets, R =:= Rival]}
                  || Rival <- Rivals]}.

suite_rounds(#{full := true, rounds := Rounds}) -> Rounds;
suite_rounds(#{rounds := Rounds}) -> min(3, Rounds).

sample_ms(#{quick := true}) -> 1;
sample_ms(#{full := true}) -> 20;
sample_ms(_) -> 15.

suite_kinds(#{quick := true}) -> [int_map];
suite_kinds(_) -> kinds().

figure(Ctx, Op, P, Name) ->
    case ?SIDES:available(Name) of
        false ->
            {absent, "not installed"};
        true ->
            Each = [measure_one(Kind, Op, P, Name, sample_ms(Ctx)) || Kind <- suite_kinds(Ctx)],
            {ok, #{ns => geomean(Each)}}
    end.

measure_one(Kind, Op, P, Name, Ms) ->
    Ttl = case Op of churn -> 50; _ -> ?TTL end,
    Side = ?SIDES:new(Name, ?ENTRIES, Ttl),
    Pairs = [pair(Kind, I) || I <- lists:seq(1, ?ENTRIES)],
    _ = [?SIDES:put(Side, Key, Value) || {Key, Value} <- Pairs],
    %% Sixteen processes with the gen_server would take seconds over all keys.
    Some = case P of 16 -> lists:sublist(shuffled(Pairs), 1000); _ -> Pairs end,
    Ns = sample(worker(Op, Side, Kind, Some), P, Ms),
    _ = ?SIDES:stop(Side),
    Ns.

%% The documented load: 20,000 keys by Zipf's law (1.1), room for 10,000.
hits(Ctx) ->
    Id = <<"cache.hit_rate">>,
    Metric = #{key => pct, unit => pct, better => higher, rival => <<"exact LRU">>},
    #{id => Id, group => throughput, section => <<"Cache: hits under Zipf's law">>,
      label => <<"hit rate">>, needs => [{erlmcp_flow_lru_cache, get, 2}],
      params => #{keys => 20_000, exponent => 1.1, capacity => 10_000},
      rounds => 1, warmup => false,
      sides => fun(_) ->
          Reads = case Ctx of #{quick := true} -> 20_000; _ -> 200_000 end,
          [{Name, fun() ->
               Rate = hit_rate(Native, 20_000, 1.1, 10_000, Reads),
               Exact = case Native of
                   true -> hit_rate(false, 20_000, 1.1, 10_000, Reads);
                   false -> Rate
               end,
               {ok, #{pct => Rate, off => abs(Rate - Exact)}}
           end} || {Name, Native} <- [{<<"lru_cache">>, true}, {<<"exact LRU">>, false}]]
      end,
      metrics => [
          Metric#{id => Id, name => <<"flow.cache.hit_rate_pct">>, ratio => none,
                  label => <<"hit rate">>, targets => [{value, '>', 90}]},
          #{id => <<"cache.hit_rate.off">>, key => off, unit => pct, better => lower,
            label => <<"points from an exact LRU">>, targets => [{value, '=<', 1}]}]}.

%% @doc Memory of an entry after everything was overwritten twice.
-spec kept(map()) -> [erlmcp_flow_bench_engine:probe()].
kept(Ctx) ->
    [kept(Ctx, Kind) || Kind <- suite_kinds(Ctx)].

kept(Ctx, Kind) ->
    Id = text("memory.cache.~s", [Kind]),
    N = case Ctx of #{quick := true} -> 2_000; _ -> entries(Kind) end,
    #{id => Id, group => memory, label => text("cache entry, ~s", [Kind]),
      section => <<"Memory: cache entries, all overwritten twice (RSS, fresh VM)">>,
      needs => [{erlmcp_flow_lru_cache, put, 3}], params => #{entries => N},
      %% One VM in some keeps much of what was freed: the median of three.
      rounds => case Ctx of #{quick := true} -> 1; _ -> 3 end, warmup => false,
      sides => fun(_) ->
          [{?SIDES:name(Name), fun() ->
               {_, Bytes} = in_new_vm(Name, Kind, N),
               {ok, #{bytes => Bytes}}
           end} || Name <- [ours, ets]]
      end,
      metrics => [#{id => Id, label => text("bytes an entry, ~s", [Kind]), key => bytes,
                    unit => bytes, better => lower, rival => ?SIDES:name(ets),
                    ratio => own_by_rival, targets => [{ratio, '=<', 1.5}]}]}.

text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
