%% @private
%% @doc The probes of message throughput: 60 agents, one and ten senders, here and
%% between two nodes.
-module(erlmcp_flow_bench_messages).

-export([probes/1]).

-define(NEEDS, [{erlmcp_flow_batch_processor, start_link, 1},
                {erlmcp_flow_batch_processor, send_message, 3},
                {erlmcp_flow_batch_processor, flush_batch, 1}]).
-define(LISTS_OF, 100).
%% Bytes in external term format.
-define(SMALL, 130).

-spec probes(map()) -> [erlmcp_flow_bench_engine:probe()].
probes(#{messages := [First | _] = Sizes, full := Full} = Ctx) ->
    Last = lists:last(Sizes),
    [local(Ctx, mcp, N, S) || N <- Sizes, S <- [1, 10]]
    ++ [lists_of(Ctx, mcp, Last), local(Ctx, small, Last, 1), lists_of(Ctx, small, Last)]
    %% A million messages by plain `!' between nodes take some five seconds a sample.
    ++ [remote(Ctx, mcp, N, S)
        || N <- Sizes, S <- [1, 10], Full orelse N =:= First orelse S =:= 1]
    ++ [remote(Ctx, small, First, 1)].

local(Ctx, Kind, Messages, Senders) ->
    Spec = spec(Ctx, Kind, Messages, Senders),
    Id = id("local", Kind, Messages, Senders),
    base(Ctx, Id, Spec, "local" ++ of_kind(Kind), #{
        sides => fun(_) ->
            [{<<"batch_processor">>, via(Spec, {batch, #{}})},
             {<<"plain !">>, via(Spec, plain)}]
        end,
        metrics => [throughput(Id, Spec, "local" ++ of_kind(Kind),
                               targets(Kind, 500000, 3))]}).

%% A sender that has many messages at once hands them over as lists. Held against
%% `!' for each message, and against lists that one makes and sends by hand.
lists_of(Ctx, Kind, Messages) ->
    Spec = spec(Ctx, Kind, Messages, 1),
    Id = <<(id("local", Kind, Messages, 1))/binary, ".lists">>,
    Where = "lists of " ++ integer_to_list(?LISTS_OF) ++ of_kind(Kind),
    Metric = throughput(Id, Spec, Where, targets(Kind, 500000, 3)),
    base(Ctx, Id, Spec, Where, #{
        needs => [{erlmcp_flow_batch_processor, send_batch, 3} | ?NEEDS],
        sides => fun(_) ->
            [{<<"batch_processor">>, via(Spec, {batch_lists, ?LISTS_OF, #{}})},
             {<<"plain !">>, via(Spec, plain)},
             {<<"! of lists">>, via(Spec, {lists, ?LISTS_OF})}]
        end,
        metrics => [Metric#{label => text("Message throughput, ~s, ~s",
                                          [Where, count(Messages)])},
                    Metric#{id => <<Id/binary, ".by_hand">>, rival => <<"! of lists">>,
                            label => <<"  the same, against lists sent by hand">>,
                            targets => []}]}).

%% The documented rate holds for every line. How much better than `!' batching is
%% depends on the message: it saves what a message costs besides its copy, so the
%% ratio is held for messages of about 100 bytes, and shown for the others.
targets(small, Rate, Ratio) -> [{value, '>', Rate}, {ratio, '>=', Ratio}];
targets(mcp, Rate, _Ratio) -> [{value, '>', Rate}].

of_kind(mcp) -> "";
of_kind(small) -> ", small".

remote(Ctx, Kind, Messages, Senders) ->
    Spec = spec(Ctx, Kind, Messages, Senders),
    Id = id("nodes", Kind, Messages, Senders),
    base(Ctx, Id, Spec, "two nodes" ++ of_kind(Kind), #{
        setup => fun pair/0,
        teardown => fun({A, B, _}) ->
            ok = erlmcp_flow_bench_nodes:stop(A),
            ok = erlmcp_flow_bench_nodes:stop(B)
        end,
        sides => fun({A, _B, Node}) ->
            There = Spec#{node => Node},
            [{<<"batch_processor">>, on(A, There#{via => {batch, #{}}})},
             {<<"plain !">>, on(A, There#{via => plain})}]
        end,
        metrics => [throughput(Id, Spec, "two nodes" ++ of_kind(Kind),
                               case Kind of
                                   small -> targets(Kind, 1000000, 5);
                                   mcp -> targets(Kind, 500000, 5)
                               end)]}).

pair() ->
    case erlmcp_flow_bench_nodes:start_pair() of
        {ok, {A, B, Node}} ->
            Start = fun(Vm) ->
                erlmcp_flow_bench_nodes:call(
                    Vm, application, ensure_all_started, [erlmcp_flow], 10000)
            end,
            case {Start(A), Start(B)} of
                {{ok, _}, {ok, _}} -> {ok, {A, B, Node}};
                Other -> {error, {application_does_not_start, Other}}
            end;
        {error, _} = Error ->
            Error
    end.

via(Spec, Via) ->
    fun() -> erlmcp_flow_bench_swarm:run(Spec#{via => Via}) end.

on(Vm, Spec) ->
    fun() -> erlmcp_flow_bench_nodes:call(Vm, erlmcp_flow_bench_swarm, run, [Spec], 100000) end.

spec(#{data := #{terms := Terms}, agents := Agents}, Kind, Messages, Senders) ->
    #{agents => Agents, senders => Senders, messages => Messages,
      payload => term_to_binary(of_kind(Kind, Terms))}.

%% The small ones: a request, an answer, a notification of about 100 bytes. Of the
%% others the copying of the message itself is what takes the time.
of_kind(mcp, Terms) ->
    Terms;
of_kind(small, Terms) ->
    case [T || T <- Terms, byte_size(term_to_binary(T)) =< ?SMALL] of
        [] -> [lists:nth(1, Terms)];
        Small -> Small
    end.

base(#{agents := Agents}, Id, #{messages := N, senders := S}, Where, More) ->
    maps:merge(#{
        id => Id, group => throughput,
        section => text("Throughput: messages to ~b agents", [Agents]),
        label => text("~s messages, ~s, ~s", [count(N), Where, senders(S)]),
        needs => ?NEEDS,
        params => #{agents => Agents, messages => N, senders => S}}, More).

throughput(Id, #{messages := N, senders := S, agents := Agents}, Where, Targets) ->
    #{id => Id, name => <<"flow.throughput.msg_per_s">>,
      labels => #{where => text("~s", [Where]), messages => N, senders => S, agents => Agents},
      label => text("Message throughput, ~s, ~s, ~s", [Where, count(N), senders(S)]),
      key => msg_per_s, unit => 'msg/s', better => higher, rival => <<"plain !">>,
      targets => Targets}.

id(Where, mcp, Messages, Senders) ->
    text("throughput.~s.~bk.~bs", [Where, Messages div 1000, Senders]);
id(Where, Kind, Messages, Senders) ->
    text("throughput.~s.~s.~bk.~bs", [Where, Kind, Messages div 1000, Senders]).

senders(1) -> "1 sender";
senders(N) -> io_lib:format("~b senders", [N]).

count(N) when N >= 1000000, N rem 1000000 =:= 0 -> io_lib:format("~bM", [N div 1000000]);
count(N) -> io_lib:format("~bK", [N div 1000]).

text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
