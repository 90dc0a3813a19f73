%% placeholder until this session's metrics land
-module(erlmcp_flow_metrics).
-export([init/0]).
-spec init() -> ok.
init() -> ok.
