%% @private
%% @doc The stubs of the one NIF library, and nothing else. A loaded NIF library
%% cannot be replaced while the old one is in use, so this module hardly ever
%% changes, and every other module can be hot-loaded.
-module(erlmcp_flow_nif).

-export([version/0]).
%% compress
-export([compress/4, compress_dirty/4, decompress/3, decompress_dirty/3,
         compress_batch/4, decompress_batch/4]).

-nifs([version/0]).
%% compress
-nifs([compress/4, compress_dirty/4, decompress/3, decompress_dirty/3,
       compress_batch/4, decompress_batch/4]).
-on_load(init/0).

-spec init() -> ok | {error, {atom(), string()}}.
init() ->
    %% The value is returned, not matched: the log then shows the loader's reason.
    erlang:load_nif(filename:join(priv_dir(), "erlmcp_flow_nif"), 0).

-spec priv_dir() -> file:filename().
priv_dir() ->
    case code:priv_dir(erlmcp_flow) of
        {error, bad_name} ->
            %% Not started from an application directory (a plain erlc, a test).
            Ebin = filename:dirname(code:which(?MODULE)),
            filename:join(filename:dirname(Ebin), "priv");
        Dir ->
            Dir
    end.

-spec version() -> binary().
version() ->
    erlang:nif_error(nif_not_loaded).

%% compress

-type algorithm() :: zlib | lz4 | zstd.
-type reason() ::
    too_large | invalid | trailing_data | dictionary_needed | unknown_format | enomem.

-spec compress(algorithm(), binary(), Level :: default | byte(), MaxOut :: non_neg_integer()) ->
    {ok, binary()} | {error, reason()}.
compress(_Algorithm, _Binary, _Level, _MaxOut) ->
    erlang:nif_error(nif_not_loaded).

-spec compress_dirty(algorithm(), binary(), Level :: default | byte(), MaxOut :: non_neg_integer()) ->
    {ok, binary()} | {error, reason()}.
compress_dirty(_Algorithm, _Binary, _Level, _MaxOut) ->
    erlang:nif_error(nif_not_loaded).

-spec decompress(algorithm() | detect, binary(), MaxBytes :: non_neg_integer()) ->
    {ok, binary()} | {error, reason()}.
decompress(_Algorithm, _Binary, _MaxBytes) ->
    erlang:nif_error(nif_not_loaded).

-spec decompress_dirty(algorithm() | detect, binary(), MaxBytes :: non_neg_integer()) ->
    {ok, binary()} | {error, reason()}.
decompress_dirty(_Algorithm, _Binary, _MaxBytes) ->
    erlang:nif_error(nif_not_loaded).

-spec compress_batch(algorithm(), [binary()], Level :: default | byte(), Parallel :: boolean()) ->
    {ok, [binary()]} | {error, {Position :: pos_integer(), reason()}}.
compress_batch(_Algorithm, _Binaries, _Level, _Parallel) ->
    erlang:nif_error(nif_not_loaded).

-spec decompress_batch(
    algorithm() | detect, [binary()], MaxBytes :: non_neg_integer(), Parallel :: boolean()) ->
    {ok, [binary()]} | {error, {Position :: pos_integer(), reason()}}.
decompress_batch(_Algorithm, _Binaries, _MaxBytes, _Parallel) ->
    erlang:nif_error(nif_not_loaded).
