%% @private
%% @doc Keeps a batch instance in order: starts a lane for a node that is sent to
%% for the first time, and removes shared states whose owner has died.
-module(erlmcp_flow_batch_keeper).
-behaviour(gen_server).

-export([start_link/2, own/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-record(state, {sup :: pid(), context :: erlmcp_flow_batch_sup:context(),
                watched = #{} :: #{pid() => reference()}}).

-spec start_link(pid(), erlmcp_flow_batch_sup:context()) -> {ok, pid()} | {error, term()}.
start_link(Sup, Context) ->
    case gen_server:start_link(?MODULE, {Sup, Context}, []) of
        {ok, Pid} -> {ok, Pid};
        {error, Reason} -> {error, Reason};
        ignore -> {error, ignore}
    end.

%% @doc The caller owns the shared state of this key from now on. Returns the table,
%% and of which kind its values are.
-spec own(pid(), term()) -> {native | twin, ets:tid()}.
own(Keeper, Key) ->
    gen_server:call(Keeper, {own, Key}, infinity).

-spec init({pid(), erlmcp_flow_batch_sup:context()}) ->
    {ok, #state{}, {continue, lanes}}.
init({Sup, Context}) ->
    ok = erlmcp_flow_batch_buffer:attach_keeper(maps:get(buffer, Context)),
    Owners = [Pid || {Pid, _} <- ets:tab2list(maps:get(owners, Context))],
    State = lists:foldl(fun watch/2, #state{sup = Sup, context = Context}, Owners),
    {ok, State, {continue, lanes}}.

%% A lane that was asked for while no keeper was there.
-spec handle_continue(lanes, #state{}) -> {noreply, #state{}}.
handle_continue(lanes, #state{sup = Sup} = State) ->
    lists:foreach(
        fun({_, [], _}) -> ok;
           ({Lane, Node, undefined}) -> start_lane(Lane, Node, State);
           (_) -> ok
        end, erlmcp_flow_batch_buffer:lanes(Sup)),
    {noreply, State}.

-spec handle_call(term(), term(), #state{}) -> {reply, term(), #state{}}.
handle_call({own, Key}, {Owner, _}, #state{context = Context} = State) ->
    #{states := States, owners := Owners, buffer := {Kind, _}} = Context,
    %% Insert first: a state without an owner on record would stay for ever.
    true = ets:insert(Owners, {Owner, Key}),
    case owner(States, Key) of
        none -> ok;
        {owner, Other} when Other =:= Owner -> ok;
        {owner, Other} -> true = ets:delete_object(Owners, {Other, Key})
    end,
    {reply, {Kind, States}, watch(Owner, State)}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({erlmcp_flow_lane, Lane}, #state{sup = Sup} = State) ->
    case lists:keyfind(Lane, 1, erlmcp_flow_batch_buffer:lanes(Sup)) of
        {Lane, Node, undefined} when Node =/= [] -> start_lane(Lane, Node, State);
        _ -> ok
    end,
    {noreply, State};
handle_info({'DOWN', _, process, Owner, _}, #state{watched = Watched} = State) ->
    disown(Owner, State),
    {noreply, State#state{watched = maps:remove(Owner, Watched)}};
handle_info(_, State) ->
    {noreply, State}.

start_lane(Lane, Node, #state{sup = Sup, context = Context}) ->
    Spec = erlmcp_flow_batch_sup:lane_spec(Context, Lane, {node, Node}),
    case supervisor:start_child(Sup, Spec) of
        {ok, _} -> ok;
        {error, {already_started, _}} -> ok;
        {error, already_present} -> _ = supervisor:restart_child(Sup, {lane, Lane}), ok
    end.

watch(Owner, #state{watched = Watched} = State) when is_map_key(Owner, Watched) ->
    State;
watch(Owner, #state{watched = Watched} = State) ->
    State#state{watched = Watched#{Owner => monitor(process, Owner)}}.

%% A key may belong to somebody else by now; a value whose owner of record is
%% neither (it took over and died before it wrote) goes too.
disown(Owner, #state{context = #{states := States, owners := Owners}}) ->
    Keys = [Key || {_, Key} <- ets:take(Owners, Owner)],
    lists:foreach(
        fun(Key) ->
            case owner(States, Key) of
                none -> ok;
                {owner, Other} when Other =/= Owner ->
                    case lists:member({Other, Key}, ets:lookup(Owners, Other)) of
                        true -> ok;
                        false -> true = ets:delete(States, Key)
                    end;
                {owner, Owner} -> true = ets:delete(States, Key)
            end
        end, Keys).

%% Without copying the value.
owner(States, Key) ->
    try {owner, ets:lookup_element(States, Key, 3)}
    catch error:badarg -> none
    end.
