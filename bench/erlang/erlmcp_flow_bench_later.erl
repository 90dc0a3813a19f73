%% @private
%% @doc The documented lines of parts that are not measured yet: they print
%% NOT BUILT, so that what is missing is seen and never taken for a PASS.
-module(erlmcp_flow_bench_later).

-export([probes/1]).

-spec probes(throughput | latency | memory | reliability) ->
    [erlmcp_flow_bench_engine:probe()].
probes(Group) ->
    [probe(Group, Line) || Line <- lines_of(Group)].

probe(Group, {Id, Name, Label, Module, Unit, Better, Targets}) ->
    #{id => Id, group => Group, section => section(Group), label => Label,
      needs => [Module],
      metrics => [#{id => Id, name => Name, label => Label, key => none, unit => Unit,
                    better => Better, targets => Targets}]}.

section(throughput) -> <<"Throughput: other parts">>;
section(latency) -> <<"Latency: other parts">>;
section(memory) -> <<"Memory: other parts">>;
section(reliability) -> <<"Reliability: other parts">>.

lines_of(throughput) ->
    [{<<"throughput.consensus">>, <<"throughput.consensus">>,
      <<"consensus throughput (raft)">>, erlmcp_flow_raft, 'ops/s', higher,
      [{value, '>=', 100000}]},
     {<<"throughput.scheduling">>, <<"throughput.scheduling">>,
      <<"scheduling throughput">>, erlmcp_flow_scheduler, 'ops/s', higher, []},
     {<<"throughput.search">>, <<"throughput.search">>,
      <<"vector search throughput (hnsw)">>, erlmcp_flow_hnsw, 'ops/s', higher, []}];
lines_of(latency) ->
    [{<<"latency.consensus">>, <<"flow.latency.consensus_ms">>,
      <<"consensus latency (raft), p99">>, erlmcp_flow_raft, ms, lower,
      [{value, '<', 100}]},
     {<<"latency.assignment">>, <<"latency.assignment">>,
      <<"task assignment latency">>, erlmcp_flow_scheduler, ms, lower, []},
     {<<"latency.search">>, <<"latency.search">>,
      <<"vector search latency (hnsw)">>, erlmcp_flow_hnsw, ms, lower, []}];
lines_of(memory) ->
    [{<<"memory.hnsw">>, <<"flow.memory.hnsw_mb">>,
      <<"index of 100K vectors (hnsw)">>, erlmcp_flow_hnsw, 'MB', lower,
      [{value, '<', 100}]},
     {<<"memory.pool">>, <<"memory.pool">>,
      <<"agent pool">>, erlmcp_flow_pool_manager, 'MB', lower, []},
     {<<"memory.queue">>, <<"memory.queue">>,
      <<"queue of 10K tasks">>, erlmcp_flow_queue, 'MB', lower,
      [{value, '<', 50}]}];
lines_of(reliability) ->
    [{<<"reliability.tasks">>, <<"flow.tasks.lost">>,
      <<"tasks lost">>, erlmcp_flow_queue, count, lower, [{value, '=<', 0}]},
     {<<"reliability.consensus">>, <<"reliability.consensus">>,
      <<"consensus safety: histories that fork">>, erlmcp_flow_raft, count, lower,
      [{value, '=<', 0}]},
     {<<"reliability.failover">>, <<"reliability.failover">>,
      <<"failover after the leader dies">>, erlmcp_flow_raft, ms, lower,
      [{value, '<', 2000}]}].
