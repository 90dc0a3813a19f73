%% @private
%% @doc The Prometheus text format: samples in, text out, nothing else.
-module(erlmcp_flow_metrics_text).

-export([format/1]).

%% Bucket bounds are the same at every reading, as the format asks: powers of
%% two from 1 to 2^36 of the recorded unit.
-define(TOP, 36).

%% @doc Samples sorted by name; a name's HELP and TYPE stand once, before its samples.
-spec format([erlmcp_flow_metrics:sample()]) -> iodata().
format(Samples) ->
    {Text, _} = lists:mapfoldl(
        fun(#{name := Name} = Sample, Previous) ->
            Head = case Name of
                Previous -> [];
                _ -> head(Sample)
            end,
            {[Head, sample(Sample)], Name}
        end, undefined, Samples),
    Text.

head(#{type := Type, help := Help} = Sample) ->
    Full = full_name(Sample),
    ["# HELP ", Full, $\s, escape(Help, help), $\n,
     "# TYPE ", Full, $\s, atom_to_list(Type), $\n].

sample(#{type := histogram, value := Value, labels := Labels} = Sample) ->
    #{buckets := Buckets, scale := Scale, count := Count, mean := Mean} = Value,
    Full = full_name(Sample),
    [[line([Full, "_bucket"], Labels#{le => number(Bound * Scale)}, N)
      || {Bound, N} <- cumulative(Buckets)],
     line([Full, "_bucket"], Labels#{le => <<"+Inf">>}, Count),
     line([Full, "_sum"], Labels, Mean * Count),
     line([Full, "_count"], Labels, Count)];
sample(#{labels := Labels, value := Value} = Sample) ->
    line(full_name(Sample), Labels, Value).

cumulative(Buckets) ->
    {Rows, _} = lists:mapfoldl(
        fun(Exp, {Sum, Rest}) ->
            Bound = 1 bsl Exp,
            {In, Out} = lists:splitwith(fun({Upper, _}) -> Upper =< Bound end, Rest),
            Total = Sum + lists:sum([N || {_, N} <- In]),
            {{Bound, Total}, {Total, Out}}
        end, {0, Buckets}, lists:seq(0, ?TOP)),
    Rows.

line(Name, Labels, Value) ->
    [Name, labels(lists:sort(maps:to_list(Labels))), $\s, number(Value), $\n].

labels([]) ->
    [];
labels(Labels) ->
    Pairs = [[clean(atom_to_binary(K)), "=\"", escape(text(V), label), $"] || {K, V} <- Labels],
    [${, lists:join($,, Pairs), $}].

full_name(#{name := Name, type := counter}) -> [clean(Name), "_total"];
full_name(#{name := Name}) -> clean(Name).

%% [a-zA-Z_:][a-zA-Z0-9_:]*
clean(Name) ->
    << <<(case is_name_char(C) of true -> C; false -> $_ end)>> || <<C>> <= Name >>.

is_name_char(C) ->
    (C >= $a andalso C =< $z) orelse (C >= $A andalso C =< $Z)
        orelse (C >= $0 andalso C =< $9) orelse C =:= $_ orelse C =:= $:.

escape(Text, Where) ->
    << <<(escape_char(C, Where))/binary>> || <<C>> <= Text >>.

escape_char($\\, _) -> <<"\\\\">>;
escape_char($\n, _) -> <<"\\n">>;
escape_char($", label) -> <<"\\\"">>;
escape_char(C, _) -> <<C>>.

text(V) when is_binary(V) -> V;
text(V) when is_atom(V) -> atom_to_binary(V).

number(N) when is_integer(N) -> integer_to_binary(N);
number(N) when is_float(N) -> float_to_binary(N, [short]);
number(N) when is_binary(N) -> N.
