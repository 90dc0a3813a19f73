%% @private
%% @doc The twin of the native batch buffer, of OTP's own parts: one process holds
%% all batches. It answers as `native/outbox' does (see there for what the words
%% mean); it costs a call a message, and what it holds dies with it.
-module(erlmcp_flow_batch_buffer_erl).
-behaviour(gen_server).

-export([start_link/2, whereis/1, call/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-record(lane, {
    ready = queue:new() :: queue:queue(),
    %% {Deadline, Dest, Id} in order of the deadlines.
    young = queue:new() :: queue:queue(),
    in_hand :: undefined | {pos_integer(), term(), [term()]},
    pid :: undefined | pid(),
    awake = false :: boolean(),
    timed = false :: boolean(),
    appended = 0 :: non_neg_integer(),
    taken = 0 :: non_neg_integer()
}).

-record(state, {
    names :: [term()],
    opts :: map(),
    sink :: boolean(),
    %% {Lane, Dest} => {Id, Count, Messages, newest first}
    open = #{} :: #{{non_neg_integer(), term()} => {pos_integer(), pos_integer(), [term()]}},
    lanes = #{0 => #lane{}, 1 => #lane{}} :: #{non_neg_integer() => #lane{}},
    nodes = #{} :: #{node() => non_neg_integer()},
    keeper :: undefined | pid(),
    helper :: undefined | pid(),
    helper_has = 0 :: non_neg_integer(),
    unacked = #{} :: #{pos_integer() => {pos_integer(), term(), [term()]}},
    next_id = 1 :: pos_integer(),
    counts = #{accepted => 0, delivered => 0, undelivered => 0, overloaded => 0,
               batches => 0, retries => 0, pending => 0, crashes => 0}
        :: #{atom() => non_neg_integer()}
}).

-define(LOCAL, 0).
-define(SINK, 1).

-spec start_link(pid(), map()) -> {ok, pid()} | {error, term()}.
start_link(Sup, Opts) ->
    case gen_server:start_link(?MODULE, {Sup, Opts}, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc The instance itself, if it is a twin.
-spec whereis(term()) -> undefined | term().
whereis(Ref) ->
    case persistent_term:get({?MODULE, Ref}, undefined) of
        undefined -> undefined;
        _Pid -> Ref
    end.

-spec call(term(), term()) -> term().
call(Ref, Request) ->
    case persistent_term:get({?MODULE, Ref}, undefined) of
        undefined -> gone(Request);
        Pid ->
            try gen_server:call(Pid, Request, infinity)
            catch exit:_ -> gone(Request)
            end
    end.

%% As the native buffer answers when the instance has ended.
gone(stats) -> not_running;
gone(horizon) -> 0;
gone(lanes) -> [];
gone({attach_undelivered, _}) -> 0;
gone({poll, _, _}) -> infinity;
gone({collect, _, _}) -> 0;
gone({mark, _}) -> {0, 0};
gone({take, _}) -> empty;
gone({still, _}) -> [];
gone(_) -> not_running.

-spec init({pid(), map()}) -> {ok, #state{}}.
init({Sup, #{name := Name, sink := Sink} = Opts}) ->
    process_flag(trap_exit, true),
    Names = [Sup | case Name of
                       {local, Local} -> [Local];
                       undefined -> [];
                       _ when is_atom(Name) -> [Name];
                       _ -> []
                   end],
    lists:foreach(fun(N) -> persistent_term:put({?MODULE, N}, self()) end, Names),
    {ok, #state{names = Names, opts = Opts, sink = Sink =/= undefined}}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{names = Names}) ->
    lists:foreach(
        fun(Name) ->
            case persistent_term:get({?MODULE, Name}, undefined) =:= self() of
                true -> persistent_term:erase({?MODULE, Name});
                false -> ok
            end
        end, Names).

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info(_, State) ->
    {noreply, State}.

-spec handle_call(term(), term(), #state{}) -> {reply, term(), #state{}}.
handle_call({push, _Node, [], _}, _, #state{sink = false} = State) ->
    {reply, no_sink, State};
handle_call({push, Node, Dest, Messages}, _, State) ->
    #state{counts = #{pending := Pending}, opts = #{max_pending := Max}} = State,
    N = length(Messages),
    case Pending + N =< Max of
        true ->
            {Lane, State1} = lane_of(Node, Dest, State),
            State2 = add(Lane, Dest, N, Messages, State1),
            {reply, ok, count(#{accepted => N, pending => N}, State2)};
        false ->
            {reply, overloaded, count(#{overloaded => N}, State)}
    end;
handle_call({attach, Pid, Id}, _, State) ->
    Lane = lane(Id, State),
    {reply, ok, put_lane(Id, Lane#lane{pid = Pid, awake = true, timed = false}, State)};
handle_call({attach_keeper, Pid}, _, State) ->
    {reply, ok, State#state{keeper = Pid}};
handle_call({attach_undelivered, Pid}, _, #state{helper_has = Lost} = State) ->
    {reply, Lost, settle(0, Lost, State#state{helper = Pid, helper_has = 0})};
handle_call(horizon, _, #state{opts = #{batch_timeout := Timeout}} = State) ->
    {reply, now_us() + Timeout * 1000, State};
handle_call({collect, Id, Until}, _, State) ->
    State1 = collect(Id, Until, State),
    {reply, (lane(Id, State1))#lane.appended, State1};
handle_call({poll, Id, Until}, _, State) ->
    {Answer, State1} = rest(Id, collect(Id, max(Until, now_us()), State)),
    {reply, Answer, State1};
handle_call({mark, Id}, _, State) ->
    #lane{appended = Appended, taken = Taken} = lane(Id, State),
    {reply, {Appended, Taken}, State};
handle_call({take, Id}, _, State) ->
    case lane(Id, State) of
        #lane{in_hand = undefined, ready = Ready, taken = Taken} = Lane ->
            case queue:out(Ready) of
                {{value, Batch}, Left} ->
                    Lane1 = Lane#lane{ready = Left, in_hand = Batch, taken = Taken + 1},
                    {reply, Batch, put_lane(Id, Lane1, State)};
                {empty, _} ->
                    {reply, empty, State}
            end;
        #lane{in_hand = Batch} ->
            {reply, Batch, State}
    end;
handle_call({done, Id, Delivered, Retries}, _, State) ->
    case release(Id, State) of
        {undefined, State1} -> {reply, ok, State1};
        {_, State1} ->
            State2 = count(#{batches => 1, retries => Retries}, State1),
            {reply, ok, settle(Delivered, 0, State2)}
    end;
handle_call({keep, Id}, _, State) ->
    case release(Id, State) of
        {undefined, State1} -> {reply, ok, State1};
        {{Number, _, _} = Batch, #state{unacked = Unacked} = State1} ->
            State2 = State1#state{unacked = Unacked#{Number => Batch}},
            {reply, ok, count(#{batches => 1}, State2)}
    end;
handle_call({ack, Number}, _, State) ->
    case end_batch(Number, State) of
        {{_, _, Messages}, State1} -> {reply, ok, settle(length(Messages), 0, State1)};
        unknown -> {reply, unknown, State}
    end;
handle_call({give_up, Number, Reason}, _, #state{unacked = Unacked} = State) ->
    case Unacked of
        #{Number := {_, Dest, Messages}} ->
            What = {undelivered, Dest, Messages, Reason},
            case hand(length(Messages), What, State) of
                {ok, State1} ->
                    {reply, ok, State1#state{unacked = maps:remove(Number, Unacked)}};
                stuck ->
                    {reply, stuck, State}
            end;
        _ ->
            {reply, unknown, State}
    end;
handle_call({still, Ids}, _, #state{unacked = Unacked} = State) ->
    {reply, [Id || Id <- Ids, is_map_key(Id, Unacked)], State};
handle_call({hand, N, What}, _, State) ->
    case hand(N, What, State) of
        {ok, State1} -> {reply, ok, State1};
        stuck -> {reply, stuck, State}
    end;
handle_call({settle, Pid, N, Crashes}, _, #state{helper = Pid, helper_has = Has} = State) ->
    State1 = count(#{crashes => Crashes}, State#state{helper_has = max(0, Has - N)}),
    {reply, ok, settle(0, N, State1)};
handle_call({settle, _, _, _}, _, State) ->
    {reply, ok, State};
handle_call(lanes, _, #state{lanes = Lanes, nodes = Nodes} = State) ->
    Names = maps:from_list([{Id, Node} || {Node, Id} <- maps:to_list(Nodes)]),
    {reply, [{Id, maps:get(Id, Names, []), Pid}
             || {Id, #lane{pid = Pid}} <- lists:sort(maps:to_list(Lanes))], State};
handle_call(stats, _, #state{counts = C, unacked = Unacked} = State) ->
    Keys = [accepted, delivered, undelivered, overloaded, batches, retries, pending],
    Open = lists:sum([length(Messages) || {_, _, Messages} <- maps:values(Unacked)]),
    {reply, [maps:get(K, C) || K <- Keys] ++ [Open, maps:get(crashes, C)], State}.

%%% Batches

lane_of(_Node, [], State) -> {?SINK, State};
lane_of(_Node, Dest, State) when is_atom(Dest) -> {?LOCAL, State};
lane_of(Node, _Dest, State) when Node =:= node() -> {?LOCAL, State};
lane_of(Node, _Dest, #state{nodes = Nodes} = State) when is_map_key(Node, Nodes) ->
    {map_get(Node, Nodes), State};
lane_of(Node, _Dest, #state{nodes = Nodes, lanes = Lanes} = State) ->
    Id = map_size(Lanes),
    {Id, wake(Id, State#state{nodes = Nodes#{Node => Id}, lanes = Lanes#{Id => #lane{}}})}.

%% A list is not split: when the open batch has no room for it, that leaves first.
add(Lane, Dest, N, Messages, #state{open = Open, opts = #{batch_size := Size}} = State) ->
    Key = {Lane, Dest},
    case Open of
        #{Key := {Id, Has, Old}} when Has + N >= Size ->
            State1 = State#state{open = maps:remove(Key, Open)},
            case Has + N of
                Size -> append(Lane, {Id, Dest, lists:reverse(Old, Messages)}, State1);
                _ -> add(Lane, Dest, N, Messages,
                         append(Lane, {Id, Dest, lists:reverse(Old)}, State1))
            end;
        #{Key := {Id, Has, Old}} ->
            State#state{open = Open#{Key := {Id, Has + N, lists:reverse(Messages, Old)}}};
        _ ->
            {Id, State1} = next_id(State),
            case N >= Size of
                true ->
                    append(Lane, {Id, Dest, Messages}, State1);
                false ->
                    Entry = {Id, N, lists:reverse(Messages)},
                    start(Lane, Dest, Id, State1#state{open = Open#{Key => Entry}})
            end
    end.

next_id(#state{next_id = Id} = State) ->
    {Id, State#state{next_id = Id + 1}}.

append(Id, Batch, State) ->
    #lane{ready = Ready, awake = Awake, appended = Appended} = Lane = lane(Id, State),
    Lane1 = Lane#lane{ready = queue:in(Batch, Ready), awake = true,
                      appended = Appended + 1},
    wake_unless(Awake, Id, put_lane(Id, Lane1, State)).

start(Id, Dest, Number, #state{opts = #{batch_timeout := Timeout}} = State) ->
    #lane{young = Young, awake = Awake, timed = Timed} = Lane = lane(Id, State),
    Deadline = now_us() + Timeout * 1000,
    Lane1 = Lane#lane{young = queue:in({Deadline, Dest, Number}, Young), timed = true},
    wake_unless(Awake orelse Timed, Id, put_lane(Id, Lane1, State)).

wake_unless(true, _Id, State) -> State;
wake_unless(false, Id, State) -> wake(Id, State).

wake(Id, #state{keeper = Keeper} = State) ->
    case lane(Id, State) of
        #lane{pid = Pid} when is_pid(Pid) -> Pid ! erlmcp_flow_wake, State;
        _ when is_pid(Keeper) -> Keeper ! {erlmcp_flow_lane, Id}, State;
        _ -> State
    end.

collect(Id, Until, #state{open = Open} = State) ->
    #lane{young = Young} = Lane = lane(Id, State),
    case queue:peek(Young) of
        {value, {Deadline, Dest, Number}} when Deadline =< Until ->
            State1 = put_lane(Id, Lane#lane{young = queue:drop(Young)}, State),
            Key = {Id, Dest},
            State2 = case Open of
                #{Key := {Number, _, Messages}} ->
                    append(Id, {Number, Dest, lists:reverse(Messages)},
                           State1#state{open = maps:remove(Key, Open)});
                _ ->
                    State1
            end,
            collect(Id, Until, State2);
        _ ->
            State
    end.

rest(Id, State) ->
    #lane{ready = Ready, in_hand = InHand, young = Young} = Lane = lane(Id, State),
    case queue:is_empty(Ready) andalso InHand =:= undefined of
        false ->
            {in_hand, State};
        true ->
            {Answer, Timed} = case queue:peek(Young) of
                {value, {Deadline, _, _}} ->
                    {max(0, Deadline - now_us() + 999) div 1000, true};
                empty ->
                    {infinity, false}
            end,
            {Answer, put_lane(Id, Lane#lane{awake = false, timed = Timed}, State)}
    end.

release(Id, State) ->
    #lane{in_hand = Batch} = Lane = lane(Id, State),
    {Batch, put_lane(Id, Lane#lane{in_hand = undefined}, State)}.

%% An acknowledgement may overtake `keep'.
end_batch(Number, #state{unacked = Unacked, lanes = Lanes} = State) ->
    case maps:take(Number, Unacked) of
        {Batch, Left} ->
            {Batch, State#state{unacked = Left}};
        error ->
            case [Id || {Id, #lane{in_hand = {N, _, _}}} <- maps:to_list(Lanes),
                        N =:= Number] of
                [Id] -> release(Id, State);
                [] -> unknown
            end
    end.

hand(N, What, #state{helper = Pid, helper_has = Has} = State) ->
    case is_pid(Pid) andalso is_process_alive(Pid) of
        true -> Pid ! What, {ok, State#state{helper_has = Has + N}};
        false -> stuck
    end.

settle(Delivered, Undelivered, State) ->
    count(#{delivered => Delivered, undelivered => Undelivered,
            pending => -(Delivered + Undelivered)}, State).

count(Changes, #state{counts = Counts} = State) ->
    State#state{counts = maps:fold(
        fun(Key, N, Acc) -> Acc#{Key := map_get(Key, Acc) + N} end, Counts, Changes)}.

lane(Id, #state{lanes = Lanes}) -> map_get(Id, Lanes).

put_lane(Id, Lane, #state{lanes = Lanes} = State) ->
    State#state{lanes = Lanes#{Id := Lane}}.

%% Positive: zero stands for "now" in a poll.
now_us() ->
    Native = erlang:monotonic_time() - erlang:system_info(start_time),
    erlang:convert_time_unit(Native, native, microsecond).
