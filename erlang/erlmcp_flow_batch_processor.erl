%% @doc Messages in batches: senders write straight into a native buffer, one
%% batch a destination, and a process only flushes.
%%
%% A batch leaves when it holds `batch_size' messages or is `batch_timeout'
%% milliseconds old, whichever comes first. The receiver gets one message
%% `{erlmcp_flow_batch, Messages}', in order; {@link messages/1} unpacks it. With
%% `deliver => each' it gets the messages themselves, as if sent by `!'.
%%
%% == What is promised ==
%% <ul>
%% <li>The messages of one sender to one destination arrive in order. A pid and a
%%     name registered for it are two destinations.</li>
%% <li>Every message that was accepted (`ok') is delivered, or handed to the
%%     `undelivered' callback; `stats/1' adds up: accepted = delivered +
%%     undelivered + pending.</li>
%% <li>"Delivered" means in the mailbox of a local process, or handed to the
%%     connection to another node, as with `!': a process that dies with it unread
%%     takes it along, and a connection that breaks loses what was on it. With
%%     `delivery => acked' a message counts as delivered when its receiver has
%%     called {@link ack/1}; when the receiver dies before, its messages go to
%%     `undelivered' with the reason `{down, Why}'.</li>
%% <li>The buffer belongs to the instance's supervisor: the processes that flush
%%     may be killed without loss. A kill just between the sending of a batch by
%%     such a process and its noting so repeats that batch (to other nodes, in
%%     acked mode, to the sink); a local batch leaves in one native call.</li>
%% </ul>
%%
%% == Options ==
%% `batch_size' (100, 1 to 10000), `batch_timeout' (10 ms), `max_pending' (100000:
%% accepted messages not yet settled, more are refused as `overloaded'), `name',
%% `sink' (a function of a list of messages that returns `ok' or `{error, Reason}':
%% takes the messages sent without a destination), `undelivered' (a function of
%% destination, message, reason, called in a process of its own; without it they
%% are counted and logged), `deliver' (`batch' or `each'), `delivery'
%% (`at_most_once' or `acked'), `compress' (`never' or `auto': batches to other
%% nodes are compressed where that saves a fifth; for slow links only).
-module(erlmcp_flow_batch_processor).

-export([start_link/0, start_link/1, child_spec/1, stop/1]).
-export([send_message/1, send_message/2, send_message/3]).
-export([send_batch/1, send_batch/2, send_batch/3]).
-export([flush_batch/0, flush_batch/1]).
-export([messages/1, ack/1, stats/0, stats/1]).
-export([share_state/2, share_state/3, read_shared_state/1, read_shared_state/2,
         drop_shared_state/1]).
-export_type([ref/0, dest/0, error_reason/0, batch/0, ack_ref/0, stats/0,
              reason/0]).

-type ref() :: atom() | pid() | {global, term()} | {via, module(), term()}.
%% An instance: its name or its pid.

-type dest() :: pid() | atom() | {Name :: atom(), node()}.
-type error_reason() :: overloaded | no_sink | not_running.
%% `overloaded': `max_pending' messages wait, try later or do without.
%% `no_sink': a message without a destination, and the instance has no `sink'.
%% `not_running': no such instance.

-type reason() ::
    noproc | noconnection | {down, Why :: term()} | {sink, Why :: term()} | stopped.
%% Why a message is handed to `undelivered'.

-type ack_ref() :: {pid(), pos_integer()}.
-type batch() ::
    {erlmcp_flow_batch, [term()] | binary()}
    | {erlmcp_flow_batch, ack_ref(), [term()] | binary()}.
%% What a receiver gets; a binary is a compressed list.

-type stats() ::
    #{accepted | delivered | undelivered | overloaded | batches | retries | pending
      | unacked | callback_crashes := non_neg_integer()}.

%%% Instances

%% @doc Starts the default instance, named `erlmcp_flow_batch_processor'.
-spec start_link() -> {ok, pid()} | {error, term()}.
start_link() ->
    start_link(#{name => ?MODULE}).

%% @doc Starts an instance. A wrong option is `{error, {bad_option, Key, Value}}'.
-spec start_link(erlmcp_flow_opts:opts()) -> {ok, pid()} | {error, term()}.
start_link(Opts) ->
    case erlmcp_flow_opts:validate(option_spec(), Opts) of
        {ok, Valid} -> erlmcp_flow_batch_sup:start_link(Valid);
        {error, _} = Error -> Error
    end.

option_spec() ->
    #{name => {{any_of, [name, {enum, [undefined]}]}, undefined},
      batch_size => {{integer, 1, 10_000}, 100},
      batch_timeout => {{integer, 1, 3_600_000}, 10},
      max_pending => {{integer, 1, infinity}, 100_000},
      sink => {{any_of, [{function, 1}, {enum, [undefined]}]}, undefined},
      undelivered => {{any_of, [{function, 3}, {enum, [undefined]}]}, undefined},
      deliver => {{enum, [batch, each]}, batch},
      delivery => {{enum, [at_most_once, acked]}, at_most_once},
      compress => {{enum, [never, auto]}, never}}.

%% @doc A child specification for a supervisor of yours.
-spec child_spec(erlmcp_flow_opts:opts()) -> supervisor:child_spec().
child_spec(Opts) ->
    #{id => child_id(Opts), start => {?MODULE, start_link, [Opts]},
      type => supervisor, restart => transient, shutdown => infinity}.

child_id(#{name := Name}) -> {?MODULE, Name};
child_id(Opts) when is_list(Opts) -> {?MODULE, proplists:get_value(name, Opts)};
child_id(_) -> ?MODULE.

%% @doc Flushes and ends an instance. What is then still unacknowledged goes to
%% `undelivered' with the reason `stopped'.
-spec stop(ref()) -> ok.
stop(Ref) ->
    gen_server:stop(Ref, normal, infinity).

%%% Sending

%% @doc Sends a message to the sink of the default instance.
-spec send_message(term()) -> ok | {error, error_reason()}.
send_message(Message) ->
    push(?MODULE, [], Message).

%% @doc Sends a message to the sink of an instance.
-spec send_message(ref(), term()) -> ok | {error, error_reason()}.
send_message(Ref, Message) ->
    push(Ref, [], Message).

%% @doc Sends a message to a process: one native call, about as long as the copy of
%% the message takes. A destination that does not exist is found when the batch
%% leaves.
-spec send_message(ref(), dest(), term()) -> ok | {error, error_reason()}.
send_message(Ref, Dest, Message) when Dest =/= [] ->
    push(Ref, Dest, Message);
send_message(Ref, Dest, Message) ->
    bad_dest([Ref, Dest, Message]).

push(Ref, Dest, Message) ->
    try erlmcp_flow_nif:outbox_push(Ref, Dest, Message) of
        ok -> ok;
        overloaded -> {error, overloaded};
        Other -> push(Other, Ref, Dest, Message)
    catch
        %% The library is not there at all: all instances are twins.
        error:undef -> push(not_running, Ref, Dest, Message)
    end.

push(no_sink, _Ref, _Dest, _Message) ->
    {error, no_sink};
push(Other, Ref, Dest, Message) ->
    case node_of(Dest) of
        bad ->
            bad_dest([Ref, Dest, Message]);
        {Node, Dest1} when Other =:= remote, Node =/= node() ->
            case erlmcp_flow_nif:outbox_push_node(Ref, Node, Dest1, Message) of
                ok -> ok;
                Refused -> {error, Refused}
            end;
        {_Node, Dest1} when Other =:= remote, Dest1 =/= Dest ->
            push(Ref, Dest1, Message);
        {Node, Dest1} ->
            erlmcp_flow_batch_buffer:push(Ref, Node, Dest1, [Message])
    end.

%% The node of a destination, and the destination without this node's name.
node_of([]) -> {node(), []};
node_of(Dest) when is_pid(Dest) -> {node(Dest), Dest};
node_of(Dest) when is_atom(Dest) -> {node(), Dest};
node_of({Name, Node}) when is_atom(Name), Node =:= node() -> {Node, Name};
node_of({Name, Node} = Dest) when is_atom(Name), is_atom(Node) -> {Node, Dest};
node_of(_) -> bad.

-spec bad_dest([term()]) -> no_return().
bad_dest(Args) ->
    erlmcp_flow_error:badarg(Args, #{2 => "not a pid, a name or {Name, Node}"}).

%% @doc Sends messages to the sink of the default instance.
-spec send_batch([term()]) -> ok | {error, error_reason()}.
send_batch(Messages) ->
    send_batch(?MODULE, Messages).

%% @doc Sends messages to the sink of an instance: all of them are accepted, in
%% order, or none; see {@link send_batch/3}.
-spec send_batch(ref(), [term()]) -> ok | {error, error_reason()}.
send_batch(Ref, Messages) ->
    try length(Messages) of
        _ -> erlmcp_flow_batch_buffer:push(Ref, node(), [], Messages)
    catch
        error:badarg -> erlmcp_flow_error:badarg([Ref, Messages], #{2 => "not a list"})
    end.

%% @doc Sends messages to a process: all of them are accepted, in order, or none.
%% The list is copied at once and never split: it joins the open batch where that
%% has room for all of it, and is a batch of its own otherwise, also where it is
%% longer than `batch_size'. So a batch holds `batch_size' messages at most, or
%% exactly one list.
-spec send_batch(ref(), dest(), [term()]) -> ok | {error, error_reason()}.
send_batch(Ref, Dest, Messages) ->
    try length(Messages) of
        _ ->
            case node_of(Dest) of
                {Node, Dest1} when Dest1 =/= [] ->
                    erlmcp_flow_batch_buffer:push(Ref, Node, Dest1, Messages);
                _ ->
                    bad_dest([Ref, Dest, Messages])
            end
    catch
        error:badarg ->
            erlmcp_flow_error:badarg([Ref, Dest, Messages], #{3 => "not a list"})
    end.

%% @doc Flushes the default instance.
-spec flush_batch() -> ok.
flush_batch() ->
    flush_batch(?MODULE).

%% @doc Returns when all that was accepted before the call has been sent (or given
%% to the process that calls `undelivered').
-spec flush_batch(ref()) -> ok.
flush_batch(Ref) ->
    erlmcp_flow_batch_lane:flush_all(local(Ref)).

%%% Receiving

%% @doc The messages of a batch, in order.
-spec messages(batch()) -> [term()].
messages({erlmcp_flow_batch, Messages}) -> unpack(Messages);
messages({erlmcp_flow_batch, _AckRef, Messages}) -> unpack(Messages).

unpack(Messages) when is_list(Messages) -> Messages;
unpack(Packed) when is_binary(Packed) -> binary_to_term(Packed).

%% @doc Acknowledges a batch (`delivery => acked'): its messages count as
%% delivered. `{error, unknown}': it was acknowledged before, or given up.
-spec ack(batch() | ack_ref()) -> ok | {error, unknown | not_running | noconnection}.
ack({erlmcp_flow_batch, AckRef, _Messages}) ->
    ack(AckRef);
ack({Pid, Id} = AckRef) when is_pid(Pid), is_integer(Id), node(Pid) =/= node() ->
    try
        erpc:call(node(Pid), ?MODULE, ack, [AckRef])
    catch
        error:{erpc, _} -> {error, noconnection}
    end;
ack({Pid, Id}) when is_pid(Pid), is_integer(Id) ->
    case erlmcp_flow_batch_buffer:ack(Pid, Id) of
        ok -> ok;
        Reason -> {error, Reason}
    end;
ack(Other) ->
    erlmcp_flow_error:badarg([Other], #{1 => "not a batch with an ack reference"}).

%% @doc The counters of the default instance.
-spec stats() -> stats() | {error, not_running}.
stats() ->
    stats(?MODULE).

%% @doc The counters of an instance, in messages (`batches' in batches). Exact when
%% nothing is on its way; `pending' includes what waits for an acknowledgement
%% (`unacked') and what the `undelivered' callback has not seen yet.
-spec stats(ref()) -> stats() | {error, not_running}.
stats(Ref) ->
    erlmcp_flow_batch_buffer:stats(local(Ref)).

%%% Shared state

%% @doc Puts a value where any process of this node can read it, so that only the
%% reference has to be sent. The calling process owns it: it goes when that process
%% dies. Sharing again under the same key overwrites; another process that does so
%% takes the entry over.
-spec share_state(term(), term()) -> erlmcp_flow_shared:ref().
share_state(Key, Value) ->
    share_state(?MODULE, Key, Value).

%% @doc As `share_state/2', in the table of the instance `Ref'.
-spec share_state(ref(), term(), term()) -> erlmcp_flow_shared:ref().
share_state(Ref, Key, Value) ->
    erlmcp_flow_shared:share(local(Ref), Key, Value).

%% @doc Reads a shared value: the value is copied to the caller, but for binaries of
%% more than 64 bytes, which are shared.
-spec read_shared_state(erlmcp_flow_shared:ref()) -> {ok, term()} | {error, not_found}.
read_shared_state(StateRef) ->
    erlmcp_flow_shared:read(StateRef).

%% @doc Reads a part of a shared value and copies only that part (with `native =>
%% false' all of it, and drops the rest): `Path' is a list of map keys, outermost
%% first.
-spec read_shared_state(erlmcp_flow_shared:ref(), [term()]) ->
    {ok, term()} | {error, not_found}.
read_shared_state(StateRef, Path) ->
    erlmcp_flow_shared:read(StateRef, Path).

%% @doc Removes a shared value before its owner dies.
-spec drop_shared_state(erlmcp_flow_shared:ref()) -> ok.
drop_shared_state(StateRef) ->
    erlmcp_flow_shared:drop(StateRef).

%%% Helpers

%% The buffer knows an instance by its local name or its pid.
local({Kind, _} = Ref) when Kind =:= global -> gen_server_whereis(Ref);
local({via, _, _} = Ref) -> gen_server_whereis(Ref);
local(Ref) when is_atom(Ref); is_pid(Ref) -> Ref.

gen_server_whereis({global, Name}) -> global:whereis_name(Name);
gen_server_whereis({via, Module, Name}) -> Module:whereis_name(Name).
