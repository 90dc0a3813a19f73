%% @private
%% @doc What the JSON and MessagePack modules share: what follows where the native
%% decoder has not made the term in its first call.
-module(erlmcp_flow_document).

-export([decoded/2]).
-export_type([answer/0, again/0]).

-type answer() :: {ok, term()} | {etf, binary()} | {error, term()} | busy | repeats.
%% What a native decoder answers; native/erlmcp_flow_nif/src/document.rs explains.

-type again() :: fun((Dirty :: boolean(), Resolve :: boolean()) -> answer()).
%% Calls the decoder once more, on a dirty scheduler, or looking for equal keys.

%% @doc The term of a decoder's answer. `repeats' where the VM refuses it even
%% without equal keys: it has an atom that does not exist, or keys that are equal
%% without having the same bytes.
-spec decoded(answer(), again()) -> {ok, term()} | {error, term()} | repeats.
decoded(Answer, Again) ->
    decoded(Answer, false, false, Again).

decoded(busy, false, Resolve, Again) ->
    decoded(Again(true, Resolve), true, Resolve, Again);
decoded({etf, Etf}, Dirty, Resolve, Again) ->
    try
        {ok, binary_to_term(Etf, [safe])}
    catch
        error:badarg -> decoded(repeats, Dirty, Resolve, Again)
    end;
decoded(repeats, Dirty, false, Again) ->
    decoded(Again(Dirty, true), Dirty, true, Again);
decoded(Answer, _Dirty, _Resolve, _Again) ->
    Answer.
