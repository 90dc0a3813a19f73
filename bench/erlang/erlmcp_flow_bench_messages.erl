%% @private
%% @doc The probes of message throughput: 60 agents, one and ten senders, here and
%% between two nodes.
-module(erlmcp_flow_bench_messages).

-export([probes/1]).

-define(NEEDS, [{erlmcp_flow_batch_processor, start_link, 1},
                {erlmcp_flow_batch_processor, send_message, 3},
                {erlmcp_flow_batch_processor, flush_batch, 1}]).
-define(LISTS_OF, 100).

-spec probes(map()) -> [erlmcp_flow_bench_engine:probe()].
probes(#{messages := [First | _] = Sizes, full := Full} = Ctx) ->
    Local = [local(Ctx, N, S) || N <- Sizes, S <- [1, 10]],
    Lists = [local_lists(Ctx, lists:last(Sizes))],
    %% A million messages by plain `!' between nodes take some five seconds a sample.
    Remote = [remote(Ctx, N, S) || N <- Sizes, S <- [1, 10],
                                   Full orelse N =:= First orelse S =:= 1],
    Local ++ Lists ++ Remote.

local(Ctx, Messages, Senders) ->
    Spec = spec(Ctx, Messages, Senders),
    Id = id("local", Messages, Senders),
    base(Ctx, Id, Spec, "local", #{
        sides => fun(_) ->
            [{<<"batch_processor">>, via(Spec, {batch, #{}})},
             {<<"plain !">>, via(Spec, plain)}]
        end,
        metrics => [throughput(Id, Spec, "local",
                               [{value, '>', 500000}, {ratio, '>=', 3}])]}).

local_lists(Ctx, Messages) ->
    Spec = spec(Ctx, Messages, 1),
    Id = <<(id("local", Messages, 1))/binary, ".lists">>,
    Metric = throughput(Id, Spec, "local", [{value, '>', 500000}]),
    base(Ctx, Id, Spec, "local, lists of 100", #{
        needs => [{erlmcp_flow_batch_processor, send_batch, 3} | ?NEEDS],
        sides => fun(_) ->
            [{<<"batch_processor">>, via(Spec, {batch_lists, ?LISTS_OF, #{}})},
             {<<"! of lists">>, via(Spec, {lists, ?LISTS_OF})}]
        end,
        metrics => [Metric#{
            label => text("Message throughput, local, ~s in lists of ~b",
                          [count(Messages), ?LISTS_OF]),
            rival => <<"! of lists">>}]}).

remote(Ctx, Messages, Senders) ->
    Spec = spec(Ctx, Messages, Senders),
    Id = id("nodes", Messages, Senders),
    base(Ctx, Id, Spec, "two nodes", #{
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
        metrics => [throughput(Id, Spec, "two nodes",
                               [{value, '>=', 1000000}, {ratio, '>=', 5}])]}).

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

spec(#{data := #{terms := Terms}, agents := Agents}, Messages, Senders) ->
    #{agents => Agents, senders => Senders, messages => Messages,
      payload => term_to_binary(Terms)}.

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

id(Where, Messages, Senders) ->
    text("throughput.~s.~bk.~bs", [Where, Messages div 1000, Senders]).

senders(1) -> "1 sender";
senders(N) -> io_lib:format("~b senders", [N]).

count(N) when N >= 1000000, N rem 1000000 =:= 0 -> io_lib:format("~bM", [N div 1000000]);
count(N) -> io_lib:format("~bK", [N div 1000]).

text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
