%% @private
%% @doc The stubs of the one NIF library, and nothing else. A loaded NIF library
%% cannot be replaced while the old one is in use, so this module hardly ever
%% changes, and every other module can be hot-loaded.
-module(erlmcp_flow_nif).

-export([version/0]).
-export([json_decode/5, json_decode_dirty/5, json_encode/2, json_encode_dirty/2]).
-export([msgpack_decode/5, msgpack_decode_dirty/5, msgpack_encode/2, msgpack_encode_dirty/2]).

-nifs([version/0]).
-nifs([json_decode/5, json_decode_dirty/5, json_encode/2, json_encode_dirty/2]).
-nifs([msgpack_decode/5, msgpack_decode_dirty/5, msgpack_encode/2, msgpack_encode_dirty/2]).
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

%% documents

-spec json_decode(binary(), non_neg_integer(), non_neg_integer(), boolean(), boolean()) ->
    {ok, term()} | {etf, binary()} | {error, term()} | busy | repeats.
json_decode(_Binary, _MaxBytes, _MaxDepth, _AtomKeys, _Resolve) ->
    erlang:nif_error(nif_not_loaded).

-spec json_decode_dirty(binary(), non_neg_integer(), non_neg_integer(), boolean(), boolean()) ->
    {ok, term()} | {etf, binary()} | {error, term()} | repeats.
json_decode_dirty(_Binary, _MaxBytes, _MaxDepth, _AtomKeys, _Resolve) ->
    erlang:nif_error(nif_not_loaded).

-spec json_encode(term(), non_neg_integer()) -> {ok, binary()} | {error, term()} | busy.
json_encode(_Term, _MaxDepth) ->
    erlang:nif_error(nif_not_loaded).

-spec json_encode_dirty(term(), non_neg_integer()) -> {ok, binary()} | {error, term()} | busy.
json_encode_dirty(_Term, _MaxDepth) ->
    erlang:nif_error(nif_not_loaded).

-spec msgpack_decode(binary(), non_neg_integer(), non_neg_integer(), boolean(), boolean()) ->
    {ok, term()} | {etf, binary()} | {error, term()} | busy | repeats.
msgpack_decode(_Binary, _MaxBytes, _MaxDepth, _AtomKeys, _Resolve) ->
    erlang:nif_error(nif_not_loaded).

-spec msgpack_decode_dirty(binary(), non_neg_integer(), non_neg_integer(), boolean(), boolean()) ->
    {ok, term()} | {etf, binary()} | {error, term()} | repeats.
msgpack_decode_dirty(_Binary, _MaxBytes, _MaxDepth, _AtomKeys, _Resolve) ->
    erlang:nif_error(nif_not_loaded).

-spec msgpack_encode(term(), non_neg_integer()) -> {ok, binary()} | {error, term()} | busy.
msgpack_encode(_Term, _MaxDepth) ->
    erlang:nif_error(nif_not_loaded).

-spec msgpack_encode_dirty(term(), non_neg_integer()) -> {ok, binary()} | {error, term()} | busy.
msgpack_encode_dirty(_Term, _MaxDepth) ->
    erlang:nif_error(nif_not_loaded).
