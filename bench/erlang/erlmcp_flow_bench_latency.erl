%% @doc Latency: messages at a fixed pace, from when each was due to when its agent
%% had it in hand, and what is not built yet.
-module(erlmcp_flow_bench_latency).

-export([run/0, run_all/0, probes/1]).

-define(NEEDS, [{erlmcp_flow_batch_processor, start_link, 1},
                {erlmcp_flow_batch_processor, send_message, 3}]).
%% The documented default of the batch processor (ms), and what a message may wait
%% beyond it.
-define(BATCH_TIMEOUT, 10).
-define(GRACE, 2).

%% @doc The message probes alone, with the default options; prints its lines and
%% returns the results.
-spec run() -> erlmcp_flow_bench:results().
run() ->
    erlmcp_flow_bench:run(#{only => <<"latency.message">>}, [latency]).

%% @doc Everything of this group.
-spec run_all() -> erlmcp_flow_bench:results().
run_all() ->
    erlmcp_flow_bench:run(#{}, [latency]).

%% @private
-spec probes(map()) -> [erlmcp_flow_bench_engine:probe()].
probes(#{rates := Rates} = Ctx) ->
    [paced(Ctx, Rate) || Rate <- Rates] ++ erlmcp_flow_bench_later:probes(latency).

paced(#{agents := Agents, data := #{terms := Terms}, pace_ms := Ms}, Rate) ->
    Spec = #{agents => Agents, rate => Rate, ms => Ms, payload => term_to_binary(Terms)},
    Id = text("latency.message.~bk", [Rate div 1000]),
    Opts = #{batch_timeout => ?BATCH_TIMEOUT},
    #{id => Id, group => latency,
      section => text("Latency: messages to ~b agents", [Agents]),
      label => text("messages at ~bK/s", [Rate div 1000]),
      needs => ?NEEDS,
      params => #{agents => Agents, rate => Rate, ms => Ms, batch_timeout => ?BATCH_TIMEOUT},
      sides => fun(_) ->
          [{<<"batch_processor">>, fun() -> pace(Spec#{via => {batch, Opts}}) end},
           {<<"plain !">>, fun() -> pace(Spec#{via => plain}) end}]
      end,
      metrics => [percentile(Id, Rate, Key, Targets) || {Key, Targets} <- [
          {p50, [{value, '<', 10}]},
          {p95, [{value, '<', 30}]},
          {p99, [{value, '<', 50}, {value, '=<', ?BATCH_TIMEOUT + ?GRACE}]},
          {p999, []},
          {max, []}]]}.

pace(Spec) -> erlmcp_flow_bench_pace:run(Spec).

percentile(Id, Rate, Key, Targets) ->
    Metric = #{id => text("~s.~s", [Id, Key]), name => <<"flow.latency.message_ms">>,
               labels => #{rate => Rate, quantile => atom_to_binary(Key)},
               label => text("Message latency at ~bK/s, ~s", [Rate div 1000, Key]),
               key => Key, unit => ms, better => lower, targets => Targets,
               rival => <<"plain !">>},
    %% The tail's tail is one message's bad luck: in the record, not on the line.
    Metric#{quiet => Key =:= p999}.

text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
