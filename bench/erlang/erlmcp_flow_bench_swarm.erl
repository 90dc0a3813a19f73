%% @private
%% @doc Senders and agents (receivers): real messages from N senders to M agents,
%% by plain `!' or through the batch processor, on this node or to another. Each
%% agent checks what it gets: the count, the order of each sender, and the content.
-module(erlmcp_flow_bench_swarm).

-export([run/1]).
-export([agent/6]).
-export_type([spec/0, via/0]).

-type via() ::
    plain                            %% Dest ! Message
    | {lists, pos_integer()}         %% Dest ! [Message], batched by hand
    | {batch, Opts :: map()}         %% erlmcp_flow_batch_processor:send_message/3
    | {batch_lists, pos_integer(), Opts :: map()}. %% send_batch/3 of lists
-type spec() :: #{
    via := via(),
    agents := pos_integer(),
    senders := pos_integer(),
    messages := pos_integer(),       %% altogether
    payload := binary(),             %% external term format of the list of messages
    node => node()                   %% where the agents live
}.

%% An agent compares the whole content of one message in so many; of the others
%% it checks sender and number.
-define(COMPARE_EVERY, 64).
%% Nothing arrives for so long (ms): what is missing is lost.
-define(PATIENCE, 10000).

%% @doc Sends it all and waits until every agent has all of its messages.
%% `msg_per_s' counts from the first send to the last agent's last message.
-spec run(spec()) -> erlmcp_flow_bench_engine:outcome().
run(Spec = #{agents := Agents, senders := Senders, messages := Messages}) ->
    Each = Messages div Senders,
    Node = maps:get(node, Spec, node()),
    Payload = maps:get(payload, Spec),
    Pids = [spawn_link(Node, ?MODULE, agent,
                       [self(), Payload, Senders, I, Agents, expected(I, Agents, Each) * Senders])
            || I <- lists:seq(0, Agents - 1)],
    Via = open(maps:get(via, Spec)),
    try
        Self = self(),
        Dests = list_to_tuple(Pids),
        Sending = [spawn_link(fun() -> sender(Self, S, Each, Dests, Payload, Via) end)
                   || S <- lists:seq(1, Senders)],
        ok = all(Pids ++ Sending, ready),
        T0 = erlang:monotonic_time(),
        lists:foreach(fun(P) -> P ! go end, Sending),
        Refused = lists:sum([receive {sent, P, N} -> N end || P <- Sending]),
        case done(Pids, 0) of
            {ok, Last} ->
                Ns = erlang:convert_time_unit(Last - T0, native, nanosecond),
                {ok, #{msg_per_s => Each * Senders * 1.0e9 / Ns, ms => Ns / 1.0e6,
                       overloaded => Refused}};
            {error, _} = Error ->
                Error
        end
    after
        close(Via),
        lists:foreach(fun(P) -> unlink(P), exit(P, kill) end, Pids)
    end.

%% How many of the numbers 0..Each-1 fall to agent I when they go round.
expected(I, Agents, Each) ->
    (Each - I + Agents - 1) div Agents.

all(Pids, Tag) ->
    lists:foreach(fun(P) -> receive {Tag, P} -> ok end end, Pids).

open({batch, Opts}) -> {batch, instance(Opts)};
open({batch_lists, N, Opts}) -> {batch_lists, N, instance(Opts)};
open(Via) -> Via.

instance(Opts) ->
    {ok, Ref} = erlmcp_flow_batch_processor:start_link(Opts),
    Ref.

close({batch, Ref}) -> stop(Ref);
close({batch_lists, _, Ref}) -> stop(Ref);
close(_) -> ok.

stop(Ref) ->
    _ = erlmcp_flow_batch_processor:stop(Ref),
    ok.

%% Waits for the agents; the time of the last one's last message, as seen here.
done([], Last) ->
    {ok, Last};
done(Pids, _Last) ->
    receive
        {done, P} -> done(lists:delete(P, Pids), erlang:monotonic_time());
        {wrong, P, What} -> {error, {wrong_message, P, What}}
    after ?PATIENCE ->
        Missing = [receive {left, P, N} -> N after 1000 -> unknown end
                   || P <- Pids, _ <- [P ! {left, self()}]],
        {error, {messages_missing, Missing}}
    end.

%% -- the sender ----------------------------------------------------------

%% The messages are decoded here, so that each send copies a term of the sender's
%% own heap, as it would in real life (a literal would not be copied).
sender(Parent, S, Each, Dests, Payload, Via) ->
    Messages = list_to_tuple(binary_to_term(Payload)),
    Parent ! {ready, self()},
    receive go -> ok end,
    Refused = case Via of
        plain -> plain(S, 0, Each, 1, Dests, 1, Messages);
        {batch, Ref} ->
            N = batched(Ref, S, 0, Each, 1, Dests, 1, Messages, 0),
            ok = erlmcp_flow_batch_processor:flush_batch(Ref),
            N;
        {lists, Size} ->
            in_lists(fun(Dest, L) -> Dest ! L, 0 end, Size, S, Each, Dests, Messages);
        {batch_lists, Size, Ref} ->
            Send = fun(Dest, L) -> send_list(Ref, Dest, L, 0) end,
            N = in_lists(Send, Size, S, Each, Dests, Messages),
            ok = erlmcp_flow_batch_processor:flush_batch(Ref),
            N
    end,
    Parent ! {sent, self(), Refused}.

plain(_S, Each, Each, _D, _Dests, _M, _Messages) ->
    0;
plain(S, I, Each, D, Dests, M, Messages) ->
    element(D, Dests) ! {S, I, element(M, Messages)},
    plain(S, I + 1, Each, next(D, Dests), Dests, next(M, Messages), Messages).

batched(_Ref, _S, Each, Each, _D, _Dests, _M, _Messages, Refused) ->
    Refused;
batched(Ref, S, I, Each, D, Dests, M, Messages, Refused) ->
    N = send_one(Ref, element(D, Dests), {S, I, element(M, Messages)}, 0),
    batched(Ref, S, I + 1, Each, next(D, Dests), Dests, next(M, Messages), Messages,
            Refused + N).

%% Refused means: slow down and try again. The count says how often.
send_one(Ref, Dest, Message, Refused) ->
    case erlmcp_flow_batch_processor:send_message(Ref, Dest, Message) of
        ok -> Refused;
        {error, overloaded} -> back_off(Refused), send_one(Ref, Dest, Message, Refused + 1)
    end.

send_list(Ref, Dest, List, Refused) ->
    case erlmcp_flow_batch_processor:send_batch(Ref, Dest, List) of
        ok -> Refused;
        {error, overloaded} -> back_off(Refused), send_list(Ref, Dest, List, Refused + 1)
    end.

back_off(Tries) when Tries < 100 -> erlang:yield();
back_off(_Tries) -> receive after 1 -> ok end.

%% A list of Size messages for each agent in turn, every agent's numbers going up
%% as they do one by one: agent D gets D, D + Agents, D + 2 * Agents ...
in_lists(Send, Size, S, Each, Dests, Messages) ->
    in_lists(Send, Size, S, 0, Each, Dests, Messages, 0).

in_lists(_Send, _Size, _S, Base, Each, _Dests, _Messages, Refused) when Base >= Each ->
    Refused;
in_lists(Send, Size, S, Base, Each, Dests, Messages, Refused0) ->
    Agents = tuple_size(Dests),
    End = min(Each, Base + Size * Agents),
    Refused = lists:foldl(
        fun(D, Acc) ->
            case list_for(S, Base + D - 1, End, Agents, Messages) of
                [] -> Acc;
                List -> Acc + Send(element(D, Dests), List)
            end
        end, Refused0, lists:seq(1, Agents)),
    in_lists(Send, Size, S, End, Each, Dests, Messages, Refused).

list_for(_S, I, End, _Step, _Messages) when I >= End ->
    [];
list_for(S, I, End, Step, Messages) ->
    [{S, I, element(I rem tuple_size(Messages) + 1, Messages)}
     | list_for(S, I + Step, End, Step, Messages)].

next(I, Tuple) when I =:= tuple_size(Tuple) -> 1;
next(I, _Tuple) -> I + 1.

%% -- the agent -----------------------------------------------------------

%% @private
-spec agent(pid(), binary(), pos_integer(), non_neg_integer(), pos_integer(),
            non_neg_integer()) -> ok.
agent(Parent, Payload, Senders, I, Agents, Expected) ->
    Messages = list_to_tuple(binary_to_term(Payload)),
    Parent ! {ready, self()},
    %% The number that has to come next from each sender.
    agent_loop(Parent, Messages, Agents, erlang:make_tuple(Senders, I), Expected).

agent_loop(Parent, _Messages, _Agents, _Next, 0) ->
    Parent ! {done, self()},
    ok;
agent_loop(Parent, Messages, Agents, Next, Left) ->
    receive
        {erlmcp_flow_batch, List} ->
            agent_list(List, Parent, Messages, Agents, Next, Left);
        [_ | _] = List ->
            agent_list(List, Parent, Messages, Agents, Next, Left);
        {left, From} ->
            From ! {left, self(), Left},
            agent_loop(Parent, Messages, Agents, Next, Left);
        Message ->
            agent_list([Message], Parent, Messages, Agents, Next, Left)
    end.

agent_list([], Parent, Messages, Agents, Next, Left) ->
    agent_loop(Parent, Messages, Agents, Next, Left);
agent_list([{S, I, M} | Rest], Parent, Messages, Agents, Next, Left)
        when Left > 0, element(S, Next) =:= I, is_map(M) ->
    case I rem ?COMPARE_EVERY =/= 0 orelse M =:= sent(I, Messages) of
        true ->
            agent_list(Rest, Parent, Messages, Agents, setelement(S, Next, I + Agents),
                       Left - 1);
        false ->
            Parent ! {wrong, self(), {content, S, I}},
            ok
    end;
agent_list([{S, I, _} | _], Parent, _Messages, _Agents, Next, Left) ->
    Parent ! {wrong, self(), #{sender => S, got => I, left => Left, expected => Next}},
    ok;
agent_list([Other | _], Parent, _Messages, _Agents, _Next, _Left) ->
    Parent ! {wrong, self(), {unknown, Other}},
    ok.

sent(I, Messages) ->
    element(I rem tuple_size(Messages) + 1, Messages).
