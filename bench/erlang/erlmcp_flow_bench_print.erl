%% @private
%% @doc The console: one line a metric, headings, progress, the summary. Plain
%% ASCII; colours and a progress line that is overwritten only on a terminal.
-module(erlmcp_flow_bench_print).

-export([new/1, notify/2, header/2, summary/2, note/2]).
-export([line/1, value/2, target/2, ratio/1, unit/1]).
-export_type([unit/0, printer/0]).

-type unit() :: 'msg/s' | 'ops/s' | 'MB/s' | 'MB' | bytes | ns | ms | pct | count.
-opaque printer() :: #{mode := tty | plain | silent, state := atomics:atomics_ref()}.
%% The state: when something was last written (ms), and how wide a progress line
%% stands on the terminal.

-define(LAST, 1).
-define(WIDTH, 2).
%% Nothing may stand still longer than this (ms) without a word.
-define(QUIET, 2000).

%% @doc A printer for a terminal, for a file or a pipe, or for nobody; `auto' finds out.
-spec new(auto | tty | plain | silent) -> printer().
new(auto) ->
    new(case is_tty() of true -> tty; false -> plain end);
new(Mode) ->
    State = atomics:new(2, []),
    atomics:put(State, ?LAST, now_ms()),
    #{mode => Mode, state => State}.

%% `-noshell' has no terminal of its own to ask, so ask the system.
is_tty() ->
    case file:read_link("/proc/self/fd/1") of
        {ok, "/dev/pts/" ++ _} -> true;
        {ok, "/dev/tty" ++ _} -> true;
        {ok, "/dev/console"} -> true;
        _ -> element(1, io:columns()) =:= ok
    end.

%% @doc Takes an event of the engine.
-spec notify(printer(), erlmcp_flow_bench_engine:event()) -> ok.
notify(#{mode := silent}, _Event) ->
    ok;
notify(Printer, {section, Name}) ->
    put_line(Printer, ["\n== ", Name, " =="]);
notify(_Printer, {result, #{quiet := true}}) ->
    ok;
notify(Printer, {result, Result}) ->
    put_line(Printer, coloured(Printer, Result));
notify(Printer = #{mode := Mode, state := State}, {progress, Probe, Side, Round, Rounds}) ->
    Text = progress(Probe, Side, Round, Rounds),
    case Mode of
        tty ->
            overwrite(State, Text);
        plain ->
            case now_ms() - atomics:get(State, ?LAST) >= ?QUIET of
                true -> put_line(Printer, ["  .. ", Text]);
                false -> ok
            end
    end.

progress(Probe, Side, Round, Rounds) ->
    Which = case Round of
        0 -> "warm-up";
        _ -> io_lib:format("round ~b of ~b", [Round, Rounds])
    end,
    io_lib:format("~ts: ~s (~ts)", [maps:get(label, Probe), Which, Side]).

overwrite(State, Text) ->
    Width = string:length(Text) + 5,
    Old = atomics:exchange(State, ?WIDTH, Width),
    io:format("\r  .. ~ts~s", [Text, lists:duplicate(max(0, Old - Width), $\s)]).

put_line(#{mode := Mode, state := State}, Text) ->
    case {Mode, atomics:exchange(State, ?WIDTH, 0)} of
        {tty, Old} when Old > 0 -> io:format("\r~s\r", [lists:duplicate(Old, $\s)]);
        _ -> ok
    end,
    io:format("~ts~n", [Text]),
    atomics:put(State, ?LAST, now_ms()).

now_ms() -> erlang:monotonic_time(millisecond).

coloured(#{mode := tty}, Result = #{verdict := Verdict}) ->
    case Verdict of
        pass -> ["\e[32m", line(Result), "\e[0m"];
        fail -> ["\e[31m", line(Result), "\e[0m"];
        _ -> line(Result)
    end;
coloured(_Printer, Result) ->
    line(Result).

%% @doc What is measured, and on what.
-spec header(printer(), #{atom() => term()}) -> ok.
header(#{mode := silent}, _Machine) ->
    ok;
header(Printer, Machine) ->
    put_line(Printer, io_lib:format(
        "erlmcp_flow ~ts~ts on ~ts, ~b cores, ~ts; OTP ~ts (~ts)",
        [maps:get(version, Machine), commit(Machine), maps:get(cpu, Machine),
         maps:get(cores, Machine), maps:get(os, Machine), maps:get(otp, Machine),
         maps:get(flavour, Machine)])),
    put_line(Printer,
        "  figure [min..max of the rounds]; rival measured in turn in the same run; "
        "x = times better, 'at' = share of the rival's").

commit(#{commit := Commit}) when is_binary(Commit) ->
    [" (", string:slice(Commit, 0, 10), ")"];
commit(_) -> "".

%% @doc A line of its own.
-spec note(printer(), unicode:chardata()) -> ok.
note(#{mode := silent}, _Text) -> ok;
note(Printer, Text) -> put_line(Printer, Text).

%% @doc One metric as a line, without the line's end.
-spec line(erlmcp_flow_bench_engine:result()) -> unicode:chardata().
line(Result = #{verdict := Verdict, unit := Unit}) ->
    Columns = [
        {48, maps:get(label, Result)},
        {27, figure(Result)},
        {37, rival(Result)},
        {24, targets(maps:get(targets, Result), Unit)}],
    Text = ["  ", [[string:pad(T, W), " "] || {W, T} <- Columns], verdict(Verdict),
            reason(Result)],
    string:trim(unicode:characters_to_list(Text), trailing).

verdict(pass) -> "PASS";
verdict(fail) -> "FAIL";
verdict(not_built) -> "NOT BUILT";
verdict(absent) -> "ABSENT";
verdict(info) -> "".

reason(#{reason := Why}) when is_binary(Why) -> ["  ", Why];
reason(_) -> "".

figure(#{median := Median, min := Min, max := Max, unit := Unit}) ->
    Scale = scale(Unit, Median),
    [value(Unit, Median), " [", scaled(Min, Scale), "..", scaled(Max, Scale), "]"];
figure(_) ->
    "-".

rival(#{rival := #{name := Name, median := Median}, unit := Unit} = R) ->
    ["(", Name, ": ", bare(Unit, Median), ratio(", ", R), ")"];
rival(#{rival := #{name := Name, absent := Why}}) ->
    ["(", Name, ": absent, ", Why, ")"];
rival(_) ->
    "".

ratio(Before, Result) ->
    case ratio(Result) of
        "" -> "";
        Text -> [Before, Text]
    end.

%% @doc The ratio to the rival: `3.9x', or `at 0.36x' where it is a share.
-spec ratio(erlmcp_flow_bench_engine:result()) -> unicode:chardata().
ratio(#{ratio := Ratio, ratio_of := Of, better := Better}) when is_number(Ratio) ->
    Digits = io_lib:format(if Ratio >= 10 -> "~.1fx"; true -> "~.2fx" end, [Ratio]),
    case {Of, Better} of
        {own_by_rival, lower} -> ["at ", Digits];
        _ -> Digits
    end;
ratio(_) ->
    "".

targets([], _Unit) -> "";
targets(Targets, Unit) ->
    ["target ", lists:join(", ", [target(T, Unit) || T <- Targets])].

%% @doc A target as text, in the unit of its metric.
-spec target(erlmcp_flow_bench_stats:target(), unit()) -> unicode:chardata().
target({ratio, Op, X}, _Unit) -> [op(Op), " ", short(X), "x"];
target({value, Op, X}, Unit) -> [op(Op), " ", string:trim(bare(Unit, X))].

op('=<') -> "<=";
op(Op) -> atom_to_list(Op).

short(X) when is_integer(X) -> integer_to_list(X);
short(X) -> string:trim(string:trim(io_lib:format("~.2f", [X]), trailing, "0"), trailing, ".").

%% @doc A figure with its unit, scaled for reading.
-spec value(unit(), number()) -> unicode:chardata().
value(Unit, V) ->
    Scale = {_, Suffix} = scale(Unit, V),
    [scaled(V, Scale), Suffix].

%% Without the word that stands behind the figure on the same line anyway.
bare(Unit, V) when Unit =:= 'msg/s'; Unit =:= 'ops/s'; Unit =:= 'MB/s' ->
    string:trim(string:replace(value(Unit, V), atom_to_list(Unit), ""), trailing);
bare(Unit, V) ->
    value(Unit, V).

%% @doc The unit as it is written behind an unscaled figure.
-spec unit(unit()) -> string().
unit(pct) -> "%";
unit(count) -> "";
unit(Unit) -> atom_to_list(Unit).

scaled(V, {Factor, _}) -> digits(V / Factor).

digits(V) when V == 0 -> "0";
digits(V) when abs(V) >= 100; V == trunc(V) -> integer_to_list(round(V));
digits(V) when abs(V) >= 10 -> io_lib:format("~.1f", [V]);
digits(V) when abs(V) >= 0.01 -> io_lib:format("~.2f", [V]);
digits(V) -> io_lib:format("~.4f", [V]).

scale(Unit, V) when Unit =:= 'msg/s'; Unit =:= 'ops/s' ->
    {Factor, Letter} = decimal(V),
    {Factor, Letter ++ " " ++ atom_to_list(Unit)};
scale(count, V) -> decimal(V);
scale(ns, V) when abs(V) >= 1.0e6 -> {1.0e6, " ms"};
scale(ns, V) when abs(V) >= 1.0e4 -> {1.0e3, " us"};
scale(bytes, V) when abs(V) >= 1.0e6 -> {1.0e6, " MB"};
scale(bytes, V) when abs(V) >= 1.0e4 -> {1.0e3, " kB"};
scale(Unit, _V) -> {1, " " ++ unit(Unit)}.

decimal(V) when abs(V) >= 999500 -> {1.0e6, "M"};
decimal(V) when abs(V) >= 1.0e4 -> {1.0e3, "K"};
decimal(_V) -> {1, ""}.

%% @doc How many lines of each verdict there were, and where the record lies.
-spec summary(printer(), #{results := [erlmcp_flow_bench_engine:result()], _ => _}) -> ok.
summary(#{mode := silent}, _Record) ->
    ok;
summary(Printer, #{results := Results, summary := Counts, seconds := Seconds}) ->
    put_line(Printer, "\n== Summary =="),
    put_line(Printer, io_lib:format(
        "  ~b PASS, ~b FAIL, ~b NOT BUILT, ~b ABSENT, ~b without a target; ~.1f s",
        [maps:get(V, Counts, 0) || V <- [pass, fail, not_built, absent, info]]
        ++ [float(Seconds)])),
    lists:foreach(
        fun(#{verdict := fail, label := Label, reason := Why}) ->
                put_line(Printer, ["  FAIL ", Label, ": ", Why]);
           (_) -> ok
        end, Results).
