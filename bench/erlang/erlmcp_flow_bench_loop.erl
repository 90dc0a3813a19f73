%% @private
%% @doc Times one operation that is far shorter than the clock can tell: it is
%% repeated until the repetitions together take long enough.
-module(erlmcp_flow_bench_loop).

-export([ns_per_call/3]).

%% @doc Nanoseconds of one call of `Fun', which returns an integer that says what
%% came out of the work (a size, a checksum). The repetitions double until one
%% run of them takes `MinMs'; the runs before it are the warm-up. The sum of what
%% the calls returned must be what `Expected' makes of it: a loop that was fast
%% because it did something else is an error, not a figure.
-spec ns_per_call(fun(() -> integer()), Expected :: integer(), MinMs :: pos_integer()) ->
    {ok, float()} | {error, {wrong_result, Expected :: integer(), Got :: float()}}.
ns_per_call(Fun, Expected, MinMs) ->
    repeat(Fun, Expected, 1, MinMs).

repeat(Fun, Expected, N, MinMs) ->
    T0 = erlang:monotonic_time(),
    Sum = loop(Fun, N, 0),
    Elapsed = erlang:convert_time_unit(erlang:monotonic_time() - T0, native, nanosecond),
    if
        Sum =/= Expected * N -> {error, {wrong_result, Expected, Sum / N}};
        Elapsed >= MinMs * 1000000 -> {ok, Elapsed / N};
        true -> repeat(Fun, Expected, next(N, Elapsed, MinMs), MinMs)
    end.

%% Doubling alone could stop at nearly twice the time asked for: fine; but from a
%% first run that is far too short, take a longer step.
next(N, Elapsed, MinMs) when Elapsed * 16 < MinMs * 1000000 -> N * 8;
next(N, _Elapsed, _MinMs) -> N * 2.

loop(_Fun, 0, Sum) -> Sum;
loop(Fun, N, Sum) -> loop(Fun, N - 1, Sum + Fun()).
