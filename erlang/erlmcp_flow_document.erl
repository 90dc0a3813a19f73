%% @private
%% @doc What the JSON and MessagePack modules share.
-module(erlmcp_flow_document).

-export([built/1]).

%% @doc Makes the term of a native decoder's answer, where that has not been done.
-spec built({ok, term()} | {etf, binary()} | {error, Reason} | repeats) ->
    {ok, term()} | {error, Reason} | repeats.
built({etf, Etf}) ->
    try
        {ok, binary_to_term(Etf, [safe])}
    catch
        error:badarg -> repeats
    end;
built(Answer) ->
    Answer.
