%% @private
%% @doc Paced, open-loop load: message I is due at T0 + I / rate, whether or not the
%% ones before it have arrived, and its latency counts from when it was due. A
%% system that stalls so shows every message that should have been sent meanwhile
%% (no coordinated omission).
-module(erlmcp_flow_bench_pace).

-export([run/1]).
-export_type([spec/0]).

-type spec() :: #{
    via := plain | {batch, Opts :: map()},
    agents := pos_integer(),
    rate := pos_integer(),           %% messages a second
    ms := pos_integer(),             %% for how long
    payload := binary()
}.

%% Nothing arrives for so long (ms): what is missing is lost.
-define(PATIENCE, 10000).

%% @doc Milliseconds at the percentiles, and the distribution in nanoseconds.
-spec run(spec()) -> erlmcp_flow_bench_engine:outcome().
run(#{via := Via, agents := Agents, rate := Rate, ms := Ms, payload := Payload}) ->
    Messages = Rate * Ms div 1000,
    Hist = erlmcp_flow_histogram:new(),
    Self = self(),
    Pids = [spawn_link(fun() -> agent(Self, Hist, I, Agents, expected(I, Agents, Messages)) end)
            || I <- lists:seq(0, Agents - 1)],
    {Send, Close} = sender(Via),
    try
        Pacer = spawn_link(fun() ->
            Terms = list_to_tuple(binary_to_term(Payload)),
            %% What starting cost is not the first message's latency.
            T0 = erlang:monotonic_time(nanosecond) + 5000000,
            pace(0, Messages, T0, Rate, list_to_tuple(Pids), Terms, Send),
            Self ! {paced, self(), erlang:monotonic_time(nanosecond) - T0}
        end),
        Took = receive {paced, Pacer, Ns} -> Ns end,
        case done(Pids, Messages) of
            ok -> {ok, figures(Hist, Messages, Took), Hist};
            {error, _} = Error -> Error
        end
    after
        Close()
    end.

figures(Hist, Messages, Ns) ->
    At = fun(P) -> erlmcp_flow_histogram:percentile(Hist, P) / 1.0e6 end,
    #{p50 => At(50), p95 => At(95), p99 => At(99), p999 => At(99.9),
      max => erlmcp_flow_histogram:max(Hist) / 1.0e6,
      mean => erlmcp_flow_histogram:mean(Hist) / 1.0e6,
      msg_per_s => Messages * 1.0e9 / Ns}.

expected(I, Agents, Messages) ->
    (Messages - I + Agents - 1) div Agents.

sender(plain) ->
    {fun(Dest, Message) -> Dest ! Message, ok end, fun() -> ok end};
sender({batch, Opts}) ->
    {ok, Ref} = erlmcp_flow_batch_processor:start_link(Opts),
    {fun(Dest, Message) -> erlmcp_flow_batch_processor:send_message(Ref, Dest, Message) end,
     fun() -> erlmcp_flow_batch_processor:stop(Ref) end}.

%% Waits by yielding: a timer is too coarse for what is measured here.
pace(Messages, Messages, _T0, _Rate, _Dests, _Terms, _Send) ->
    ok;
pace(I, Messages, T0, Rate, Dests, Terms, Send) ->
    Due = T0 + I * 1000000000 div Rate,
    case erlang:monotonic_time(nanosecond) >= Due of
        true ->
            Dest = element(I rem tuple_size(Dests) + 1, Dests),
            deliver(Send, Dest, {I, Due, element(I rem tuple_size(Terms) + 1, Terms)}),
            pace(I + 1, Messages, T0, Rate, Dests, Terms, Send);
        false ->
            erlang:yield(),
            pace(I, Messages, T0, Rate, Dests, Terms, Send)
    end.

deliver(Send, Dest, Message) ->
    case Send(Dest, Message) of
        ok -> ok;
        {error, overloaded} -> erlang:yield(), deliver(Send, Dest, Message)
    end.

agent(Parent, _Hist, _Next, _Step, 0) ->
    Parent ! {done, self()};
agent(Parent, Hist, Next, Step, Left) ->
    receive
        {erlmcp_flow_batch, List} -> agent_list(List, Parent, Hist, Next, Step, Left);
        {left, From} ->
            From ! {left, self(), Left},
            agent(Parent, Hist, Next, Step, Left);
        Message -> agent_list([Message], Parent, Hist, Next, Step, Left)
    end.

agent_list([], Parent, Hist, Next, Step, Left) ->
    agent(Parent, Hist, Next, Step, Left);
agent_list([{I, Due, M} | Rest], Parent, Hist, I, Step, Left) when is_map(M) ->
    ok = erlmcp_flow_histogram:record(Hist, erlang:monotonic_time(nanosecond) - Due),
    agent_list(Rest, Parent, Hist, I + Step, Step, Left - 1);
agent_list([Other | _], Parent, _Hist, Next, _Step, _Left) ->
    Parent ! {wrong, self(), #{expected => Next, got => element(1, Other)}}.

done([], _Messages) ->
    ok;
done(Pids, Messages) ->
    receive
        {done, P} -> done(lists:delete(P, Pids), Messages);
        {wrong, P, What} -> {error, {wrong_message, P, What}}
    after ?PATIENCE ->
        Left = [receive {left, P, N} -> N after 1000 -> unknown end
                || P <- Pids, _ <- [P ! {left, self()}]],
        {error, {messages_missing, Left, of_all, Messages}}
    end.
