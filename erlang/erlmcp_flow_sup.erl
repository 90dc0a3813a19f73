%% @private
%% @doc The top supervisor: the instances that need no peers.
-module(erlmcp_flow_sup).
-behaviour(supervisor).

-export([start_link/0, init/1]).

-spec start_link() -> supervisor:startlink_ret().
start_link() ->
    supervisor:start_link({local, ?MODULE}, ?MODULE, []).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    %% A default instance that keeps failing must not take the others along
    %% more often than this: 10 restarts in 10 seconds.
    Flags = #{strategy => one_for_one, intensity => 10, period => 10},
    {ok, {Flags, [
        #{id => erlmcp_flow_metrics_sinks,
          start => {erlmcp_flow_metrics_sinks, start_link, []}},
        erlmcp_flow_batch_processor:child_spec(#{name => erlmcp_flow_batch_processor}),
        erlmcp_flow_lru_cache:child_spec(#{name => erlmcp_flow_lru_cache})
    ]}}.
