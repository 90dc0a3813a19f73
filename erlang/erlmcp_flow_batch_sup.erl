%% @private
%% @doc The supervisor of one batch instance. It holds what must outlive the other
%% processes: the native buffer (as a reference in the child specifications) and
%% the tables.
-module(erlmcp_flow_batch_sup).
-behaviour(supervisor).

-export([start_link/1, init/1, lane_spec/3, keeper/1]).
-export_type([context/0]).

-type context() ::
    #{buffer := {native | twin, pid()}, owner := term(), opts := map(),
      states := ets:tid(), owners := ets:tid(), sent := ets:tid()}.

-spec start_link(map()) -> {ok, pid()} | {error, term()}.
start_link(#{name := undefined} = Opts) ->
    started(supervisor:start_link(?MODULE, Opts));
start_link(#{name := Name} = Opts) when is_atom(Name) ->
    started(supervisor:start_link({local, Name}, ?MODULE, Opts));
start_link(#{name := Name} = Opts) ->
    started(supervisor:start_link(Name, ?MODULE, Opts)).

started({ok, Pid}) -> {ok, Pid};
started({error, Reason}) -> {error, Reason};
started(ignore) -> {error, ignore}.

-spec init(map()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(Opts) ->
    Native = erlmcp_flow_native:enabled(batch_processor),
    Kind = case Native of true -> native; false -> twin end,
    Sup = self(),
    ok = erlmcp_flow_batch_metrics:register(maps:get(name, Opts)),
    Context = #{
        buffer => {Kind, Sup},
        owner => Native andalso new_buffer(Opts),
        opts => Opts,
        states => ets:new(?MODULE, [public, {read_concurrency, true}]),
        owners => ets:new(?MODULE, [public, bag]),
        sent => ets:new(?MODULE, [public, ordered_set])
    },
    Twin = [#{id => buffer,
              start => {erlmcp_flow_batch_buffer_erl, start_link, [Sup, Opts]}}
            || not Native],
    %% The order matters at the end: the lanes flush first, and the process that
    %% calls the callback ends last. Killing one of them loses nothing, so they may
    %% be restarted often before the instance gives up.
    {ok, {#{strategy => case Native of true -> one_for_one; false -> rest_for_one end,
            intensity => 100, period => 10},
          Twin
          ++ [#{id => undelivered, shutdown => 30_000,
                start => {erlmcp_flow_batch_undelivered, start_link, [Context]}},
              #{id => keeper,
                start => {erlmcp_flow_batch_keeper, start_link, [Sup, Context]}},
              lane_spec(Context, 0, local)]
          ++ [lane_spec(Context, 1, sink) || maps:get(sink, Opts) =/= undefined]}}.

new_buffer(#{batch_size := Size, batch_timeout := Timeout, max_pending := Max,
             deliver := Deliver, delivery := Delivery, sink := Sink, name := Name}) ->
    Direct = Deliver =:= batch andalso Delivery =:= at_most_once,
    LocalName = case Name of
        {local, Local} -> Local;
        _ when is_atom(Name) -> Name;
        _ -> undefined
    end,
    %% The counter is one of 64 bits.
    erlmcp_flow_nif:outbox_new(LocalName, Size, Timeout, min(Max, 1 bsl 62), Direct,
                               Sink =/= undefined).

%% @doc The process of a lane: local destinations, the sink, or another node.
-spec lane_spec(context(), non_neg_integer(), local | sink | {node, node()}) ->
    supervisor:child_spec().
lane_spec(Context, Lane, Kind) ->
    #{id => {lane, Lane}, shutdown => 30_000,
      start => {erlmcp_flow_batch_lane, start_link, [Context, Lane, Kind]}}.

%% @doc The instance's keeper.
-spec keeper(atom() | pid()) -> pid().
keeper(Sup) ->
    {keeper, Pid, _, _} = lists:keyfind(keeper, 1, supervisor:which_children(Sup)),
    Pid.
