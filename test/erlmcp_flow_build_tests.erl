%% native/build.sh: what it says when something is missing, the prebuilt library,
%% and that a fresh build costs nothing.
-module(erlmcp_flow_build_tests).
-include_lib("eunit/include/eunit.hrl").

%% The checkout: the folder above _build.
root() -> above(filename:absname(code:lib_dir(erlmcp_flow))).

above(Dir) ->
    case filelib:is_regular(filename:join([Dir, "native", "build.sh"])) of
        true -> Dir;
        false -> above(filename:dirname(Dir))
    end.

%% A folder with the script alone, and a PATH with the tools named.
in_copy(Tools, Env, Fun) ->
    Dir = filename:join("/tmp", "erlmcp_flow_build_" ++ os:getpid() ++ "_"
                        ++ integer_to_list(erlang:unique_integer([positive]))),
    Bin = filename:join(Dir, "bin"),
    ok = filelib:ensure_path(Bin),
    ok = filelib:ensure_path(filename:join(Dir, "native")),
    Script = filename:join([Dir, "native", "build.sh"]),
    {ok, _} = file:copy(filename:join([root(), "native", "build.sh"]), Script),
    Basic = ["sh", "dirname", "find", "head", "cat", "cp", "mv", "rm", "mkdir", "chmod",
             "cmp", "sed", "sort"],
    [ok = file:make_symlink(os:find_executable(T), filename:join(Bin, T)) || T <- Basic],
    [ok = write_tool(filename:join(Bin, Name), Text) || {Name, Text} <- Tools],
    try
        Fun(Dir, fun() -> run(Bin, Script, Env) end)
    after
        file:del_dir_r(Dir)
    end.

write_tool(Path, Text) ->
    ok = file:write_file(Path, ["#!/bin/sh\n", Text, "\n"]),
    file:change_mode(Path, 8#755).

run(Bin, Script, Env) ->
    Port = open_port({spawn_executable, filename:join(Bin, "sh")},
        [{args, [Script]}, exit_status, stderr_to_stdout, binary,
         {env, [{"PATH", Bin}, {"ERLMCP_FLOW_NIF_PATH", false}, {"CARGO", false},
                {"CC", false} | Env]}]),
    collect(Port, <<>>).

collect(Port, Text) ->
    receive
        {Port, {data, More}} -> collect(Port, <<Text/binary, More/binary>>);
        {Port, {exit_status, Status}} -> {Status, Text}
    end.

says(Text, What) ->
    ?assert(binary:match(Text, What) =/= nomatch, Text).

no_cargo_test() ->
    in_copy([], [], fun(_, Run) ->
        {1, Text} = Run(),
        says(Text, <<"cargo is not on the PATH">>),
        says(Text, <<"https://rustup.rs">>),
        says(Text, <<"ERLMCP_FLOW_NIF_PATH">>)
    end).

old_cargo_test() ->
    in_copy([{"cargo", "echo 'cargo 1.63.0 (fd9c4297c 2022-07-01)'"}], [], fun(_, Run) ->
        {1, Text} = Run(),
        says(Text, <<"cargo 1.63 is too old">>),
        says(Text, <<"1.91">>)
    end).

no_compiler_test() ->
    in_copy([{"cargo", "echo 'cargo 1.100.0'"}], [], fun(_, Run) ->
        {1, Text} = Run(),
        says(Text, <<"no C compiler">>)
    end).

%% cargo fails: its own words come through, and nothing is installed.
failing_build_test() ->
    Cargo = "case $1 in --version) echo 'cargo 1.95.0';; *) echo 'error: boom' >&2; exit 101;; esac",
    in_copy([{"cargo", Cargo}, {"cc", "exit 0"}], [], fun(Dir, Run) ->
        {1, Text} = Run(),
        says(Text, <<"error: boom">>),
        says(Text, <<"cargo could not build erlmcp_flow_nif">>),
        ?assertNot(filelib:is_regular(filename:join([Dir, "priv", "erlmcp_flow_nif.so"])))
    end).

%% macOS names the library .dylib; the VM wants .so there too.
dylib_test() ->
    Cargo = "case $1 in --version) echo 'cargo 1.95.0';;"
            " *) mkdir -p target/release; echo lib > target/release/liberlmcp_flow_nif.dylib;; esac",
    in_copy([{"cargo", Cargo}, {"cc", "exit 0"}], [{"CARGO_TARGET_DIR", false}], fun(Dir, Run) ->
        {0, <<>>} = Run(),
        ?assertEqual({ok, <<"lib\n">>},
                     file:read_file(filename:join([Dir, "priv", "erlmcp_flow_nif.so"])))
    end).

prebuilt_test() ->
    in_copy([], [{"ERLMCP_FLOW_NIF_PATH", "/nonexistent.so"}], fun(_, Run) ->
        {1, Text} = Run(),
        says(Text, <<"names no file: /nonexistent.so">>)
    end),
    Lib = filename:join(code:priv_dir(erlmcp_flow), "erlmcp_flow_nif.so"),
    in_copy([], [{"ERLMCP_FLOW_NIF_PATH", Lib}], fun(Dir, Run) ->
        {0, <<>>} = Run(),
        Installed = filename:join([Dir, "priv", "erlmcp_flow_nif.so"]),
        ?assertEqual(file:read_file(Lib), file:read_file(Installed)),
        {ok, Before} = file:read_file_info(Installed),
        {0, <<>>} = Run(),
        %% Nothing changed, so nothing was moved.
        ?assertEqual({ok, Before}, file:read_file_info(Installed))
    end).

%% mix runs the hook at every start: fresh must be silent and under half a second.
fresh_test() ->
    Script = filename:join([root(), "native", "build.sh"]),
    Sh = fun() -> os:cmd("env -u ERLMCP_FLOW_NIF_PATH sh " ++ Script ++ "; echo $?") end,
    "0\n" = Sh(),
    Times = [begin {T, "0\n"} = timer:tc(Sh), T end || _ <- lists:seq(1, 5)],
    ?assert(lists:min(Times) < 500000, Times).

%% Only what every processor of the platform has: kernels are chosen at run time.
baseline_test() ->
    {ok, Config} = file:read_file(filename:join([root(), ".cargo", "config.toml"])),
    {ok, Cargo} = file:read_file(filename:join(root(), "Cargo.toml")),
    [?assertEqual(nomatch, binary:match(Text, Flag))
     || Text <- [Config, Cargo], Flag <- [<<"target-cpu">>, <<"target-feature">>]].
