%% @private
%% @doc The stubs of the one NIF library, and nothing else. A loaded NIF library
%% cannot be replaced while the old one is in use, so this module hardly ever
%% changes, and every other module can be hot-loaded.
-module(erlmcp_flow_nif).

-export([version/0]).
%% outbox
-export([
    outbox_new/6,
    outbox_push/3,
    outbox_push_node/4,
    outbox_push_many/4,
    outbox_push_many_dirty/4,
    outbox_attach_keeper/1,
    outbox_attach/2,
    outbox_attach_undelivered/1,
    outbox_horizon/1,
    outbox_poll/3,
    outbox_collect/3,
    outbox_mark/2,
    outbox_take/2,
    outbox_take_dirty/2,
    outbox_done/4,
    outbox_keep/2,
    outbox_ack/2,
    outbox_give_up/3,
    outbox_still/2,
    outbox_hand/3,
    outbox_settle_undelivered/3,
    outbox_lanes/1,
    outbox_stats/1
]).

-nifs([version/0]).
%% outbox
-nifs([
    outbox_new/6,
    outbox_push/3,
    outbox_push_node/4,
    outbox_push_many/4,
    outbox_push_many_dirty/4,
    outbox_attach_keeper/1,
    outbox_attach/2,
    outbox_attach_undelivered/1,
    outbox_horizon/1,
    outbox_poll/3,
    outbox_collect/3,
    outbox_mark/2,
    outbox_take/2,
    outbox_take_dirty/2,
    outbox_done/4,
    outbox_keep/2,
    outbox_ack/2,
    outbox_give_up/3,
    outbox_still/2,
    outbox_hand/3,
    outbox_settle_undelivered/3,
    outbox_lanes/1,
    outbox_stats/1
]).

-type ref() :: atom() | pid().
-type lane() :: non_neg_integer().
-type pushed() :: ok | overloaded | no_sink | remote | not_running.
-on_load(init/0).

-spec init() -> ok | {error, {atom(), string()}}.
init() ->
    %% The value is returned, not matched: the log then shows the loader's reason.
    erlang:load_nif(filename:join(priv_dir(), "erlmcp_flow_nif"), 0).

-spec priv_dir() -> file:filename().
priv_dir() ->
    case code:priv_dir(erlmcp_flow) of
        {error, bad_name} ->
            %% Not started from an application directory (a plain erlc, a test).
            Ebin = filename:dirname(code:which(?MODULE)),
            filename:join(filename:dirname(Ebin), "priv");
        Dir ->
            Dir
    end.

-spec version() -> binary().
version() ->
    erlang:nif_error(nif_not_loaded).

%% outbox

-spec outbox_new(atom(), pos_integer(), pos_integer(), pos_integer(), boolean(), boolean()) ->
    reference().
outbox_new(_A, _B, _C, _D, _E, _F) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_push(ref(), term(), term()) ->
    pushed().
outbox_push(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_push_node(ref(), node(), term(), term()) ->
    pushed().
outbox_push_node(_A, _B, _C, _D) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_push_many(ref(), node(), term(), [term()]) ->
    pushed().
outbox_push_many(_A, _B, _C, _D) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_push_many_dirty(ref(), node(), term(), [term()]) ->
    pushed().
outbox_push_many_dirty(_A, _B, _C, _D) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_attach_keeper(ref()) ->
    ok | not_running.
outbox_attach_keeper(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_attach(ref(), lane()) ->
    ok | not_running.
outbox_attach(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_attach_undelivered(ref()) ->
    non_neg_integer().
outbox_attach_undelivered(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_horizon(ref()) ->
    non_neg_integer().
outbox_horizon(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_poll(ref(), lane(), non_neg_integer()) ->
    more | in_hand | stuck | timeout().
outbox_poll(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_collect(ref(), lane(), non_neg_integer()) ->
    more | non_neg_integer().
outbox_collect(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_mark(ref(), lane()) ->
    {non_neg_integer(), non_neg_integer()}.
outbox_mark(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_take(ref(), lane()) ->
    {pos_integer(), term(), [term()]} | empty.
outbox_take(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_take_dirty(ref(), lane()) ->
    {pos_integer(), term(), [term()]} | empty.
outbox_take_dirty(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_done(ref(), lane(), non_neg_integer(), non_neg_integer()) ->
    ok | not_running.
outbox_done(_A, _B, _C, _D) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_keep(ref(), lane()) ->
    ok | not_running.
outbox_keep(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_ack(ref(), pos_integer()) ->
    ok | unknown | not_running.
outbox_ack(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_give_up(ref(), pos_integer(), term()) ->
    ok | stuck | unknown | not_running.
outbox_give_up(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_still(ref(), [pos_integer()]) ->
    [pos_integer()].
outbox_still(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_hand(ref(), non_neg_integer(), term()) ->
    ok | stuck | not_running.
outbox_hand(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_settle_undelivered(ref(), non_neg_integer(), non_neg_integer()) ->
    ok | not_running.
outbox_settle_undelivered(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_lanes(ref()) ->
    [{lane(), node() | [], pid() | undefined}].
outbox_lanes(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_stats(ref()) ->
    [non_neg_integer()] | not_running.
outbox_stats(_A) ->
    erlang:nif_error(nif_not_loaded).
