%% @private
%% @doc The buffer of a batch instance, native or its twin of OTP's own parts: one
%% set of functions for the processes that drain it. An instance is named by the
%% pid or the name of its supervisor.
-module(erlmcp_flow_batch_buffer).

-export([push/4, ack/2, stats/1, lanes/1, horizon/1]).
-export([attach/2, attach_keeper/1, attach_undelivered/1, poll/3, collect/3, mark/2,
         take/2, done/4, keep/2, give_up/3, still/2, hand/3, settle/3]).

-define(NIF, erlmcp_flow_nif).
-define(TWIN, erlmcp_flow_batch_buffer_erl).

%% A list longer than this crosses on a dirty scheduler: a message takes
%% about 100 ns, a dirty call 5 to 13 us.
-define(LONG, 500).

%% @doc All of the messages, or none. `Dest' is `[]' for the sink.
-spec push(erlmcp_flow_batch_processor:ref(), node(), term(), [term()]) ->
    ok | {error, erlmcp_flow_batch_processor:error_reason()}.
push(_Ref, _Node, _Dest, []) ->
    ok;
push({global, Name}, Node, Dest, Messages) ->
    push(global:whereis_name(Name), Node, Dest, Messages);
push({via, Module, Name}, Node, Dest, Messages) ->
    push(Module:whereis_name(Name), Node, Dest, Messages);
push(Ref, Node, Dest, Messages) ->
    Pushed =
        case ?TWIN:whereis(Ref) of
            undefined -> native(not_running, fun() -> push_native(Ref, Node, Dest, Messages) end);
            Twin ->
                ?TWIN:call(Twin, {push, Node, Dest, Messages})
        end,
    case Pushed of
        ok -> ok;
        Reason -> {error, Reason}
    end.

push_native(Ref, Node, Dest, Messages) ->
    case length(Messages) =< ?LONG of
        true -> ?NIF:outbox_push_list(Ref, Node, Dest, Messages);
        false -> ?NIF:outbox_push_list_dirty(Ref, Node, Dest, Messages)
    end.

%% Without the library there are no native instances.
native(Default, Call) ->
    try Call()
    catch error:undef -> Default
    end.

-spec ack(pid(), pos_integer()) -> ok | unknown | not_running.
ack(Ref, Id) ->
    case ?TWIN:whereis(Ref) of
        undefined -> native(not_running, fun() -> ?NIF:outbox_ack(Ref, Id) end);
        Twin -> ?TWIN:call(Twin, {ack, Id})
    end.

-spec stats(erlmcp_flow_batch_processor:ref()) ->
    erlmcp_flow_batch_processor:stats() | {error, not_running}.
stats(Ref) ->
    Counts =
        case ?TWIN:whereis(Ref) of
            undefined -> native(not_running, fun() -> ?NIF:outbox_stats(Ref) end);
            Twin -> ?TWIN:call(Twin, stats)
        end,
    case Counts of
        not_running ->
            {error, not_running};
        _ ->
            Keys = [accepted, delivered, undelivered, overloaded, batches, retries,
                    pending, unacked, callback_crashes],
            maps:from_list(lists:zip(Keys, Counts))
    end.

-spec lanes(atom() | pid()) -> [{non_neg_integer(), node() | [], pid() | undefined}].
lanes(Ref) ->
    case ?TWIN:whereis(Ref) of
        undefined -> native([], fun() -> ?NIF:outbox_lanes(Ref) end);
        Twin -> ?TWIN:call(Twin, lanes)
    end.

-spec horizon(atom() | pid()) -> non_neg_integer().
horizon(Ref) ->
    case ?TWIN:whereis(Ref) of
        undefined -> native(0, fun() -> ?NIF:outbox_horizon(Ref) end);
        Twin -> ?TWIN:call(Twin, horizon)
    end.

%%% For the instance's processes. Buf: {native | twin, Supervisor}

-spec attach(tuple(), non_neg_integer()) -> ok | not_running.
attach({native, Ref}, Lane) -> ?NIF:outbox_attach(Ref, Lane);
attach({twin, Ref}, Lane) -> ?TWIN:call(Ref, {attach, self(), Lane}).

-spec attach_keeper(tuple()) -> ok | not_running.
attach_keeper({native, Ref}) -> ?NIF:outbox_attach_keeper(Ref);
attach_keeper({twin, Ref}) -> ?TWIN:call(Ref, {attach_keeper, self()}).

-spec attach_undelivered(tuple()) -> non_neg_integer().
attach_undelivered({native, Ref}) -> ?NIF:outbox_attach_undelivered(Ref);
attach_undelivered({twin, Ref}) -> ?TWIN:call(Ref, {attach_undelivered, self()}).

-spec poll(tuple(), non_neg_integer(), non_neg_integer()) ->
    more | in_hand | stuck | timeout().
poll({native, Ref}, Lane, Until) -> ?NIF:outbox_poll(Ref, Lane, Until);
poll({twin, Ref}, Lane, Until) -> ?TWIN:call(Ref, {poll, Lane, Until}).

-spec collect(tuple(), non_neg_integer(), non_neg_integer()) ->
    more | non_neg_integer().
collect({native, Ref}, Lane, Until) -> ?NIF:outbox_collect(Ref, Lane, Until);
collect({twin, Ref}, Lane, Until) -> ?TWIN:call(Ref, {collect, Lane, Until}).

-spec mark(tuple(), non_neg_integer()) -> {non_neg_integer(), non_neg_integer()}.
mark({native, Ref}, Lane) -> ?NIF:outbox_mark(Ref, Lane);
mark({twin, Ref}, Lane) -> ?TWIN:call(Ref, {mark, Lane}).

-spec take(tuple(), non_neg_integer()) -> {pos_integer(), term(), [term()]} | empty.
take({native, Ref}, Lane) ->
    case ?NIF:outbox_take(Ref, Lane) of
        long -> ?NIF:outbox_take_dirty(Ref, Lane);
        Batch -> Batch
    end;
take({twin, Ref}, Lane) ->
    ?TWIN:call(Ref, {take, Lane}).

-spec done(tuple(), non_neg_integer(), non_neg_integer(), non_neg_integer()) ->
    ok | not_running.
done({native, Ref}, Lane, Delivered, Retries) ->
    ?NIF:outbox_done(Ref, Lane, Delivered, Retries);
done({twin, Ref}, Lane, Delivered, Retries) ->
    ?TWIN:call(Ref, {done, Lane, Delivered, Retries}).

-spec keep(tuple(), non_neg_integer()) -> ok | not_running.
keep({native, Ref}, Lane) -> ?NIF:outbox_keep(Ref, Lane);
keep({twin, Ref}, Lane) -> ?TWIN:call(Ref, {keep, Lane}).

-spec give_up(tuple(), pos_integer(), term()) -> ok | stuck | unknown | not_running.
give_up({native, Ref}, Id, Reason) -> ?NIF:outbox_give_up(Ref, Id, Reason);
give_up({twin, Ref}, Id, Reason) -> ?TWIN:call(Ref, {give_up, Id, Reason}).

-spec still(tuple(), [pos_integer()]) -> [pos_integer()].
still({native, Ref}, Ids) -> ?NIF:outbox_still(Ref, Ids);
still({twin, Ref}, Ids) -> ?TWIN:call(Ref, {still, Ids}).

-spec hand(tuple(), non_neg_integer(), term()) -> ok | stuck | not_running.
hand({native, Ref}, N, What) -> ?NIF:outbox_hand(Ref, N, What);
hand({twin, Ref}, N, What) -> ?TWIN:call(Ref, {hand, N, What}).

-spec settle(tuple(), non_neg_integer(), non_neg_integer()) -> ok | not_running.
settle({native, Ref}, N, Crashes) -> ?NIF:outbox_settle_undelivered(Ref, N, Crashes);
settle({twin, Ref}, N, Crashes) -> ?TWIN:call(Ref, {settle, self(), N, Crashes}).
