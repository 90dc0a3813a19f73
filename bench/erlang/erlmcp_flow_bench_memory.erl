%% @doc Memory: messages that wait, a state that is shared, the cache, and what is not built
%% yet.
-module(erlmcp_flow_bench_memory).

-export([run/0, run_all/0, probes/1]).
-export([queued/1]).

-define(B, erlmcp_flow_batch_processor).

%% @doc The message probes alone, with the default options; prints its lines and
%% returns the results.
-spec run() -> erlmcp_flow_bench:results().
run() ->
    erlmcp_flow_bench:run(#{only => <<"memory.message">>}, [memory]).

%% @doc Everything of this group.
-spec run_all() -> erlmcp_flow_bench:results().
run_all() ->
    erlmcp_flow_bench:run(#{}, [memory]).

%% @private
-spec probes(map()) -> [erlmcp_flow_bench_engine:probe()].
probes(Ctx) ->
    [queued_probe(Ctx), shared_probe(Ctx)] ++ erlmcp_flow_bench_cache:kept(Ctx)
    ++ erlmcp_flow_bench_later:probes(memory).

%% -- messages that wait --------------------------------------------------

%% Each sample in a VM of its own: what a VM once had, it does not give back.
queued_probe(#{agents := Agents, queued := Messages, data := #{terms := Terms}}) ->
    Spec = #{agents => Agents, messages => Messages, payload => term_to_binary(Terms)},
    Side = fun(Via) -> fun() -> in_vm(Spec#{via => Via}) end end,
    Id = <<"memory.message.queued">>,
    Metric = #{better => lower, unit => 'MB', rival => <<"mailboxes">>},
    #{id => Id, group => memory,
      section => text("Memory: ~b agents, ~bK messages waiting", [Agents, Messages div 1000]),
      label => <<"messages that wait">>, warmup => false,
      needs => [{?B, start_link, 1}, {?B, send_message, 3}, {?B, flush_batch, 1}],
      params => #{agents => Agents, messages => Messages},
      sides => fun(_) ->
          [{<<"batch_processor">>, Side(batch)}, {<<"mailboxes">>, Side(mailbox)}]
      end,
      metrics => [
          Metric#{id => <<Id/binary, ".rss">>, name => <<"flow.memory.total_mb">>,
                  labels => #{part => <<"rss">>}, key => rss,
                  label => <<"whole OS process (RSS)">>, targets => [{value, '<', 512}]},
          Metric#{id => <<Id/binary, ".vm">>, name => <<"flow.memory.total_mb">>,
                  labels => #{part => <<"total">>}, key => total,
                  label => <<"erlang:memory(total)">>, targets => [{value, '<', 512}]},
          Metric#{id => <<Id/binary, ".per_message">>, key => per_message, unit => bytes,
                  label => <<"RSS growth for each message">>}]
          ++ [Metric#{id => <<Id/binary, ".", (atom_to_binary(Part))/binary>>, key => Part,
                      label => text("erlang:memory(~s)", [Part]), quiet => true}
              || Part <- [processes, system, binary, ets]]}.

in_vm(Spec) ->
    case erlmcp_flow_bench_nodes:start_vm() of
        {ok, Vm} ->
            try
                erlmcp_flow_bench_nodes:call(Vm, ?MODULE, queued, [Spec], 60000)
            after
                erlmcp_flow_bench_nodes:stop(Vm)
            end;
        {error, _} = Error ->
            Error
    end.

%% @private
%% Runs in the fresh VM.
-spec queued(map()) -> erlmcp_flow_bench_engine:outcome().
queued(#{via := Via, agents := Agents, messages := Messages, payload := Payload}) ->
    {ok, _} = application:ensure_all_started(erlmcp_flow),
    Self = self(),
    Pids = [spawn_link(fun() -> receive count -> Self ! {counted, self(), count(0)} end end)
            || _ <- lists:seq(1, Agents)],
    {Send, Flush} = queue(Via, Messages),
    Before = erlmcp_flow_bench_machine:rss(),
    %% In a process that ends: its heap is not what is measured.
    {Feeder, Mon} = spawn_monitor(fun() ->
        Terms = list_to_tuple(binary_to_term(Payload)),
        feed(0, Messages, list_to_tuple(Pids), Terms, Send)
    end),
    receive {'DOWN', Mon, process, Feeder, normal} -> ok end,
    true = erlang:garbage_collect(),
    Early = early(Via, Pids),
    After = erlmcp_flow_bench_machine:rss(),
    Memory = erlang:memory(),
    ok = Flush(),
    lists:foreach(fun(P) -> P ! count end, Pids),
    Counted = lists:sum([receive {counted, P, N} -> N end || P <- Pids]),
    if
        Early > 0 -> {error, {left_the_buffer_early, Early}};
        Counted =/= Messages -> {error, {messages_missing, Messages - Counted}};
        true -> {ok, waiting(Before, After, Memory, Messages)}
    end.

waiting(Before, After, Memory, Messages) ->
    Mb = fun(Bytes) -> Bytes / 1.0e6 end,
    Parts = maps:map(fun(_, Bytes) -> Mb(Bytes) end,
                     maps:with([total, processes, system, binary, ets],
                               maps:from_list(Memory))),
    case is_integer(After) of
        true -> Parts#{rss => Mb(After), per_message => (After - Before) / Messages};
        false -> Parts
    end.

queue(mailbox, _Messages) ->
    {fun(Dest, Message) -> Dest ! Message, ok end, fun() -> ok end};
queue(batch, Messages) ->
    %% Nothing may leave by size or age while it is weighed; 10000 is the largest size.
    {ok, Ref} = ?B:start_link(#{
        batch_size => min(Messages, 10000), batch_timeout => 60000, max_pending => 2 * Messages}),
    {fun(Dest, Message) -> ?B:send_message(Ref, Dest, Message) end,
     fun() -> ?B:flush_batch(Ref) end}.

feed(Messages, Messages, _Dests, _Terms, _Send) ->
    ok;
feed(I, Messages, Dests, Terms, Send) ->
    Dest = element(I rem tuple_size(Dests) + 1, Dests),
    ok = Send(Dest, element(I rem tuple_size(Terms) + 1, Terms)),
    feed(I + 1, Messages, Dests, Terms, Send).

early(mailbox, _Pids) ->
    0;
early(batch, Pids) ->
    lists:sum([element(2, process_info(P, message_queue_len)) || P <- Pids]).

count(N) ->
    receive
        {erlmcp_flow_batch, List} -> count(N + length(List));
        #{} -> count(N + 1)
    after 1000 -> N
    end.

%% -- a state that is shared ----------------------------------------------

%% Three ways to share: only the reference goes out; every agent reads one part;
%% every agent reads it all, which copies as much as sending and is said, not
%% judged.
shared_probe(#{agents := Agents, data := #{terms := Terms}}) ->
    Id = <<"memory.message.shared">>,
    Metric = #{better => lower, unit => bytes, key => copied, rival => <<"sent by !">>,
               ratio => own_by_rival},
    #{id => Id, group => memory,
      section => text("Memory: a state of 1 MB to ~b agents", [Agents]),
      label => <<"shared state">>,
      needs => [{?B, share_state, 2}, {?B, read_shared_state, 1}],
      params => #{agents => Agents},
      setup => fun() ->
          case application:ensure_all_started(erlmcp_flow) of
              {ok, _} -> {ok, state(Terms)};
              {error, _} = Error -> Error
          end
      end,
      sides => fun(State) ->
          [{<<"reference">>, fun() -> share(State, Agents, hold) end},
           {<<"part">>, part(State, Agents)},
           {<<"whole">>, fun() -> share(State, Agents, whole) end},
           {<<"sent by !">>, fun() -> send(State, Agents) end}]
      end,
      metrics => [
          Metric#{id => <<Id/binary, ".copied">>, targets => [{ratio, '=<', 0.1}],
                  label => <<"bytes copied to hand it out">>},
          Metric#{id => <<Id/binary, ".part">>, side => <<"part">>,
                  targets => [{ratio, '=<', 0.1}],
                  label => <<"bytes copied, each agent reads one part">>},
          Metric#{id => <<Id/binary, ".whole">>, side => <<"whole">>,
                  label => <<"bytes copied, each agent reads it all">>},
          Metric#{id => <<Id/binary, ".ms">>, key => ms, unit => ms, ratio => rival_by_own,
                  label => <<"time to hand it out">>},
          Metric#{id => <<Id/binary, ".part.ms">>, key => ms, unit => ms, side => <<"part">>,
                  ratio => rival_by_own, label => <<"time until each agent has its part">>}]}.

part(State, Agents) ->
    case erlmcp_flow_bench_engine:built([{?B, read_shared_state, 2}]) of
        true -> fun() -> share(State, Agents, {part, maps:size(State) div 2}) end;
        {missing, _} -> {absent, "no read_shared_state/2"}
    end.

%% A map of real messages, each a term of its own, of at least 1 MB on the heap.
state(Terms) ->
    state(1, Terms, Terms, 0, #{}).

state(_I, _Rest, _Terms, Bytes, Map) when Bytes >= 1000000 ->
    Map;
state(I, [], Terms, Bytes, Map) ->
    state(I, Terms, Terms, Bytes, Map);
state(I, [T | Rest], Terms, Bytes, Map) ->
    Own = binary_to_term(term_to_binary(T)),
    state(I + 1, Rest, Terms, Bytes + flat_bytes(Own), Map#{I => Own}).

flat_bytes(Term) ->
    erts_debug:flat_size(Term) * erlang:system_info(wordsize).

%% Putting it where it is shared copies it once; that counts too.
share(State, Agents, How) ->
    Expected = case How of
        hold -> held;
        whole -> State;
        {part, Key} -> maps:get(Key, State)
    end,
    handed(Expected, Agents, flat_bytes(State), fun(Pids) ->
        Ref = ?B:share_state(make_ref(), State),
        lists:foreach(fun(P) -> P ! {How, Ref} end, Pids)
    end).

send(State, Agents) ->
    handed(State, Agents, 0, fun(Pids) ->
        lists:foreach(fun(P) -> P ! {state, State} end, Pids)
    end).

%% What the agents' heaps grew by while they hold what they got, the garbage that
%% their getting it left behind, and what the VM's binaries grew by. (The garbage
%% is counted by the VM for all processes; nothing else works meanwhile.)
handed(Expected, Agents, Stored, Hand) ->
    Self = self(),
    Pids = [spawn_link(fun() -> holder(Self) end) || _ <- lists:seq(1, Agents)],
    lists:foreach(fun(P) -> receive {ready, P} -> ok end end, Pids),
    Binaries = erlang:memory(binary),
    Reclaimed = reclaimed(),
    T0 = erlang:monotonic_time(),
    Hand(Pids),
    lists:foreach(fun(P) -> receive {got, P} -> ok end end, Pids),
    Ns = erlang:convert_time_unit(erlang:monotonic_time() - T0, native, nanosecond),
    lists:foreach(fun(P) -> P ! weigh end, Pids),
    Weights = [receive {weighs, P, Bytes, Hash} -> {Bytes, Hash} end || P <- Pids],
    InBinaries = max(0, erlang:memory(binary) - Binaries),
    Garbage = reclaimed() - Reclaimed,
    lists:foreach(fun(P) -> unlink(P), exit(P, kill) end, Pids),
    Copied = lists:sum([Bytes || {Bytes, _} <- Weights]),
    Right = erlang:phash2(Expected),
    case [Hash || {_, Hash} <- Weights, Hash =/= Right] of
        [] -> {ok, #{copied => Stored + Copied + Garbage + InBinaries, ms => Ns / 1.0e6}};
        Wrong -> {error, {wrong_state_at, length(Wrong), agents}}
    end.

holder(Parent) ->
    true = erlang:garbage_collect(),
    Before = used(),
    Parent ! {ready, self()},
    {Ref, Got} = receive
        {state, S} -> {none, S};
        {hold, R} -> {R, held};
        {whole, R} -> {ok, S} = ?B:read_shared_state(R), {R, S};
        {{part, Key}, R} -> {ok, S} = ?B:read_shared_state(R, [Key]), {R, S}
    end,
    Parent ! {got, self()},
    receive weigh -> ok end,
    true = erlang:garbage_collect(),
    After = used(),
    Parent ! {weighs, self(), max(0, After - Before), erlang:phash2(Got)},
    receive never -> {Ref, Got} end.

%% What survived the major collection just made. (`heap_size' of the same list is
%% the block without the stack, free words and all.)
used() ->
    {garbage_collection_info, Info} = process_info(self(), garbage_collection_info),
    proplists:get_value(recent_size, Info) * erlang:system_info(wordsize).

reclaimed() ->
    {_Times, Words, _} = erlang:statistics(garbage_collection),
    Words * erlang:system_info(wordsize).

text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
