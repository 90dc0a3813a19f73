%% @private
%% @doc Name service of the nodes that the benchmark starts: the port is part of
%% the name (`flow_41234@127.0.0.1'), so that neither a running epmd nor a host
%% name that resolves is needed, and none is started or left behind. Given to the
%% nodes as `-epmd_module'.
-module(erlmcp_flow_bench_epmd).

-export([start_link/0, register_node/2, register_node/3, port_please/2, port_please/3,
         listen_port_please/2, address_please/3, names/1]).

-spec start_link() -> ignore.
start_link() -> ignore.

-spec register_node(string() | atom(), inet:port_number()) -> {ok, 1}.
register_node(_Name, _Port) -> {ok, 1}.

-spec register_node(string() | atom(), inet:port_number(), inet | inet6) -> {ok, 1}.
register_node(_Name, _Port, _Family) -> {ok, 1}.

-spec listen_port_please(string() | atom(), term()) -> {ok, inet:port_number()}.
listen_port_please(Name, _Host) -> {ok, port(Name)}.

-spec port_please(string() | atom(), term()) -> {port, inet:port_number(), 5 | 6}.
port_please(Name, _Host) -> {port, port(Name), 6}.

-spec port_please(string() | atom(), term(), timeout()) -> {port, inet:port_number(), 5 | 6}.
port_please(Name, Host, _Timeout) -> port_please(Name, Host).

-spec address_please(string() | atom(), string(), inet | inet6) ->
    {ok, inet:ip_address()} | {error, term()}.
address_please(_Name, Host, Family) -> inet:getaddr(Host, Family).

-spec names(term()) -> {error, address}.
names(_Host) -> {error, address}.

%% `flow_41234' or `flow_41234@host'.
port(Name) when is_atom(Name) -> port(atom_to_list(Name));
port(Name) ->
    [Short | _] = string:split(Name, "@"),
    [_, Port] = string:split(Short, "_", trailing),
    list_to_integer(Port).
