%% The NIF library itself: a panic is an error, and without the library the stubs say so.
-module(erlmcp_flow_nif_tests).
-include_lib("eunit/include/eunit.hrl").

panic_is_an_error_and_the_vm_lives_test_() ->
    [{atom_to_list(F), fun() ->
        %% Many times: no scheduler thread is lost to it either.
        [?assertError(nif_panicked, erlmcp_flow_test_nif:F()) || _ <- lists:seq(1, 50)],
        ?assertEqual(4, 2 + 2)
     end} || F <- [panic_normal, panic_dirty]].

version_test() ->
    {ok, App} = file:consult(code:where_is_file("erlmcp_flow.app")),
    [{application, erlmcp_flow, Keys}] = App,
    ?assertEqual(list_to_binary(proplists:get_value(vsn, Keys)), erlmcp_flow_nif:version()).

%% Compiled as it is, but for the loading.
stubs_without_library_test_() ->
    {setup, fun stubs/0, fun(Module) -> code:purge(Module), code:delete(Module) end,
     fun(Module) ->
        [?_assertError({nif_not_loaded, _}, normal(Module, F, A))
         || {F, A} <- Module:module_info(exports),
            not lists:member(F, [module_info, behaviour_info, init])]
     end}.

normal(Module, F, A) ->
    try apply(Module, F, lists:duplicate(A, x))
    catch error:nif_not_loaded -> error({nif_not_loaded, F})
    end.

stubs() ->
    {ok, {_, [{abstract_code, {_, Forms}}]}} =
        beam_lib:chunks(code:which(erlmcp_flow_nif), [abstract_code]),
    Stubs = lists:filtermap(
        fun({attribute, L, module, _}) -> {true, {attribute, L, module, erlmcp_flow_nif_stubs}};
           ({attribute, _, on_load, _}) -> false;
           ({attribute, _, nifs, _}) -> false;
           (_) -> true
        end, Forms),
    {ok, Module, Binary} = compile:forms(Stubs, [nowarn_unused_function]),
    {module, Module} = code:load_binary(Module, "stubs", Binary),
    Module.
