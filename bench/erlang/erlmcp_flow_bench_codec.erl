%% @private
%% @doc The probes of the serializer: one message, JSON, MessagePack, batches.
-module(erlmcp_flow_bench_codec).

-export([probes/1]).

-define(S, erlmcp_flow_serializer).
-define(BATCH, 100).

-spec probes(map()) -> [erlmcp_flow_bench_engine:probe()].
probes(Ctx) ->
    [etf_encode(Ctx), etf_decode(Ctx)]
    ++ [P || What <- [median, all, schema], P <- json(Ctx, What)]
    ++ [msgpack_encode(Ctx), msgpack_decode(Ctx),
        batch_encode(Ctx), batch_decode(Ctx)].

%% -- one message ---------------------------------------------------------

etf_encode(#{data := #{terms := Terms}} = Ctx) ->
    Sizes = lists:sum([byte_size(term_to_binary(T)) || T <- Terms]),
    Check = fun() ->
        same(Terms, [binary_to_term(ok(?S:encode(T))) || T <- Terms])
    end,
    per_message(Ctx, "etf.encode", "encode one message (etf)", [{?S, encode, 1}],
        [{ours(), Check, fun() -> sum_ok(Terms, fun ?S:encode/1) end, Sizes},
         {<<"term_to_binary">>, fun() -> ok end,
          fun() -> sum(Terms, fun term_to_binary/1) end, Sizes}],
        length(Terms), cost(1.15)).

etf_decode(#{data := #{terms := Terms}} = Ctx) ->
    Bins = [term_to_binary(T) || T <- Terms],
    Keys = lists:sum([map_size(T) || T <- Terms]),
    Check = fun() -> same(Terms, [ok(?S:decode(B)) || B <- Bins]) end,
    per_message(Ctx, "etf.decode", "decode one message (etf, safe)", [{?S, decode, 1}],
        [{ours(), Check, fun() -> keys_ok(Bins, fun ?S:decode/1) end, Keys},
         {<<"binary_to_term safe">>, fun() -> ok end,
          fun() -> keys(Bins, fun(B) -> binary_to_term(B, [safe]) end) end, Keys}],
        length(Terms), cost(1.15)).

%% -- JSON ----------------------------------------------------------------

json(#{data := Data} = Ctx, What) ->
    {Label, Docs} = case What of
        median ->
            Median = maps:get(median, Data),
            {io_lib:format("the median message (~b B)", [byte_size(Median)]), [Median]};
        all ->
            All = maps:get(json, Data),
            {io_lib:format("all ~b messages", [length(All)]), All};
        schema ->
            Schema = maps:get(schema, Data),
            {io_lib:format("the ~b KB schema", [byte_size(Schema) div 1000]), [Schema]}
    end,
    Targets = [{ratio, '>=', 2}],
    Need = [{?S, encode, 2}, {?S, decode, 2}],
    Opts = #{format => json},
    %% The terms come from our own decoder and are checked against jiffy's.
    [json_encode(Ctx, What, Label, Docs, Need, Opts, Targets),
     json_decode(Ctx, What, Label, Docs, Need, Opts, Targets)].

json_encode(Ctx, What, Label, Docs, Need, Opts, Targets) ->
    lazy(probe(Ctx, text("json.encode.~s", [What]), ["JSON encode, ", Label], Need, Targets,
               length(Docs), <<"jiffy">>),
        fun() ->
            Terms = [ok(?S:decode(D, Opts)) || D <- Docs],
            Sizes = lists:sum([byte_size(ok(?S:encode(T, Opts))) || T <- Terms]),
            Encode = fun(T) -> ?S:encode(T, Opts) end,
            Check = fun() -> same(Terms, [ok(?S:decode(ok(Encode(T)), Opts)) || T <- Terms]) end,
            [{ours(), Check, fun() -> sum_ok(Terms, Encode) end, Sizes},
             jiffy(fun(Jiffy) ->
                 Theirs = fun Jiffy:encode/1,
                 Size = lists:sum([iolist_size(Theirs(T)) || T <- Terms]),
                 {fun() -> same(Terms, [ok(?S:decode(iolist_to_binary(Theirs(T)), Opts))
                                        || T <- Terms]) end,
                  fun() -> sum_io(Terms, Theirs) end, Size}
             end)]
        end).

json_decode(Ctx, What, Label, Docs, Need, Opts, Targets) ->
    lazy(probe(Ctx, text("json.decode.~s", [What]), ["JSON decode, ", Label], Need, Targets,
               length(Docs), <<"jiffy">>),
        fun() ->
            Decode = fun(B) -> ?S:decode(B, Opts) end,
            Terms = [ok(Decode(D)) || D <- Docs],
            Keys = lists:sum([map_size(T) || T <- Terms]),
            [{ours(), fun() -> ok end, fun() -> keys_ok(Docs, Decode) end, Keys},
             jiffy(fun(Jiffy) ->
                 Call = fun Jiffy:decode/2,
                 Theirs = fun(B) -> Call(B, [return_maps]) end,
                 {fun() -> same(Terms, [Theirs(D) || D <- Docs]) end,
                  fun() -> keys(Docs, Theirs) end, Keys}
             end)]
        end).

%% Known at run time only: the project does not depend on it.
jiffy(Fun) ->
    case code:ensure_loaded(jiffy) of
        {module, Jiffy} ->
            {Check, Work, Expected} = Fun(Jiffy),
            {<<"jiffy">>, Check, Work, Expected};
        {error, _} ->
            {<<"jiffy">>, {absent, "not installed"}}
    end.

%% -- MessagePack ---------------------------------------------------------

msgpack_encode(#{data := #{terms := Terms}} = Ctx) ->
    Opts = #{format => msgpack},
    Encode = fun(T) -> ?S:encode(T, Opts) end,
    lazy(probe(Ctx, <<"msgpack.encode">>, "MessagePack encode, one message",
               [{?S, encode, 2}], [], length(Terms), <<"term_to_binary">>),
        fun() ->
            Sizes = lists:sum([byte_size(ok(Encode(T))) || T <- Terms]),
            Check = fun() -> same(Terms, [ok(?S:decode(ok(Encode(T)), Opts)) || T <- Terms]) end,
            [{ours(), Check, fun() -> sum_ok(Terms, Encode) end, Sizes},
             {<<"term_to_binary">>, fun() -> ok end,
              fun() -> sum(Terms, fun term_to_binary/1) end,
              lists:sum([byte_size(term_to_binary(T)) || T <- Terms])}]
        end).

msgpack_decode(#{data := #{terms := Terms}} = Ctx) ->
    Opts = #{format => msgpack},
    Keys = lists:sum([map_size(T) || T <- Terms]),
    lazy(probe(Ctx, <<"msgpack.decode">>, "MessagePack decode, one message",
               [{?S, decode, 2}], [], length(Terms),
               <<"binary_to_term safe">>),
        fun() ->
            Bins = [ok(?S:encode(T, Opts)) || T <- Terms],
            Etf = [term_to_binary(T) || T <- Terms],
            Decode = fun(B) -> ?S:decode(B, Opts) end,
            [{ours(), fun() -> same(Terms, [ok(Decode(B)) || B <- Bins]) end,
              fun() -> keys_ok(Bins, Decode) end, Keys},
             {<<"binary_to_term safe">>, fun() -> ok end,
              fun() -> keys(Etf, fun(B) -> binary_to_term(B, [safe]) end) end, Keys}]
        end).

%% -- batches -------------------------------------------------------------

batch_encode(#{data := #{terms := Terms}} = Ctx) ->
    Batch = lists:sublist(Terms, ?BATCH),
    N = length(Batch),
    Probe = probe(Ctx, <<"batch.encode">>, text("encode a batch of ~b", [N]),
                  [{?S, encode_batch, 1}, {?S, decode_batch, 1}], [{ratio, '>=', 0.8}],
                  1, <<"term_to_binary">>),
    #{metrics := [Time]} = Probe,
    Size = Time#{id => <<"serializer.batch.size">>, label => text("size of a batch of ~b", [N]),
                 key => bytes, unit => bytes, ratio => own_by_rival,
                 targets => [{ratio, '=<', 0.6}]},
    lazy(Probe#{metrics => [Time, Size]},
        fun() ->
            Bytes = byte_size(ok(?S:encode_batch(Batch))),
            Theirs = byte_size(term_to_binary(Batch)),
            [{ours(), fun() -> same(Batch, ok(?S:decode_batch(ok(?S:encode_batch(Batch))))) end,
              fun() -> byte_size(ok(?S:encode_batch(Batch))) end, Bytes, #{bytes => Bytes}},
             {<<"term_to_binary">>, fun() -> ok end,
              fun() -> byte_size(term_to_binary(Batch)) end, Theirs, #{bytes => Theirs}}]
        end).

batch_decode(#{data := #{terms := Terms}} = Ctx) ->
    Batch = lists:sublist(Terms, ?BATCH),
    N = length(Batch),
    lazy(probe(Ctx, <<"batch.decode">>, text("decode a batch of ~b", [N]),
               [{?S, encode_batch, 1}, {?S, decode_batch, 1}], [{ratio, '>=', 1.3}],
               1, <<"binary_to_term safe">>),
        fun() ->
            Ours = ok(?S:encode_batch(Batch)),
            Theirs = term_to_binary(Batch),
            [{ours(), fun() -> same(Batch, ok(?S:decode_batch(Ours))) end,
              fun() -> length(ok(?S:decode_batch(Ours))) end, N},
             {<<"binary_to_term safe">>, fun() -> ok end,
              fun() -> length(binary_to_term(Theirs, [safe])) end, N}]
        end).

%% -- how a side is made --------------------------------------------------

ours() -> <<"serializer">>.

cost(Limit) -> {own_by_rival, [{ratio, '=<', Limit}]}.

per_message(Ctx, Id, Label, Needs, Sides = [_, Rival | _], Per, {Of, Targets}) ->
    Probe = probe(Ctx, text("~s", [Id]), Label, Needs, Targets, Per, element(1, Rival)),
    #{metrics := [Metric]} = Probe,
    lazy(Probe#{metrics => [Metric#{ratio => Of}]}, fun() -> Sides end).

probe(Ctx, Id, Label, Needs, Targets, Per, Rival) ->
    #{id => <<"serializer.", Id/binary>>, group => throughput,
      section => <<"Throughput: serializer">>,
      label => text("~ts", [Label]), needs => Needs, params => #{per => Per},
      min_ms => maps:get(sample_ms, Ctx),
      metrics => [#{id => <<"serializer.", Id/binary>>, label => text("~ts", [Label]),
                    key => ns, unit => ns, better => lower, rival => Rival,
                    targets => Targets}]}.

%% Sides are made only when the modules are known to be there. Each is checked in
%% full before it is timed, and by a sum of what it returns while it is.
lazy(Probe = #{params := #{per := Per}, min_ms := MinMs}, Make) ->
    (maps:remove(min_ms, Probe))#{sides => fun(_) -> [side(S, Per, MinMs) || S <- Make()] end}.

side({Name, {absent, _} = Absent}, _Per, _MinMs) ->
    {Name, Absent};
side({Name, Check, Work, Expected}, Per, MinMs) ->
    side({Name, Check, Work, Expected, #{}}, Per, MinMs);
side({Name, Check, Work, Expected, Figures}, Per, MinMs) ->
    {Name, fun() ->
        ok = Check(),
        case erlmcp_flow_bench_loop:ns_per_call(Work, Expected, MinMs) of
            {ok, Ns} -> {ok, Figures#{ns => Ns / Per}};
            {error, _} = Error -> Error
        end
    end}.

same(A, A) -> ok;
same(Expected, Got) -> error({wrong_result, #{expected => Expected, got => Got}}).

ok({ok, Value}) -> Value.

sum([], _F) -> 0;
sum([T | Rest], F) -> byte_size(F(T)) + sum(Rest, F).

sum_ok([], _F) -> 0;
sum_ok([T | Rest], F) -> {ok, B} = F(T), byte_size(B) + sum_ok(Rest, F).

sum_io([], _F) -> 0;
sum_io([T | Rest], F) -> iolist_size(F(T)) + sum_io(Rest, F).

keys([], _F) -> 0;
keys([B | Rest], F) -> map_size(F(B)) + keys(Rest, F).

keys_ok([], _F) -> 0;
keys_ok([B | Rest], F) -> {ok, T} = F(B), map_size(T) + keys_ok(Rest, F).

text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
