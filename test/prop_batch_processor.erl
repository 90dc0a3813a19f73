%% Whatever is sent in whatever way: it arrives once, in order, or is handed to
%% `undelivered' once, in order.
-module(prop_batch_processor).
-include_lib("proper/include/proper.hrl").
-export([prop_arrives/0, prop_shared_part/0]).

-define(B, erlmcp_flow_batch_processor).
-define(NAME, prop_batch_processor_name).

prop_arrives() ->
    ?FORALL({Opts, Ops}, {opts(), list(op())},
        begin
            Me = self(),
            Tag = make_ref(),
            Gone = gone(),
            {ok, Ref} = ?B:start_link(Opts#{
                undelivered => fun(Dest, M, noproc) -> Me ! {Tag, Dest, M} end}),
            Live = [receiver(Me, Tag) || _ <- lists:seq(1, 3)],
            true = register(?NAME, hd(Live)),
            Dests = list_to_tuple(Live ++ [?NAME, Gone, prop_batch_processor_nobody]),
            Sent = run(Ref, Dests, Ops),
            ok = ?B:stop(Ref),
            [P ! {stop, Tag} || P <- Live],
            [receive {Tag, stopped, P} -> ok end || P <- Live],
            Got = drain(Tag, #{}),
            Expected = by_receiver(Sent, hd(Live)),
            ?WHENFAIL(io:format("~p~nsent ~p~ngot ~p~n", [Opts, Expected, Got]),
                      Got =:= Expected)
        end).

opts() ->
    ?LET({Size, Timeout, Deliver}, {range(1, 8), range(1, 3), oneof([batch, each])},
         #{batch_size => Size, batch_timeout => Timeout, deliver => Deliver}).

op() ->
    frequency([{5, {send, range(1, 6)}}, {3, {batch, range(1, 6), range(0, 20)}},
               {1, flush}, {1, pause}]).

run(Ref, Dests, Ops) ->
    {Sent, _} = lists:foldl(fun(Op, Acc) -> op(Op, Ref, Dests, Acc) end, {#{}, 1}, Ops),
    Sent.

op({send, D}, Ref, Dests, {Sent, N}) ->
    ok = ?B:send_message(Ref, element(D, Dests), {m, N}),
    {add(element(D, Dests), [{m, N}], Sent), N + 1};
op({batch, D, Count}, Ref, Dests, {Sent, N}) ->
    Messages = [{m, I} || I <- lists:seq(N, N + Count - 1)],
    ok = ?B:send_batch(Ref, element(D, Dests), Messages),
    {add(element(D, Dests), Messages, Sent), N + Count};
op(flush, Ref, _, Acc) ->
    ok = ?B:flush_batch(Ref),
    Acc;
op(pause, _, _, Acc) ->
    receive after 4 -> Acc end.

add(_, [], Sent) -> Sent;
add(Dest, Messages, Sent) -> Sent#{Dest => maps:get(Dest, Sent, []) ++ Messages}.

%% A pid and its name are two destinations: only the order within each is kept, and
%% the test's receiver sees both. They are told apart by sorting into what was sent.
by_receiver(Sent, Named) ->
    case maps:take(?NAME, Sent) of
        {ByName, Sent1} ->
            Sent1#{Named => lists:sort(maps:get(Named, Sent1, []) ++ ByName)};
        error when is_map_key(Named, Sent) ->
            Sent#{Named := lists:sort(map_get(Named, Sent))};
        error ->
            Sent
    end.

receiver(To, Tag) ->
    spawn_link(fun() -> receiver_loop(To, Tag, []) end).

receiver_loop(To, Tag, Got) ->
    receive
        {erlmcp_flow_batch, _} = Batch ->
            receiver_loop(To, Tag, [?B:messages(Batch) | Got]);
        {m, _} = M ->
            receiver_loop(To, Tag, [[M] | Got]);
        {stop, Tag} ->
            Messages = lists:append(lists:reverse(Got)),
            Named = process_info(self(), registered_name) =/= [],
            To ! {Tag, self(), {all, case Named of
                                         true -> lists:sort(Messages);
                                         false -> Messages
                                     end}},
            To ! {Tag, stopped, self()}
    end.

drain(Tag, Got) ->
    receive
        {Tag, _, {all, []}} -> drain(Tag, Got);
        {Tag, Pid, {all, Messages}} -> drain(Tag, Got#{Pid => Messages});
        {Tag, Dest, Message} -> drain(Tag, add(Dest, [Message], Got))
    after 0 -> Got
    end.

gone() ->
    {Pid, Mon} = spawn_monitor(fun() -> ok end),
    receive {'DOWN', Mon, _, _, _} -> Pid end.

%% A part read from the table is the part of the value.
prop_shared_part() ->
    ?FORALL({Key, Value, Path}, {any(), nested(3), list(key())},
        begin
            {ok, Ref} = ?B:start_link(#{}),
            S = ?B:share_state(Ref, Key, Value),
            Result = ?B:read_shared_state(S, Path),
            Whole = ?B:read_shared_state(S),
            ok = ?B:stop(Ref),
            Whole =:= {ok, Value} andalso Result =:= walk(Path, Value)
        end).

key() -> oneof([a, b, '_', '$1', 1, 1.0, {a, '_'}, <<"k">>, "s"]).

nested(0) -> any();
nested(N) ->
    oneof([any(), ?LET(L, list({key(), ?LAZY(nested(N - 1))}), maps:from_list(L))]).

walk([], Value) -> {ok, Value};
walk([K | Path], Value) when is_map(Value) ->
    case Value of
        #{K := V} -> walk(Path, V);
        _ -> {error, not_found}
    end;
walk(_, _) -> {error, not_found}.
