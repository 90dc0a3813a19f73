%% @private
%% @doc VMs of the benchmark's own: fresh ones for memory, and pairs that are
%% connected by Erlang distribution over loopback. The benchmark talks to them
%% over their standard input and output, so the VM it runs in need not be a node.
-module(erlmcp_flow_bench_nodes).

-export([start_vm/0, start_pair/0, stop/1, call/5]).
-export_type([vm/0]).

-type vm() :: pid().

-define(START_TIMEOUT, 20000).

%% @doc A fresh VM without distribution.
-spec start_vm() -> {ok, vm()} | {error, term()}.
start_vm() ->
    start(#{}, []).

%% @doc Two connected nodes. The first is the one to run things on; the name of
%% the second says where to place what it should talk to.
-spec start_pair() -> {ok, {vm(), vm(), node()}} | {error, unicode:chardata()}.
start_pair() ->
    Cookie = binary_to_list(binary:encode_hex(secret())),
    case start_node(Cookie) of
        {ok, A, _} ->
            case start_node(Cookie) of
                {ok, B, NodeB} -> connect(A, B, NodeB);
                {error, Why} -> stop(A), {error, no_node(Why)}
            end;
        {error, Why} ->
            {error, no_node(Why)}
    end.

connect(A, B, NodeB) ->
    case call(A, net_kernel, connect_node, [NodeB], ?START_TIMEOUT) of
        true -> {ok, {A, B, NodeB}};
        Other ->
            stop(A),
            stop(B),
            {error, io_lib:format("the two nodes do not connect: ~p", [Other])}
    end.

no_node(Why) ->
    io_lib:format("no distributed node starts here: ~0tP", [Why, 20]).

%% The cookie only has to keep other users of this machine out while the
%% benchmark runs; `rand' is seeded from the clock and unique integers, so mix in
%% what the system's generator gives where it can be read.
secret() ->
    case file:open("/dev/urandom", [read, raw, binary]) of
        {ok, File} ->
            {ok, Bytes} = file:read(File, 16),
            ok = file:close(File),
            Bytes;
        {error, _} ->
            rand:bytes(16)
    end.

start_node(Cookie) ->
    case free_port() of
        {ok, Port} ->
            P = integer_to_list(Port),
            Args = ["-setcookie", Cookie,
                    "-start_epmd", "false",
                    "-epmd_module", "erlmcp_flow_bench_epmd",
                    "-kernel", "inet_dist_use_interface", "{127,0,0,1}",
                    "-kernel", "inet_dist_listen_min", P,
                    "-kernel", "inet_dist_listen_max", P],
            Name = "flow_" ++ P,
            case start(#{name => Name, host => "127.0.0.1", longnames => true}, Args) of
                {ok, Vm} -> {ok, Vm, list_to_atom(Name ++ "@127.0.0.1")};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

free_port() ->
    case gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]) of
        {ok, Socket} ->
            {ok, Port} = inet:port(Socket),
            ok = gen_tcp:close(Socket),
            {ok, Port};
        {error, _} = Error ->
            Error
    end.

start(Opts, Args) ->
    %% Linked only once it runs: a start that fails must be an error, not the
    %% end of the caller.
    try
        peer:start(Opts#{
            connection => standard_io, wait_boot => ?START_TIMEOUT,
            args => code_path() ++ Args})
    of
        {ok, Vm} -> link(Vm), {ok, Vm};
        {ok, Vm, _Node} -> link(Vm), {ok, Vm};
        {error, _} = Error -> Error
    catch
        exit:Why -> {error, Why}
    end.

%% Everything on this VM's path that a new one would not have by itself.
code_path() ->
    {ok, Cwd} = file:get_cwd(),
    Root = code:root_dir() ++ "/",
    Paths = [filename:absname(P, Cwd)
             || P <- code:get_path(), P =/= ".", not lists:prefix(Root, P)],
    lists:append([["-pa", P] || P <- lists:reverse(Paths)]).

-spec stop(vm()) -> ok.
stop(Vm) ->
    try peer:stop(Vm) catch exit:_ -> ok end.

%% @doc Calls a function in the VM. A VM that dies in the middle is an error.
-spec call(vm(), module(), atom(), [term()], timeout()) -> term() | {error, term()}.
call(Vm, M, F, A, Timeout) ->
    try
        peer:call(Vm, M, F, A, Timeout)
    catch
        exit:Why -> {error, {vm, Why}};
        error:Why -> {error, {vm, Why}}
    end.
