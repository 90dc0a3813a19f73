%% @private
%% @doc The application callback.
-module(erlmcp_flow_app).
-behaviour(application).

-export([start/2, stop/1]).

-spec start(application:start_type(), term()) -> {ok, pid()} | {error, term()}.
start(_Type, _Args) ->
    case erlmcp_flow_native:init() of
        ok ->
            ok = erlmcp_flow_metrics:init(),
            erlmcp_flow_sup:start_link();
        {error, _} = Error ->
            Error
    end.

-spec stop(term()) -> ok.
stop(_State) ->
    ok.
