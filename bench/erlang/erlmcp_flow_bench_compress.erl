%% @private
%% @doc The probes of the compressor: zlib format against OTP's zlib on real
%% messages, the other algorithms, and a decompression bomb.
-module(erlmcp_flow_bench_compress).

-export([probes/1, bomb/1]).
-export([refuse/2]).

-define(C, erlmcp_flow_compressor).
-define(NEEDS, [{?C, compress, 2}, {?C, decompress, 2}]).
-define(LIMIT, 1048576).

-spec probes(map()) -> [erlmcp_flow_bench_engine:probe()].
probes(Ctx) ->
    [P || {Kb, Up, Down} <- [{1, 1.2, 1.2}, {10, 2, 2.5}, {100, 2, 2.5}],
          P <- [compress(Ctx, Kb, Up), decompress(Ctx, Kb, Down)]]
    ++ [other(Ctx, A) || A <- [lz4, zstd]]
    ++ [bomb(Ctx)].

%% One block of external term format and one of JSON, both from the messages.
blocks(#{data := #{terms := Terms, json := Json}}, Kb) ->
    [erlmcp_flow_bench_data:block([term_to_binary(T) || T <- Terms], Kb * 1000),
     erlmcp_flow_bench_data:block(Json, Kb * 1000)].

%% What one gets without a word about levels; the sizes are held against OTP's level 6.
zlib_opts() -> #{compression_algorithm => zlib}.

compress(Ctx, Kb, Must) ->
    Id = text("compressor.zlib.compress.~bk", [Kb]),
    #{metrics := [Speed]} = Probe = probe(Id, "compress ~b KB (zlib)", Kb,
                                          [{ratio, '>=', Must}], <<"OTP zlib">>),
    Size = Speed#{id => text("compressor.zlib.size.~bk", [Kb]),
                  label => text("size of ~b KB compressed", [Kb]),
                  key => bytes, unit => bytes, better => lower, ratio => own_by_rival,
                  targets => [{ratio, '=<', 1.05}]},
    Probe#{
        metrics => [Speed, Size],
        sides => fun(_) ->
            Blocks = blocks(Ctx, Kb),
            Ours = fun(B) -> {ok, C} = ?C:compress(B, zlib_opts()), C end,
            [side(<<"compressor">>, Ctx, Blocks, Ours, fun zlib:uncompress/1),
             side(<<"OTP zlib">>, Ctx, Blocks, fun zlib:compress/1, fun zlib:uncompress/1)]
        end}.

decompress(Ctx, Kb, Must) ->
    Id = text("compressor.zlib.decompress.~bk", [Kb]),
    Probe = probe(Id, "decompress ~b KB (zlib)", Kb, [{ratio, '>=', Must}], <<"OTP zlib">>),
    Probe#{sides => fun(_) ->
        Blocks = blocks(Ctx, Kb),
        Packed = [zlib:compress(B) || B <- Blocks],
        Ours = fun(B) -> {ok, D} = ?C:decompress(B, zlib_opts()), D end,
        Same = fun(D) -> true = lists:member(D, Blocks), D end,
        [unpack(<<"compressor">>, Ctx, Packed, Ours, Same, Kb),
         unpack(<<"OTP zlib">>, Ctx, Packed, fun zlib:uncompress/1, Same, Kb)]
    end}.

%% There is no lz4 or zstd in OTP 25; the rival is what one has without them.
other(Ctx, Algorithm) ->
    Kb = 10,
    Id = text("compressor.~s.compress.~bk", [Algorithm, Kb]),
    Probe = probe(Id, "compress ~b KB (" ++ atom_to_list(Algorithm) ++ ")", Kb, [],
                  <<"OTP zlib">>),
    Opts = #{compression_algorithm => Algorithm},
    Probe#{sides => fun(_) ->
        Blocks = blocks(Ctx, Kb),
        Ours = fun(B) -> {ok, C} = ?C:compress(B, Opts), C end,
        Back = fun(C) -> {ok, B} = ?C:decompress(C, Opts), B end,
        [side(<<"compressor">>, Ctx, Blocks, Ours, Back),
         side(<<"OTP zlib">>, Ctx, Blocks, fun zlib:compress/1, fun zlib:uncompress/1)]
    end}.

probe(Id, Label, Kb, Targets, Rival) ->
    Text = text(Label, [Kb]),
    #{id => Id, group => throughput, section => <<"Throughput: compressor">>,
      label => Text, needs => ?NEEDS, params => #{kb => Kb},
      metrics => [#{id => Id, label => Text, key => mb_per_s, unit => 'MB/s',
                    better => higher, rival => Rival, targets => Targets}]}.

%% A side that compresses: what it makes must come back as it was, and the sizes
%% of all that the timed loop makes must add up.
side(Name, #{sample_ms := MinMs}, Blocks, Pack, Unpack) ->
    {Name, fun() ->
        Packed = [Pack(B) || B <- Blocks],
        Blocks = [Unpack(P) || P <- Packed],
        Size = sizes(Packed),
        timed(fun() -> each(Blocks, Pack) end, Size, sizes(Blocks), MinMs, #{bytes => Size})
    end}.

unpack(Name, #{sample_ms := MinMs}, Packed, Unpack, Same, Kb) ->
    Expected = length(Packed) * Kb * 1000,
    {Name, fun() ->
        _ = [Same(Unpack(P)) || P <- Packed],
        timed(fun() -> each(Packed, Unpack) end, Expected, Expected, MinMs, #{})
    end}.

timed(Work, Expected, Bytes, MinMs, Figures) ->
    case erlmcp_flow_bench_loop:ns_per_call(Work, Expected, MinMs) of
        {ok, Ns} -> {ok, Figures#{mb_per_s => Bytes / Ns * 1000}};
        {error, _} = Error -> Error
    end.

each([], _F) -> 0;
each([B | Rest], F) -> byte_size(F(B)) + each(Rest, F).

sizes(Bins) -> lists:sum([byte_size(B) || B <- Bins]).

%% -- the bomb ------------------------------------------------------------

%% @doc 97 KB that claim to be 100 MB, refused at a limit of 1 MB: how long it
%% takes, and how much memory it takes at its peak, in a VM of its own.
-spec bomb(map()) -> erlmcp_flow_bench_engine:probe().
bomb(#{quick := Quick}) ->
    Mb = case Quick of true -> 10; false -> 100 end,
    Metric = #{better => lower},
    #{id => <<"compressor.bomb">>, group => throughput,
      section => <<"Throughput: compressor">>,
      label => <<"decompression bomb">>, needs => ?NEEDS, warmup => false,
      params => #{inflates_to_mb => Mb, limit => ?LIMIT},
      setup => fun() -> {ok, zlib:compress(binary:copy(<<0>>, Mb * 1000000))} end,
      sides => fun(Bomb) -> [{<<"compressor">>, fun() -> in_fresh_vm(Bomb) end}] end,
      metrics => [
        Metric#{id => <<"compressor.bomb.ns">>, key => ns, unit => ns,
                label => text("bomb of ~b MB refused at 1 MB: time", [Mb]),
                targets => [{value, '<', 1000000}]},
        Metric#{id => <<"compressor.bomb.bytes">>, key => bytes, unit => bytes,
                label => <<"the same: memory at the peak">>,
                targets => [{value, '=<', ?LIMIT + 65536}]}]}.

in_fresh_vm(Bomb) ->
    case erlmcp_flow_bench_nodes:start_vm() of
        {ok, Vm} ->
            try
                erlmcp_flow_bench_nodes:call(Vm, ?MODULE, refuse, [Bomb, ?LIMIT], 30000)
            after
                erlmcp_flow_bench_nodes:stop(Vm)
            end;
        {error, _} = Error ->
            Error
    end.

%% @private
%% Runs in the fresh VM. What the first calls cost is not the bomb's: loading the
%% library, the threads and their contexts, reading the peak itself (4 MB). The
%% warm-up stays well below the limit, so that the peak is still the bomb's.
-spec refuse(binary(), pos_integer()) -> erlmcp_flow_bench_engine:outcome().
refuse(Bomb, Limit) ->
    Opts = #{compression_algorithm => zlib, max_bytes => Limit},
    lists:foreach(
        fun(Times) ->
            Packed = zlib:compress(binary:copy(<<"warm-up ">>, Times)),
            _ = [{ok, _} = ?C:decompress(Packed, Opts) || _ <- lists:seq(1, 20)],
            _ = erlmcp_flow_bench_machine:peak_rss()
        end, [1000, Limit div 32]),
    true = erlang:garbage_collect(),
    Before = erlmcp_flow_bench_machine:peak_rss(),
    T0 = erlang:monotonic_time(),
    Answer = ?C:decompress(Bomb, Opts),
    Ns = erlang:convert_time_unit(erlang:monotonic_time() - T0, native, nanosecond),
    After = erlmcp_flow_bench_machine:peak_rss(),
    case Answer of
        {error, too_large} when is_integer(Before) -> {ok, #{ns => Ns, bytes => After - Before}};
        {error, too_large} -> {ok, #{ns => Ns}};
        {ok, Inflated} -> {error, {not_refused, byte_size(Inflated)}};
        {error, Other} -> {error, {refused_as, Other}}
    end.

text(Format, Args) -> unicode:characters_to_binary(io_lib:format(Format, Args)).
