%% @private
%% @doc Drains one lane of a batch instance: the local destinations (mostly in
%% native code), the sink, or one other node. One process a node, so that a slow
%% connection or a node that does not answer holds up nobody else.
-module(erlmcp_flow_batch_lane).
-behaviour(gen_server).

-export([start_link/3, flush_all/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    buffer :: {native | twin, pid()},
    opts :: map(),
    lane :: non_neg_integer(),
    kind :: local | sink | {node, node()},
    sent :: ets:tid(),
    %% Receivers of other nodes and of unacknowledged batches.
    watched = #{} :: #{term() => reference()},
    %% Ids sent to a receiver, how many, and at how many to look which are left.
    open = #{} :: #{term() => {[pos_integer()], non_neg_integer(), pos_integer()}},
    %% What nobody took (the process for undelivered messages is being restarted).
    owed = [] :: [fun(() -> ok | stuck | unknown | not_running)],
    %% Pids of other nodes that are known to be gone.
    gone = #{} :: #{pid() => true},
    %% The other node is connected, and watched.
    up = false :: boolean(),
    %% No new attempt to connect before this time, ms.
    down_until :: undefined | integer()
}).

%% How long a node that could not be reached is taken as down, ms. Each attempt may
%% block for seconds.
-define(DOWN, 1000).
%% Waiting for the process that takes undelivered messages to be there again, ms.
-define(STUCK, 2).
%% Some twenty batches of 100 small messages; half a megabyte a node.
-define(HEAP_WORDS, 65_536).
%% Below this many bytes compression is not tried.
-define(COMPRESS_FROM, 1024).

-spec start_link(erlmcp_flow_batch_sup:context(), non_neg_integer(),
                 local | sink | {node, node()}) -> {ok, pid()} | {error, term()}.
start_link(Context, Lane, Kind) ->
    %% A batch is copied to this heap: where it does not fit, it would go to fragments
    %% first and be copied again by the collection that follows.
    Opts = case Kind of
        local -> [];
        _ -> [{spawn_opt, [{min_heap_size, ?HEAP_WORDS}]}]
    end,
    case gen_server:start_link(?MODULE, {Context, Lane, Kind}, Opts) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc Flushes all lanes of an instance.
-spec flush_all(atom() | pid()) -> ok.
flush_all(Ref) ->
    Horizon = erlmcp_flow_batch_buffer:horizon(Ref),
    case erlmcp_flow_batch_buffer:lanes(Ref) of
        [] -> exit({noproc, {erlmcp_flow_batch_processor, flush_batch, [Ref]}});
        Lanes -> lists:foreach(
            %% An instance without a sink.
            fun({1, [], undefined}) -> ok;
               ({Lane, _, _}) -> flush(Ref, Lane, Horizon)
            end, Lanes)
    end.

flush(Ref, Lane, Horizon) ->
    case lists:keyfind(Lane, 1, erlmcp_flow_batch_buffer:lanes(Ref)) of
        false ->
            ok;
        {Lane, _, Pid} ->
            try gen_server:call(Pid, {flush, Horizon}, infinity)
            catch
                exit:_ ->
                    %% It died or is not there yet. The supervisor answers after it
                    %% has dealt with that.
                    try supervisor:which_children(Ref) of
                        _ -> flush(Ref, Lane, Horizon)
                    catch
                        exit:_ -> ok
                    end
            end
    end.

-spec init({erlmcp_flow_batch_sup:context(), non_neg_integer(), local | sink | {node, node()}}) ->
    {ok, #state{}, 0}.
init({#{buffer := Buffer, opts := Opts, sent := Sent}, Lane, Kind}) ->
    process_flag(trap_exit, true),
    process_flag(message_queue_data, off_heap),
    %% Short and bounded work that others wait for.
    _ = [process_flag(priority, high) || direct(Buffer, Kind, Opts)],
    State = #state{buffer = Buffer, opts = Opts, lane = Lane, kind = Kind, sent = Sent},
    ok = erlmcp_flow_batch_buffer:attach(Buffer, Lane),
    {ok, watch_again(State), 0}.

direct({native, _}, local, #{deliver := batch, delivery := at_most_once}) -> true;
direct(_, _, _) -> false.

-spec handle_call({flush, non_neg_integer()}, term(), #state{}) ->
    {reply, ok, #state{}, timeout()}.
handle_call({flush, Horizon}, _From, State) ->
    State1 = flush(Horizon, State),
    answer(ok, run(State1)).

answer(Reply, {noreply, State, Timeout}) ->
    {reply, Reply, State, Timeout}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}, timeout()}.
handle_cast(_, State) ->
    run(State).

-spec handle_info(term(), #state{}) -> {noreply, #state{}, timeout()}.
handle_info({'DOWN', MonRef, process, _, Reason}, State) ->
    run(down(MonRef, Reason, State));
handle_info({nodedown, _}, State) ->
    run(State#state{up = false});
handle_info(_WakeOrTimeout, State) ->
    run(State).

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{opts = #{delivery := Delivery}} = State) ->
    Horizon = erlmcp_flow_batch_buffer:horizon(element(2, State#state.buffer)),
    State1 = flush(Horizon, State),
    case Delivery of
        acked -> give_up_all(State1);
        at_most_once -> ok
    end.

%% Nobody is left to acknowledge to.
give_up_all(#state{open = Open} = State) ->
    lists:foreach(
        fun({Ids, _, _}) ->
            lists:foreach(fun(Id) -> give_up(Id, stopped, State) end, Ids)
        end, maps:values(Open)).

%%% The loop

%% One round; the timeout is the time until the next batch is due.
run(#state{owed = [_ | _] = Owed} = State) ->
    case lists:dropwhile(fun(Give) -> Give() =/= stuck end, Owed) of
        [] -> run(State#state{owed = []});
        Left -> {noreply, State#state{owed = Left}, ?STUCK}
    end;
run(#state{buffer = Buffer, lane = Lane} = State) ->
    case erlmcp_flow_batch_buffer:poll(Buffer, Lane, 0) of
        %% Not a loop: calls have to be served in between.
        more -> erlang:yield(), {noreply, State, 0};
        in_hand -> {noreply, deliver(State), 0};
        stuck -> {noreply, State, ?STUCK};
        Timeout -> {noreply, State, Timeout}
    end.

%% All batches that were started before the horizon leave.
flush(Horizon, #state{buffer = Buffer, lane = Lane} = State) ->
    case erlmcp_flow_batch_buffer:collect(Buffer, Lane, Horizon) of
        more -> flush(Horizon, State);
        Appended -> drain(Appended, State)
    end.

drain(Target, #state{buffer = Buffer, lane = Lane} = State) ->
    case run(State) of
        {noreply, State1, 0} ->
            drain(Target, State1);
        {noreply, State1, ?STUCK} ->
            receive after ?STUCK -> drain(Target, State1) end;
        {noreply, State1, _} ->
            case erlmcp_flow_batch_buffer:mark(Buffer, Lane) of
                {_, Taken} when Taken < Target -> drain(Target, State1);
                _ -> State1
            end
    end.

%%% One batch in hand

deliver(#state{buffer = Buffer, lane = Lane} = State) ->
    case erlmcp_flow_batch_buffer:take(Buffer, Lane) of
        empty -> State;
        {Id, Dest, Messages} -> deliver(Id, Dest, Messages, State)
    end.

deliver(_Id, [], Messages, #state{opts = #{sink := Sink}} = State) ->
    case call_sink(Sink, Messages) of
        ok -> finish([], length(Messages), 0, State);
        {error, Reason} when tl(Messages) =:= [] ->
            finish([{[], Messages, {sink, Reason}}], 0, 0, State);
        {error, _} ->
            %% One by one, so that one bad message does not take the others along.
            Results = [{M, call_sink(Sink, [M])} || M <- Messages],
            Failed = [{[], [M], {sink, Reason}} || {M, {error, Reason}} <- Results],
            N = length(Messages),
            finish(Failed, N - length(Failed), N, State)
    end;
deliver(Id, Dest, Messages, #state{opts = #{delivery := acked}} = State) ->
    deliver_acked(Id, Dest, Messages, State);
deliver(_Id, Dest, Messages, State) ->
    N = length(Messages),
    case send(Dest, Messages, State) of
        {ok, State1} ->
            finish([], N, 0, State1);
        {{error, Reason}, State1} when is_atom(Dest), N > 1 ->
            %% The name may be taken again by now, or between two messages.
            {Failed, Retried} = one_by_one(Dest, Messages, Reason, State1),
            finish(Failed, N - length(Failed), Retried, State1);
        {{error, Reason}, State1} ->
            finish([{Dest, Messages, Reason}], 0, 0, State1)
    end.

one_by_one(Name, Messages, Reason, State) ->
    Failed = [{Name, [M], Reason} || M <- Messages, not sent_one(Name, M, State)],
    {Failed, length(Messages)}.

sent_one(Name, Message, State) ->
    case send(Name, [Message], State) of
        {ok, _} -> true;
        {{error, _}, _} -> false
    end.

call_sink(Sink, Messages) ->
    try Sink(Messages) of
        ok -> ok;
        {error, Reason} -> {error, Reason};
        Other -> {error, {bad_return, Other}}
    catch
        Class:Reason -> {error, {Class, Reason}}
    end.

%% The batch in hand is done with; what failed is handed on first, so that a kill in
%% between repeats it rather than loses it.
finish(Failed, Delivered, Retries, #state{buffer = Buffer, lane = Lane} = State) ->
    Gives = [fun() -> erlmcp_flow_batch_buffer:hand(
                          Buffer, length(Messages), {undelivered, Dest, Messages, Reason})
             end || {Dest, Messages, Reason} <- Failed],
    Owed = lists:dropwhile(fun(Give) -> Give() =/= stuck end, Gives),
    Done = fun() -> erlmcp_flow_batch_buffer:done(Buffer, Lane, Delivered, Retries) end,
    case Owed of
        [] ->
            _ = Done(),
            State;
        _ ->
            State#state{owed = Owed ++ [Done]}
    end.

%%% Sending

send(Dest, Messages, #state{kind = local} = State) ->
    case resolve(Dest) of
        undefined -> {{error, noproc}, State};
        Pid -> {send_all(Pid, batch(Messages, State), []), State}
    end;
send(Dest, Messages, #state{kind = {node, _}, gone = Gone} = State) ->
    case Gone of
        #{Dest := true} -> {{error, noproc}, State};
        _ -> remote_send(Dest, batch(Messages, State), State)
    end.

%% Connects first: a monitor or a message to a node that is not connected would
%% start a connection, and while that is pending messages are taken and then lost.
remote_send(Dest, Terms, State) ->
    case connect(State) of
        {true, State1} ->
            State2 = watch(Dest, State1),
            case send_all(Dest, Terms, [noconnect]) of
                ok -> {ok, State2};
                noconnect -> {{error, noconnection}, State2#state{up = false}}
            end;
        {false, State1} ->
            {{error, noconnection}, State1}
    end.

connect(#state{up = true} = State) ->
    {true, State};
connect(#state{kind = {node, Node}, down_until = Until} = State) ->
    Try = Until =:= undefined orelse erlang:monotonic_time(millisecond) >= Until
          %% Somebody else has connected it meanwhile.
          orelse lists:member(Node, nodes(connected)),
    case Try andalso net_kernel:connect_node(Node) of
        true ->
            true = monitor_node(Node, true),
            {true, State#state{up = true, down_until = undefined}};
        _ when not Try ->
            {false, State};
        _ ->
            {false, State#state{down_until = erlang:monotonic_time(millisecond) + ?DOWN}}
    end.

send_all(_Dest, [], _Opts) ->
    ok;
send_all(Dest, [Term | Rest], Opts) ->
    case erlang:send(Dest, Term, Opts) of
        ok -> send_all(Dest, Rest, Opts);
        noconnect -> noconnect
    end.

%% The terms to send for these messages.
batch(Messages, #state{opts = #{deliver := each}}) -> Messages;
batch(Messages, State) -> [{erlmcp_flow_batch, pack(Messages, State)}].

pack(Messages, #state{kind = {node, _}, opts = #{compress := auto}}) ->
    case erlang:external_size(Messages) of
        Size when Size < ?COMPRESS_FROM -> Messages;
        Size ->
            Packed = term_to_binary(Messages, [{compressed, 1}]),
            case byte_size(Packed) * 5 =< Size * 4 of
                true -> Packed;
                false -> Messages
            end
    end;
pack(Messages, _State) ->
    Messages.

resolve(Name) when is_atom(Name) -> whereis(Name);
resolve(Pid) when node(Pid) =/= node() -> undefined;
resolve(Pid) ->
    case is_process_alive(Pid) of
        true -> Pid;
        false -> undefined
    end.

%%% Watching receivers

watch(Dest, #state{watched = Watched} = State) when is_map_key(Dest, Watched) ->
    State;
watch(Dest, #state{watched = Watched} = State) ->
    State#state{watched = Watched#{Dest => monitor(process, Dest)}}.

down(MonRef, Reason, #state{watched = Watched} = State) ->
    case [Dest || {Dest, Ref} <- maps:to_list(Watched), Ref =:= MonRef] of
        [Dest] ->
            State1 = State#state{watched = maps:remove(Dest, Watched)},
            receiver_down(Dest, Reason, gone(Dest, Reason, State1));
        [] ->
            State
    end.

%% A pid does not come back; a node may. Few are kept: a pid that is forgotten is
%% watched again, and found to be gone again.
gone(Pid, Reason, #state{gone = Gone, kind = {node, _}} = State)
        when is_pid(Pid), Reason =/= noconnection ->
    Kept = case map_size(Gone) < 1000 of true -> Gone; false -> #{} end,
    State#state{gone = Kept#{Pid => true}};
gone(_, _, State) ->
    State.

receiver_down(Dest, Reason, #state{open = Open} = State) ->
    case maps:take(Dest, Open) of
        {{Ids, _, _}, Open1} ->
            %% Oldest first.
            lists:foldl(fun(Id, S) -> owe(give_up_fun(Id, {down, Reason}, S), S) end,
                        State#state{open = Open1}, lists:reverse(Ids));
        error ->
            State
    end.

owe(Give, #state{owed = []} = State) ->
    case Give() of
        stuck -> State#state{owed = [Give]};
        _ -> State
    end;
owe(Give, #state{owed = Owed} = State) ->
    State#state{owed = Owed ++ [Give]}.

give_up_fun(Id, Reason, State) ->
    fun() -> give_up(Id, Reason, State) end.

give_up(Id, Reason, #state{buffer = Buffer, sent = Sent, lane = Lane}) ->
    case erlmcp_flow_batch_buffer:give_up(Buffer, Id, Reason) of
        stuck -> stuck;
        Other -> ets:delete(Sent, {Lane, Id}), Other
    end.

%%% Acknowledged delivery

deliver_acked(Id, Dest, Messages, #state{buffer = {_, Sup} = Buffer, lane = Lane} = State) ->
    case target(Dest, State) of
        {ok, Target, State1} ->
            State2 = note(Id, Target, State1),
            AckRef = {Sup, Id},
            Term = {erlmcp_flow_batch, AckRef, pack(Messages, State2)},
            case send_acked(Target, Term, State2) of
                {ok, State3} ->
                    _ = erlmcp_flow_batch_buffer:keep(Buffer, Lane),
                    State3;
                {{error, Reason}, State3} ->
                    finish([{Dest, Messages, Reason}], 0, 0, State3)
            end;
        {error, Reason, State1} ->
            finish([{Dest, Messages, Reason}], 0, 0, State1)
    end.

send_acked(Target, Term, #state{kind = {node, _}} = State) ->
    remote_send(Target, [Term], State);
send_acked(Target, Term, State) ->
    State1 = watch(Target, State),
    _ = erlang:send(Target, Term),
    {ok, State1}.

target(Dest, #state{kind = local} = State) ->
    case resolve(Dest) of
        undefined -> {error, noproc, State};
        Pid -> {ok, Pid, State}
    end;
target(Dest, #state{gone = Gone} = State) when is_map_key(Dest, Gone) ->
    {error, noproc, State};
target(Dest, State) ->
    {ok, Dest, State}.

%% Remembers who has the batch, in the table too: it survives this process.
note(Id, Target, #state{open = Open, sent = Sent, lane = Lane, buffer = Buffer} = State) ->
    true = ets:insert(Sent, {{Lane, Id}, Target}),
    {Ids, N, Check} = maps:get(Target, Open, {[], 0, 32}),
    Entry =
        case N >= Check of
            false ->
                {[Id | Ids], N + 1, Check};
            true ->
                Left = erlmcp_flow_batch_buffer:still(Buffer, Ids),
                _ = [ets:delete(Sent, {Lane, Old}) || Old <- Ids -- Left],
                Len = length(Left) + 1,
                {[Id | Left], Len, max(32, 2 * Len)}
        end,
    State#state{open = Open#{Target => Entry}}.

%% After a restart: whoever has a batch is watched again.
watch_again(#state{sent = Sent, lane = Lane, buffer = Buffer} = State) ->
    Known = ets:select(Sent, [{{{Lane, '$1'}, '$2'}, [], [{{'$1', '$2'}}]}]),
    Left = erlmcp_flow_batch_buffer:still(Buffer, [Id || {Id, _} <- Known]),
    Kept = sets:from_list(Left),
    lists:foldl(
        fun({Id, Target}, S) ->
            case sets:is_element(Id, Kept) of
                true -> note(Id, Target, watch(Target, S));
                false -> ets:delete(Sent, {Lane, Id}), S
            end
        end, State, Known).
