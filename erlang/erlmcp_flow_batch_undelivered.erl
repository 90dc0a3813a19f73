%% @private
%% @doc Calls the `undelivered' callback of a batch instance, in a process of its
%% own: a callback that is slow or fails holds up no delivery. Messages that wait
%% here are still pending, so senders feel a callback that is too slow.
-module(erlmcp_flow_batch_undelivered).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(state, {
    buffer :: {native | twin, pid()},
    callback :: undefined | fun((term(), term(), term()) -> term()),
    %% When the next warning may be written, and what was not written till then.
    next_log :: integer(),
    unlogged = 0 :: non_neg_integer()
}).

%% At most one warning in so many milliseconds.
-define(LOG_EVERY, 1000).

-spec start_link(erlmcp_flow_batch_sup:context()) -> {ok, pid()} | {error, term()}.
start_link(Context) ->
    case gen_server:start_link(?MODULE, Context, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

-spec init(erlmcp_flow_batch_sup:context()) -> {ok, #state{}}.
init(#{buffer := Buffer, opts := #{undelivered := Callback}}) ->
    process_flag(trap_exit, true),
    State = #state{buffer = Buffer, callback = Callback,
                   next_log = erlang:monotonic_time(millisecond)},
    case erlmcp_flow_batch_buffer:attach_undelivered(Buffer) of
        0 ->
            {ok, State};
        Lost ->
            logger:error("erlmcp_flow: the process that calls the undelivered callback "
                         "was killed with ~b messages; the callback may not have "
                         "seen them", [Lost], #{domain => [erlmcp_flow]}),
            {ok, State}
    end.

-spec handle_call(term(), term(), #state{}) -> {reply, term(), #state{}}.
handle_call(_, _From, State) ->
    {reply, ok, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({undelivered, Dest, Messages, Reason}, State) ->
    {noreply, undelivered(Dest, Messages, Reason, State)};
handle_info(_, State) ->
    {noreply, State}.

%% What the lanes flushed on their way out is here already.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, State) ->
    receive
        {undelivered, Dest, Messages, Reason} ->
            terminate(shutdown, undelivered(Dest, Messages, Reason, State))
    after 0 ->
        ok
    end.

undelivered(Dest, Messages, Reason, #state{callback = undefined} = State) ->
    _ = erlmcp_flow_batch_buffer:settle(State#state.buffer, length(Messages), 0),
    log(length(Messages), "~b messages were not delivered (the last to ~p: ~p)",
        [Dest, Reason], State);
undelivered(Dest, Messages, Reason, State) ->
    lists:foldl(fun(Message, S) -> call(Dest, Message, Reason, S) end, State, Messages).

call(Dest, Message, Reason, #state{callback = Callback, buffer = Buffer} = State) ->
    try Callback(Dest, Message, Reason) of
        _ ->
            _ = erlmcp_flow_batch_buffer:settle(Buffer, 1, 0),
            State
    catch
        Class:Why:Stack ->
            _ = erlmcp_flow_batch_buffer:settle(Buffer, 1, 1),
            log(1, "the undelivered callback failed for ~b messages (last: ~p)",
                [{Class, Why, Stack}], State)
    end.

log(N, Format, Args, #state{next_log = Next, unlogged = Unlogged} = State) ->
    Now = erlang:monotonic_time(millisecond),
    case Now >= Next of
        true ->
            logger:warning("erlmcp_flow: " ++ Format, [Unlogged + N | Args],
                           #{domain => [erlmcp_flow]}),
            State#state{next_log = Now + ?LOG_EVERY, unlogged = 0};
        false ->
            State#state{unlogged = Unlogged + N}
    end.
