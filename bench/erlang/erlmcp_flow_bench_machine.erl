%% @private
%% @doc What the figures were measured on.
-module(erlmcp_flow_bench_machine).

-export([describe/1, rss/0, peak_rss/0]).

%% @doc The machine, the VM, the library. What cannot be found out is left out.
-spec describe(Root :: file:filename()) -> #{atom() => term()}.
describe(Root) ->
    maps:filter(fun(_, V) -> V =/= undefined end, #{
        cpu => cpu(),
        cores => erlang:system_info(logical_processors_available_or_online()),
        schedulers => erlang:system_info(schedulers_online),
        memory_mb => memory_mb(),
        os => os(),
        otp => otp(),
        erts => unicode:characters_to_binary(erlang:system_info(version)),
        flavour => atom_to_binary(flavour()),
        rustc => command(Root, "rustc", ["--version"]),
        version => version(),
        commit => command(Root, "git", ["rev-parse", "HEAD"]),
        changed => changed(Root)}).

logical_processors_available_or_online() ->
    case erlang:system_info(logical_processors_available) of
        unknown -> schedulers_online;
        _ -> logical_processors_available
    end.

cpu() ->
    case proc("/proc/cpuinfo", <<"model name\\s*:\\s*(.*)">>) of
        undefined -> unicode:characters_to_binary(erlang:system_info(system_architecture));
        Name -> Name
    end.

memory_mb() ->
    case proc("/proc/meminfo", <<"MemTotal:\\s*(\\d+) kB">>) of
        undefined -> undefined;
        Kb -> binary_to_integer(Kb) div 1024
    end.

os() ->
    {Family, Name} = os:type(),
    Version = case os:version() of
        {A, B, C} -> io_lib:format("~b.~b.~b", [A, B, C]);
        Text -> Text
    end,
    Pretty = case proc("/etc/os-release", <<"PRETTY_NAME=\"?([^\"\n]*)">>) of
        undefined -> "";
        P -> [" (", P, ")"]
    end,
    unicode:characters_to_binary(io_lib:format("~s/~s ~ts~ts", [Family, Name, Version, Pretty])).

otp() ->
    Release = erlang:system_info(otp_release),
    File = filename:join([code:root_dir(), "releases", Release, "OTP_VERSION"]),
    case file:read_file(File) of
        {ok, Version} -> string:trim(Version);
        {error, _} -> list_to_binary(Release)
    end.

flavour() ->
    try erlang:system_info(emu_flavor) catch error:badarg -> emu end.

version() ->
    _ = application:load(erlmcp_flow),
    case application:get_key(erlmcp_flow, vsn) of
        {ok, Vsn} -> unicode:characters_to_binary(Vsn);
        undefined -> <<"unknown">>
    end.

changed(Root) ->
    case command(Root, "git", ["status", "--porcelain", "--untracked-files=no"]) of
        undefined -> undefined;
        Lines -> Lines =/= <<>>
    end.

%% @doc Resident memory of this OS process in bytes, where the system tells.
-spec rss() -> pos_integer() | undefined.
rss() -> status(<<"VmRSS:\\s*(\\d+) kB">>).

%% @doc The most it ever was.
-spec peak_rss() -> pos_integer() | undefined.
peak_rss() -> status(<<"VmHWM:\\s*(\\d+) kB">>).

status(Pattern) ->
    case proc("/proc/self/status", Pattern) of
        undefined -> undefined;
        Kb -> binary_to_integer(Kb) * 1024
    end.

proc(Path, Pattern) ->
    case file:read_file(Path) of
        {ok, Text} ->
            case re:run(Text, Pattern, [{capture, all_but_first, binary}]) of
                {match, [Found]} -> string:trim(Found);
                nomatch -> undefined
            end;
        {error, _} -> undefined
    end.

%% The output of a program, `undefined' when there is none or it fails.
command(Dir, Program, Args) ->
    case os:find_executable(Program) of
        false -> undefined;
        Path ->
            Port = open_port({spawn_executable, Path},
                [{args, Args}, {cd, Dir}, exit_status, binary, use_stdio, stderr_to_stdout,
                 hide]),
            collect(Port, [])
    end.

collect(Port, Acc) ->
    receive
        {Port, {data, Data}} -> collect(Port, [Acc, Data]);
        {Port, {exit_status, 0}} -> string:trim(iolist_to_binary(Acc));
        {Port, {exit_status, _}} -> undefined
    after 5000 ->
        %% It may have ended at this very moment.
        _ = try port_close(Port) catch error:badarg -> true end,
        undefined
    end.
