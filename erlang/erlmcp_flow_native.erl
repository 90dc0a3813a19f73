%% @doc The `native' switch: which components run on the Rust library and which
%% on OTP's own parts behind the same API.
%%
%% It is the application environment key `native': `true' (the default), `false',
%% or a map such as `#{serializer => false}' (components not named are native).
%% This is the way back when the native library is in doubt, and the reference
%% that the tests hold the native side against.
-module(erlmcp_flow_native).

-export([init/0, enabled/1, set/1, get/0]).
-export_type([component/0, setting/0]).

-type component() ::
    serializer | compressor | batch_processor | lru_cache | queue | quantization
    | hnsw | scheduler.
%% What has a twin without native code. Raft and PBFT have none.

-type setting() :: boolean() | #{component() => boolean()}.

-define(KEY, ?MODULE).
-define(COMPONENTS, [serializer, compressor, batch_processor, lru_cache, queue,
                     quantization, hnsw, scheduler]).

%% @private
%% @doc Reads the environment; called when the application starts.
-spec init() -> ok | {error, erlmcp_flow_opts:error() | {native_library, term()}}.
init() ->
    Setting = application:get_env(erlmcp_flow, native, true),
    case set(Setting) of
        ok when Setting =:= false -> ok;
        ok -> loaded();
        {error, _} = Error -> Error
    end.

loaded() ->
    case code:ensure_loaded(erlmcp_flow_nif) of
        {module, _} -> ok;
        {error, Reason} ->
            logger:error(
                "erlmcp_flow: the native library is not loaded (~p). Build it with "
                "'sh native/build.sh', or start with {erlmcp_flow, [{native, false}]} "
                "to run on OTP's own parts.", [Reason],
                #{domain => [erlmcp_flow]}),
            {error, {native_library, Reason}}
    end.

%% @doc Does this component run on the native library? Cheap enough for every
%% call (about 20 ns).
-spec enabled(component()) -> boolean().
enabled(Component) ->
    case persistent_term:get(?KEY, true) of
        true -> true;
        false -> false;
        #{Component := Enabled} -> Enabled;
        #{} -> true
    end.

%% @doc Changes the setting of the running node. Instances that are already
%% started keep the way they were started with; calls without an instance
%% (serializer, compressor) follow at once.
-spec set(setting()) -> ok | {error, erlmcp_flow_opts:error()}.
set(Setting) when is_boolean(Setting) ->
    persistent_term:put(?KEY, Setting);
set(Setting) when is_map(Setting) ->
    Bad = [{bad_option, native, {K, V}}
           || {K, V} <- maps:to_list(Setting),
              not (lists:member(K, ?COMPONENTS) andalso is_boolean(V))],
    case Bad of
        [] -> persistent_term:put(?KEY, Setting);
        [First | _] -> {error, First}
    end;
set(Setting) ->
    {error, {bad_option, native, Setting}}.

%% @doc The setting in force.
-spec get() -> setting().
get() ->
    persistent_term:get(?KEY, true).
