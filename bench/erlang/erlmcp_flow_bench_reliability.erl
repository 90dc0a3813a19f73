%% @doc Reliability: messages while their destinations die and come back, and what
%% is not built yet.
-module(erlmcp_flow_bench_reliability).

-export([run/0, run_all/0, probes/1]).

-define(B, erlmcp_flow_batch_processor).
-define(SENDERS, 10).
%% A refused message is tried again so often before `overloaded' is its outcome.
-define(TRIES, 50).
%% No message came to an end for so long (ms): what is missing is lost. Plain
%% messages are in a mailbox at once, there is nothing to wait for but the readers.
-define(PATIENCE, 5000).
-define(PLAIN_PATIENCE, 500).

%% @doc The message probes alone, with the default options; prints its lines and
%% returns the results.
-spec run() -> erlmcp_flow_bench:results().
run() ->
    erlmcp_flow_bench:run(#{only => <<"reliability.message">>}, [reliability]).

%% @doc Everything of this group.
-spec run_all() -> erlmcp_flow_bench:results().
run_all() ->
    erlmcp_flow_bench:run(#{}, [reliability]).

%% @private
-spec probes(map()) -> [erlmcp_flow_bench_engine:probe()].
probes(Ctx) ->
    [deaths(Ctx) | erlmcp_flow_bench_later:probes(reliability)].

deaths(#{agents := Agents, mortal := Messages, death_every_ms := Every,
         data := #{terms := Terms}}) ->
    Spec = #{agents => Agents, messages => Messages, every => Every,
             payload => term_to_binary(Terms)},
    Id = <<"reliability.message">>,
    Metric = #{better => lower, rival => <<"plain !">>, ratio => none},
    #{id => Id, group => reliability,
      section => text("Reliability: ~b senders, ~b messages, destinations die and come back",
                      [?SENDERS, Messages]),
      label => <<"destinations that die">>, warmup => false, rounds => 3,
      needs => [{?B, start_link, 1}, {?B, send_message, 3}, {?B, ack, 1}],
      params => #{agents => Agents, messages => Messages, senders => ?SENDERS,
                  death_every_ms => Every},
      sides => fun(_) ->
          [{<<"batch_processor">>, fun() -> run(batch, Spec) end},
           {<<"plain !">>, fun() -> run(plain, Spec) end}]
      end,
      metrics => [
          Metric#{id => <<Id/binary, ".loss">>, name => <<"flow.reliability.loss_pct">>,
                  key => loss_pct, unit => pct, targets => [{value, '=<', 0}],
                  label => <<"accepted messages that are nowhere">>},
          Metric#{id => <<Id/binary, ".twice">>, key => twice, unit => count,
                  targets => [{value, '=<', 0}],
                  label => <<"messages with two outcomes">>},
          Metric#{id => <<Id/binary, ".delivered">>, key => delivered, unit => count,
                  better => higher, label => <<"delivered">>},
          Metric#{id => <<Id/binary, ".undelivered">>, key => undelivered, unit => count,
                  label => <<"handed to 'undelivered'">>},
          Metric#{id => <<Id/binary, ".refused">>, key => refused, unit => count,
                  label => <<"refused to the sender">>},
          Metric#{id => <<Id/binary, ".deaths">>, key => deaths, unit => count,
                  label => <<"destinations that died">>}]}.

%% Every message has a mark in each of three arrays, one for an outcome: it must
%% end with exactly one mark altogether.
run(Via, #{agents := Agents, messages := Messages, every := Every, payload := Payload}) ->
    Marks = #{delivered => atomics:new(Messages, []),
              undelivered => atomics:new(Messages, []),
              refused => atomics:new(Messages, [])},
    Total = atomics:new(1, []),
    Mark = fun(What, I) ->
        ok = atomics:add(maps:get(What, Marks), I, 1),
        ok = atomics:add(Total, 1, 1)
    end,
    Names = [list_to_atom("erlmcp_flow_bench_mortal_" ++ integer_to_list(I))
             || I <- lists:seq(1, Agents)],
    Keeper = keeper(Names, Mark, Every),
    {Send, Close} = sender(Via, Mark),
    try
        Each = Messages div ?SENDERS,
        Senders = [spawn_monitor(fun() ->
            Terms = list_to_tuple(binary_to_term(Payload)),
            send_all(S * Each + 1, (S + 1) * Each, list_to_tuple(Names), Terms, Send, Mark)
        end) || S <- lists:seq(0, ?SENDERS - 1)],
        Ends = [receive {'DOWN', M, process, P, Why} -> Why end || {P, M} <- Senders],
        Deaths = stop_deaths(Keeper),
        settle(Total, Each * ?SENDERS, patience(Via)),
        case [Why || Why <- Ends, Why =/= normal] of
            [] when Deaths =:= 0 -> {error, nobody_died};
            [] -> {ok, (account(Marks, Each * ?SENDERS))#{deaths => Deaths}};
            [Why | _] -> {error, {sender, Why}}
        end
    after
        Close(),
        end_keeper(Keeper)
    end.

sender(plain, _Mark) ->
    {fun(Name, Message) ->
         try Name ! Message, ok catch error:badarg -> {error, nobody} end
     end, fun() -> ok end};
sender(batch, Mark) ->
    {ok, Ref} = ?B:start_link(#{
        delivery => acked,
        undelivered => fun(_Dest, {I, _}, _Why) -> Mark(undelivered, I) end}),
    {fun(Name, Message) -> ?B:send_message(Ref, Name, Message) end,
     fun() -> ?B:stop(Ref) end}.

send_all(I, Last, _Names, _Terms, _Send, _Mark) when I > Last ->
    ok;
send_all(I, Last, Names, Terms, Send, Mark) ->
    Name = element(I rem tuple_size(Names) + 1, Names),
    case try_send(Send, Name, {I, element(I rem tuple_size(Terms) + 1, Terms)}, ?TRIES) of
        ok -> ok;
        {error, _} -> Mark(refused, I)
    end,
    send_all(I + 1, Last, Names, Terms, Send, Mark).

try_send(Send, Name, Message, Tries) ->
    case Send(Name, Message) of
        {error, overloaded} when Tries > 0 ->
            receive after 1 -> ok end,
            try_send(Send, Name, Message, Tries - 1);
        Answer -> Answer
    end.

patience(plain) -> ?PLAIN_PATIENCE;
patience(batch) -> ?PATIENCE.

%% Waits until every message has an outcome, or nothing moves any more.
settle(Total, Messages, Patience) ->
    settle(Total, Messages, Patience, -1, erlang:monotonic_time(millisecond)).

settle(Total, Messages, Patience, Before, Since) ->
    Now = erlang:monotonic_time(millisecond),
    case atomics:get(Total, 1) of
        Enough when Enough >= Messages -> ok;
        Before when Now - Since > Patience -> ok;
        Before -> receive after 5 -> settle(Total, Messages, Patience, Before, Since) end;
        More -> settle(Total, Messages, Patience, More, Now)
    end.

account(#{delivered := D, undelivered := U, refused := R}, Messages) ->
    Zero = #{delivered => 0, undelivered => 0, refused => 0, lost => 0, twice => 0},
    Sums = lists:foldl(
        fun(I, Acc) ->
            case {atomics:get(D, I), atomics:get(U, I), atomics:get(R, I)} of
                {1, 0, 0} -> one_more(delivered, Acc);
                {0, 1, 0} -> one_more(undelivered, Acc);
                {0, 0, 1} -> one_more(refused, Acc);
                {0, 0, 0} -> one_more(lost, Acc);
                _ -> one_more(twice, Acc)
            end
        end, Zero, lists:seq(1, Messages)),
    #{lost := Lost, refused := Refused} = Sums,
    Sums#{loss_pct => 100 * Lost / max(1, Messages - Refused)}.

one_more(What, Acc) -> maps:update_with(What, fun(N) -> N + 1 end, Acc).

%% -- destinations --------------------------------------------------------

%% Starts the destinations and lets one die now and then; the dead come back a
%% little later, under the same name.
keeper(Names, Mark, Every) ->
    Self = self(),
    Pid = spawn_link(fun() ->
        process_flag(trap_exit, true),
        %% Deaths must come on time however busy the senders are.
        process_flag(priority, high),
        lists:foreach(fun(N) -> start(N, Mark) end, Names),
        Self ! {ready, self()},
        keep(list_to_tuple(Names), Mark, Every, [], 0)
    end),
    receive {ready, Pid} -> Pid end.

keep(Names, Mark, Every, Dead, Deaths) ->
    receive
        {stop_deaths, From} ->
            lists:foreach(fun(N) -> start(N, Mark) end, Dead),
            From ! {deaths, self(), Deaths},
            receive stop -> end_all(tuple_to_list(Names)) end
    after Every ->
        lists:foreach(fun(N) -> start(N, Mark) end, Dead),
        Name = element(rand:uniform(tuple_size(Names)), Names),
        Pid = whereis(Name),
        Pid ! die,
        receive {'EXIT', Pid, _} -> ok end,
        keep(Names, Mark, Every, [Name], Deaths + 1)
    end.

start(Name, Mark) ->
    Self = self(),
    Pid = spawn_link(fun() ->
        true = register(Name, self()),
        Self ! {up, self()},
        mortal(Mark)
    end),
    receive {up, Pid} -> ok end.

%% Dies between two messages, never in the middle of one: what it marked it also
%% acknowledged, so that a second delivery is the batch processor's doing. All
%% that is in its mailbox then dies with it.
mortal(Mark) ->
    receive
        die -> ok;
        {erlmcp_flow_batch, Ack, Messages} ->
            lists:foreach(fun({I, M}) when is_map(M) -> Mark(delivered, I) end, Messages),
            _ = ?B:ack(Ack),
            mortal(Mark);
        {I, M} when is_map(M) ->
            Mark(delivered, I),
            mortal(Mark)
    end.

stop_deaths(Keeper) ->
    Keeper ! {stop_deaths, self()},
    receive {deaths, Keeper, N} -> N end.

%% The names must be free again before the next sample takes them.
end_keeper(Keeper) ->
    Mon = monitor(process, Keeper),
    unlink(Keeper),
    Keeper ! stop,
    receive {'DOWN', Mon, process, Keeper, _} -> ok
    after ?PATIENCE -> exit(Keeper, kill)
    end.

end_all(Names) ->
    Pids = [P || N <- Names, P <- [whereis(N)], is_pid(P)],
    lists:foreach(fun(P) -> exit(P, kill) end, Pids),
    lists:foreach(fun(P) -> receive {'EXIT', P, _} -> ok end end, Pids).

text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
