%% @private
%% @doc The stubs of the one NIF library, and nothing else. A loaded NIF library
%% cannot be replaced while the old one is in use, so this module hardly ever
%% changes, and every other module can be hot-loaded.
-module(erlmcp_flow_nif).

-export([version/0, plain_maps/1]).
%% cache
-export([
    cache_new/4,
    cache_close/1,
    cache_get/2,
    cache_peek/2,
    cache_get_dirty/3,
    cache_put/5,
    cache_put_dirty/5,
    cache_delete/2,
    cache_delete_dirty/2,
    cache_clear/1,
    cache_sweep/1,
    cache_stats/1,
    cache_advance/2
]).
%% compress
-export([compress/4, compress_dirty/4, decompress/3, decompress_dirty/3,
         compress_batch/4, decompress_batch/4]).
%% serializer: batch
-export([batch_encode/1, batch_encode_dirty/1, batch_decode/3, batch_decode_dirty/3]).
%% serializer: etf
-export([etf_check_default/1, etf_check/4, etf_check_dirty/4, etf_why/2, etf_why_dirty/2]).
-export([json_decode/5, json_decode_dirty/5, json_encode/2, json_encode_dirty/2]).
-export([msgpack_decode/5, msgpack_decode_dirty/5, msgpack_encode/2, msgpack_encode_dirty/2]).
%% shared
-export([shared_new/1, shared_read/2, shared_read_dirty/2]).
%% outbox
-export([
    outbox_new/6,
    outbox_push/3,
    outbox_push_node/4,
    outbox_push_list/4,
    outbox_push_list_dirty/4,
    outbox_attach_keeper/1,
    outbox_attach/2,
    outbox_attach_undelivered/1,
    outbox_horizon/1,
    outbox_poll/3,
    outbox_collect/3,
    outbox_mark/2,
    outbox_take/2,
    outbox_take_dirty/2,
    outbox_done/4,
    outbox_keep/2,
    outbox_ack/2,
    outbox_give_up/3,
    outbox_still/2,
    outbox_hand/3,
    outbox_settle_undelivered/3,
    outbox_lanes/1,
    outbox_stats/1
]).

-nifs([version/0, plain_maps/1]).
%% cache
-nifs([
    cache_new/4,
    cache_close/1,
    cache_get/2,
    cache_peek/2,
    cache_get_dirty/3,
    cache_put/5,
    cache_put_dirty/5,
    cache_delete/2,
    cache_delete_dirty/2,
    cache_clear/1,
    cache_sweep/1,
    cache_stats/1,
    cache_advance/2
]).
%% compress
-nifs([compress/4, compress_dirty/4, decompress/3, decompress_dirty/3,
       compress_batch/4, decompress_batch/4]).
%% serializer: batch
-nifs([batch_encode/1, batch_encode_dirty/1, batch_decode/3, batch_decode_dirty/3]).
%% serializer: etf
-nifs([etf_check_default/1, etf_check/4, etf_check_dirty/4, etf_why/2, etf_why_dirty/2]).
-nifs([json_decode/5, json_decode_dirty/5, json_encode/2, json_encode_dirty/2]).
-nifs([msgpack_decode/5, msgpack_decode_dirty/5, msgpack_encode/2, msgpack_encode_dirty/2]).
%% outbox
-nifs([
    shared_new/1,
    shared_read/2,
    shared_read_dirty/2,
    outbox_new/6,
    outbox_push/3,
    outbox_push_node/4,
    outbox_push_list/4,
    outbox_push_list_dirty/4,
    outbox_attach_keeper/1,
    outbox_attach/2,
    outbox_attach_undelivered/1,
    outbox_horizon/1,
    outbox_poll/3,
    outbox_collect/3,
    outbox_mark/2,
    outbox_take/2,
    outbox_take_dirty/2,
    outbox_done/4,
    outbox_keep/2,
    outbox_ack/2,
    outbox_give_up/3,
    outbox_still/2,
    outbox_hand/3,
    outbox_settle_undelivered/3,
    outbox_lanes/1,
    outbox_stats/1
]).

-type ref() :: atom() | pid().
-type lane() :: non_neg_integer().
-type pushed() :: ok | overloaded | no_sink | remote | not_running.
-on_load(init/0).

-spec init() -> ok | {error, {atom(), string()}}.
init() ->
    %% The value is returned, not matched: the log then shows the loader's reason.
    %% What relies on the inside of the VM runs only where it was tried.
    Vm = {erlang:system_info(otp_release), erlang:system_info(build_type)},
    erlang:load_nif(filename:join(priv_dir(), "erlmcp_flow_nif"), Vm).

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

%% For tests and measurements: `true' turns off what relies on how this VM lays out
%% maps (native/terms/src/layout.rs), `false' turns it on again where it may be on.
%% The answer is whether it is on now.
-spec plain_maps(boolean()) -> boolean().
plain_maps(_Plain) ->
    erlang:nif_error(nif_not_loaded).

%% compress

-type algorithm() :: zlib | lz4 | zstd.
-type reason() ::
    too_large | invalid | trailing_data | dictionary_needed | unknown_format | enomem.

-spec compress(algorithm(), binary(), Level :: default | byte(), MaxOut :: non_neg_integer()) ->
    {ok, binary()} | {error, reason()}.
compress(_Algorithm, _Binary, _Level, _MaxOut) ->
    erlang:nif_error(nif_not_loaded).

-spec compress_dirty(algorithm(), binary(), Level :: default | byte(),
                     MaxOut :: non_neg_integer()) ->
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

%% serializer: etf

-type etf_reason() :: too_large | too_deep | unsafe | unknown_atom
                    | {invalid, non_neg_integer()}.

-spec etf_check_default(binary()) -> ok | dirty | {error, etf_reason()}.
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

%% shared

-spec shared_new(term()) -> reference().
shared_new(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec shared_read(reference(), [term()]) -> {ok, term()} | not_found | large.
shared_read(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec shared_read_dirty(reference(), [term()]) -> {ok, term()} | not_found.
shared_read_dirty(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

%% outbox

-spec outbox_new(atom(), pos_integer(), pos_integer(), pos_integer(), boolean(), boolean()) ->
    reference().
outbox_new(_A, _B, _C, _D, _E, _F) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_push(ref(), term(), term()) ->
    pushed().
outbox_push(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_push_node(ref(), node(), term(), term()) ->
    pushed().
outbox_push_node(_A, _B, _C, _D) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_push_list(ref(), node(), term(), [term()]) ->
    pushed().
outbox_push_list(_A, _B, _C, _D) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_push_list_dirty(ref(), node(), term(), [term()]) ->
    pushed().
outbox_push_list_dirty(_A, _B, _C, _D) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_attach_keeper(ref()) ->
    ok | not_running.
outbox_attach_keeper(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_attach(ref(), lane()) ->
    ok | not_running.
outbox_attach(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_attach_undelivered(ref()) ->
    non_neg_integer().
outbox_attach_undelivered(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_horizon(ref()) ->
    non_neg_integer().
outbox_horizon(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_poll(ref(), lane(), non_neg_integer()) ->
    more | in_hand | stuck | timeout().
outbox_poll(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_collect(ref(), lane(), non_neg_integer()) ->
    more | non_neg_integer().
outbox_collect(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_mark(ref(), lane()) ->
    {non_neg_integer(), non_neg_integer()}.
outbox_mark(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_take(ref(), lane()) ->
    {pos_integer(), term(), [term()]} | empty | long.
outbox_take(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_take_dirty(ref(), lane()) ->
    {pos_integer(), term(), [term()]} | empty.
outbox_take_dirty(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_done(ref(), lane(), non_neg_integer(), non_neg_integer()) ->
    ok | not_running.
outbox_done(_A, _B, _C, _D) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_keep(ref(), lane()) ->
    ok | not_running.
outbox_keep(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_ack(ref(), pos_integer()) ->
    ok | unknown | not_running.
outbox_ack(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_give_up(ref(), pos_integer(), term()) ->
    ok | stuck | unknown | not_running.
outbox_give_up(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_still(ref(), [pos_integer()]) ->
    [pos_integer()].
outbox_still(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_hand(ref(), non_neg_integer(), term()) ->
    ok | stuck | not_running.
outbox_hand(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_settle_undelivered(ref(), non_neg_integer(), non_neg_integer()) ->
    ok | not_running.
outbox_settle_undelivered(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_lanes(ref()) ->
    [{lane(), node() | [], pid() | undefined}].
outbox_lanes(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec outbox_stats(ref()) ->
    [non_neg_integer()] | not_running.
outbox_stats(_A) ->
    erlang:nif_error(nif_not_loaded).

%% cache
-spec cache_new(atom(), pos_integer(), non_neg_integer(), non_neg_integer()) ->
    reference().
cache_new(_A, _B, _C, _D) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_close(reference()) -> ok.
cache_close(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_get(ref(), term()) ->
    {ok, term()} | miss | dirty | more | not_running.
cache_get(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_peek(ref(), term()) ->
    {ok, term()} | miss | dirty | more | not_running.
cache_peek(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_get_dirty(ref(), term(), boolean()) ->
    {ok, term()} | miss | not_running.
cache_get_dirty(_A, _B, _C) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_put(ref(), term(), term(), non_neg_integer(), integer()) ->
    ok | check | dirty | not_running.
cache_put(_A, _B, _C, _D, _E) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_put_dirty(ref(), term(), term(), non_neg_integer(), integer()) ->
    ok | check | not_running.
cache_put_dirty(_A, _B, _C, _D, _E) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_delete(ref(), term()) -> ok | dirty | not_running.
cache_delete(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_delete_dirty(ref(), term()) -> ok | not_running.
cache_delete_dirty(_A, _B) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_clear(ref()) -> ok | not_running.
cache_clear(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_sweep(ref()) -> ok | more | not_running.
cache_sweep(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_stats(ref()) -> [non_neg_integer()] | not_running.
cache_stats(_A) ->
    erlang:nif_error(nif_not_loaded).

-spec cache_advance(ref(), non_neg_integer()) -> ok | not_running.
cache_advance(_A, _B) ->
    erlang:nif_error(nif_not_loaded).
