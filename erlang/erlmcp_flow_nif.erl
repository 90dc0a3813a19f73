%% @private
%% @doc The stubs of the one NIF library, and nothing else. A loaded NIF library
%% cannot be replaced while the old one is in use, so this module hardly ever
%% changes, and every other module can be hot-loaded.
-module(erlmcp_flow_nif).

-export([version/0]).
%% serializer: batch
-export([batch_encode/1, batch_encode_dirty/1, batch_decode/3, batch_decode_dirty/3]).
%% serializer: etf
-export([etf_check_default/1, etf_check/4, etf_check_dirty/4, etf_why/2, etf_why_dirty/2]).

-nifs([version/0]).
%% serializer: batch
-nifs([batch_encode/1, batch_encode_dirty/1, batch_decode/3, batch_decode_dirty/3]).
%% serializer: etf
-nifs([etf_check_default/1, etf_check/4, etf_check_dirty/4, etf_why/2, etf_why_dirty/2]).
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

%% serializer: etf

-type etf_reason() :: too_large | too_deep | unsafe | unknown_atom
                    | {invalid, non_neg_integer()}.

-spec etf_check_default(binary()) ->
    ok | dirty | {ok, Plain :: binary()} | {error, etf_reason()}.
etf_check_default(_Bin) ->
    erlang:nif_error(nif_not_loaded).

-spec etf_check(binary(), MaxBytes :: non_neg_integer(), MaxDepth :: non_neg_integer(),
                Safe :: boolean()) ->
    ok | dirty | {ok, Plain :: binary()} | {error, etf_reason()}.
etf_check(_Bin, _MaxBytes, _MaxDepth, _Safe) ->
    erlang:nif_error(nif_not_loaded).

-spec etf_check_dirty(binary(), non_neg_integer(), non_neg_integer(), boolean()) ->
    ok | {ok, Plain :: binary()} | {error, etf_reason()}.
etf_check_dirty(_Bin, _MaxBytes, _MaxDepth, _Safe) ->
    erlang:nif_error(nif_not_loaded).

-spec etf_why(binary(), Safe :: boolean()) -> etf_reason().
etf_why(_Bin, _Safe) ->
    erlang:nif_error(nif_not_loaded).

-spec etf_why_dirty(binary(), Safe :: boolean()) -> etf_reason().
etf_why_dirty(_Bin, _Safe) ->
    erlang:nif_error(nif_not_loaded).

%% serializer: batch

-spec batch_encode([term()]) -> {ok, binary()} | dirty.
batch_encode(_Terms) ->
    erlang:nif_error(nif_not_loaded).

-spec batch_encode_dirty([term()]) -> {ok, binary()}.
batch_encode_dirty(_Terms) ->
    erlang:nif_error(nif_not_loaded).

-spec batch_decode(binary(), MaxBytes :: non_neg_integer(), Safe :: boolean()) ->
    {ok, [term()]} | dirty | {error, etf_reason()}.
batch_decode(_Bin, _MaxBytes, _Safe) ->
    erlang:nif_error(nif_not_loaded).

-spec batch_decode_dirty(binary(), non_neg_integer(), boolean()) ->
    {ok, [term()]} | {error, etf_reason()}.
batch_decode_dirty(_Bin, _MaxBytes, _Safe) ->
    erlang:nif_error(nif_not_loaded).
