%% @doc Throughput: messages to 60 agents, the serializer, the compressor, the cache, and what
%% is not built yet.
-module(erlmcp_flow_bench_throughput).

-export([run/0, run_all/0, probes/1]).

%% @doc The message probes alone, with the default options; prints its lines and
%% returns the results.
-spec run() -> erlmcp_flow_bench:results().
run() ->
    erlmcp_flow_bench:run(#{only => <<"throughput.">>}, [throughput]).

%% @doc Everything of this group.
-spec run_all() -> erlmcp_flow_bench:results().
run_all() ->
    erlmcp_flow_bench:run(#{}, [throughput]).

%% @private
-spec probes(map()) -> [erlmcp_flow_bench_engine:probe()].
probes(Ctx) ->
    erlmcp_flow_bench_messages:probes(Ctx)
    ++ erlmcp_flow_bench_codec:probes(Ctx)
    ++ erlmcp_flow_bench_compress:probes(Ctx)
    ++ erlmcp_flow_bench_cache:throughput(Ctx)
    ++ erlmcp_flow_bench_later:probes(throughput).
