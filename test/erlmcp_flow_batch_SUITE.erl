%% The batch processor under load, between nodes, and over a long life.
-module(erlmcp_flow_batch_SUITE).
-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

-define(B, erlmcp_flow_batch_processor).

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [count_adds_up, no_leak, fan_out, schedulers_stay_free,
     two_nodes, two_nodes_compressed, two_nodes_acked, remote_dead_pid, node_killed,
     node_unreachable_holds_up_nobody].

init_per_suite(Config) ->
    %% The port mapper is started by `erl -name', not by `net_kernel'.
    _ = os:cmd("epmd -daemon"),
    case net_kernel:start(['batch_suite@127.0.0.1', longnames]) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok
    end,
    ok = logger:set_primary_config(level, none),
    Config.

end_per_suite(_Config) ->
    ok = logger:set_primary_config(level, notice).

init_per_testcase(_Case, Config) ->
    process_flag(trap_exit, true),
    Config.

end_per_testcase(_Case, _Config) ->
    ok.

%%% Nothing vanishes

%% 10 processes send 1M messages while destinations are killed and come back, and
%% the process that flushes is killed too: every message is delivered (acked), handed
%% to `undelivered', or refused, each exactly once.
count_adds_up(_Config) ->
    PerSender = 100_000,
    Senders = 10,
    Names = [list_to_atom("batch_suite_dest_" ++ integer_to_list(I)) || I <- lists:seq(1, 20)],
    Acked = counters:new(1, [write_concurrency]),
    Undelivered = counters:new(1, [write_concurrency]),
    Callback = fun(_Dest, _Message, _Reason) -> counters:add(Undelivered, 1, 1) end,
    {ok, Ref} = ?B:start_link(#{delivery => acked, undelivered => Callback,
                                batch_timeout => 2, max_pending => 20_000}),
    Keepers = [spawn_link(fun() -> keep_alive(Name, Acked) end) || Name <- Names],
    Killer = spawn_link(fun() -> killer(Ref, Names, 0) end),
    Me = self(),
    [spawn_link(fun() -> Me ! {sent, send_many(Ref, Names, PerSender, {0, 0})} end)
     || _ <- lists:seq(1, Senders)],
    Results = [receive {sent, R} -> R end || _ <- lists:seq(1, Senders)],
    Killer ! {stop, self()},
    Kills = receive {killed, N} -> N end,
    ok = ?B:flush_batch(Ref),
    settled(Ref),
    Accepted = lists:sum([A || {A, _} <- Results]),
    Refused = lists:sum([O || {_, O} <- Results]),
    Stats = ?B:stats(Ref),
    ct:pal("~p kills, ~p", [Kills, Stats]),
    ?assertEqual(Senders * PerSender, Accepted + Refused),
    ?assertMatch(#{accepted := Accepted, overloaded := Refused, pending := 0}, Stats),
    #{delivered := Delivered, undelivered := Given} = Stats,
    ?assertEqual(Accepted, Delivered + Given),
    %% And what the receivers and the callback saw is what was counted.
    ?assertEqual(Delivered, counters:get(Acked, 1)),
    ?assertEqual(Given, counters:get(Undelivered, 1)),
    ?assert(Kills > 10),
    ?assert(Given > 0),
    ?assert(Delivered > Accepted div 10),
    [unlink(K) || K <- Keepers],
    [exit(K, kill) || K <- Keepers],
    ok = ?B:stop(Ref).

send_many(_, _, 0, Result) ->
    Result;
send_many(Ref, Names, N, {Accepted, Refused}) ->
    Dest = lists:nth(rand:uniform(length(Names)), Names),
    case ?B:send_message(Ref, Dest, {message, N, self()}) of
        ok -> send_many(Ref, Names, N - 1, {Accepted + 1, Refused});
        {error, overloaded} ->
            %% Let the others work, as a caller would.
            erlang:yield(),
            send_many(Ref, Names, N - 1, {Accepted, Refused + 1})
    end.

%% A destination that comes back under its name each time it is killed.
keep_alive(Name, Acked) ->
    process_flag(trap_exit, true),
    Pid = spawn_link(fun() -> true = register(Name, self()), receiver(Acked) end),
    receive {'EXIT', Pid, _} -> keep_alive(Name, Acked) end.

receiver(Acked) ->
    receive
        {erlmcp_flow_batch, _, _} = Batch ->
            %% Counted only if this process is the one that ends the batch. An exit
            %% signal arrives between the two only if they are not one step.
            ack(Batch, Acked),
            receiver(Acked)
    end.

%% In a process that is not killed, so that the count is of acknowledgements.
ack(Batch, Acked) ->
    {Pid, Mon} = spawn_monitor(fun() ->
        case ?B:ack(Batch) of
            ok -> counters:add(Acked, 1, length(?B:messages(Batch)));
            {error, unknown} -> ok
        end
    end),
    receive {'DOWN', Mon, process, Pid, _} -> ok end.

killer(Ref, Names, Kills) ->
    receive
        {stop, From} -> From ! {killed, Kills}
    after 3 ->
        case whereis(lists:nth(rand:uniform(length(Names)), Names)) of
            undefined -> killer(Ref, Names, Kills);
            Pid -> exit(Pid, kill), killer(Ref, Names, Kills + 1)
        end
    end.

settled(Ref) ->
    wait(fun() -> maps:get(pending, ?B:stats(Ref)) =:= 0 end).

wait(Fun) -> wait(Fun, 4000).
wait(_, 0) -> error(timeout);
wait(Fun, N) ->
    case Fun() of
        true -> ok;
        false -> receive after 5 -> wait(Fun, N - 1) end
    end.

%%% Over a long life

no_leak(_Config) ->
    Cycle = fun(I) ->
        {ok, Ref} = ?B:start_link(#{name => batch_suite_cycle}),
        ok = ?B:send_message(Ref, self(), I),
        S = ?B:share_state(Ref, I, I),
        {ok, I} = ?B:read_shared_state(S),
        %% Some end well, some are killed in the middle.
        case I rem 4 of
            0 ->
                exit(Ref, kill),
                receive {'EXIT', Ref, killed} -> ok end;
            _ ->
                ok = ?B:stop(Ref),
                receive {'EXIT', Ref, normal} -> ok end
        end,
        receive {erlmcp_flow_batch, _} -> ok after 0 -> ok end
    end,
    %% Loads all modules that the rest uses.
    lists:foreach(Cycle, lists:seq(1, 100)),
    ct:pal("~p", [held()]),
    Before = held(),
    lists:foreach(Cycle, lists:seq(1, 1000)),
    wait(fun() -> length(processes()) =< maps:get(processes, Before) end),
    After = held(),
    ct:pal("~p~n~p", [Before, After]),
    [?assert(maps:get(K, After) =< maps:get(K, Before))
     || K <- [processes, tables, atoms, persistent]],
    %% 1000 environments alone would be 1 MB.
    ?assert(maps:get(memory, After) - maps:get(memory, Before) < 1_000_000).

held() ->
    [garbage_collect(P) || P <- processes()],
    #{processes => length(processes()), tables => length(ets:all()),
      atoms => erlang:system_info(atom_count),
      persistent => maps:get(count, persistent_term:info()),
      memory => erlang:memory(total)}.

%% A state of 1 MB for 60 agents that each look at a part of it.
fan_out(_Config) ->
    {ok, Ref} = ?B:start_link(#{}),
    %% No literals in it: those are not copied when sent.
    State = binary_to_term(term_to_binary(maps:from_list(
        [{{agent, I}, #{id => I, history => lists:duplicate(250, {step, I, "some text"})}}
         || I <- lists:seq(1, 60)]))),
    Bytes = erts_debug:flat_size(State) * erlang:system_info(wordsize),
    ct:pal("state: ~p bytes", [Bytes]),
    ?assert(Bytes > 1_000_000),
    Sent = fan_out(fun(_I) -> State end, fun(S) -> S end),
    Before = erlang:memory(total),
    S = ?B:share_state(Ref, state, State),
    Once = max(0, erlang:memory(total) - Before),
    Shared = fan_out(fun(_) -> S end, fun(R) -> R end),
    Part = fan_out(fun(_) -> S end,
                   fun(R) -> {ok, V} = ?B:read_shared_state(R, [{agent, 1}, id]), V end),
    Whole = fan_out(fun(_) -> S end, fun(R) -> {ok, V} = ?B:read_shared_state(R), V end),
    ct:pal("bytes in 60 agents: sent ~p; shared ~p, stored once ~p; after reading a part "
           "~p; after reading all ~p", [Sent, Shared, Once, Part, Whole]),
    ?assert(Sent >= 60 * Bytes),
    ?assert(Shared + Once =< Sent div 10),
    ?assert(Part + Once =< Sent div 10),
    %% No miracle: whoever reads all of it has a copy of all of it.
    ?assert(Whole >= 60 * Bytes),
    ok = ?B:stop(Ref).

%% What 60 processes take more than before once each has got and used its message.
fan_out(Message, Use) ->
    Me = self(),
    Agents = [spawn_link(fun() ->
        receive {state, M} -> Kept = Use(M), Me ! {self(), ready},
                              receive stop -> Kept end end
    end) || _ <- lists:seq(1, 60)],
    Before = memory(Agents),
    [A ! {state, Message(I)} || {I, A} <- lists:enumerate(Agents)],
    [receive {A, ready} -> ok end || A <- Agents],
    After = memory(Agents),
    [begin unlink(A), exit(A, kill) end || A <- Agents],
    After - Before.

memory(Pids) ->
    lists:sum([element(2, process_info(P, memory)) || P <- Pids]).

%% A process that the machine itself did not run for 5 ms counts as long too, so on
%% a busy machine one of three rounds has to be clean; work of ours that is too long
%% would show in each.
schedulers_stay_free(_Config) ->
    Rounds = [long_schedules() || _ <- lists:seq(1, 3)],
    ct:pal("~p", [Rounds]),
    ?assert(lists:member([], Rounds)).

long_schedules() ->
    Me = self(),
    Receivers = [spawn_link(fun() -> drain(Me, 10_000) end) || _ <- lists:seq(1, 20)],
    {ok, Ref} = ?B:start_link(#{batch_size => 1000, max_pending => 2_000_000}),
    Watcher = spawn_link(fun() -> watch([]) end),
    _ = erlang:system_monitor(Watcher, [{long_schedule, 5}]),
    Message = binary_to_term(term_to_binary(#{id => 1, agent => <<"agent-17">>, args => [1, 2]})),
    %% Without garbage of its own: a long collection would count as ours.
    Send = fun() -> repeat(5000, fun() ->
        lists:foreach(fun(R) -> ok = ?B:send_message(Ref, R, Message) end, Receivers)
    end) end,
    [spawn_link(fun() -> Send(), Me ! sent end) || _ <- lists:seq(1, 2)],
    [receive sent -> ok end || _ <- lists:seq(1, 2)],
    ok = ?B:flush_batch(Ref),
    [receive {R, drained} -> ok end || R <- Receivers],
    %% And undelivered ones, which go another way.
    [begin unlink(R), exit(R, kill) end || R <- Receivers],
    ok = ?B:send_batch(Ref, hd(Receivers), lists:duplicate(50_000, Message)),
    ok = ?B:stop(Ref),
    _ = erlang:system_monitor(undefined),
    Watcher ! {get, self()},
    Events = receive {events, E} -> E end,
    [Event || Event <- Events, ours(Event)].

repeat(0, _) -> ok;
repeat(N, Fun) -> Fun(), repeat(N - 1, Fun).

ours({_Pid, Info}) ->
    lists:any(fun({_, {erlmcp_flow_nif, _, _}}) -> true; (_) -> false end, Info).

watch(Events) ->
    receive
        {monitor, Pid, long_schedule, Info} -> watch([{Pid, Info} | Events]);
        {get, From} -> From ! {events, Events}
    end.

drain(Parent, 0) -> Parent ! {self(), drained}, receive never -> ok end;
drain(Parent, N) ->
    receive {erlmcp_flow_batch, _} = Batch -> drain(Parent, N - length(?B:messages(Batch))) end.

%%% Two nodes

with_node(Fun) ->
    Paths = [P || P <- code:get_path(), P =/= "."],
    {ok, Peer, Node} = peer:start_link(#{name => peer:random_name(), host => "127.0.0.1",
                                         longnames => true,
                                         args => lists:append([["-pa", P] || P <- Paths])}),
    try Fun(Peer, Node) after catch peer:stop(Peer) end.

%% A process on the other node that sends back what it gets.
echo(Node) ->
    Me = self(),
    Pid = spawn(Node, ?MODULE, echo_loop, [Me]),
    %% Only once the module is loaded there.
    receive {Pid, ready} -> Pid end.

echo_loop(To) ->
    To ! {self(), ready},
    echo_forever(To).

echo_forever(To) ->
    receive Message -> To ! {self(), Message}, echo_forever(To) end.

collect(_, 0, Acc) -> lists:append(lists:reverse(Acc));
collect(Pid, N, Acc) ->
    receive {Pid, Batch} when element(1, Batch) =:= erlmcp_flow_batch ->
        Messages = ?B:messages(Batch),
        collect(Pid, N - length(Messages), [Messages | Acc])
    after 10_000 -> error({missing, N})
    end.

two_nodes(_Config) ->
    with_node(fun(_, Node) ->
        {ok, Ref} = ?B:start_link(#{}),
        Pid = echo(Node),
        [ok = ?B:send_message(Ref, Pid, I) || I <- lists:seq(1, 2345)],
        ?assertEqual(lists:seq(1, 2345), collect(Pid, 2345, [])),
        ok = ?B:send_batch(Ref, Pid, lists:seq(1, 777)),
        ?assertEqual(lists:seq(1, 777), collect(Pid, 777, [])),
        true = rpc:call(Node, erlang, register, [batch_suite_name, Pid]),
        ok = ?B:send_message(Ref, {batch_suite_name, Node}, named),
        ok = ?B:flush_batch(Ref),
        ?assertEqual([named], collect(Pid, 1, [])),
        ?assertMatch(#{accepted := 3123, delivered := 3123, pending := 0}, ?B:stats(Ref)),
        ok = ?B:stop(Ref)
    end).

two_nodes_compressed(_Config) ->
    with_node(fun(_, Node) ->
        {ok, Ref} = ?B:start_link(#{compress => auto}),
        Pid = echo(Node),
        ok = ?B:send_message(Ref, Pid, small),
        ok = ?B:flush_batch(Ref),
        receive {Pid, B1} -> ?assertEqual({erlmcp_flow_batch, [small]}, B1) end,
        Messages = [#{id => I, method => <<"tools/call">>} || I <- lists:seq(1, 100)],
        ok = ?B:send_batch(Ref, Pid, Messages),
        receive {Pid, B2} ->
            ?assertMatch({erlmcp_flow_batch, Packed} when is_binary(Packed), B2),
            ?assertEqual(Messages, ?B:messages(B2))
        end,
        Random = [crypto:strong_rand_bytes(100) || _ <- lists:seq(1, 100)],
        ok = ?B:send_batch(Ref, Pid, Random),
        receive {Pid, B3} -> ?assertEqual({erlmcp_flow_batch, Random}, B3) end,
        ok = ?B:stop(Ref)
    end).

two_nodes_acked(_Config) ->
    with_node(fun(Peer, Node) ->
        Me = self(),
        Callback = fun(D, M, R) -> Me ! {undelivered, D, M, R} end,
        {ok, Ref} = ?B:start_link(#{delivery => acked, undelivered => Callback,
                                    batch_size => 2}),
        Pid = echo(Node),
        ok = ?B:send_batch(Ref, Pid, [1, 2]),
        Batch = receive {Pid, B} -> B end,
        ?assertEqual(ok, rpc:call(Node, ?B, ack, [Batch])),
        ?assertMatch(#{delivered := 2, pending := 0}, ?B:stats(Ref)),
        ok = ?B:send_batch(Ref, Pid, [3, 4]),
        receive {Pid, _} -> ok end,
        peer:stop(Peer),
        [receive {undelivered, Pid, I, {down, noconnection}} -> ok end || I <- [3, 4]],
        settled(Ref),
        ?assertMatch(#{delivered := 2, undelivered := 2}, ?B:stats(Ref)),
        ok = ?B:stop(Ref)
    end).

remote_dead_pid(_Config) ->
    with_node(fun(_, Node) ->
        Me = self(),
        {ok, Ref} = ?B:start_link(#{undelivered => fun(_, M, R) -> Me ! {M, R} end}),
        Pid = echo(Node),
        ok = ?B:send_message(Ref, Pid, first),
        ok = ?B:flush_batch(Ref),
        [first] = collect(Pid, 1, []),
        exit(Pid, kill),
        wait(fun() ->
            %% Found out when the news of its death arrives.
            ok = ?B:send_message(Ref, Pid, late),
            ok = ?B:flush_batch(Ref),
            receive {late, noproc} -> true after 0 -> false end
        end),
        ok = ?B:stop(Ref)
    end).

%% The connection is lost: messages go to `undelivered', and through again once
%% the node is back.
node_killed(_Config) ->
    Name = peer:random_name(),
    Start = fun() ->
        {ok, Peer, Node} = peer:start_link(
            #{name => Name, host => "127.0.0.1", longnames => true,
              connection => standard_io,
              args => lists:append([["-pa", P] || P <- code:get_path(), P =/= "."])}),
        {Peer, Node}
    end,
    Me = self(),
    {ok, Ref} = ?B:start_link(#{undelivered => fun(D, M, R) -> Me ! {undelivered, D, M, R} end}),
    {Peer1, Node} = Start(),
    Dest = {batch_suite_echo, Node},
    {_, Pid1} = {ok, echo(Node)},
    true = erpc:call(Node, erlang, register, [batch_suite_echo, Pid1]),
    ok = ?B:send_message(Ref, Dest, one),
    [one] = collect(Pid1, 1, []),
    monitor_node(Node, true),
    peer:stop(Peer1),
    receive {nodedown, Node} -> ok end,
    ok = ?B:send_batch(Ref, Dest, [two, three]),
    [receive {undelivered, Dest, M, noconnection} -> ok end || M <- [two, three]],
    settled(Ref),
    ?assertMatch(#{accepted := 3, delivered := 1, undelivered := 2}, ?B:stats(Ref)),
    {Peer2, Node} = Start(),
    pong = net_adm:ping(Node),
    Pid2 = echo(Node),
    true = erpc:call(Node, erlang, register, [batch_suite_echo, Pid2]),
    ok = ?B:send_message(Ref, Dest, four),
    [four] = collect(Pid2, 1, []),
    peer:stop(Peer2),
    ok = ?B:stop(Ref).

%% A node that does not answer (its process is stopped) has a lane of its own.
node_unreachable_holds_up_nobody(_Config) ->
    with_node(fun(_, Node) ->
        {ok, Ref} = ?B:start_link(#{batch_timeout => 5}),
        Pid = echo(Node),
        OsPid = erpc:call(Node, os, getpid, []),
        [] = os:cmd("kill -STOP " ++ OsPid),
        %% Fill its connection's buffer until the lane waits.
        Large = binary:copy(<<"x">>, 100_000),
        [ok = ?B:send_message(Ref, Pid, Large) || _ <- lists:seq(1, 1000)],
        [begin
             ok = ?B:send_message(Ref, self(), I),
             receive {erlmcp_flow_batch, [I]} -> ok after 2000 -> error(held_up) end
         end || I <- lists:seq(1, 20)],
        [] = os:cmd("kill -CONT " ++ OsPid),
        ?assertEqual(1000, length(collect(Pid, 1000, []))),
        ok = ?B:stop(Ref)
    end).
