%% @private
%% @doc The stubs of the one NIF library, and nothing else. A loaded NIF library
%% cannot be replaced while the old one is in use, so this module hardly ever
%% changes, and every other module can be hot-loaded.
-module(erlmcp_flow_nif).

-export([version/0]).

-nifs([version/0]).
-on_load(init/0).

-spec init() -> ok | {error, {atom(), string()}}.
init() ->
    %% The value is returned, not matched: the log then shows the loader's reason.
    erlang:load_nif(filename:join(priv_dir(), "erlmcp_flow_nif"), 0).

-spec priv_dir() -> file:filename().
priv_dir() ->
    case code:priv_dir(erlmcp_flow) of
        {error, bad_name} ->
            %% Not started from an application directory (a plain erlc, a test).
            Ebin = filename:dirname(code:which(?MODULE)),
            filename:join(filename:dirname(Ebin), "priv");
        Dir ->
            Dir
    end.

-spec version() -> binary().
version() ->
    erlang:nif_error(nif_not_loaded).
